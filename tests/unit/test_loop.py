"""The loop: one bad guest, a hung hypervisor or a full disk never stops a tick for the others."""

import asyncio
from collections.abc import Callable

import pytest
from make import GIB, MIB, START_S, guest, host

from memtide.errors import SourceError, StoreError
from memtide.model.action import Action, Outcome, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.guest import Guest
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.model.reason import ReasonCode
from memtide.model.record import Change, ChangeKind, Event, Record
from memtide.model.snapshot import GuestSample
from memtide.policy.tide import Tide
from memtide.ports import Notify
from memtide.runtime.ledger import Ledger, OnRecord
from memtide.runtime.loop import Loop
from memtide.runtime.will import Will


class World:
    """A host and guests by hand: clock, both sources and the balloon in one; a tick is two seconds."""

    def __init__(self, *names: str, available_bytes: int = 700 * MIB) -> None:
        self.now = START_S
        self.available_bytes = available_bytes
        self.current = dict.fromkeys(names, GIB)
        self.sent: list[Action] = []
        self.answer: Callable[[Action], Reply] = self._move
        self.away = ""

    def now_s(self) -> float:
        return self.now

    async def sleep(self, duration_s: float, wake: asyncio.Event) -> None:
        del wake
        self.now += duration_s

    def host(self) -> "HostSide":
        return HostSide(self)

    async def start(self, notify: Notify) -> None: ...

    async def stop(self) -> None: ...

    async def sample(self, now_s: float) -> GuestSample:
        if self.away:
            raise SourceError(self.away)
        return GuestSample(guests=tuple(self.guest(name, now_s) for name in self.current))

    def guest(self, name: str, now_s: float) -> Guest:
        current = self.current[name]
        return guest(name, at_s=now_s, current_bytes=current, resident_bytes=min(current, 800 * MIB))

    async def apply(self, action: Action) -> Reply:
        self.sent.append(action)
        return self.answer(action)

    def _move(self, action: Action) -> Reply:
        if isinstance(action, SetMemory):
            self.current[action.name] = action.to_bytes
        return Reply(result=Result.SENT)


class HostSide:
    """The host's face of the world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def sample(self, now_s: float) -> Host:
        return host(at_s=now_s, available_bytes=self.world.available_bytes)


class Memory:
    """A store that forgets nothing, or fails on demand."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.events: list[Event] = []
        self.records: list[Record] = []
        self.originals: list[Change] = []
        self.full = False

    @property
    def trouble(self) -> str | None:
        return "the disk of /var/lib/memtide is full" if self.full else None

    async def keep(self, key: str, value: str | None) -> None: ...

    async def kept(self) -> dict[str, str]:
        return {}

    def _check(self) -> None:
        if self.full:
            raise StoreError("the disk of /var/lib/memtide is full")

    async def remember(self, change: Change) -> None:
        self._check()
        self.originals.append(change)

    async def forget(self, kind: ChangeKind, key: str) -> None:
        self.originals = [c for c in self.originals if (c.kind, c.key) != (kind, key)]

    async def changes(self) -> tuple[Change, ...]:
        return tuple(self.originals)

    async def append(self, record: Record) -> None:
        self._check()
        self.records.append(record)

    async def save_outcome(self, outcome: Outcome) -> Outcome:
        import msgspec  # noqa: PLC0415 - one line of one fake

        self._check()
        number = outcome.id or len(self.outcomes) + 1
        self.outcomes[number] = msgspec.structs.replace(outcome, id=number)
        return self.outcomes[number]

    async def save_event(self, event: Event) -> None:
        self._check()
        self.events.append(event)


def build(world: World, store: Memory) -> Loop:
    """Return a loop over this world, acting."""
    recorded = OnRecord(world, Ledger(store), world)
    return Loop(
        clock=world,
        host=world.host(),
        guests=world,
        policy=Tide(),
        actuators=dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), recorded),
        store=store,
        will=Will(Limits(manage_ksm=False)),
    )


@pytest.fixture
def world() -> World:
    """Return a short host with two guests that hold slack."""
    return World("a", "b")


@pytest.fixture
def store() -> Memory:
    """Return an empty store."""
    return Memory()


async def ticks(loop: Loop, world: World, count: int) -> None:
    """Run so many ticks."""
    for _ in range(count):
        await loop.tick()
        world.now += 2


async def test_every_action_gets_a_verified_outcome(world: World, store: Memory) -> None:
    """An action closes as done with what moved and what the host gained, read back from the next sample."""
    await ticks(build(world, store), world, 4)
    closed = [o for o in store.outcomes.values() if o.closed_at_s is not None]

    assert {o.action.name for o in closed if isinstance(o.action, SetMemory)} == {"a", "b"}
    assert all(o.result is Result.DONE and o.moved_bytes == o.action.change_bytes for o in closed)
    assert all(o.host_gained_bytes is not None for o in closed)


async def test_the_original_is_on_record_before_anything_is_sent(world: World, store: Memory) -> None:
    """With a full disk no guest is changed: what cannot be undone is not done."""
    store.full = True
    loop = build(world, store)
    await ticks(loop, world, 4)

    assert world.sent == []
    assert "full" in loop.troubles[0]


async def test_work_goes_on_when_the_disk_fills_up_later(world: World, store: Memory) -> None:
    """Guests whose originals are on record are still served; the trouble is said once and its end too."""
    loop = build(world, store)
    told: list[Outcome | Event] = []
    loop.on_entry = told.append
    await ticks(loop, world, 3)
    store.full, before = True, len(world.sent)
    world.available_bytes = 100 * MIB
    world.current = {"a": GIB, "b": GIB}
    await ticks(loop, world, 3)
    store.full = False
    await ticks(loop, world, 1)

    assert len(world.sent) > before
    assert [e.code for e in told if isinstance(e, Event)] == ["store-lost", "store-back"]


async def test_a_guest_that_refuses_does_not_stop_the_others(world: World, store: Memory) -> None:
    """One guest's refusal, and one actuator's bug, end in that guest's outcome and nowhere else."""

    def answer(action: Action) -> Reply:
        if isinstance(action, SetMemory) and action.name == "a":
            raise ZeroDivisionError
        return world._move(action)

    world.answer = answer
    await ticks(build(world, store), world, 4)
    first = {o.action.name: o for o in reversed(store.outcomes.values()) if isinstance(o.action, SetMemory)}

    assert first["a"].result is Result.REFUSED
    assert "please report" in first["a"].detail
    assert first["b"].result is Result.DONE


async def test_a_hypervisor_that_is_away_makes_guests_unknown_not_gone(world: World, store: Memory) -> None:
    """While libvirt is away every guest has a verdict "absent", nothing is sent, and the trouble is named once."""
    loop = build(world, store)
    await ticks(loop, world, 3)
    before = len(world.sent)
    world.away = "libvirt at qemu:///system does not answer"
    await ticks(loop, world, 3)

    assert loop.decision is not None
    assert {v.name: v.reason.code for v in loop.decision.verdicts} == {"a": ReasonCode.ABSENT, "b": ReasonCode.ABSENT}
    assert len(world.sent) == before
    assert [e.code for e in store.events] == ["libvirt-lost"]


async def test_a_guest_that_stands_still_is_no_answer(world: World, store: Memory) -> None:
    """A target nobody follows ends as "no answer", and is not sent again at once."""
    world.answer = lambda _action: Reply(result=Result.SENT)
    await ticks(build(world, store), world, 14)
    first = store.outcomes[1]

    assert first.result is Result.NO_ANSWER
    assert first.moved_bytes == 0


async def test_advice_is_given_once_a_minute(world: World, store: Memory) -> None:
    """Observe mode says what it would do, not every tick again, and remembers no originals."""
    loop = build(world, store)

    class Null:
        async def apply(self, action: Action) -> Reply:
            del action
            return Reply(result=Result.NOT_SENT)

    loop._actuators = dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), Null())
    await ticks(loop, world, 20)
    advice = [o for o in store.outcomes.values() if o.result is Result.NOT_SENT]

    assert [o.action.name for o in advice] == ["a"]
    assert store.originals == []


async def test_what_is_under_way_is_closed_at_the_end(world: World, store: Memory) -> None:
    """No outcome stays open when the loop stops."""
    await build(world, store).run(for_s=5, on_tick=lambda: None)

    assert store.outcomes
    assert all(o.closed_at_s is not None for o in store.outcomes.values())
