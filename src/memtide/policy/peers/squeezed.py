"""The law of squeezed (XenServer, XCP-ng): every guest at the same relative place between its minimum and maximum.

Source: xapi-project/xen-api e2ee48d (2026-08), ``ocaml/squeezed/lib/squeeze.ml`` and ``src/squeeze_xen.ml``. Written
from the formulas.

Theory. ``A`` is a guest's memory, ``min`` and ``max`` its bounds, ``F`` the host's free memory; of active guests::

    surplus = max(0, F + sum max(0, A - min - 2 * 4 KiB) - 72 MiB)
    gamma   = clamp(surplus / sum (max - min), 0, 1)
    T       = min + gamma (max - min)

Two phases: while any guest has to free memory only those targets are set, all others when none has. A guest whose
memory did not move towards its target for more than 5 s is inactive: it is left out and its memory is its own, until
it moves. Every 10 s the law looks whether targets would change; if so, it goes on every second until all are reached.
What guests need plays no part.

What differs here. Free memory is what no guest was assigned (``pool``): Xen's notion, on KVM negative at first.
Minimum and maximum are the operator's floor and ceiling. squeezed forgets who is inactive after each balancing; so
does this.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Ruling, Subject, after, answered, conclude, is_due, subjects
from memtide.policy.peers.pool import Pool, look
from memtide.units import KIB, MIB

__all__ = ["Squeezed", "SqueezedState", "targets_for"]

HOST_FREE_BYTES: Final = (64 + 8) * MIB
"""``low_mem_emergency_pool`` + ``extra_mem_to_keep``."""
INACCURACY_BYTES: Final = 4 * KIB
STUCK_AFTER_S: Final = 5.0
"""``assume_balloon_driver_stuck_after``."""
CHECK_PERIOD_S: Final = 10.0
STEP_PERIOD_S: Final = 1.0


class Watch(Model, frozen=True, kw_only=True):
    """What the stuckness monitor knows of one guest since this balancing began."""

    last_bytes: int
    moved_at_s: float
    stuck: bool = False


class SqueezedState(Model, frozen=True, kw_only=True):
    """Where the law is between two looks."""

    due_s: float = 0.0
    watches: dict[str, Watch] = {}
    """Of the balancing under way; empty between two of them."""
    pool: Pool = Pool()
    books: Books = Books()


class Squeezed:
    """The law as a ``ports.Policy``."""

    name = "squeezed"

    def initial(self) -> SqueezedState:
        """Return the state of a law that has seen nothing yet."""
        return SqueezedState()

    def decide(self, state: SqueezedState, snapshot: Snapshot, limits: Limits) -> tuple[SqueezedState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s = snapshot.taken_at_s
        pool = look(state.pool, snapshot)
        ruling = Ruling(
            period_s=CHECK_PERIOD_S, line_bytes=HOST_FREE_BYTES, free_bytes=pool.free_bytes, reads_reports=False
        )
        period_s = STEP_PERIOD_S if state.watches else CHECK_PERIOD_S
        if is_due(state.due_s, now_s, period_s):
            able, _ = subjects(snapshot, limits)
            old = {uuid: state.books.targets.get(uuid, subject.current_bytes) for uuid, subject in able.items()}
            watches = {u: _watch(state.watches.get(u), s.current_bytes, old[u], now_s) for u, s in able.items()}
            active = {uuid: subject for uuid, subject in able.items() if not watches[uuid].stuck}
            wanted = targets_for(active, pool.free_bytes)
            changed = {uuid: size for uuid, size in _phase(active, wanted).items() if size != old[uuid]}
            settled = not state.watches or all(_there(s.current_bytes, old[u]) for u, s in active.items())
            done = settled and not changed
            ruling = msgspec.structs.replace(
                ruling,
                targets=changed,
                numbers={uuid: {"wanted_bytes": size} for uuid, size in wanted.items()},
            )
            next_s = CHECK_PERIOD_S if done else STEP_PERIOD_S
            state = msgspec.structs.replace(
                state, due_s=after(state.due_s, now_s, next_s), watches={} if done else watches
            )
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, pool=pool, books=books), decision

    def answered(self, state: SqueezedState, action: Action, reply: Reply) -> SqueezedState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))


def targets_for(active: Mapping[str, Subject], free_bytes: int) -> dict[str, int]:
    """Return the target of every active guest."""
    freeable_bytes = sum(max(0, s.current_bytes - s.floor_bytes - 2 * INACCURACY_BYTES) for s in active.values())
    surplus_bytes = max(0, free_bytes + freeable_bytes - HOST_FREE_BYTES)
    ranges_bytes = sum(s.ceiling_bytes - s.floor_bytes for s in active.values())
    gamma = min(1.0, surplus_bytes / ranges_bytes) if ranges_bytes else 0.0
    return {uuid: s.floor_bytes + _whole_pages(gamma * (s.ceiling_bytes - s.floor_bytes)) for uuid, s in active.items()}


def _phase(active: Mapping[str, Subject], wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the targets to set now: those that free memory, and the others only when there are none."""
    freeing = {
        uuid: size
        for uuid, size in wanted.items()
        if size < active[uuid].current_bytes and not _there(active[uuid].current_bytes, size)
    }
    return freeing or dict(wanted)


def _whole_pages(size_bytes: float) -> int:
    """Return a size as a balloon can have it; a finer target would be missed, and set anew, for ever."""
    return int(size_bytes) // INACCURACY_BYTES * INACCURACY_BYTES


def _there(current_bytes: int, target_bytes: int) -> bool:
    return abs(current_bytes - target_bytes) <= INACCURACY_BYTES


def _watch(before: Watch | None, current_bytes: int, target_bytes: int, now_s: float) -> Watch:
    """Return the watch after one more look: stuck when it has somewhere to go and does not."""
    if before is None:
        return Watch(last_bytes=current_bytes, moved_at_s=now_s)
    moved_bytes = current_bytes - before.last_bytes
    there = _there(current_bytes, target_bytes)
    nearer = not there and moved_bytes * (target_bytes - current_bytes) > 0
    moved_at_s = now_s if nearer else before.moved_at_s
    stuck = (before.stuck and not nearer) or (not there and now_s - moved_at_s > STUCK_AFTER_S)
    return Watch(last_bytes=current_bytes, moved_at_s=moved_at_s, stuck=stuck)
