"""When nothing is slack any more: the needs of all are, or will soon be, more than the host has.

Without this the host's kernel chooses a victim, and it kills whole guests. While it lasts it stands in for all other
steps: what the host has is shared by weight, each guest between its floor and its need::

    x_i = floor_i + fill(budget - sum floor, need_i - floor_i, weight_i)

The budget is what the guests hold now, and what the host has above its emergency line and a half. The host's swap only
decides when this begins: as long as it helps, cold pages are a far better victim than need. Who has more than its share
gives at once, room that it never touched first, which is why it begins before the last byte is gone; who lacks gets
what is there, by weight. It ends when all needs have fitted for a while.
(Min-funding revocation, Waldspurger, OSDI 2002, in one step; a floor below the need is the price of overload.)
"""

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.guest import StatsState
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case
from memtide.policy.constants import (
    DEAD_BAND_BYTES,
    OVERLOAD_AFTER_NO_SWAP_S,
    OVERLOAD_AFTER_S,
    OVERLOAD_AHEAD_S,
    OVERLOAD_OVER_AFTER_S,
)
from memtide.policy.plan import Move, Numbers, Room
from memtide.policy.relief import CRUMB_BYTES, relieve
from memtide.policy.share import Claim, fill

__all__ = ["Overload", "look", "share_out"]

ABLE = (None, ReasonCode.COOLING)
"""Guests that may be cut: all that may be taken from, those relieved a moment ago included."""


class Overload(Model, frozen=True, kw_only=True):
    """Whether needs are shared out, and since when that seems, or no longer seems, necessary."""

    on: bool = False
    comes_since_s: float | None = None
    fits_since_s: float | None = None


def look(before: Overload, cases: dict[str, Case], room: Room, now_s: float) -> Overload:
    """Return whether all needs are more than the host has, or will be when guests go on growing as they do."""
    able = _able(cases)
    spare_bytes = room.above_emergency_bytes
    if before.on:
        if sum(_unserved(case) for case in able.values()) > spare_bytes:
            return Overload(on=True)
        since_s = now_s if before.fits_since_s is None else min(now_s, before.fits_since_s)
        return Overload(on=now_s - since_s < OVERLOAD_OVER_AFTER_S, fits_since_s=since_s)
    # who has reported once may have slack to give; the next report tells
    unknown = any(case.track.estimate.reports == 1 and case.stats is StatsState.FRESH for case in cases.values())
    if room.state is HostState.HIGH or unknown or not _comes(able, spare_bytes + room.swap_bytes):
        return Overload()
    since_s = now_s if before.comes_since_s is None else min(now_s, before.comes_since_s)
    enough_s = OVERLOAD_AFTER_S if room.swap_bytes else OVERLOAD_AFTER_NO_SWAP_S
    return Overload(on=now_s - since_s >= enough_s, comes_since_s=since_s)


def _comes(able: dict[str, Case], spare_bytes: int) -> bool:
    """Say whether what guests lack, or will use if they go on, is more than there is and than others can spare."""
    ahead_bytes = sum(_ahead(case) for case in able.values())
    lack_bytes = sum(
        max(0, case.keep_with(HostState.LOW) - case.promised_bytes) for case in able.values() if case.starving
    )
    wanted_bytes = max(ahead_bytes, lack_bytes) - spare_bytes
    # a growing guest's slack is what it grows into
    others = (case for case in able.values() if case.track.estimate.trend_bps <= 0)
    return wanted_bytes > 0 and wanted_bytes > sum(case.slack_with(HostState.LOW) for case in others)


def _ahead(case: Case) -> int:
    """Return how much more of the host's memory a guest will hold if it goes on; negative when it frees memory."""
    change_bytes = int(case.track.estimate.trend_bps * OVERLOAD_AHEAD_S)
    return change_bytes if change_bytes <= 0 else max(0, min(change_bytes - case.idle_free_bytes, case.untouched_bytes))


def share_out(cases: dict[str, Case], room: Room) -> tuple[dict[str, Move], int]:
    """Return the moves that bring each guest nearer to its share, and what all needs lack."""
    able = _able(cases)
    # guests that nothing may be taken from have no part in the shares; one of them that starves is relieved as ever
    relief, unmet_bytes = relieve({uuid: case for uuid, case in cases.items() if uuid not in able}, room)
    granted_bytes = -sum(move.gain_bytes for move in relief.values())
    needs = {uuid: _need(case) for uuid, case in able.items()}
    held_bytes = sum(_held(case) for case in able.values())
    budget_bytes = held_bytes + room.above_emergency_bytes - room.emergency_bytes // 2 - granted_bytes
    sizes = {uuid: case.floor_bytes for uuid, case in able.items()}
    # what guests use comes before what they may use soon: a cushion is not worth anybody's need
    for goal in ({uuid: min(needs[uuid], case.track.estimate.demand_bytes) for uuid, case in able.items()}, needs):
        claims = {
            uuid: Claim(cap_bytes=max(0, goal[uuid] - sizes[uuid]), weight=case.limits.weight)
            for uuid, case in able.items()
        }
        shares = fill(budget_bytes - sum(sizes.values()), claims)
        sizes = {uuid: size + shares[uuid] for uuid, size in sizes.items()}
    left_bytes = max(0, room.for_relief_bytes - room.swap_bytes - granted_bytes)
    moves = relief | _shrinks(able, sizes, room) | _grows(able, sizes, room, left_bytes)
    return moves, unmet_bytes + sum(needs[uuid] - sizes[uuid] for uuid in able)


def _able(cases: dict[str, Case]) -> dict[str, Case]:
    return {uuid: case for uuid, case in cases.items() if case.spared in ABLE and case.resident_bytes is not None}


def _need(case: Case) -> int:
    """Return what a guest needs at least, up to what it may have."""
    return max(case.floor_bytes, min(case.ceiling_bytes, case.keep_with(HostState.LOW)))


def _held(case: Case) -> int:
    """Return what the guest has in use of its memory, resident or not: in the host's swap, or never touched.

    Sizes are of the guest's memory, and some of what its kernel calls used it never touched; to count only what is
    resident would cut it by that.
    """
    not_free_bytes = case.track.estimate.not_free_bytes or case.track.estimate.demand_bytes
    return max(case.resident_bytes or 0, min(not_free_bytes, case.guest.observed.current_bytes))


def _unserved(case: Case) -> int:
    """Return what the guest needs beyond what it holds; negative: it holds idle memory."""
    return max(0, _need(case) - _held(case)) - case.idle_bytes


def _shrinks(cases: dict[str, Case], sizes: dict[str, int], room: Room) -> dict[str, Move]:
    return {
        uuid: Move(
            to_bytes=sizes[uuid],
            reason=_reason(case, sizes[uuid], room, ReasonCode.OVERLOAD),
            gain_bytes=max(0, (case.resident_bytes or 0) - sizes[uuid]),
        )
        for uuid, case in cases.items()
        if case.bound_bytes - sizes[uuid] >= DEAD_BAND_BYTES[HostState.HARD] and not case.doubted
    }


def _grows(cases: dict[str, Case], sizes: dict[str, int], room: Room, left_bytes: int) -> dict[str, Move]:
    lacks = {
        uuid: min(sizes[uuid], case.ceiling_bytes) - case.promised_bytes
        for uuid, case in cases.items()
        if not case.stuck
    }
    claims = {
        uuid: Claim(cap_bytes=lack_bytes, weight=cases[uuid].limits.weight)
        for uuid, lack_bytes in lacks.items()
        if lack_bytes >= _least(cases[uuid])
    }
    return {
        uuid: Move(
            to_bytes=cases[uuid].promised_bytes + share_bytes,
            reason=_reason(cases[uuid], sizes[uuid], room, ReasonCode.SHARE),
            gain_bytes=-share_bytes,
        )
        for uuid, share_bytes in fill(left_bytes, claims).items()
        if share_bytes >= _least(cases[uuid])
    }


def _least(case: Case) -> int:
    """Return the least that is worth giving."""
    return CRUMB_BYTES if case.starving else case.dead_band_bytes


def _reason(case: Case, size_bytes: int, room: Room, code: ReasonCode) -> Reason:
    numbers: Numbers = {
        "emergency_bytes": room.emergency_bytes,
        "need_bytes": _need(case),
        "share_bytes": size_bytes,
        "weight": case.limits.weight,
    }
    return Reason(code=code, numbers=room.numbers() | numbers)
