"""First step: a guest that is running out gets memory at once, before anything else is planned.

It is given all that it lacks, up to the room for its own recent peak, but the host pays only for what the guest will
have touched before the law can look again. When that is more than the host has, it is shared by weight, and each gets
the same part of what it lacks as of what it will touch.
"""

from memtide.model.decision import HostState
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case
from memtide.policy.constants import CUSHION_BYTES, REACTION_S
from memtide.policy.plan import Move, Numbers, Room
from memtide.policy.share import Claim, fill

__all__ = ["CRUMB_BYTES", "relief_numbers", "relieve"]

CRUMB_BYTES = CUSHION_BYTES[HostState.LOW] // 2
"""Less than this would not help a starving guest."""


def relieve(cases: dict[str, Case], room: Room) -> tuple[dict[str, Move], int]:
    """Return what starving guests get at once, and what they will soon need and the host does not have."""
    lacks = {uuid: lack for uuid, case in cases.items() if case.starving and (lack := _lacks(case, room)) > 0}
    if not lacks:
        return {}, 0
    soon = {uuid: _used_soon(cases[uuid], lack) for uuid, lack in lacks.items()}
    claims = {uuid: Claim(cap_bytes=used, weight=cases[uuid].limits.weight) for uuid, used in soon.items()}
    shares = fill(room.for_relief_bytes, claims)
    moves = {}
    for uuid, lack_bytes in lacks.items():
        case = cases[uuid]
        granted_bytes = lack_bytes if shares[uuid] == soon[uuid] else lack_bytes * shares[uuid] // soon[uuid]
        # a crumb would not help; a whole small want would
        if granted_bytes < min(lack_bytes, CRUMB_BYTES):
            continue
        numbers = relief_numbers(case, room) | {"share_bytes": granted_bytes, "wanted_bytes": lack_bytes}
        moves[uuid] = Move(
            to_bytes=case.promised_bytes + granted_bytes,
            reason=Reason(code=ReasonCode.RELIEF, numbers=numbers),
            gain_bytes=-shares[uuid],
        )
    return moves, sum(soon.values()) + sum(move.gain_bytes for move in moves.values())


def _lacks(case: Case, room: Room) -> int:
    """Return what a starving guest needs on top of what it has been promised; 0: nothing that could be given."""
    if case.stuck:
        return 0
    goal_bytes = max(case.keep_bytes, case.room_bytes) if room.lends_room else case.keep_bytes
    short_bytes = goal_bytes - case.promised_bytes
    found = case.track.estimate
    # before the last growth shows in a report, "little usable" is old news: only a larger need counts
    seen_since = case.moving_bytes == 0 and found.updated_at_s > found.current_since_s
    least_bytes = CUSHION_BYTES[HostState.LOW] if seen_since else 0
    return min(max(short_bytes, least_bytes), case.ceiling_bytes - case.promised_bytes)


def _used_soon(case: Case, lack_bytes: int) -> int:
    """Return how much of what it lacks a guest will have touched before the law can act again."""
    found = case.track.estimate
    used_bytes = int(found.growth_bps * REACTION_S + found.swap.debt_bytes)
    return min(lack_bytes, max(used_bytes, CUSHION_BYTES[HostState.LOW]))


def relief_numbers(case: Case, room: Room) -> Numbers:
    """Return what a decision about a starving guest rests on."""
    found = case.track.estimate
    return {
        "usable_bytes": found.usable_bytes,
        "line_bytes": case.starving_line_bytes,
        "demand_bytes": found.demand_bytes,
        "growth_bps": found.growth_bps,
        "horizon_s": case.horizon_s,
        "swap_out_bytes": found.swap.out_bytes,
        "hot_cache_bytes": int(found.cache.hot_bytes),
        **room.numbers(),
    }
