"""No law at all: nothing is asked of anybody. What remains is the host's kernel, and whatever swap it has."""

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Ruling, answered, conclude

__all__ = ["NoLaw", "NoLawState"]


class NoLawState(Model, frozen=True, kw_only=True):
    """What the frame remembers; there is nothing else."""

    books: Books = Books()


class NoLaw:
    """The absence of a law as a ``ports.Policy``."""

    name = "none"

    def initial(self) -> NoLawState:
        """Return the state of a law that has seen nothing yet."""
        return NoLawState()

    def decide(self, state: NoLawState, snapshot: Snapshot, limits: Limits) -> tuple[NoLawState, Decision]:
        """Return a decision to do nothing, not even to ask guests for their figures."""
        available_bytes = snapshot.host.memory.available_bytes
        ruling = Ruling(period_s=limits.period_s, line_bytes=0, free_bytes=available_bytes, reads_reports=False)
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return NoLawState(books=books), decision

    def answered(self, state: NoLawState, action: Action, reply: Reply) -> NoLawState:
        """Return the state that knows of a size set by hand."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))
