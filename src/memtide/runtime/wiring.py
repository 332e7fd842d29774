"""Which concrete class stands behind which port: the only module that names them."""

import functools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from memtide.actuators.balloon import BalloonActuator
from memtide.actuators.ksm import KsmActuator
from memtide.actuators.null import NullActuator
from memtide.actuators.stats_period import StatsPeriodActuator
from memtide.actuators.unmerge import KsmUnmerger
from memtide.model.action import SetKsm, SetMemory, SetStatsPeriod
from memtide.policy.tide import Tide
from memtide.ports import Actuator, Clock, Policy
from memtide.runtime.clock import SystemClock
from memtide.runtime.ledger import Ledger, OnRecord
from memtide.runtime.loop import Actuators
from memtide.runtime.parts import Eyes, Parts, Recording
from memtide.runtime.settings import Settings
from memtide.sim.demo import demo_world
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sim.recorded import ASSUMED, RecordedWorld
from memtide.sources.host import HostReader
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.processes import GuestProcesses
from memtide.sources.psi import PressureTrigger
from memtide.sources.replay import TraceFile
from memtide.sources.tree import guests_of_tree, uptime_s
from memtide.store.readers import read_left_log
from memtide.store.retention import Retention
from memtide.store.sqlite import SqliteStore
from memtide.store.stream import RecordedHistory, read_facts

__all__ = [
    "ASSUMED",
    "URI_FACT",
    "RecordedWorld",
    "assembled",
    "eyes",
    "guests_of_tree",
    "host_reader",
    "read_left_log",
    "recording",
    "uptime_s",
]

ROOT: Final = Path("/")
STALL_US: Final = 150_000
WINDOW_US: Final = 1_000_000
"""Tasks waiting for memory 15 % of a second wake the loop (peers.md 15.1)."""
SIMULATION: Final = "simulation"
URI_FACT: Final = "uri"
"""Key, among the daemon's own facts, of where the guests are whose originals are on record."""


@asynccontextmanager
async def assembled(settings: Settings, *, simulate: bool, policy: Policy[Any] | None = None) -> AsyncIterator[Parts]:
    """Put the daemon's parts together, the store first: its lock keeps a second daemon out.

    Args:
        settings: how it is to run.
        simulate: put a simulated host and guests in place of the real ones.
        policy: the law; ``None``: memtide's own.

    Raises:
        AlreadyRunningError: another daemon works in the same state folder.
        StoreError, PermissionDeniedError: the store cannot be opened.
        SourceError: Python's libvirt binding is missing.
    """
    async with AsyncExitStack() as stack:
        world = demo_world(start_s=time.time()) if simulate else None
        clock: Clock = SystemClock() if world is None else SimClock(world, speed=1.0)
        store = SqliteStore(settings.store_directory, retention=_retention(settings), now_s=clock.now_s)
        stack.push_async_callback(store.close)
        ledger = Ledger(store)
        await ledger.load()
        if world is not None:
            simulated = SimActuator(world)
            yield Parts(
                uri=SIMULATION,
                clock=clock,
                host=SimHostSource(world),
                guests=SimGuestSource(world),
                policy=policy or Tide(),
                actuators=_actuators(simulated, simulated, simulated, ledger, clock, act=settings.act),
                store=store,
                ledger=ledger,
                waker=None,
                warnings=(),
            )
            return
        guests = LibvirtGuests(settings.libvirt_uri, readonly=not settings.act, processes=GuestProcesses(ROOT))
        stack.push_async_callback(guests.stop)
        trigger = PressureTrigger(ROOT, STALL_US, WINDOW_US)
        stack.callback(trigger.close)
        yield Parts(
            uri=settings.libvirt_uri,
            clock=clock,
            host=HostReader(ROOT),
            guests=guests,
            policy=policy or Tide(),
            actuators=_actuators(
                BalloonActuator(guests), StatsPeriodActuator(guests), KsmActuator(ROOT), ledger, clock, act=settings.act
            ),
            store=store,
            ledger=ledger,
            waker=None if trigger.why_not else trigger,
            warnings=() if trigger.why_not is None else (f"no wake-up on memory pressure: {trigger.why_not}",),
            unmerger=KsmUnmerger(ROOT),
        )


@asynccontextmanager
async def eyes(settings: Settings, *, simulate: bool) -> AsyncIterator[Eyes]:
    """Put together what looks and changes nothing, beside a daemon or without one.

    Raises:
        SourceError: Python's libvirt binding is missing.
    """
    world = demo_world(start_s=time.time()) if simulate else None
    guests = (
        LibvirtGuests(settings.libvirt_uri, readonly=True, processes=GuestProcesses(ROOT))
        if world is None
        else SimGuestSource(world)
    )
    try:
        yield Eyes(
            uri=settings.libvirt_uri if world is None else SIMULATION,
            clock=SystemClock() if world is None else SimClock(world, speed=1.0),
            host=HostReader(ROOT) if world is None else SimHostSource(world),
            guests=guests,
            policy=Tide(),
            actuators=dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), NullActuator()),
            facts=dict if world is not None else functools.partial(read_facts, settings.store_directory),
        )
    finally:
        await guests.stop()


def host_reader(root: Path) -> HostReader:
    """Return what reads a host below this folder: ``/``, or a captured tree."""
    return HostReader(root)


def recording(path: Path) -> Recording:
    """Return what is on record there: a trace, or a daemon's folder.

    Raises:
        UsageError, PermissionDeniedError, SourceError: it is not there, not for this user, or no such thing.
    """
    return RecordedHistory(path) if path.is_dir() else TraceFile(path)


def _retention(settings: Settings) -> Retention:
    return Retention(
        records_s=settings.keep_records_s,
        actions_s=settings.keep_actions_s,
        events_s=settings.keep_events_s,
        most_bytes=settings.store_max_bytes,
    )


def _actuators(  # noqa: PLR0913 - three kinds of change, and what goes with all of them
    memory: Actuator, period: Actuator, ksm: Actuator, ledger: Ledger, clock: Clock, *, act: bool
) -> Actuators:
    """Return the actuators, each behind its record of originals; their null twin in observe mode."""
    real: Actuators = {SetMemory: memory, SetStatsPeriod: period, SetKsm: ksm}
    return {kind: OnRecord(actuator, ledger, clock) if act else NullActuator() for kind, actuator in real.items()}
