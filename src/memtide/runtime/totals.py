"""What memtide did since it started, in the numbers that a person asks for at the end."""

from memtide.model.action import Outcome, Result, SetMemory
from memtide.model.base import Model
from memtide.model.reason import ReasonCode

__all__ = ["Totals", "count"]


class Totals(Model, frozen=True, kw_only=True):
    """Counters since the daemon's start; sizes in bytes."""

    actions: int = 0
    failures: int = 0
    """Refused, no answer, or moved only part of the way."""
    taken_bytes: int = 0
    given_bytes: int = 0
    host_gained_bytes: int = 0
    """What the host really gained from what was taken."""
    reliefs: int = 0
    """Times a starving guest was given memory."""
    relieved_guests: frozenset[str] = frozenset()
    donor_guests: frozenset[str] = frozenset()


def count(totals: Totals, outcome: Outcome) -> Totals:
    """Return the totals with one closed outcome added; changes of statistics and KSM count as actions only."""
    if outcome.result is Result.NOT_SENT:
        return totals
    action, moved_bytes = outcome.action, outcome.moved_bytes or 0
    relief = isinstance(action, SetMemory) and action.reason.code is ReasonCode.RELIEF
    name = {action.name} if isinstance(action, SetMemory) and moved_bytes else set()
    return Totals(
        actions=totals.actions + 1,
        failures=totals.failures + (outcome.result is not Result.DONE),
        taken_bytes=totals.taken_bytes + max(0, -moved_bytes),
        given_bytes=totals.given_bytes + max(0, moved_bytes),
        host_gained_bytes=totals.host_gained_bytes + (max(0, outcome.host_gained_bytes or 0) if moved_bytes < 0 else 0),
        reliefs=totals.reliefs + relief,
        relieved_guests=totals.relieved_guests | (name if relief else set()),
        donor_guests=totals.donor_guests | (name if moved_bytes < 0 else set()),
    )
