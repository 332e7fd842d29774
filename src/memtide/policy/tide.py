"""The law "tide": resident, lazy, relief first.

Theory. The host can only gain memory that is *resident and not needed*::

    idle  = min(host cost - QEMU's own, current) - demand
    slack = min(idle, current - keep)
    keep  = 1.02 demand + cushion(host state) + 5 s growth        (never below the guest's floor)

Memory a guest never touched costs the host nothing and is its room to grow without asking: it is left alone, and a
guest whose slack was taken gets its room back a few seconds later. Steps, each a file, in this order:

1. **Relief** (``relief``). A guest starves when its usable memory is under three quarters of the next worse state's
   cushion plus 5 s of its growth, or when it swaps. It gets at once what it lacks, unlimited in speed, while the
   host stays above its emergency line (a quarter of the reserve), half of the host's free swap included.
2. **Taking** (``taking``), only when the host is under its reserve, or will be once growing guests have touched what
   they are about to: 1.3 times what is missing, never below ``keep``, from as few guests as will do.
3. **Room** (``returning``): room for a guest's own recent peak goes back while it costs nothing.
4. **Return** (``returning``), only when the host was above its reserve for a while: up to each guest's maximum (mode
   ``pressure``) or to what it wants (mode ``follow``, which also takes resident slack above that want, slowly).

When no slack is left and needs are, or will soon be, more than the host has, **overload** stands in for all of them:
needs are shared by weight above the floors, so that the host's kernel need not choose a guest to kill.

Assumes working statistics; without fresh ones nothing is taken. Descends from the prototypes measured in the lab
notes; demand and weights from Waldspurger (OSDI 2002) and Qubes' qmemman; freeing pages by a short move down and up
is what free page reporting does inside a guest that has it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from memtide.model.action import Action, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.base import Model
from memtide.model.decision import Budget, Decision, HostState
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.assess import Case, Track, assess
from memtide.policy.constants import COOL_AFTER_RELIEF_S, DWELL_AFTER_CACHE_S, DWELL_BEFORE_RETURN_S
from memtide.policy.cooperation import asked, given_up, sent_by_hand
from memtide.policy.explain import absent_verdict, verdict
from memtide.policy.host_state import HostTrack, observe_host, reserve_for
from memtide.policy.ksm import governor
from memtide.policy.ksm.track import KsmTrack
from memtide.policy.overload import Overload, look, share_out
from memtide.policy.peak import proven
from memtide.policy.plan import Move, Room, room_of
from memtide.policy.relief import relieve
from memtide.policy.returning import give_back, lend_room
from memtide.policy.stats_period import missing_period
from memtide.policy.taking import take

__all__ = ["Tide", "TideState"]


BY_HAND: Final = frozenset({ReasonCode.OPERATOR, ReasonCode.RESTORE})
"""Targets that are not the law's own; it learns of them by their answers."""


class TideState(Model, frozen=True, kw_only=True):
    """What the law remembers from tick to tick."""

    host: HostTrack = HostTrack()
    tracks: dict[str, Track] = {}
    overload: Overload = Overload()
    ksm: KsmTrack = KsmTrack()


class Tide:
    """The law as a ``ports.Policy``."""

    name = "tide"

    def initial(self) -> TideState:
        """Return the state of a law that has seen nothing yet."""
        return TideState()

    def decide(self, state: TideState, snapshot: Snapshot, limits: Limits) -> tuple[TideState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s = snapshot.taken_at_s
        reserve_bytes = reserve_for(snapshot.host, limits)
        host = observe_host(state.host, snapshot.host, reserve_bytes)
        cases = {g.uuid: assess(state.tracks.get(g.uuid), g, host.state, limits, now_s) for g in snapshot.guests}
        room = room_of(snapshot, host, reserve_bytes, cases.values())
        overload = look(state.overload, cases, room, now_s)
        moves, missing_bytes = share_out(cases, room) if overload.on else _plan(cases, room, limits, now_s)
        tracks = {uuid: _remember(case, moves.get(uuid), now_s) for uuid, case in cases.items()}
        # an absent guest is unknown, not gone: what is known of it waits for it
        absent = {a.uuid: state.tracks[a.uuid] for a in snapshot.absent if a.uuid in state.tracks}
        periods = _periods(cases.values(), limits, now_s)
        tracks |= {p.uuid: msgspec.structs.replace(tracks[p.uuid], period_asked_at_s=now_s) for p in periods}
        ksm, ksm_verdict, set_ksm = governor.steer(state.ksm, snapshot, host.state, limits)
        decision = Decision(
            decided_at_s=now_s,
            policy=self.name,
            mode=limits.mode.value,
            state=host.state,
            state_since_s=host.since_s,
            budget=_budget(room, missing_bytes),
            verdicts=(
                *(verdict(case, moves.get(uuid), tracks[uuid], room, now_s) for uuid, case in cases.items()),
                *(absent_verdict(a.uuid, a.name, a.reason, state.tracks.get(a.uuid)) for a in snapshot.absent),
            ),
            ksm=ksm_verdict,
            actions=(*periods, *_actions(cases, moves), *_withdrawals(state, cases), *((set_ksm,) if set_ksm else ())),
        )
        return TideState(host=host, tracks=tracks | absent, overload=overload, ksm=ksm), decision

    def answered(self, state: TideState, action: Action, reply: Reply) -> TideState:
        """Return the state that knows how the action was answered."""
        if isinstance(action, SetKsm):
            return msgspec.structs.replace(state, ksm=governor.answered(state.ksm, action, reply))
        if isinstance(action, SetStatsPeriod) or action.uuid not in state.tracks:
            return state
        track = state.tracks[action.uuid]
        if reply.result in {Result.SENT, Result.DONE, Result.PARTIAL}:
            if action.reason.code not in BY_HAND:
                return state
            course = sent_by_hand(track.course, action.from_bytes, action.to_bytes, track.seen_at_s)
        elif reply.result in {Result.NOT_SENT, Result.WITHHELD}:
            course = msgspec.structs.replace(track.course, target_bytes=None, settled=True)
            track = msgspec.structs.replace(track, cool_until_s=0.0, taken_at_s=0.0, dwell_until_s=0.0)
        else:
            course = given_up(track.course, track.seen_at_s)
        return msgspec.structs.replace(
            state, tracks=state.tracks | {action.uuid: msgspec.structs.replace(track, course=course)}
        )


def _plan(cases: dict[str, Case], room: Room, limits: Limits, now_s: float) -> tuple[dict[str, Move], int]:
    """Return this tick's moves, those that cannot wait first, and what the host and starving guests miss."""
    relief, unmet_bytes = relieve(cases, room)
    others = {uuid: case for uuid, case in cases.items() if uuid not in relief}
    granted_bytes = -sum(move.gain_bytes for move in relief.values())
    touching_bytes = sum(case.touching_bytes for case in others.values())
    missing_bytes = room.missing_bytes(granted_bytes + touching_bytes)
    taking = take(others, room, missing_bytes, unmet_bytes, limits)
    rest = {uuid: case for uuid, case in others.items() if uuid not in taking}
    lent = lend_room(rest, room, limits, now_s)
    calm = room.state is HostState.HIGH and missing_bytes == 0 and not unmet_bytes and not relief and not taking
    returning = give_back({u: c for u, c in rest.items() if u not in lent}, room, limits, now_s) if calm else {}
    return relief | taking | lent | returning, missing_bytes + unmet_bytes


def _budget(room: Room, missing_bytes: int) -> Budget:
    return Budget(
        reserve_bytes=room.reserve_bytes,
        available_bytes=room.available_bytes,
        headroom_bytes=room.available_bytes - room.reserve_bytes,
        missing_bytes=missing_bytes,
        pending_bytes=room.shrinking_bytes - room.growing_bytes,
    )


def _remember(case: Case, move: Move | None, now_s: float) -> Track:
    if move is None:
        return case.track
    found, course = case.track.estimate, case.track.course
    course = asked(course, case.guest, found, target_bytes=move.to_bytes, gain_bytes=move.gain_bytes, now_s=now_s)
    track = msgspec.structs.replace(case.track, course=course)
    if move.reason.code is ReasonCode.RELIEF:
        return msgspec.structs.replace(track, cool_until_s=now_s + COOL_AFTER_RELIEF_S)
    if move.gain_bytes <= 0:
        return track
    # a guest whose page cache was taken fills what comes back with cache again
    cache = move.gain_bytes > case.idle_free_bytes
    return msgspec.structs.replace(
        track,
        taken_at_s=now_s,
        dwell_until_s=now_s + (DWELL_AFTER_CACHE_S if cache else DWELL_BEFORE_RETURN_S),
        peak=proven(track.peak) if cache else track.peak,
    )


def _actions(cases: dict[str, Case], moves: dict[str, Move]) -> Iterable[SetMemory]:
    for uuid, move in moves.items():
        guest = cases[uuid].guest
        yield SetMemory(
            uuid=uuid,
            name=guest.name,
            from_bytes=guest.observed.current_bytes,
            to_bytes=move.to_bytes,
            reason=move.reason,
            expected_gain_bytes=move.gain_bytes,
        )


def _withdrawals(before: TideState, cases: dict[str, Case]) -> Iterable[SetMemory]:
    """Take back a target that a stuck guest cannot reach: its driver would try for ever, at its own cost."""
    for uuid, case in cases.items():
        old = before.tracks.get(uuid)
        held = case.spared is ReasonCode.HELD
        if old is None or old.course.target_bytes is None or case.hands_off is not None or held:
            continue
        current_bytes = case.guest.observed.current_bytes
        if case.track.course.failures > old.course.failures and old.course.target_bytes < current_bytes:
            yield SetMemory(
                uuid=uuid,
                name=case.guest.name,
                from_bytes=current_bytes,
                to_bytes=current_bytes,
                reason=Reason(code=ReasonCode.STUCK, numbers={"target_bytes": old.course.target_bytes}),
            )


def _periods(cases: Iterable[Case], limits: Limits, now_s: float) -> list[SetStatsPeriod]:
    requests = (
        missing_period(case.guest, case.stats, limits, since_asked_s=now_s - case.track.period_asked_at_s)
        for case in cases
        if case.limits.manage
    )
    return [request for request in requests if request is not None]
