"""The loop: sample, decide, act, verify, record; one tick after the other, in one thread.

Everything that can go wrong in a tick is caught here and nowhere else, per source and per action, so that one bad
guest, a hung hypervisor or a full disk never stops the tick for the others. Observe mode differs from act mode in
the actuators it is wired with, and in nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from memtide.errors import SourceError, StoreError
from memtide.model.action import Action, Outcome, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import PERIOD_SHARE, Decision
from memtide.model.host import Host
from memtide.model.reason import ReasonCode
from memtide.model.record import Event, Record, Severity
from memtide.model.snapshot import Absent, GuestSample, Snapshot
from memtide.ports import Actuator, Clock, GuestSource, HostSource, Policy, Store
from memtide.runtime.totals import count
from memtide.runtime.verify import REPLACED, Pending, by_uuid, close, verify
from memtide.runtime.will import Will
from memtide.views.live import Totals

__all__ = ["Actuators", "Loop"]

log: Final = logging.getLogger(__name__)

Actuators = Mapping[type[SetMemory] | type[SetStatsPeriod] | type[SetKsm], Actuator]

SAME_ADVICE_S: Final = 60.0
"""Observe mode would say the same thing every tick; it is said once a minute."""
ARRIVAL_POLL_S: Final = 0.5
SETTLE_S: Final = 6.0
"""How long the last actions get to arrive when the loop ends."""


class Loop:
    """One host's loop.

    Args:
        clock: time; the simulator's runs faster.
        host: where the host is read.
        guests: where the guests are read.
        policy: the law.
        actuators: for each kind of action the one that makes it, or its null twin in observe mode.
        store: what outlives a crash.
        will: what operators and owners want, asked for every tick.
    """

    def __init__(  # noqa: PLR0913 - the seams of design §2, each a port, all by keyword
        self,
        *,
        clock: Clock,
        host: HostSource,
        guests: GuestSource,
        policy: Policy[Any],
        actuators: Actuators,
        store: Store,
        will: Will,
    ) -> None:
        self._clock = clock
        self._host = host
        self._guests = guests
        self._policy = policy
        self._actuators = actuators
        self._store = store
        self._state = policy.initial()
        self._pending: dict[str, Pending] = {}
        self._closed: dict[str, Outcome] = {}
        self._advice: dict[tuple[str, str], float] = {}
        self._troubles: dict[str, str] = {}
        self._will = will
        self._deciding = asyncio.Lock()
        self.limits = will.at(0.0, ())
        self.wake = asyncio.Event()
        self.stopping = asyncio.Event()
        self.ended = False
        """No more ticks come; who waits for something must look himself."""
        self.earlier: Host | None = None
        """The host when its counters were read the time before: for rates."""
        self.previous: Snapshot | None = None
        self.snapshot: Snapshot | None = None
        self.decision: Decision | None = None
        self.totals = Totals()
        self.on_entry: Callable[[Outcome | Event], None] = lambda _entry: None
        """Told of every outcome that is new or changed and of every event."""

    @property
    def open_outcomes(self) -> tuple[Outcome, ...]:
        """Return the outcomes still under way."""
        return tuple(pending.outcome for pending in self._pending.values())

    @property
    def troubles(self) -> tuple[str, ...]:
        """Return what is wrong now, a sentence each; empty when all is well."""
        return tuple(self._troubles.values())

    # --- running --------------------------------------------------------------------------------------------

    async def run(self, *, for_s: float | None, on_tick: Callable[[], None]) -> None:
        """Tick until ``stopping`` is set or the time is over; then wait for what is under way."""
        end_s = None if for_s is None else self._clock.now_s() + for_s
        while not self.stopping.is_set():
            began_s = self._clock.now_s()
            if end_s is not None and began_s >= end_s:
                break
            try:
                await self.tick()
                on_tick()
            except Exception:
                # the next tick may fare better; a daemon that ended would help nobody
                log.exception("bug: a tick failed; please report it")
            rest_s = max(0.0, began_s + self._next_s() - self._clock.now_s())
            if end_s is not None:
                rest_s = min(rest_s, max(0.0, end_s - self._clock.now_s()))
            await self._clock.sleep(rest_s, self.wake)
            self.wake.clear()
        await self.settle()
        self.ended = True

    def _next_s(self) -> float:
        """Return the time to the next tick: the shorter the host, the oftener it is looked at."""
        return self._will.period_s * (1.0 if self.decision is None else PERIOD_SHARE[self.decision.state])

    async def tick(self) -> None:
        """Do one whole tick."""
        snapshot = await self._sample()
        if snapshot is None:
            return
        # an operator's request must not come between a decision and its actions
        async with self._deciding:
            await self._decide(snapshot)

    async def _decide(self, snapshot: Snapshot) -> None:
        self.previous, self.snapshot = self.snapshot, snapshot
        self._compare()
        await self._verify(snapshot)
        changed_from = self.decision.state if self.decision else None
        self.limits = self._will.at(snapshot.taken_at_s, snapshot.guests)
        self._state, decision = self._policy.decide(self._state, snapshot, self.limits)
        self.decision = decision
        outcomes = await self._carry_out(decision.actions) if decision.actions else []
        await self._look_at_store()
        if outcomes or decision.state is not changed_from:
            record = Record(snapshot=snapshot, decision=decision, outcomes=tuple(outcomes))
            await self._kept("records", self._store.append(record))

    def _compare(self) -> None:
        """Compare the host with the tick before: what its kernel killed, and whether its counters were read anew."""
        if self.previous is None or self.snapshot is None:
            return
        if self.previous.host.counters_at_s != self.snapshot.host.counters_at_s or self.earlier is None:
            self.earlier = self.previous.host
        before, now = self.previous.host.oom_kills_total, self.snapshot.host.oom_kills_total
        if before is not None and now is not None:
            kills = (self.totals.kills or 0) + max(0, now - before)
            self.totals = msgspec.structs.replace(self.totals, kills=kills)

    async def look(self) -> None:
        """Sample without deciding: for who needs to know the guests and nothing more."""
        self.snapshot = await self._sample() or self.snapshot

    async def settle(self) -> None:
        """Give what is under way a moment to arrive, then close every outcome."""
        end_s = self._clock.now_s() + SETTLE_S
        while self._pending:
            await self._clock.sleep(ARRIVAL_POLL_S, asyncio.Event())
            sample = await self._sample()
            guests = by_uuid(sample.guests) if sample else {}
            for uuid, pending in list(self._pending.items()):
                now_s = self._clock.now_s()
                outcome = verify(pending, guests.get(uuid), now_s)
                if outcome.closed_at_s is None and now_s >= end_s:
                    outcome = close(pending, guests.get(uuid), now_s, "memtide stopped")
                if outcome.closed_at_s is not None:
                    await self._close(outcome)

    # --- sampling -------------------------------------------------------------------------------------------

    async def _sample(self) -> Snapshot | None:
        began_s = self._clock.now_s()
        try:
            host = self._host.sample(began_s)
        except SourceError as error:
            await self._trouble("host", str(error))
            return None
        await self._fine("host")
        try:
            sample = await self._guests.sample(began_s)
        except SourceError as error:
            await self._trouble("libvirt", error.message)
            sample = self._all_absent(error.message)
        else:
            await self._fine("libvirt")
        return Snapshot(
            taken_at_s=began_s,
            host=host,
            guests=sample.guests,
            absent=sample.absent,
            took_s=self._clock.now_s() - began_s,
        )

    def _all_absent(self, reason: str) -> GuestSample:
        """Nobody answered: every guest we know is unknown, none is gone."""
        if self.snapshot is None:
            return GuestSample(guests=())
        seen = (
            Absent(uuid=guest.uuid, name=guest.name, reason=reason, last_seen_s=self.snapshot.taken_at_s)
            for guest in self.snapshot.guests
        )
        return GuestSample(guests=(), absent=(*seen, *self.snapshot.absent))

    # --- acting and verifying -------------------------------------------------------------------------------

    async def carry_out(self, actions: tuple[Action, ...]) -> list[Outcome]:
        """Send actions that no tick decided; return what was answered, in their order."""
        async with self._deciding:
            return await self._carry_out(actions)

    async def _carry_out(self, actions: tuple[Action, ...]) -> list[Outcome]:
        """Send actions, at the same time for different guests."""
        replies = await asyncio.gather(*(self._send(action) for action in actions))
        outcomes = []
        for action, reply in zip(actions, replies, strict=True):
            self._state = self._policy.answered(self._state, action, reply)
            outcome = await self._note(action, reply)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    async def _send(self, action: Action) -> Reply:
        try:
            return await self._actuators[type(action)].apply(action)
        except Exception as error:
            log.exception("bug: %s failed", type(action).__name__)
            return Reply(result=Result.REFUSED, detail=f"memtide failed: {error!r}; please report it")

    async def _note(self, action: Action, reply: Reply) -> Outcome | None:
        """Keep the outcome of an action that was just sent; ``None`` for advice already given."""
        now_s = self._clock.now_s()
        outcome = Outcome(action=action, result=reply.result, asked_at_s=now_s, detail=reply.detail)
        if reply.result in {Result.NOT_SENT, Result.WITHHELD} and self._said_already(action, now_s):
            return None
        guests = by_uuid(self.snapshot.guests) if self.snapshot else {}
        moving = isinstance(action, SetMemory) and reply.result in {Result.SENT, Result.DONE, Result.PARTIAL}
        if isinstance(action, SetMemory) and action.uuid in self._pending and moving:
            earlier = self._pending[action.uuid]
            # a target is taken back only from a guest that did not move
            why = "the guest did not move" if action.reason.code is ReasonCode.STUCK else REPLACED
            await self._close(close(earlier, guests.get(action.uuid), now_s, why))
        if not moving:
            outcome = msgspec.structs.replace(outcome, closed_at_s=now_s)
            saved = await self._save(outcome)
            self.totals = count(self.totals, saved)
            return saved
        saved = await self._save(msgspec.structs.replace(outcome, result=Result.SENT))
        if isinstance(action, SetMemory):
            guest = guests.get(action.uuid)
            self._pending[action.uuid] = Pending(
                outcome=saved,
                current_bytes=guest.observed.current_bytes if guest else action.from_bytes,
                cost_bytes=guest.observed.host_cost_bytes if guest else None,
            )
        return saved

    def _said_already(self, action: Action, now_s: float) -> bool:
        if action.reason.code in {ReasonCode.OPERATOR, ReasonCode.RESTORE}:
            return False  # whoever asked gets an answer each time
        key = (getattr(action, "uuid", "host"), action.reason.code.value)
        if now_s - self._advice.get(key, float("-inf")) < SAME_ADVICE_S:
            return True
        self._advice[key] = now_s
        return False

    async def _verify(self, snapshot: Snapshot) -> None:
        if not self._pending:
            return
        guests = by_uuid(snapshot.guests)
        absent = {guest.uuid for guest in snapshot.absent}
        for uuid, pending in list(self._pending.items()):
            if uuid not in guests and uuid not in absent:
                await self._close(close(pending, None, snapshot.taken_at_s, "the guest is gone"))
                continue
            outcome = verify(pending, guests.get(uuid), snapshot.taken_at_s)
            if outcome.closed_at_s is not None:
                await self._close(outcome)

    async def _close(self, outcome: Outcome) -> None:
        action = outcome.action
        if isinstance(action, SetMemory):
            self._pending.pop(action.uuid, None)
            self._closed[action.uuid] = outcome
        self.totals = count(self.totals, outcome)
        await self._save(outcome)

    # --- what people are told -------------------------------------------------------------------------------

    async def event(self, event: Event) -> None:
        """Take note of something that happened, and tick at once."""
        log.log(logging.INFO if event.severity is Severity.INFO else logging.WARNING, "%s", event.text)
        self.on_entry(event)
        await self._kept("events", self._store.save_event(event))
        self.wake.set()

    async def _save(self, outcome: Outcome) -> Outcome:
        try:
            outcome = await self._store.save_outcome(outcome)
        except StoreError as error:
            await self._trouble("store", error.message)
        self.on_entry(outcome)
        return outcome

    async def _kept(self, what: str, saving: Any) -> None:  # noqa: ANN401 - any awaitable of the store
        try:
            await saving
        except StoreError as error:
            await self._trouble("store", f"{what} are not kept: {error.message}")

    async def _look_at_store(self) -> None:
        """Say when history is not being written any more, and when it is again; saving itself does not wait for it."""
        trouble = self._store.trouble
        if trouble is not None:
            await self._trouble("store", trouble)
        else:
            await self._fine("store")

    async def _trouble(self, subject: str, sentence: str) -> None:
        """Say it once, when it begins."""
        fresh = subject not in self._troubles
        self._troubles[subject] = sentence
        if fresh:
            event = Event(at_s=self._clock.now_s(), severity=Severity.ERROR, code=f"{subject}-lost", text=sentence)
            log.warning("%s", sentence)
            self.on_entry(event)
            if subject != "store":
                await self._kept("events", self._store.save_event(event))

    async def _fine(self, subject: str) -> None:
        """Say once that a trouble is over."""
        if self._troubles.pop(subject, None) is None:
            return
        text = f"the {subject} answers again"
        event = Event(at_s=self._clock.now_s(), severity=Severity.INFO, code=f"{subject}-back", text=text)
        log.info("%s", text)
        self.on_entry(event)
        await self._kept("events", self._store.save_event(event))

    # --- what operators wait for -----------------------------------------------------------------------------

    async def arrival(self, outcome: Outcome, limit_s: float) -> Outcome:
        """Return the outcome once a tick has closed it, or as it is when the limit is over."""
        action = outcome.action
        if not isinstance(action, SetMemory) or outcome.closed_at_s is not None:
            return outcome
        if self.ended:
            await self.settle()
        end_s = self._clock.now_s() + limit_s
        while action.uuid in self._pending and self._clock.now_s() < end_s:
            self.wake.set()
            await self._clock.sleep(ARRIVAL_POLL_S, asyncio.Event())
        closed = self._closed.get(action.uuid)
        return closed if closed is not None and closed.id == outcome.id else outcome
