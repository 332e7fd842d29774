"""The guest source and its actuators on real guests: what hangs, dies or comes back is somebody else's trouble."""

import asyncio
import gc
import os
import signal
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import libvirt
import pytest

from lab import Guest as LabGuest
from lab import GuestSpec, Lab
from lab.paths import RUN
from memtide.actuators.balloon import BalloonActuator
from memtide.actuators.stats_period import StatsPeriodActuator
from memtide.errors import SourceError
from memtide.model.action import Result, SetMemory, SetStatsPeriod
from memtide.model.guest import Guest
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Event
from memtide.model.snapshot import GuestSample
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.processes import GuestProcesses
from memtide.units import MIB

WAIT_S = 600.0  # another lab may be running on this machine
TICK_S = 2.0
SIZE_BYTES = 512 * MIB
SMALL_BYTES = 384 * MIB
CROWD = [f"crowd-{number}" for number in range(5)]
CROWD_BYTES = 192 * MIB
BECAUSE = Reason(code=ReasonCode.OPERATOR)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One reports, one has no stats period, one is there to be killed; and a crowd, more than a connection can bear."""
    specs = [
        GuestSpec(name="calm", size_bytes=SIZE_BYTES, stats_period_s=1),
        GuestSpec(name="mute", size_bytes=SIZE_BYTES, stats_period_s=None),
        GuestSpec(name="doomed", size_bytes=SIZE_BYTES, stats_period_s=1),
        *(GuestSpec(name=name, size_bytes=CROWD_BYTES, stats_period_s=1) for name in CROWD),
    ]
    with Lab(specs, wait_s=WAIT_S) as running:
        yield running


class Watched:
    """A source, and the events that it told of."""

    def __init__(self, uri: str) -> None:
        self.source = LibvirtGuests(uri, readonly=False, processes=GuestProcesses(Path("/")))
        self.events: list[Event] = []

    async def sample(self) -> GuestSample:
        """Return the guests as they are now."""
        return await self.source.sample(time.time())

    async def guest(self, name: str) -> Guest:
        """Return one guest as it is now."""
        return next(guest for guest in (await self.sample()).guests if guest.name == name)

    async def until(self, holds: Callable[[GuestSample], bool], *, limit_s: float) -> GuestSample:
        """Return the first sample of which this holds, or the last one when the time is over; libvirt may be away."""
        end_s = time.monotonic() + limit_s
        sample = GuestSample(guests=())
        while time.monotonic() < end_s:
            try:
                sample = await self.sample()
            except SourceError:
                sample = GuestSample(guests=())
            if holds(sample):
                break
            await asyncio.sleep(0.2)
        return sample

    def codes(self, name: str) -> list[str]:
        """Return what was told of a guest."""
        return [event.code for event in self.events if event.guest == name]


@pytest.fixture
async def watched(lab: Lab) -> AsyncIterator[Watched]:
    """A source that has just connected."""
    watched = Watched(lab.uri)
    await watched.source.start(watched.events.append)
    yield watched
    await watched.source.stop()


def by_name(lab: Lab, name: str) -> LabGuest:
    """Return the hands on one guest."""
    return next(guest for guest in lab.guests if guest.name == name)


def names(sample: GuestSample) -> set[str]:
    """Return the guests that answered."""
    return {guest.name for guest in sample.guests}


async def test_reports_appear_once_the_period_is_set(watched: Watched) -> None:
    """The period is read back from the guest's configuration, and in a moment the guest speaks; then it is put back."""
    mute = await watched.guest("mute")
    assert mute.traits.stats_period_s is None
    asked_at_s = time.time()
    actuator = StatsPeriodActuator(watched.source)

    reply = await actuator.apply(SetStatsPeriod(uuid=mute.uuid, name="mute", from_s=None, to_s=1, reason=BECAUSE))
    assert reply.result is Result.DONE
    assert (await watched.guest("mute")).traits.stats_period_s == 1
    # its driver may have spoken once, when it came up
    speaking = await watched.until(
        lambda s: all(g.reported and g.reported.updated_at_s > asked_at_s for g in s.guests), limit_s=15
    )
    assert all(guest.reported and guest.reported.updated_at_s > asked_at_s for guest in speaking.guests)

    reply = await actuator.apply(SetStatsPeriod(uuid=mute.uuid, name="mute", from_s=1, to_s=0, reason=BECAUSE))
    assert reply.result is Result.DONE
    assert (await watched.guest("mute")).traits.stats_period_s is None


async def test_a_guest_moves_and_the_reply_says_that_it_was_told(watched: Watched) -> None:
    """Down, and up again."""
    calm = await watched.guest("calm")
    actuator = BalloonActuator(watched.source)
    for to_bytes in (SMALL_BYTES, SIZE_BYTES):
        action = SetMemory(uuid=calm.uuid, name="calm", from_bytes=SIZE_BYTES, to_bytes=to_bytes, reason=BECAUSE)
        assert (await actuator.apply(action)).result is Result.SENT
        moved = await watched.until(
            lambda s, to=to_bytes: any(g.name == "calm" and g.observed.current_bytes == to for g in s.guests),
            limit_s=20,
        )
        assert any(guest.observed.current_bytes == to_bytes for guest in moved.guests if guest.name == "calm")


async def test_a_guest_that_hangs_delays_nobody(lab: Lab, watched: Watched) -> None:
    """The others stay fresh, it becomes absent, calls to it end in time, and it comes back."""
    guests = {guest.name: guest for guest in (await watched.sample()).guests}
    hung = by_name(lab, "calm")
    hung.stop_process()
    try:
        for _tick in range(3):
            began_s = time.monotonic()
            sample = await watched.sample()
            assert time.monotonic() - began_s < TICK_S
            assert names(sample) == {"mute", "doomed", *CROWD}
            reported = next(guest.reported for guest in sample.guests if guest.name == "doomed")
            assert reported is not None
            assert time.time() - reported.updated_at_s < 2 * TICK_S
        assert [absent.name for absent in sample.absent] == ["calm"]
        assert "hangs" in sample.absent[0].reason

        actuator = BalloonActuator(watched.source)
        told = [
            SetMemory(uuid=guests[name].uuid, name=name, from_bytes=SIZE_BYTES, to_bytes=SIZE_BYTES, reason=BECAUSE)
            for name in ("calm", "doomed")
        ]
        lost, served = await asyncio.gather(*map(actuator.apply, told))
        assert lost.result is Result.NO_ANSWER
        assert served.result is Result.SENT
        assert served.took_s < 1
    finally:
        hung.cont_process()
    back = await watched.until(lambda s: "calm" in names(s), limit_s=10)
    assert "calm" in names(back)
    assert watched.source._workers.stuck == 0
    assert watched.codes("calm") == []


async def test_many_that_hang_at_once_hide_nobody(lab: Lab, watched: Watched) -> None:
    """As when their storage is gone. libvirtd serves five calls of a client at a time: another connection is needed."""
    await watched.sample()
    hung = [by_name(lab, name) for name in CROWD]
    for guest in hung:
        guest.stop_process()
    try:
        for tick in range(4):
            began_s = time.monotonic()
            sample = await watched.sample()
            assert time.monotonic() - began_s < TICK_S
            if tick:
                assert names(sample) == {"calm", "mute", "doomed"}
                assert sorted(absent.name for absent in sample.absent) == CROWD
            await asyncio.sleep(0.5)
        assert len(hung) <= watched.source._workers.stuck <= len(hung) + 1
        calm = next(guest for guest in sample.guests if guest.name == "calm")
        action = SetMemory(uuid=calm.uuid, name="calm", from_bytes=SIZE_BYTES, to_bytes=SIZE_BYTES, reason=BECAUSE)
        assert (await BalloonActuator(watched.source).apply(action)).result is Result.SENT
    finally:
        for guest in hung:
            guest.cont_process()
    await watched.until(lambda s: names(s) >= set(CROWD), limit_s=10)
    assert names(await watched.sample()) >= set(CROWD)
    assert watched.source._workers.stuck == 0
    assert watched.events == []


async def test_hands_off_while_libvirt_copies_a_guests_memory(lab: Lab, watched: Watched) -> None:
    """A live snapshot is a migration to QEMU: busy from its start, also when it is aborted, of which no event tells."""
    calm = await watched.guest("calm")
    # it writes faster than it is copied, so the snapshot would never end
    by_name(lab, "calm").command("hold 200MiB")
    by_name(lab, "calm").wait_for(lambda report: report.anon_bytes >= 200 * MIB, limit_s=30)
    domain = libvirt.open(lab.uri).lookupByName("calm")
    xml = f"""<domainsnapshot><memory snapshot='external' file='{RUN}/memory'/>
        <disks><disk name='vda' snapshot='no'/></disks></domainsnapshot>"""
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    snapshot = asyncio.create_task(asyncio.to_thread(domain.snapshotCreateXML, xml, flags))

    def busy(sample: GuestSample) -> str | None:
        # absent for a moment, while libvirt begins
        return next((guest.busy for guest in sample.guests if guest.uuid == calm.uuid), None)

    assert busy(await watched.until(lambda s: busy(s) is not None, limit_s=10)) is not None
    assert busy(await watched.sample()) == "snapshot"
    await asyncio.to_thread(domain.abortJob)
    with pytest.raises(libvirt.libvirtError):
        await snapshot
    over = await watched.until(lambda s: calm.uuid in {g.uuid for g in s.guests} and busy(s) is None, limit_s=15)
    assert not over.absent
    assert busy(over) is None
    assert watched.codes("calm") == ["guest-migrating"]
    by_name(lab, "calm").command("idle")


async def test_libvirtd_comes_back_and_so_do_the_same_guests(lab: Lab, watched: Watched) -> None:
    """Killed and started: the same guests by UUID within 10 s, calls work again, nothing leaks, nobody is announced."""
    before = {guest.uuid: guest.since_s for guest in (await watched.sample()).guests}
    connections = []
    for _turn in range(2):
        connections.append(weakref.ref(watched.source._link.connection))  # type: ignore[arg-type]
        lab.libvirtd.kill()
        with pytest.raises(SourceError):
            await watched.sample()
        lab.libvirtd.start()
        began_s = time.monotonic()
        back = await watched.until(lambda s: len(s.guests) == len(before), limit_s=10)
        assert time.monotonic() - began_s < 10
        assert {guest.uuid: guest.since_s for guest in back.guests} == before
        # the virDomain of the dead connection would refuse this
        calm = next(guest for guest in back.guests if guest.name == "calm")
        action = SetMemory(uuid=calm.uuid, name="calm", from_bytes=SIZE_BYTES, to_bytes=SIZE_BYTES, reason=BECAUSE)
        assert (await BalloonActuator(watched.source).apply(action)).result is Result.SENT
    await asyncio.sleep(0.2)
    gc.collect()
    assert [connection() for connection in connections] == [None, None]
    assert watched.events == []


async def test_a_libvirtd_that_hangs_is_given_up_and_found_again(lab: Lab, watched: Watched) -> None:
    """Every sample ends in time and says so; when it goes on, everybody is back and nothing stays stuck."""
    before = await watched.sample()
    pid = lab.libvirtd.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _tick in range(4):
            began_s = time.monotonic()
            with pytest.raises(SourceError, match=r"no answer|not answered|away"):
                await watched.sample()
            assert time.monotonic() - began_s < TICK_S
            await asyncio.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    back = await watched.until(lambda s: names(s) == names(before), limit_s=10)
    assert names(back) == names(before)
    assert watched.source._workers.stuck == 0
    assert watched.events == []


async def test_a_reset_guest_is_known_anew(lab: Lab, watched: Watched) -> None:
    """Its process goes on, but its kernel starts again: the time since which we know it says so."""
    before = await watched.guest("calm")
    began_s = time.time()
    by_name(lab, "calm").reset()
    after = await watched.until(
        lambda s: any(g.name == "calm" and (g.since_s or 0) >= began_s for g in s.guests), limit_s=10
    )
    calm = next(guest for guest in after.guests if guest.name == "calm")
    assert before.since_s is not None
    assert before.since_s < began_s
    assert calm.since_s is not None
    assert calm.since_s >= began_s
    assert calm.observed.pid == before.observed.pid
    assert watched.codes("calm") == ["guest-rebooted"]


async def test_a_killed_guest_is_dropped_and_announced_once(lab: Lab, watched: Watched) -> None:
    """As after the host's OOM killer; also by a source that had no event of it, because none reached it."""
    deaf = Watched(lab.uri)
    await deaf.source.start(deaf.events.append)
    await deaf.sample()
    await watched.sample()
    deaf.source._link.post = lambda *_: None  # type: ignore[method-assign]
    by_name(lab, "doomed").kill()
    for each in (watched, deaf):
        left = await each.until(lambda s: not s.absent and "doomed" not in names(s), limit_s=5)
        assert names(left) == {"calm", "mute", *CROWD}
        assert not left.absent
        for _ in range(2):
            await each.sample()
        assert each.codes("doomed") == ["guest-stopped"]
    await deaf.source.stop()
