"""ksmtuned: KSM on when the host is short, off when it is not; guests keep their sizes.

Source: ksmtuned/ksmtuned (018d0ed, 2018), ``src/ksmtuned.sh.in``. Written from the formulas; they are in ``ksm_law``.

Every 60 s; ``C`` is the resident memory of all QEMU processes, so it falls as KSM works and may stop it. The pages per
scan are ksmtuned's own count, from 0; it takes five minutes from there to full speed. Its lower bound for the
threshold (2048) is in kB where its documentation says MB, so it never takes effect and is left out here.

What differs here: a QEMU whose guest does not answer is not counted, and the host's total is what guests on normal
pages can have.
"""

from typing import Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Ruling, after, answered, conclude, free_and_cached_bytes, is_due
from memtide.policy.peers.ksm_law import FREE_RATIO, KsmBooks, KsmView, ksm_answered, steer

__all__ = ["Ksmtuned", "KsmtunedState"]

PERIOD_S: Final = 60.0
"""``KSM_MONITOR_INTERVAL``."""
SLEEP_MIN_MS: Final = 10


class KsmtunedState(Model, frozen=True, kw_only=True):
    """What ksmtuned's variables hold."""

    due_s: float = 0.0
    ksm: KsmBooks = KsmBooks(pages=0)
    books: Books = Books()


class Ksmtuned:
    """The law as a ``ports.Policy``."""

    name = "ksmtuned"

    def initial(self) -> KsmtunedState:
        """Return the state of a law that has seen nothing yet."""
        return KsmtunedState()

    def decide(self, state: KsmtunedState, snapshot: Snapshot, limits: Limits) -> tuple[KsmtunedState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s, memory = snapshot.taken_at_s, snapshot.host.memory
        free_bytes = free_and_cached_bytes(memory)
        line_bytes = int(FREE_RATIO * memory.usable_total_bytes)
        ruling = Ruling(period_s=PERIOD_S, line_bytes=line_bytes, free_bytes=free_bytes, reads_reports=False)
        if is_due(state.due_s, now_s, PERIOD_S):
            state = msgspec.structs.replace(state, due_s=after(state.due_s, now_s, PERIOD_S))
            if limits.manage_ksm:
                resident_bytes = sum(guest.observed.rss_bytes or 0 for guest in snapshot.guests)
                view = KsmView(
                    law=self.name, committed_bytes=resident_bytes, free_bytes=free_bytes, sleep_min_ms=SLEEP_MIN_MS
                )
                ksm, action = steer(state.ksm, snapshot.host, view)
                state = msgspec.structs.replace(state, ksm=ksm)
                ruling = msgspec.structs.replace(ruling, ksm=action)
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, books=books), decision

    def answered(self, state: KsmtunedState, action: Action, reply: Reply) -> KsmtunedState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(
            state, books=answered(state.books, action, reply), ksm=ksm_answered(state.ksm, action, reply)
        )
