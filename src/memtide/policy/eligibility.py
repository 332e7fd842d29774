"""When hands are off a guest, and why: a table read from the top, the first row that holds is the reason."""

from collections.abc import Callable
from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Guest, GuestState, StatsState
from memtide.model.limits import GuestLimits, Limits
from memtide.model.reason import ReasonCode

__all__ = ["Standing", "guest_limits", "hands_off", "spared"]


class Standing(Model, frozen=True, kw_only=True):
    """All that eligibility depends on, for one guest in one tick."""

    guest: Guest
    limits: GuestLimits
    stats: StatsState
    reports: int
    contradicts: bool
    age_s: float | None
    """Since the guest started; ``None``: long ago."""
    boot_grace_s: float
    stuck: bool
    held: bool
    foreign: bool
    cooling: bool


Row = tuple[ReasonCode, Callable[[Standing], bool]]

HANDS_OFF: Final[tuple[Row, ...]] = (
    (ReasonCode.EXEMPT, lambda s: not s.limits.manage),
    (ReasonCode.NOT_RUNNING, lambda s: s.guest.state is not GuestState.RUNNING),
    (ReasonCode.NO_BALLOON, lambda s: not s.guest.traits.has_balloon),
    (ReasonCode.BUSY, lambda s: s.guest.busy is not None),
)
"""Neither taken from nor given to."""

SPARED: Final[tuple[Row, ...]] = (
    (ReasonCode.HELD, lambda s: s.held),
    (ReasonCode.FOREIGN, lambda s: s.foreign),
    (ReasonCode.STUCK, lambda s: s.stuck),
    (ReasonCode.STATS_NONE, lambda s: s.stats is StatsState.NONE),
    (ReasonCode.STATS_STALE, lambda s: s.stats is StatsState.STALE),
    (ReasonCode.STATS_CONTRADICT, lambda s: s.contradicts),
    (ReasonCode.PINNED, lambda s: s.guest.traits.passthrough or s.guest.traits.locked or s.guest.traits.huge_pages),
    (ReasonCode.BOOT_GRACE, lambda s: s.age_s is not None and s.age_s < s.boot_grace_s),
    (ReasonCode.COOLING, lambda s: s.cooling),
    (ReasonCode.STATS_NONE, lambda s: s.reports < 2),  # noqa: PLR2004 - one report shows no growth
)
"""Given to, but not taken from."""


def hands_off(standing: Standing) -> ReasonCode | None:
    """Return why the guest must not be touched at all, or ``None``."""
    return _first(HANDS_OFF, standing)


def spared(standing: Standing) -> ReasonCode | None:
    """Return why nothing may be taken from the guest, or ``None``."""
    return _first(SPARED, standing)


def _first(rows: tuple[Row, ...], standing: Standing) -> ReasonCode | None:
    for code, holds in rows:
        if holds(standing):
            return code
    return None


def guest_limits(guest: Guest, limits: Limits) -> GuestLimits:
    """Return what holds for this guest: the defaults, overridden by every matching rule in order."""
    found = limits.defaults
    for rule in limits.rules:
        if rule.matches(name=guest.name, uuid=guest.uuid):
            values = {name: getattr(rule, name) for name in GuestLimits.__struct_fields__}
            known = {name: value for name, value in values.items() if value is not None}
            # a rule that names one form of the floor means that floor, not the larger of it and the default's
            if known.keys() & {"floor_bytes", "floor_ratio"}:
                known = {"floor_bytes": 0, "floor_ratio": 0.0} | known
            found = msgspec.structs.replace(found, **known)
    return found
