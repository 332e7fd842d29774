"""The law of oVirt MOM: shrink everybody while the host is under 20 % free, grow everybody otherwise.

Source: oVirt/mom 0.6.5 (3de1c8e, 2025-07), its stock ``doc/balloon.rules`` and ``doc/ksm.rules``, with the intervals of
``doc/mom-balloon+ksm.conf``. Written from the formulas.

Theory. ``A`` is a guest's memory, averages are over the last 10 samples of 5 s::

    h = avg(host MemFree + Cached) / host total
    u = avg(A) - avg(guest MemFree)
    h < 0.20:   g = h - 0.05 if h <= 0.05 else 0.20 * h / 0.20
                T = max(0.95 A, max(min, u + g A)),            applied if T <= A and |T - A| > 0.0025 A
    h >= 0.20:  T = min(max, max(1.05 A, u + 0.20 A)),         applied if A < max and |T - A| > 0.0025 A

Under 5 % the share ``g`` left to a guest is negative: it is meant to swap. The guests' page cache counts as used.
The rules run every 10 s, the first time 10 s after the start; every guest is moved 5 % of its size at a time.

What differs here. The host's total is what guests on normal pages can have (MOM counts reserved huge pages as memory
in use for ever). ``min`` is the operator's floor; on libvirt MOM never learns of one and uses 0. For KSM, MOM takes
the virtual size of QEMU's processes; memtide reads resident sizes only, so the guests' maximum memory stands in.
MOM cannot see how old a guest's figures are, so old ones are averaged like any other.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.guest import GuestState
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import (
    Books,
    Numbers,
    Ruling,
    Subject,
    after,
    answered,
    conclude,
    free_and_cached_bytes,
    is_due,
    subjects,
)
from memtide.policy.peers.ksm_law import KsmBooks, KsmView, ksm_answered, steer

__all__ = ["Mom", "MomState"]

# doc/balloon.rules, by MOM's own names
PRESSURE_THRESHOLD: Final = 0.20
PRESSURE_CRITICAL: Final = 0.05
MIN_GUEST_FREE_PERCENT: Final = 0.20
MAX_BALLOON_CHANGE_PERCENT: Final = 0.05
MIN_BALLOON_CHANGE_PERCENT: Final = 0.0025
# doc/mom-balloon+ksm.conf
SAMPLE_PERIOD_S: Final = 5.0
POLICY_PERIOD_S: Final = 10.0
SAMPLES: Final = 10


class Sample(Model, frozen=True, kw_only=True):
    """One reading of one guest: ``balloon_cur`` and ``mem_unused``."""

    current_bytes: int
    unused_bytes: int


class MomState(Model, frozen=True, kw_only=True):
    """What MOM's monitors hold."""

    sample_due_s: float = 0.0
    policy_due_s: float | None = None
    host: tuple[int, ...] = ()
    """The host's free memory, the latest last."""
    guests: dict[str, tuple[Sample, ...]] = {}
    ready: frozenset[str] = frozenset()
    """Guests whose latest sample was complete; the rules do not see the others."""
    books: Books = Books()
    ksm: KsmBooks = KsmBooks()


class Mom:
    """The law as a ``ports.Policy``."""

    name = "mom"

    def initial(self) -> MomState:
        """Return the state of a law that has seen nothing yet."""
        return MomState()

    def decide(self, state: MomState, snapshot: Snapshot, limits: Limits) -> tuple[MomState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s = snapshot.taken_at_s
        state = _sampled(state, snapshot)
        total_bytes = snapshot.host.memory.usable_total_bytes
        free_bytes = int(_mean(state.host))
        line_bytes = int(PRESSURE_THRESHOLD * total_bytes)
        ruling = Ruling(period_s=POLICY_PERIOD_S, line_bytes=line_bytes, free_bytes=free_bytes)
        due_s = now_s + POLICY_PERIOD_S if state.policy_due_s is None else state.policy_due_s
        if is_due(due_s, now_s, POLICY_PERIOD_S):
            due_s = after(due_s, now_s, POLICY_PERIOD_S)
            able, _ = subjects(snapshot, limits)
            ruling = _rule(state, {uuid: s for uuid, s in able.items() if uuid in state.ready}, total_bytes, ruling)
            if limits.manage_ksm:
                ksm, action = steer(
                    state.ksm,
                    snapshot.host,
                    KsmView(
                        law=self.name,
                        committed_bytes=sum(g.observed.maximum_bytes for g in snapshot.guests),
                        free_bytes=free_bytes,
                    ),
                )
                state = msgspec.structs.replace(state, ksm=ksm)
                ruling = msgspec.structs.replace(ruling, ksm=action)
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, policy_due_s=due_s, books=books), decision

    def answered(self, state: MomState, action: Action, reply: Reply) -> MomState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(
            state,
            books=answered(state.books, action, reply),
            ksm=ksm_answered(state.ksm, action, reply),
        )


def _sampled(state: MomState, snapshot: Snapshot) -> MomState:
    """Return the state with one more sample of everything, when it is time for one."""
    now_s = snapshot.taken_at_s
    if not is_due(state.sample_due_s, now_s, SAMPLE_PERIOD_S):
        return state
    fresh = {
        guest.uuid: Sample(current_bytes=guest.observed.current_bytes, unused_bytes=guest.reported.unused_bytes)
        for guest in snapshot.guests
        if guest.state is GuestState.RUNNING
        if guest.reported is not None and guest.reported.unused_bytes is not None
    }
    known = {guest.uuid for guest in snapshot.guests} | {absent.uuid for absent in snapshot.absent}
    kept = {uuid: samples for uuid, samples in state.guests.items() if uuid in known}
    longer = {uuid: (*kept.get(uuid, ()), sample)[-SAMPLES:] for uuid, sample in fresh.items()}
    return msgspec.structs.replace(
        state,
        sample_due_s=after(state.sample_due_s, now_s, SAMPLE_PERIOD_S),
        host=(*state.host, free_and_cached_bytes(snapshot.host.memory))[-SAMPLES:],
        guests=kept | longer,
        ready=frozenset(fresh),
    )


def _rule(state: MomState, able: dict[str, Subject], total_bytes: int, ruling: Ruling) -> Ruling:
    """Return the ruling with the rules' new sizes."""
    if total_bytes == 0:
        return ruling
    host_free_ratio = _mean(state.host) / total_bytes
    targets: dict[str, int] = {}
    numbers: dict[str, Numbers] = {}
    for uuid, subject in able.items():
        samples = state.guests[uuid]
        current_bytes = samples[-1].current_bytes
        used_bytes = _mean([s.current_bytes for s in samples]) - _mean([s.unused_bytes for s in samples])
        law = _shrink if host_free_ratio < PRESSURE_THRESHOLD else _grow
        wanted_bytes = law(current_bytes, used_bytes, subject, host_free_ratio)
        numbers[uuid] = {"used_bytes": int(used_bytes), "host_free_ratio": host_free_ratio}
        if wanted_bytes is None:
            continue
        numbers[uuid]["wanted_bytes"] = int(wanted_bytes)
        if abs(wanted_bytes - current_bytes) > MIN_BALLOON_CHANGE_PERCENT * current_bytes:
            targets[uuid] = int(wanted_bytes)
    return msgspec.structs.replace(ruling, targets=targets, numbers=numbers)


def _shrink(current_bytes: int, used_bytes: float, subject: Subject, host_free_ratio: float) -> float | None:
    """Return the size under pressure; ``None`` when it would be a growth."""
    if host_free_ratio <= PRESSURE_CRITICAL:
        guest_free_ratio = host_free_ratio - PRESSURE_CRITICAL
    else:
        guest_free_ratio = MIN_GUEST_FREE_PERCENT * host_free_ratio / PRESSURE_THRESHOLD
    least_bytes = max(subject.floor_bytes, used_bytes + guest_free_ratio * current_bytes)
    wanted_bytes = max((1 - MAX_BALLOON_CHANGE_PERCENT) * current_bytes, least_bytes)
    return wanted_bytes if wanted_bytes <= current_bytes else None


def _grow(current_bytes: int, used_bytes: float, subject: Subject, _host_free_ratio: float) -> float | None:
    """Return the size on a host with room; ``None`` for a guest that has all its memory."""
    if current_bytes >= subject.ceiling_bytes:
        return None
    least_bytes = max(subject.floor_bytes, used_bytes + MIN_GUEST_FREE_PERCENT * current_bytes)
    return min(subject.ceiling_bytes, max((1 + MAX_BALLOON_CHANGE_PERCENT) * current_bytes, least_bytes))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0
