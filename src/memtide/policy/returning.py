"""Last step: memory goes back to guests, as room while the host is short and for good when it is not.

*Room*: a guest whose slack has gone home gets back room for the most it needed lately. It costs the host nothing
until it is touched, and spares the guest to ask, and to wait, for every rise of its demand.
*Return*: a calm host hands back what it can spare, a quarter of it a tick, the heaviest guests first, up to each
guest's maximum (mode ``pressure``) or to what it wants (mode ``follow``).
"""

from memtide.model.decision import HostState
from memtide.model.limits import Limits, Mode
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case
from memtide.policy.constants import (
    CUSHION_BYTES,
    DEAD_BAND_BYTES,
    FOLLOW_BURST_BYTES,
    FOLLOW_WANT_RATIO,
    RETURN_SHARE,
    ROOM_AFTER_S,
)
from memtide.policy.host_state import BETTER_BY
from memtide.policy.plan import Move, Room

__all__ = ["give_back", "lend_room", "want_bytes"]


def lend_room(cases: dict[str, Case], room: Room, limits: Limits, now_s: float) -> dict[str, Move]:
    """Return the room that guests get back although the host may be short."""
    if not room.lends_room:
        return {}
    moves = {}
    for uuid, case in cases.items():
        goal_bytes = min(case.room_bytes, want_bytes(case)) if limits.mode is Mode.FOLLOW else case.room_bytes
        short_bytes = goal_bytes - case.promised_bytes
        # the dead band of a calm host: a little room is not worth a move up, however small the moves down were
        worth = short_bytes >= max(case.dead_band_bytes, DEAD_BAND_BYTES[HostState.HIGH])
        if not worth or not _can_get(case) or now_s - case.track.taken_at_s < ROOM_AFTER_S:
            continue
        # slack goes home first: room on top of it would be used, and taken, before it
        if case.resident_bytes is None or case.slack_with(room.state) >= case.dead_band_bytes:
            continue
        numbers = room.numbers() | {"room_bytes": case.room_bytes, "peak_bytes": case.track.peak.most_bytes}
        moves[uuid] = Move(
            to_bytes=case.promised_bytes + short_bytes,
            reason=Reason(code=ReasonCode.ROOM, numbers=numbers),
            gain_bytes=0,
        )
    return moves


def give_back(cases: dict[str, Case], room: Room, limits: Limits, now_s: float) -> dict[str, Move]:
    """Return what is handed back while the host has more than it needs, to as few guests at a time as can have it."""
    spare_bytes = room.available_bytes - room.growing_bytes - int(BETTER_BY * room.reserve_bytes)
    short = {}
    for uuid, case in cases.items():
        goal_bytes = min(case.ceiling_bytes, want_bytes(case)) if limits.mode is Mode.FOLLOW else case.ceiling_bytes
        recent = now_s < case.track.dwell_until_s
        if goal_bytes > case.promised_bytes and not recent and _can_get(case):
            short[uuid] = goal_bytes - case.promised_bytes
    moves = {}
    left_bytes = int(RETURN_SHARE * spare_bytes)
    for uuid in sorted(short, key=lambda uuid: (-cases[uuid].limits.weight, -short[uuid], uuid)):
        # the last crumbs are given too, or a guest would stay just short of its goal for ever
        least_bytes = min(short[uuid], cases[uuid].dead_band_bytes)
        share_bytes = min(short[uuid], max(left_bytes, least_bytes))
        if left_bytes <= 0 or share_bytes > spare_bytes:
            break
        left_bytes -= share_bytes
        moves[uuid] = Move(
            to_bytes=cases[uuid].promised_bytes + share_bytes,
            reason=Reason(code=ReasonCode.RETURN, numbers=room.numbers() | {"share_bytes": share_bytes}),
            gain_bytes=-share_bytes,
        )
    return moves


def want_bytes(case: Case) -> int:
    """Return what a guest wants in follow mode: its demand and 15 %, a cushion, and room for a burst.

    Growth is no part of it: relief looks after growing guests, and noise would move memory to and fro.
    """
    wanted_bytes = int(FOLLOW_WANT_RATIO * case.track.estimate.demand_bytes) + FOLLOW_BURST_BYTES
    return min(case.ceiling_bytes, max(case.floor_bytes, wanted_bytes + CUSHION_BYTES[case.state]))


def _can_get(case: Case) -> bool:
    """Say whether a guest may be given anything on the law's own account."""
    at_will = case.spared not in {ReasonCode.HELD, ReasonCode.FOREIGN}
    return case.hands_off is None and not case.stuck and at_will and case.moving_bytes == 0
