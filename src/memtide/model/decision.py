"""What a policy concluded from one snapshot: the host's state, a verdict on every guest, and actions."""

import enum
from typing import Final

from memtide.model.action import Action
from memtide.model.base import Model
from memtide.model.guest import StatsState
from memtide.model.reason import Reason

__all__ = ["PERIOD_SHARE", "Budget", "Decision", "HostState", "KsmVerdict", "Verdict"]


class HostState(enum.StrEnum):
    """The host's own need, worst last. Each state has one thing that memtide does in it."""

    HIGH = "high"
    """Available memory at or above the reserve: guests get back what was taken."""
    SOFT = "soft"
    """Under the reserve: resident slack is taken back, KSM scans."""
    HARD = "hard"
    """Under half of it: the same with smaller cushions."""
    LOW = "low"
    """Under a quarter, the emergency line: only starving guests grow."""


PERIOD_SHARE: Final = {HostState.HIGH: 1.0, HostState.SOFT: 0.5, HostState.HARD: 0.25, HostState.LOW: 0.25}
"""The time to the next look as a share of the period: the shorter the host, the oftener it is looked at."""


class Budget(Model, frozen=True, kw_only=True):
    """The host's lines and what is above them, all bytes."""

    reserve_bytes: int
    """Under this the state is soft; hard is half of it, low a quarter."""
    available_bytes: int
    headroom_bytes: int
    """available - reserve: what can still be granted; negative when the host is short."""
    missing_bytes: int
    """What this tick tries to bring back to the host: for its reserve and for starving guests."""
    pending_bytes: int
    """What guests that are still moving will bring back (positive) or use (negative)."""


class Verdict(Model, frozen=True, kw_only=True):
    """What the policy thinks of one guest in this tick, whether it acts or not."""

    uuid: str
    name: str
    reason: Reason
    stats: StatsState
    target_bytes: int | None
    """The size last asked for, after this decision; ``None``: never asked."""
    demand_bytes: int | None = None
    """Estimated memory the guest needs, its kernel and swap debt included."""
    floor_bytes: int | None = None
    keep_bytes: int | None = None
    """Demand with margin and cushion: nothing below this is taken."""
    slack_bytes: int | None = None
    """Resident and not needed: what the host would really gain."""
    growth_bps: float | None = None
    """Growth of demand, bytes per second."""
    starving: bool = False
    weight: float = 1.0


class KsmVerdict(Model, frozen=True, kw_only=True):
    """What the policy thinks of KSM in this tick, whether it acts or not."""

    reason: Reason
    """Why ksmd scans or rests."""
    scanning: bool
    """What ksmd should do now; it may not have been told yet, or not by us."""
    since_s: float
    """Since when the above has been so."""
    new_bytes: int | None = None
    """Guests' memory that is new or was parted from its copies since ksmd last went through all of it."""
    expected_bytes: int | None = None
    """What of that is likely to be merged, by what earlier scans found."""
    cost_cpu_s: float | None = None
    """ksmd's CPU seconds that going through all of it once takes; ``None``: not known yet."""
    found_bytes: int | None = None
    """What the last sweep merged; ``None``: there was none yet."""
    found_cpu_s: float | None = None
    """The CPU seconds it took."""
    look_again_at_s: float | None = None
    """When ksmd looks again without any reason; ``None``: while it scans, or when nothing may be done."""
    max_cpu_ratio: float | None = None
    """The share of one CPU that ksmd may have on average."""


class Decision(Model, frozen=True, kw_only=True):
    """The outcome of one call of a policy."""

    decided_at_s: float
    policy: str
    mode: str
    state: HostState
    state_since_s: float
    budget: Budget
    verdicts: tuple[Verdict, ...]
    ksm: KsmVerdict | None = None
    """``None``: this law has no opinion on KSM, or the host has none."""
    actions: tuple[Action, ...] = ()
    """Statistics periods, then starving guests, what frees memory, what is handed back (in overload what frees memory
    comes first), then KSM. They are sent at the same time; each fits the room there is now."""
