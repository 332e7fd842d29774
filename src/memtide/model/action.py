"""One requested change of the world, and what the world answered."""

import enum
from typing import TypeAlias

from memtide.model.base import Model
from memtide.model.reason import Reason

__all__ = ["Action", "Outcome", "Reply", "Result", "SetKsm", "SetMemory", "SetStatsPeriod"]


class Result(enum.StrEnum):
    """How an action stands."""

    SENT = "sent"
    """Accepted; the guest is still moving."""
    DONE = "done"
    PARTIAL = "partial"
    """The guest moved, but not all the way before it stopped, or before another target replaced this one."""
    REFUSED = "refused"
    NO_ANSWER = "no answer"
    WITHHELD = "not sent"
    """The original could not be kept, so nothing was changed; no fault of the guest's."""
    NOT_SENT = "observed only"
    """Observe mode: everything but the last write."""


class SetMemory(Model, tag="memory", frozen=True, kw_only=True):
    """Change a guest's current memory (virDomainSetMemoryFlags, live)."""

    uuid: str
    name: str
    from_bytes: int
    to_bytes: int
    reason: Reason
    expected_gain_bytes: int = 0
    """What the host should gain (positive) or spend (negative) once the guest has moved."""

    @property
    def change_bytes(self) -> int:
        """Signed: positive when the guest grows."""
        return self.to_bytes - self.from_bytes


class SetStatsPeriod(Model, tag="stats-period", frozen=True, kw_only=True):
    """Ask the guest's driver for statistics every so many seconds (virDomainSetMemoryStatsPeriod, live)."""

    uuid: str
    name: str
    from_s: int | None
    to_s: int
    """0 switches reporting off."""
    reason: Reason


class SetKsm(Model, tag="ksm", frozen=True, kw_only=True):
    """Write files below /sys/kernel/mm/ksm, in this order."""

    files: dict[str, str]
    """File name -> what to write: ``{"run": "1"}``."""
    before: dict[str, str]
    reason: Reason


Action: TypeAlias = SetMemory | SetStatsPeriod | SetKsm


class Reply(Model, frozen=True, kw_only=True):
    """What an actuator got at once: accepted (``SENT`` or ``DONE``), refused, or nothing."""

    result: Result
    detail: str = ""
    took_s: float = 0.0


class Outcome(Model, frozen=True, kw_only=True):
    """What came of an action in the end, verified by reading back."""

    action: Action
    result: Result
    asked_at_s: float
    closed_at_s: float | None = None
    """``None`` while still ``SENT``."""
    moved_bytes: int | None = None
    """How far the guest's current memory moved (signed), for SetMemory."""
    host_gained_bytes: int | None = None
    """How much less (positive) of the host's memory the guest holds since then, by its host cost."""
    detail: str = ""
    id: int | None = None
    """The store's number for this action."""
