"""What the operator allows the law to do: the settings that reach a policy, already parsed and in bytes."""

import enum
from fnmatch import fnmatchcase

from memtide.model.base import Model

__all__ = ["GuestLimits", "GuestRule", "Hold", "Limits", "Mode", "Tenants"]


class Mode(enum.StrEnum):
    """The two mental models that operators have."""

    PRESSURE = "pressure"
    """What the host can spare is the guests', up to their maximum; memory is taken only when the host is short."""
    FOLLOW = "follow"
    """Guests get what they want; the rest stays the host's."""


class Tenants(enum.StrEnum):
    """What becomes of KSM while guests of several owners are on one host (merging can be timed from inside a guest)."""

    WARN = "warn"
    """Merge, and say so."""
    APART = "apart"
    """Do not scan."""


class GuestLimits(Model, frozen=True, kw_only=True):
    """What holds for one guest."""

    manage: bool = True
    floor_bytes: int = 0
    """Never below this many bytes."""
    floor_ratio: float = 0.1
    """Never below this share of its maximum; the larger of the two floors holds."""
    ceiling_bytes: int | None = None
    """Never grown above this; ``None``: its maximum."""
    weight: float = 1.0
    """Under contention a guest of weight 2 keeps twice as much as one of weight 1."""

    def floor_for(self, maximum_bytes: int) -> int:
        """Return the guest's floor in bytes, rounded up, never above its maximum."""
        by_ratio_bytes = -int(-maximum_bytes * self.floor_ratio // 1)
        return min(maximum_bytes, max(self.floor_bytes, by_ratio_bytes))


class GuestRule(Model, frozen=True, kw_only=True):
    """A settings rule: what differs for the guests whose name or UUID matches. Later rules win."""

    match: str
    """Shell-style pattern over the name, or a UUID."""
    manage: bool | None = None
    floor_bytes: int | None = None
    floor_ratio: float | None = None
    ceiling_bytes: int | None = None
    weight: float | None = None

    def matches(self, *, name: str, uuid: str) -> bool:
        """Say whether the rule speaks of this guest."""
        return fnmatchcase(name, self.match) or uuid == self.match


class Hold(Model, frozen=True, kw_only=True):
    """A size that an operator set by hand; the law leaves the guest there unless it starves."""

    size_bytes: int
    until_s: float


class Limits(Model, frozen=True, kw_only=True):
    """Everything a policy may know of the operator's will."""

    mode: Mode = Mode.PRESSURE
    reserve_bytes: int | None = None
    """Host memory never granted; ``None``: derived from the host's size."""
    reserve_ratio: float | None = None
    """The same as a share of the memory guests can have; used when ``reserve_bytes`` is ``None``."""
    period_s: float = 2.0
    boot_grace_s: float = 30.0
    """A guest just started is left alone for so long: its own boot is its peak."""
    manage_ksm: bool = True
    ksm_max_cpu_ratio: float = 0.7
    """The share of one CPU that ksmd may have, on average over a minute."""
    ksm_tenants: Tenants = Tenants.WARN
    ksm_held_until_s: float | None = None
    """An operator had everything unmerged: ksmd rests until then (seconds since 1970)."""
    stats_period_s: int | None = 1
    """Set live on guests that have no stats period; ``None``: leave them as they are."""
    defaults: GuestLimits = GuestLimits()
    rules: tuple[GuestRule, ...] = ()
    holds: dict[str, Hold] = {}
    """By guest UUID."""
