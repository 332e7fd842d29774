"""Did it come back? Open actions are followed over the samples until each has its outcome.

An action on a guest's memory closes as ``done`` when the guest is where it was asked to be, as ``partial`` when
another target took its place or time ran out on the way, and as ``no answer`` when nothing moved at all. What the
host gained is the fall of the guest's host cost since the action was sent.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.action import Outcome, Result, SetMemory
from memtide.model.base import Model
from memtide.model.guest import Guest
from memtide.units import MIB

__all__ = ["REPLACED", "Pending", "by_uuid", "close", "verify"]

ARRIVED_BYTES: Final = 4 * MIB
REPLACED: Final = "replaced by the next target"
GIVE_UP_S: Final = 20.0
"""The balloon moves hundreds of MiB a second; a guest still on its way after this has stopped."""


class Pending(Model, frozen=True, kw_only=True):
    """An action that was accepted, with what the guest had and cost when it was sent."""

    outcome: Outcome
    current_bytes: int
    cost_bytes: int | None


def verify(pending: Pending, guest: Guest | None, now_s: float) -> Outcome:
    """Return the outcome as it looks now; closed when ``closed_at_s`` is set."""
    action = pending.outcome.action
    late = now_s - pending.outcome.asked_at_s >= GIVE_UP_S
    if guest is None or not isinstance(action, SetMemory):
        return close(pending, None, now_s, "the guest does not answer") if late else pending.outcome
    current_bytes = guest.observed.current_bytes
    arrived = abs(current_bytes - action.to_bytes) <= ARRIVED_BYTES
    if not arrived and not late:
        return pending.outcome
    return close(pending, guest, now_s, "" if arrived else "the guest stopped on the way")


def close(pending: Pending, guest: Guest | None, now_s: float, why: str) -> Outcome:
    """Return the outcome closed now: done, partial or no answer, by how far the guest got."""
    action = pending.outcome.action
    if guest is None or not isinstance(action, SetMemory):
        return msgspec.structs.replace(pending.outcome, result=Result.NO_ANSWER, closed_at_s=now_s, detail=why)
    moved_bytes = guest.observed.current_bytes - pending.current_bytes
    cost_bytes = guest.observed.host_cost_bytes
    known = pending.cost_bytes is not None and cost_bytes is not None
    if abs(guest.observed.current_bytes - action.to_bytes) <= ARRIVED_BYTES:
        result = Result.DONE
    else:
        # a guest that was given another target before it could move did not fail to answer
        moved = abs(moved_bytes) > ARRIVED_BYTES or why == REPLACED
        result = Result.PARTIAL if moved else Result.NO_ANSWER
    return msgspec.structs.replace(
        pending.outcome,
        result=result,
        closed_at_s=now_s,
        moved_bytes=moved_bytes,
        host_gained_bytes=(pending.cost_bytes or 0) - (cost_bytes or 0) if known else None,
        detail=why if result is not Result.DONE else "",
    )


def by_uuid(guests: tuple[Guest, ...]) -> Mapping[str, Guest]:
    """Return the guests by their identity."""
    return {guest.uuid: guest for guest in guests}
