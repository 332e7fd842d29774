"""What the tests of the peers' laws share: play a law, and read its decision."""

from typing import Any

from memtide.model.action import SetKsm, SetMemory
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.ports import Policy


def play(law: Policy[Any], *seen: Snapshot, limits: Limits | None = None) -> tuple[Any, Decision]:
    """Return what the law concludes from the last of these snapshots."""
    state, limits = law.initial(), limits or Limits()
    for one in seen:
        state, decision = law.decide(state, one, limits)
    return state, decision


def sizes(decision: Decision) -> dict[str, int]:
    """Return the sizes asked for, by guest name."""
    return {action.name: action.to_bytes for action in decision.actions if isinstance(action, SetMemory)}


def files_of(decision: Decision) -> dict[str, str]:
    """Return the files of KSM to be written."""
    return next((action.files for action in decision.actions if isinstance(action, SetKsm)), {})


def numbers_of(decision: Decision, name: str) -> dict[str, int | float | str]:
    """Return the numbers of the verdict on one guest."""
    return next(v.reason.numbers for v in decision.verdicts if v.name == name)
