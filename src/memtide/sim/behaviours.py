"""How guests behave, well and badly. Each kind differs from the good guest in one or two answers.

Times are seconds since the simulated world began.
"""

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Reported

__all__ = [
    "Behaviour",
    "Driverless",
    "Hung",
    "Intermittent",
    "Lying",
    "Rebooting",
    "Silent",
    "Stuck",
    "Vanishing",
]


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

    def report(self, honest: Reported) -> Reported | None:
        """Return what it says of itself, given the truth; ``None``: nothing."""
        return honest


class Stuck(Behaviour, frozen=True, kw_only=True):
    """Reports, but ignores every target."""

    def follows_target(self, elapsed_s: float) -> bool:  # noqa: ARG002 - never
        """Say no."""
        return False


class Intermittent(Behaviour, frozen=True, kw_only=True):
    """Follows its target for a while, ignores it for a while, and so on."""

    works_s: float
    rests_s: float

    def follows_target(self, elapsed_s: float) -> bool:
        """Say whether this is a time of work."""
        return elapsed_s % (self.works_s + self.rests_s) < self.works_s


class Lying(Behaviour, frozen=True, kw_only=True):
    """Reports figures of its own making: any 64-bit number, by the name of ``Reported``'s field."""

    figures: dict[str, int]

    def report(self, honest: Reported) -> Reported:
        """Return the truth with the lies in it."""
        return msgspec.structs.replace(honest, **self.figures)


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


class Rebooting(Behaviour, frozen=True, kw_only=True):
    """Is reset once, and its kernel is up again a while later."""

    at_s: float
    boot_s: float = 10.0

    def is_up(self, elapsed_s: float) -> bool:
        """Say whether it is not booting now."""
        return not self.at_s <= elapsed_s < self.at_s + self.boot_s


class Hung(Behaviour, frozen=True, kw_only=True):
    """Its QEMU is stopped for a while (SIGSTOP, a dead disk): nothing moves and nobody is answered."""

    from_s: float
    to_s: float

    def answers(self, elapsed_s: float) -> bool:
        """Say whether it is not hanging now."""
        return not self.from_s <= elapsed_s < self.to_s
