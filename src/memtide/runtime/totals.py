"""Counting what memtide did since it started."""

import msgspec

from memtide.model.action import Outcome, Result, SetMemory
from memtide.model.reason import ReasonCode
from memtide.views.live import Totals

__all__ = ["count"]


def count(totals: Totals, outcome: Outcome) -> Totals:
    """Return the totals with one closed outcome added; changes of statistics and KSM count as actions only."""
    if outcome.result in {Result.NOT_SENT, Result.WITHHELD}:
        return totals
    action, moved_bytes = outcome.action, outcome.moved_bytes or 0
    relief = moved_bytes > 0 and action.reason.code is ReasonCode.RELIEF
    gained_bytes = max(0, outcome.host_gained_bytes or 0) if moved_bytes < 0 else 0
    name = {action.name} if isinstance(action, SetMemory) and moved_bytes else set()
    return msgspec.structs.replace(
        totals,
        actions=totals.actions + 1,
        failures=totals.failures + (outcome.result is not Result.DONE),
        taken_bytes=totals.taken_bytes + max(0, -moved_bytes),
        given_bytes=totals.given_bytes + max(0, moved_bytes),
        host_gained_bytes=totals.host_gained_bytes + gained_bytes,
        reliefs=totals.reliefs + relief,
        relieved_guests=totals.relieved_guests | (name if relief else set()),
        donor_guests=totals.donor_guests | (name if moved_bytes < 0 else set()),
    )
