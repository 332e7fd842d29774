"""The guest source against a libvirt that misbehaves on demand."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from fake_libvirt import CLIENT_REQUESTS, RPC, FakeGuest, FakeLibvirt, answer, libvirtError

from memtide.errors import ActuatorError, NoAnswerError, PermissionDeniedError, SourceError
from memtide.model.record import Event
from memtide.model.snapshot import GuestSample
from memtide.sources.libvirt import guests as guests_module
from memtide.sources.libvirt import link as link_module
from memtide.sources.libvirt import poll as poll_module
from memtide.sources.libvirt import workers as workers_module
from memtide.sources.libvirt.api import binding
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.process import ProcessFacts, Qemu
from memtide.sources.processes import GuestProcess, started_at_s
from memtide.sources.pss import Pss

URI = "fake:///system"
SOON_S = 0.15
"""Deadlines of the tests; their sum is what a sample may take."""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibvirt]:
    """Three guests, and deadlines that a test can wait for."""
    fake = FakeLibvirt("a", "b", "c")
    monkeypatch.setitem(sys.modules, "libvirt", fake)
    binding.cache_clear()
    monkeypatch.setattr(link_module, "_start_event_thread", lambda: None)
    for module, name in (
        (poll_module, "BULK_S"), (poll_module, "ALL_ONES_S"), (guests_module, "LIST_S"), (guests_module, "READ_S"),
        (guests_module, "REOPEN_S"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, SOON_S)
    monkeypatch.setattr(poll_module, "ONE_S", SOON_S / 2)
    yield fake
    fake.released.set()
    for guest in fake.guests.values():
        guest.release()
    binding.cache_clear()


class Watched:
    """A source with its clock and what it told."""

    def __init__(self, *, readonly: bool = False) -> None:
        self.source = LibvirtGuests(URI, readonly=readonly, processes=None)
        self.events: list[Event] = []
        self.now_s = 1000.0

    async def sample(self) -> GuestSample:
        """Return a sample 2 s after the last one, what was posted before it taken in."""
        await asyncio.sleep(0)
        self.now_s += 2
        return await self.source.sample(self.now_s)

    async def reconnected(self) -> GuestSample:
        """Return a sample once the back-off is over."""
        self.source._link._retry_at_s = 0
        return await self.sample()

    @property
    def told(self) -> list[tuple[str, str | None]]:
        """Return code and guest of each event."""
        return [(event.code, event.guest) for event in self.events]


@pytest.fixture
async def watched(host: FakeLibvirt) -> AsyncIterator[Watched]:
    """A source that has connected."""
    assert host.guests
    watched = Watched()
    await watched.source.start(watched.events.append)
    yield watched
    await watched.source.stop()


def names(sample: GuestSample) -> list[str]:
    """Return who answered."""
    return sorted(guest.name for guest in sample.guests)


def absent(sample: GuestSample) -> list[str]:
    """Return who did not."""
    return sorted(guest.name for guest in sample.absent)


# --- polls -----------------------------------------------------------------------------------------------------------


async def test_everybody_answers(host: FakeLibvirt, watched: Watched) -> None:
    """One bulk call, one list, and the configuration read once."""
    first = await watched.sample()
    await watched.sample()

    assert names(first) == ["a", "b", "c"]
    assert first.absent == ()
    assert all(guest.reported and guest.traits.stats_period_s == 2 for guest in first.guests)
    assert host.polls == [3, 3]
    assert host.lists == 1
    assert watched.events == []


async def test_observe_mode_connects_readonly(host: FakeLibvirt) -> None:
    """Then libvirt itself refuses every change."""
    watched = Watched(readonly=True)
    await watched.source.start(watched.events.append)
    assert host.readonly == [True]
    await watched.source.stop()


async def test_a_hung_guest_is_absent_and_the_others_are_there_in_the_same_tick(
    host: FakeLibvirt, watched: Watched
) -> None:
    """Its call is left behind, once; the next ticks are quick; when it answers again nothing is stuck."""
    seen = await watched.sample()
    host.guest("b").hung = True

    hit = await watched.sample()
    assert (names(hit), absent(hit)) == (["a", "c"], ["b"])
    assert hit.absent[0].last_seen_s == 1002.0
    assert watched.source._workers.stuck == 1
    began_s = time.monotonic()
    after = await watched.sample()
    assert time.monotonic() - began_s < SOON_S
    assert (names(after), absent(after)) == (["a", "c"], ["b"])
    assert watched.source._workers.stuck == 1

    host.guest("b").release()
    await asyncio.sleep(0.05)
    assert names(await watched.sample()) == names(seen)
    assert watched.source._workers.stuck == 0
    assert watched.events == []


async def test_many_guests_that_hang_at_once_hide_nobody(host: FakeLibvirt, watched: Watched) -> None:
    """As when their storage is gone: more than a connection can bear, and the others are back within three ticks."""
    hung = [f"g{number}" for number in range(10, 10 + 2 * CLIENT_REQUESTS)]
    for number in range(10, 30):
        host.add(f"g{number}", number)
    await watched.sample()
    for name in hung:
        host.guest(name).hung = True

    for _tick in range(3):
        sample = await watched.sample()
    assert absent(sample) == hung
    assert len(sample.guests) == 13
    await asyncio.sleep(2 * SOON_S)
    assert await watched.sample() == sample
    # one for each that hangs, and the withdrawal from each connection that was given up
    assert len(hung) <= watched.source._workers.stuck <= len(hung) + 2
    assert watched.events == []

    for name in hung:
        host.guest(name).release()
    await asyncio.sleep(SOON_S)
    assert len((await watched.sample()).guests) == 23
    assert watched.source._workers.stuck == 0


async def test_with_too_many_stuck_calls_no_more_are_made(
    host: FakeLibvirt, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libvirtd's threads are for others too; memtide is blind then, says so, and comes back."""
    monkeypatch.setattr(workers_module, "STUCK_MOST", 2)
    await watched.sample()
    for name in "abc":
        host.guest(name).hung = True
    for _tick in range(3):
        with contextlib.suppress(SourceError):
            await watched.sample()
    assert watched.source._workers.stuck <= 3
    with pytest.raises(SourceError, match="calls hang already"):
        await watched.reconnected()

    for name in "abc":
        host.guest(name).release()
    await asyncio.sleep(SOON_S)
    assert names(await watched.reconnected()) == ["a", "b", "c"]


async def test_a_hung_guest_is_not_asked_how_it_is_built(host: FakeLibvirt, watched: Watched) -> None:
    """Not even by a new connection, which reads all of them: the question would hang as well."""
    await watched.sample()
    host.guest("b").hung = True
    await watched.sample()
    assert watched.source._workers.stuck == 1
    watched.source._link.renew()
    assert names(await watched.sample()) == ["a", "c"]
    assert watched.source._workers.stuck == 1


async def test_guests_are_asked_in_batches(
    host: FakeLibvirt, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung guest delays only its own batch; a guest that started is asked in the next tick."""
    monkeypatch.setattr(poll_module, "BATCH", 2)
    await watched.sample()
    assert sorted(host.polls) == [1, 2]
    new = host.add("new", 9)
    host.connection.happen("LIFECYCLE", new, 2, 0)
    assert names(await watched.sample()) == ["a", "b", "c", "new"]
    assert watched.told == [("guest-started", "new")]


async def test_a_batch_that_fails_leaves_the_others_their_answers(
    host: FakeLibvirt, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guests are absent this time, the connection stays."""
    monkeypatch.setattr(poll_module, "BATCH", 1)
    await watched.sample()
    original = host.connection.domainListGetStats

    def flaky(domains: list, groups: int, flags: int) -> object:  # type: ignore[type-arg]
        if domains[0].name() == "b":
            raise libvirtError("this batch cannot be read")
        return original(domains, groups, flags)

    host.connection.domainListGetStats = flaky  # type: ignore[method-assign,assignment]
    sample = await watched.sample()
    assert (names(sample), absent(sample)) == (["a", "c"], ["b"])
    assert len(host.connections) == 1


async def test_a_guest_without_figures_is_absent_not_empty(host: FakeLibvirt, watched: Watched) -> None:
    """NOWAIT lists a busy guest with little more than its state."""
    host.guest("a").stats = {"state.state": 1}
    sample = await watched.sample()
    assert absent(sample) == ["a"]
    assert "left it out" in sample.absent[0].reason


async def test_a_guest_that_does_not_tell_how_it_is_built_is_absent(host: FakeLibvirt, watched: Watched) -> None:
    """And it says so; what was read once stays when it cannot be read again."""
    host.guest("a").refuses = libvirtError("no XML today")
    sample = await watched.sample()
    assert absent(sample) == ["a"]
    assert "no XML today" in sample.absent[0].reason

    host.guest("a").refuses = None
    assert names(await watched.sample()) == ["a", "b", "c"]
    watched.source.forget_traits(host.guest("a").uuid)
    host.guest("a").refuses = libvirtError("nor tomorrow")
    assert names(await watched.sample()) == ["a", "b", "c"]


async def test_a_guest_that_vanishes_in_the_middle_of_a_sample_is_no_ghost(host: FakeLibvirt, watched: Watched) -> None:
    """Its figures are in the reply, but it has stopped before the sample is put together."""
    await watched.sample()
    original = host.connection.domainListGetStats

    def reply_then_stop(*arguments: object) -> object:
        rows = original(*arguments)  # type: ignore[arg-type]
        if "a" in {guest.name for guest in host.guests.values()}:
            host.connection.stopped(host.guest("a"))
        return rows

    host.connection.domainListGetStats = reply_then_stop  # type: ignore[method-assign,assignment]
    for sample in (await watched.sample(), await watched.sample()):
        assert (names(sample), absent(sample)) == (["b", "c"], [])
    assert watched.told == [("guest-stopped", "a")]


# --- who stops, starts, migrates ------------------------------------------------------------------------------------


async def test_a_stopped_guest_is_dropped_and_announced_once(host: FakeLibvirt, watched: Watched) -> None:
    """By its event, with how it ended."""
    await watched.sample()
    gone = host.guest("a")
    host.connection.stopped(gone, 5)
    host.connection.happen("LIFECYCLE", gone, 5, 5)
    sample = await watched.sample()
    assert (names(sample), absent(sample)) == (["b", "c"], [])
    assert watched.told == [("guest-stopped", "a")]
    assert "QEMU ended or was killed" in watched.events[0].text


async def test_a_guest_that_stopped_without_a_word_is_dropped_and_announced_once(
    host: FakeLibvirt, watched: Watched
) -> None:
    """Absent first, for absent is not gone; then libvirt is asked who runs. A late event says nothing new."""
    await watched.sample()
    gone = host.guests.pop(host.guest("a").uuid)
    assert absent(await watched.sample()) == ["a"]
    assert absent(await watched.sample()) == []
    host.connection.happen("LIFECYCLE", gone, 5, 0)
    await watched.sample()
    assert watched.told == [("guest-stopped", "a")]


async def test_a_persistent_guest_that_stopped_is_not_a_guest(host: FakeLibvirt, watched: Watched) -> None:
    """Its definition goes on answering."""
    await watched.sample()
    host.guest("a").stats = {"state.state": 5, "balloon.current": 1 << 20, "balloon.maximum": 1 << 20}
    sample = await watched.sample()
    assert (names(sample), absent(sample)) == (["b", "c"], [])
    assert watched.told == [("guest-stopped", "a")]


async def test_a_hung_guest_is_not_asked_after_at_every_tick(host: FakeLibvirt, watched: Watched) -> None:
    """Who runs is looked up when somebody falls silent, and every ten seconds."""
    await watched.sample()
    host.guest("a").hung = True
    for _ in range(11):
        await watched.sample()
    assert host.lists == 1 + 1 + 1
    assert watched.events == []


async def test_a_start_that_nobody_told_is_found(host: FakeLibvirt, watched: Watched) -> None:
    """Within ten seconds."""
    await watched.sample()
    host.add("late", 7)
    found = [names(await watched.sample()) for _ in range(6)]
    assert found[-1] == ["a", "b", "c", "late"]


async def test_a_reboot_and_a_new_start_are_new_incarnations(host: FakeLibvirt, watched: Watched) -> None:
    """``since_s`` says so, for the law leaves a booting guest alone."""
    sinces = [next(g.since_s for g in (await watched.sample()).guests if g.name == "a")]
    for event in (("REBOOT",), ("LIFECYCLE", 2, 0)):
        host.connection.happen(event[0], host.guest("a"), *event[1:])
        sinces.append(next(g.since_s for g in (await watched.sample()).guests if g.name == "a"))
    assert sinces[0] == 1002.0
    assert None not in sinces
    assert sinces == sorted(set(sinces), key=float)  # type: ignore[arg-type]
    assert watched.told == [("guest-rebooted", "a"), ("guest-started", "a")]


async def test_hands_off_during_a_migration(host: FakeLibvirt, watched: Watched) -> None:
    """From the first iteration, told once, until libvirt's job is over; the next migration is told again."""

    async def busy() -> str | None:
        return next(guest.busy for guest in (await watched.sample()).guests if guest.name == "a")

    assert await busy() is None
    for _migration in range(2):
        host.guest("a").job = {"type": 2, "operation": 5}
        for iteration in range(3):
            host.connection.happen("MIGRATION_ITERATION", host.guest("a"), iteration)
        assert await busy() == "migration"
        host.guest("a").job = {"type": 0}
        host.connection.happen("JOB_COMPLETED", host.guest("a"), {})
        assert await busy() is None
    assert watched.told == [("guest-migrating", "a")] * 2


async def test_what_looks_like_a_migration_is_called_what_it_is(host: FakeLibvirt, watched: Watched) -> None:
    """QEMU tells of a snapshot as of a migration; libvirt knows better."""
    await watched.sample()
    host.guest("a").job = {"type": 2, "operation": 6}
    host.connection.happen("MIGRATION_ITERATION", host.guest("a"), 1)
    assert next(guest.busy for guest in (await watched.sample()).guests if guest.name == "a") == "snapshot"
    assert "is being migrated, saved or copied" in watched.events[0].text


async def test_two_samples_at_once_take_turns(host: FakeLibvirt, watched: Watched) -> None:
    """Polled at the same time, each would find the guests busy with the other."""
    await watched.sample()
    host.guest("a").hung = True
    first, second = await asyncio.gather(watched.sample(), watched.sample())
    assert names(first) == names(second) == ["b", "c"]
    # the second bulk call comes after the single calls of the first sample
    assert host.polls == [3, 3, 1, 1, 1, 3]


async def test_the_end_of_a_migration_is_seen_without_its_event(host: FakeLibvirt, watched: Watched) -> None:
    """A failed one may end without a word; while one goes on silently, hands stay off."""
    host.guest("a").job = {"type": 2, "operation": 5}
    seen = [next(guest.busy for guest in (await watched.sample()).guests if guest.name == "a") for _ in range(30)]
    assert seen == ["migration"] * 30
    host.guest("a").job = {"type": 0}
    seen = [next(guest.busy for guest in (await watched.sample()).guests if guest.name == "a") for _ in range(6)]
    assert seen[-1] is None


async def test_a_changed_configuration_is_read_again(host: FakeLibvirt, watched: Watched) -> None:
    """On its event, not at every tick."""
    await watched.sample()
    host.guest("a").xml = "<domain><devices><memballoon model='none'/></devices></domain>"
    assert all(guest.traits.has_balloon for guest in (await watched.sample()).guests)
    host.connection.happen("METADATA_CHANGE", host.guest("a"), 2, "uri")
    changed = next(guest for guest in (await watched.sample()).guests if guest.name == "a")
    assert not changed.traits.has_balloon


# --- the connection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True], ids=["told", "silent"])
async def test_libvirtd_dies_and_comes_back_with_the_same_guests(
    host: FakeLibvirt, watched: Watched, *, silent: bool
) -> None:
    """Every virDomain is replaced: those of the dead connection would be refused, also for the actuators."""
    before = {guest.uuid: guest.since_s for guest in (await watched.sample()).guests}
    host.crash(silent=silent)
    with pytest.raises(SourceError, match="is away"):
        await watched.sample()
    with pytest.raises(ActuatorError, match="now"):
        await watched.source.on_guest(host.guest("a").uuid, lambda domain: domain.XMLDesc(), deadline_s=1)

    host.refuses = None
    del host.guests[host.guest("c").uuid]
    host.add("d", 4)
    back = await watched.reconnected()
    assert names(back) == ["a", "b", "d"]
    assert all(before[guest.uuid] == guest.since_s for guest in back.guests if guest.name != "d")
    assert watched.told == [("guest-stopped", "c")]
    await watched.source.on_guest(host.guest("a").uuid, lambda domain: domain.setMemoryFlags(7, 1), deadline_s=1)
    assert host.guest("a").calls == [("memory", 7, 1)]
    assert host.connections[0].registered == {}
    assert host.connections[0].on_close is None


async def test_an_old_connection_has_no_say(host: FakeLibvirt, watched: Watched) -> None:
    """Neither its late close callback nor its events touch the new one."""
    await watched.sample()
    old = host.connection
    on_close, events = old.on_close, dict(old.registered)
    host.crash()
    await asyncio.sleep(0)
    host.refuses = None
    await watched.reconnected()
    assert on_close is not None
    on_close(old, 0, None)
    old.registered = events
    old.happen("LIFECYCLE", host.guest("a"), 5, 0)
    assert names(await watched.sample()) == ["a", "b", "c"]
    assert len(host.connections) == 2
    assert watched.events == []


async def test_a_lost_connection_is_tried_with_back_off(
    host: FakeLibvirt, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every call, and never less often than every few seconds."""
    await watched.sample()
    host.crash()
    await asyncio.sleep(0)
    tries = []

    def refuse(uri: str) -> None:
        tries.append(uri)
        raise libvirtError("Failed to connect socket", code=38, domain=RPC)

    monkeypatch.setattr(host, "open", refuse)
    for _ in range(3):
        with pytest.raises(SourceError):
            await watched.sample()
    assert tries == []
    for _ in range(9):
        with pytest.raises(SourceError, match="cannot be reached"):
            await watched.reconnected()
    assert len(tries) == 9
    assert watched.source._link._back_off_s <= 4


async def test_a_libvirtd_that_hangs_is_given_up_and_found_again(host: FakeLibvirt, watched: Watched) -> None:
    """Every sample ends in time; after three late ones the connection is made anew, when it can be."""
    await watched.sample()
    host.hung = True
    for _ in range(guests_module.LATE_MOST):
        began_s = time.monotonic()
        with pytest.raises(SourceError):
            await watched.sample()
        assert time.monotonic() - began_s < 5 * SOON_S
    assert watched.source._link.connection is None
    with pytest.raises(SourceError, match="has not answered yet"):
        await watched.reconnected()

    host.hung = False
    host.released.set()
    await asyncio.sleep(0.1)
    assert names(await watched.sample()) == ["a", "b", "c"]
    assert watched.source._workers.stuck == 0
    assert watched.events == []


async def test_a_connection_that_came_too_late_is_let_go(host: FakeLibvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear its events; it must not stay registered."""
    monkeypatch.setattr(guests_module, "OPEN_S", 0.05)
    monkeypatch.setattr(link_module, "OPEN_S", 0.04)
    host.hung = True
    watched = Watched()
    with pytest.raises(SourceError, match="is away"):
        await watched.source.start(watched.events.append)
    host.released.set()
    await asyncio.sleep(0.1)
    assert host.connection.registered == {}
    await watched.source.stop()


@pytest.mark.parametrize("code", [29, 45, 79, 88, 94])
async def test_who_may_not_use_libvirt_is_told_so(host: FakeLibvirt, code: int) -> None:
    """With what to do about it; anything else is somebody who is not there."""
    host.refuses = libvirtError("no", code=code)
    with pytest.raises(PermissionDeniedError, match="group libvirt"):
        await LibvirtGuests(URI, readonly=False, processes=None).start(lambda _event: None)
    host.refuses = libvirtError("no such socket", code=38)
    with pytest.raises(SourceError, match="systemctl status libvirtd"):
        await LibvirtGuests(URI, readonly=False, processes=None).start(lambda _event: None)


async def test_stopping_twice_and_while_a_call_hangs(host: FakeLibvirt, watched: Watched) -> None:
    """It takes no longer than its deadline, and what comes later finds nobody."""
    await watched.sample()
    host.guest("a").hung = True
    await watched.sample()
    connection = host.connection
    began_s = time.monotonic()
    await watched.source.stop()
    await watched.source.stop()
    assert time.monotonic() - began_s < 1
    assert connection.registered == {}


# --- for the actuators ----------------------------------------------------------------------------------------------


async def test_calls_about_a_guest(host: FakeLibvirt, watched: Watched) -> None:
    """Refused, unheard, cut off, or about nobody: each has its own error."""
    await watched.sample()
    guest: FakeGuest = host.guest("a")

    async def call(uuid: str = guest.uuid) -> object:
        return await watched.source.on_guest(uuid, lambda domain: domain.setMemoryFlags(1, 1), deadline_s=0.1)

    assert await call() == 0
    with pytest.raises(ActuatorError, match="does not know"):
        await call("nobody")
    guest.refuses = libvirtError("cannot set memory higher than max memory")
    with pytest.raises(ActuatorError, match="higher than max"):
        await call()
    guest.refuses = libvirtError("End of file while reading data", domain=RPC)
    with pytest.raises(NoAnswerError, match="connection broke"):
        await call()
    guest.hung = True
    with pytest.raises(NoAnswerError, match="within"):
        await call()


async def test_a_report_that_has_not_moved_is_shown_as_it_is(host: FakeLibvirt, watched: Watched) -> None:
    """Its age is for the law to judge: stale is not absent."""
    host.guest("a").stats = answer(last_update=500)
    sample = await watched.sample()
    assert next(g.reported.updated_at_s for g in sample.guests if g.name == "a" and g.reported) == 500.0


class Processes:
    """What the host's kernel knows, as told."""

    def __init__(self) -> None:
        self.qemus: dict[str, Qemu] = {}
        self.forgotten: list[str] = []

    def of(self, uuids: set[str], _now_s: float) -> dict[str, GuestProcess]:
        facts = ProcessFacts(cgroup_bytes=7, ksm_profit_bytes=-6, missing={"merged_bytes": "an old kernel"})
        pss = Pss(pss_bytes=5, pss_at_s=900.0)
        return {uuid: GuestProcess(qemu=self.qemus[uuid], facts=facts, pss=pss) for uuid in uuids & self.qemus.keys()}

    def forget(self, uuid: str) -> None:
        self.forgotten.append(uuid)


async def test_its_process_tells_when_a_guest_started(host: FakeLibvirt) -> None:
    """Also of a guest that ran before us, and of one that was started anew while libvirt was away."""
    processes = Processes()
    watched = Watched()
    watched.source = LibvirtGuests(URI, readonly=False, processes=processes)  # type: ignore[arg-type]
    await watched.source.start(watched.events.append)
    uuid = host.guest("a").uuid

    processes.qemus[uuid] = Qemu(uuid=uuid, pid=10, started_ticks=100)
    old, unseen, _ = (await watched.sample()).guests
    assert old.since_s == pytest.approx(started_at_s(processes.qemus[uuid]), abs=1)
    assert (old.observed.pid, old.observed.cgroup_bytes, old.observed.ksm_profit_bytes) == (10, 7, -6)
    assert (old.observed.pss_bytes, old.observed.pss_at_s) == (5, 900.0)
    assert old.missing["merged_bytes"] == "an old kernel"
    assert unseen.since_s == 1002.0
    assert unseen.missing["pid"] == "its process was not found"

    processes.qemus[uuid] = Qemu(uuid=uuid, pid=20, started_ticks=5000)
    new = (await watched.sample()).guests[0]
    assert new.since_s == pytest.approx(started_at_s(processes.qemus[uuid]), abs=1)

    host.connection.stopped(host.guest("a"))
    await watched.sample()
    assert processes.forgotten == [uuid]
    await watched.source.stop()
