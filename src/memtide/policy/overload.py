"""Third step, when nothing is slack any more: the needs of all are more than the host has.

Without it the host's kernel would choose a victim, and it kills whole guests. Each guest keeps its floor, and what is
left is shared by weight up to each one's need::

    x_i = floor_i + fill(budget - sum floor, need_i - floor_i, weight_i)

Who holds more than its share gives the rest; relief hands it to those who starve. Guests that were never seen to swap
run out instead of slowing down: they are cut last. A host with swap is given a few seconds first, and half of its free
swap counts as memory: its cold pages are a far better victim than any guest's need.
"""

from memtide.model.decision import HostState
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case
from memtide.policy.constants import OVERLOAD_AFTER_S
from memtide.policy.plan import Move, Room
from memtide.policy.share import Claim, fill

__all__ = ["squeeze"]


def squeeze(cases: dict[str, Case], room: Room, coming_bytes: int, unmet_bytes: int) -> dict[str, Move]:
    """Return what is taken from guests although they need it.

    Args:
        cases: all guests.
        room: the host.
        coming_bytes: what this tick's other moves bring the host (positive) or cost it.
        unmet_bytes: what starving guests will soon need and were not given.
    """
    if room.state is not HostState.LOW or (room.swap_free_bytes and room.state_for_s < OVERLOAD_AFTER_S):
        return {}
    then_bytes = room.available_bytes - room.growing_bytes + room.shrinking_bytes + coming_bytes
    spare_bytes = then_bytes + room.swap_free_bytes // 2 - room.emergency_bytes
    if spare_bytes >= unmet_bytes:
        return {}
    able = {uuid: case for uuid, case in cases.items() if case.spared is None and case.resident_bytes is not None}
    held = {uuid: min(case.resident_bytes or 0, case.keep_bytes) for uuid, case in able.items()}
    budget_bytes = sum(held.values()) + spare_bytes
    least = {uuid: _least(case, spare=True) for uuid, case in able.items()}
    if sum(least.values()) > budget_bytes:
        least = {uuid: _least(case, spare=False) for uuid, case in able.items()}
    claims = {
        uuid: Claim(cap_bytes=max(0, case.keep_bytes - least[uuid]), weight=case.limits.weight)
        for uuid, case in able.items()
    }
    shares = fill(budget_bytes - sum(least.values()), claims)
    moves = {}
    for uuid, case in able.items():
        share_bytes = least[uuid] + shares[uuid]
        ask_bytes = case.bound_bytes - share_bytes
        if ask_bytes < case.dead_band_bytes:
            continue
        numbers = room.numbers() | {
            "emergency_bytes": room.emergency_bytes,
            "need_bytes": case.keep_bytes,
            "share_bytes": share_bytes,
            "weight": case.limits.weight,
        }
        moves[uuid] = Move(
            to_bytes=share_bytes,
            reason=Reason(code=ReasonCode.OVERLOAD, numbers=numbers),
            gain_bytes=max(0, held[uuid] - share_bytes),
        )
    return moves


def _least(case: Case, *, spare: bool) -> int:
    """Return the least a guest keeps; while others can be cut, one that does not swap keeps all that it uses."""
    swaps = case.track.estimate.swap.known_bytes > 0
    if spare and not swaps:
        return min(case.bound_bytes, max(case.floor_bytes, case.track.estimate.demand_bytes))
    return min(case.bound_bytes, case.floor_bytes)
