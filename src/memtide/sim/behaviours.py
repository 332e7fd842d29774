"""How guests behave, well and badly. Each kind differs from the good guest in one or two answers.

Times are seconds since the simulated world began.
"""

import math
import random
from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Reported

__all__ = [
    "Babbling",
    "Behaviour",
    "Driverless",
    "Hung",
    "Intermittent",
    "Lying",
    "Migrating",
    "Rebooting",
    "Silent",
    "Slow",
    "Stuck",
    "Uncounted",
    "Vanishing",
]

UNKNOWN: Final = 2**64 - 1
"""-1 as virtio says it: what QEMU shows before, and some Windows drivers for ever after."""
FIGURES: Final = (
    "total_bytes", "usable_bytes", "unused_bytes", "disk_caches_bytes",
    "swap_in_bytes_total", "swap_out_bytes_total", "major_faults_total",
)  # fmt: skip


class Behaviour(Model, frozen=True, kw_only=True):
    """The good guest: there, up, answering, following its target and telling the truth."""

    def exists(self, elapsed_s: float) -> bool:  # noqa: ARG002 - for those that vanish
        """Say whether its QEMU runs at all."""
        return True

    def answers(self, elapsed_s: float) -> bool:  # noqa: ARG002 - for those that hang
        """Say whether its QEMU answers libvirt; one that does not stands still altogether."""
        return True

    def is_up(self, elapsed_s: float) -> bool:  # noqa: ARG002 - for those that reboot
        """Say whether its kernel runs; when it stops to, the guest was reset."""
        return True

    def follows_target(self, elapsed_s: float) -> bool:  # noqa: ARG002 - for those that do not
        """Say whether its balloon driver works on the target now."""
        return True

    def busy(self, elapsed_s: float) -> str | None:  # noqa: ARG002 - for those that are
        """Return why hands should be off it now, or ``None``."""
        return None

    def balloon_bps(self, usual_bps: int) -> int:
        """Return how fast its balloon moves, given how fast a good one of its kind does, bytes per second."""
        return usual_bps

    def steady_until_s(self, elapsed_s: float) -> float:  # noqa: ARG002 - for those that change
        """Return until when none of the answers above changes; infinity: never again."""
        return math.inf

    def report(self, honest: Reported) -> Reported | None:
        """Return what it says of itself, given the truth; ``None``: nothing."""
        return honest


class Stuck(Behaviour, frozen=True, kw_only=True):
    """Reports, but ignores every target."""

    def follows_target(self, elapsed_s: float) -> bool:  # noqa: ARG002 - never
        """Say no."""
        return False


class Slow(Behaviour, frozen=True, kw_only=True):
    """Its balloon moves at a crawl: always a little, so that it never looks stuck.

    ``Slow(bps=819)`` is one page in five seconds, the cheater that a test for "does it move?" believes.
    """

    bps: int

    def balloon_bps(self, usual_bps: int) -> int:
        """Return its own speed where that is slower."""
        return min(usual_bps, self.bps)


class Intermittent(Behaviour, frozen=True, kw_only=True):
    """Follows its target for a while, ignores it for a while, and so on."""

    works_s: float
    rests_s: float

    def follows_target(self, elapsed_s: float) -> bool:
        """Say whether this is a time of work."""
        return elapsed_s % (self.works_s + self.rests_s) < self.works_s

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return the end of this work or rest."""
        in_round_s = elapsed_s % (self.works_s + self.rests_s)
        ends_s = self.works_s if in_round_s < self.works_s else self.works_s + self.rests_s
        return elapsed_s - in_round_s + ends_s


class Lying(Behaviour, frozen=True, kw_only=True):
    """Reports figures of its own making: any 64-bit number, by the name of ``Reported``'s field."""

    figures: dict[str, int]

    def report(self, honest: Reported) -> Reported:
        """Return the truth with the lies in it."""
        return msgspec.structs.replace(honest, **self.figures)


class Uncounted(Behaviour, frozen=True, kw_only=True):
    """Follows its target, and every figure it reports is -1: a Windows guest without the balloon's service."""

    def report(self, honest: Reported) -> Reported:
        """Return nothing but -1."""
        return msgspec.structs.replace(honest, **dict.fromkeys(FIGURES, UNKNOWN))


class Babbling(Behaviour, frozen=True, kw_only=True):
    """Reports any 64-bit numbers, others every time, a part of them true: the worst a driver could do."""

    seed: int = 0

    def report(self, honest: Reported) -> Reported:
        """Return the truth with some figures replaced by chance; at one moment always the same."""
        chance = random.Random(f"{self.seed}/{honest.updated_at_s}")  # noqa: S311 - no secret
        lies = {name: chance.getrandbits(chance.randint(1, 64)) for name in FIGURES if chance.getrandbits(1)}
        return msgspec.structs.replace(honest, **lies)


class Silent(Behaviour, frozen=True, kw_only=True):
    """Follows its target but never reports: a driver without statistics."""

    def report(self, honest: Reported) -> None:
        """Say nothing."""


class Driverless(Silent, frozen=True, kw_only=True):
    """Has a balloon device and no driver for it: accepts every target and does nothing, reports nothing."""

    def follows_target(self, elapsed_s: float) -> bool:  # noqa: ARG002 - never
        """Say no."""
        return False


class Vanishing(Behaviour, frozen=True, kw_only=True):
    """Its QEMU is gone from one moment on."""

    at_s: float

    def exists(self, elapsed_s: float) -> bool:
        """Say whether it is still there."""
        return elapsed_s < self.at_s

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return its end."""
        return self.at_s if elapsed_s < self.at_s else math.inf


class Migrating(Behaviour, frozen=True, kw_only=True):
    """Is moved to another host: busy for a while, and then gone from here."""

    at_s: float
    takes_s: float = 20.0

    def exists(self, elapsed_s: float) -> bool:
        """Say whether it is not gone yet."""
        return elapsed_s < self.at_s + self.takes_s

    def busy(self, elapsed_s: float) -> str | None:
        """Say that it is migrating while it is."""
        return "migrating" if elapsed_s >= self.at_s else None

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return when the migration begins, then when it ends."""
        return _next_s(elapsed_s, self.at_s, self.at_s + self.takes_s)


class Rebooting(Behaviour, frozen=True, kw_only=True):
    """Is reset once, and its kernel is up again a while later."""

    at_s: float
    boot_s: float = 10.0

    def is_up(self, elapsed_s: float) -> bool:
        """Say whether it is not booting now."""
        return not self.at_s <= elapsed_s < self.at_s + self.boot_s

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return when the reset comes, then when the boot ends."""
        return _next_s(elapsed_s, self.at_s, self.at_s + self.boot_s)


class Hung(Behaviour, frozen=True, kw_only=True):
    """Its QEMU is stopped for a while (SIGSTOP, a dead disk): nothing moves and nobody is answered."""

    from_s: float
    to_s: float

    def answers(self, elapsed_s: float) -> bool:
        """Say whether it is not hanging now."""
        return not self.from_s <= elapsed_s < self.to_s

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return when it hangs, then when it goes on."""
        return _next_s(elapsed_s, self.from_s, self.to_s)


def _next_s(elapsed_s: float, *moments_s: float) -> float:
    return next((moment_s for moment_s in moments_s if elapsed_s < moment_s), math.inf)
