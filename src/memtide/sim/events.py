"""What happens to a simulated world besides the law: somebody else's hand, and a daemon that is dead for a while.

Times are seconds since the simulated world began.
"""

from memtide.errors import MemtideError
from memtide.model.base import Model
from memtide.sim.world import World

__all__ = ["Event", "HugePages", "KsmByOther", "Outage", "SizeByHand", "StopGuest"]


class Outage(Model, frozen=True, kw_only=True):
    """A time in which the daemon is dead."""

    from_s: float
    to_s: float


class Event(Model, frozen=True, kw_only=True):
    """Something that somebody else does."""

    at_s: float
    every_s: float | None = None
    """Again after so many seconds, and again; ``None``: once."""

    def is_due(self, elapsed_s: float, step_s: float) -> bool:
        """Say whether it happens in the step that begins now."""
        # in whole steps: times are sums of floats
        steps = round((elapsed_s - self.at_s) / step_s)
        if self.every_s is None or steps <= 0:
            return steps == 0
        return steps % max(1, round(self.every_s / step_s)) == 0

    def happen(self, world: World) -> None:
        """Do it."""
        raise NotImplementedError


class SizeByHand(Event, frozen=True, kw_only=True):
    """Somebody sets a guest's memory by hand (``virsh setmem``), past the daemon."""

    guest: str
    size_bytes: int

    def happen(self, world: World) -> None:
        """Give the guest another target, if it is still there."""
        for guest in world.guests.values():
            if guest.spec.name == self.guest:
                guest.target_bytes = min(self.size_bytes, guest.spec.maximum_bytes)


class HugePages(Event, frozen=True, kw_only=True):
    """Somebody reserves host memory as huge pages, which these guests cannot use."""

    size_bytes: int

    def happen(self, world: World) -> None:
        """Reserve what there is room for."""
        world.set_huge_pages(self.size_bytes)


class KsmByOther(Event, frozen=True, kw_only=True):
    """Somebody else steers KSM: writes these of its files."""

    run: int | None = None
    pages_to_scan: int | None = None
    sleep_millisecs: int | None = None
    by: str = ""
    """The program's name, if it can be seen to run on the host from then on, such as ksmtuned; empty: it cannot."""

    def happen(self, world: World) -> None:
        """Write them; what the kernel refuses is not written."""
        if self.by and self.by not in world.ksm.writers:
            world.ksm.writers.append(self.by)
        wanted = {"pages_to_scan": self.pages_to_scan, "sleep_millisecs": self.sleep_millisecs, "run": self.run}
        for name, number in wanted.items():
            if number is not None:
                world.ksm.files.write(name, str(number), pages_shared=world.ksm.pages_shared)


class StopGuest(Event, frozen=True, kw_only=True):
    """Somebody shuts a guest down."""

    guest: str

    def happen(self, world: World) -> None:
        """Stop it, unless it is gone already."""
        try:
            world.remove(self.guest)
        except MemtideError:
            return
