"""Which concrete class stands behind which port: the only module that names them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from memtide.actuators.balloon import BalloonActuator
from memtide.actuators.ksm import KsmActuator
from memtide.actuators.null import NullActuator
from memtide.actuators.stats_period import StatsPeriodActuator
from memtide.model.action import SetKsm, SetMemory, SetStatsPeriod
from memtide.policy.tide import Tide
from memtide.ports import Actuator, Clock
from memtide.runtime.clock import SystemClock
from memtide.runtime.ledger import Ledger, OnRecord
from memtide.runtime.loop import Actuators
from memtide.runtime.parts import Parts
from memtide.runtime.settings import Settings
from memtide.sim.demo import demo_world
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sources.host import HostReader
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.processes import GuestProcesses
from memtide.sources.psi import PressureTrigger
from memtide.store.readers import read_left_log
from memtide.store.retention import Retention
from memtide.store.sqlite import SqliteStore

__all__ = ["URI_FACT", "assembled", "read_left_log"]

ROOT: Final = Path("/")
STALL_US: Final = 150_000
WINDOW_US: Final = 1_000_000
"""Tasks waiting for memory 15 % of a second wake the loop (peers.md 15.1)."""
SIMULATION: Final = "simulation"
URI_FACT: Final = "uri"
"""Key, among the daemon's own facts, of where the guests are whose originals are on record."""


@asynccontextmanager
async def assembled(settings: Settings, *, simulate: bool) -> AsyncIterator[Parts]:
    """Put the daemon's parts together, the store first: its lock keeps a second daemon out.

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
                policy=Tide(),
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
            policy=Tide(),
            actuators=_actuators(
                BalloonActuator(guests), StatsPeriodActuator(guests), KsmActuator(ROOT), ledger, clock, act=settings.act
            ),
            store=store,
            ledger=ledger,
            waker=None if trigger.why_not else trigger,
            warnings=() if trigger.why_not is None else (f"no wake-up on memory pressure: {trigger.why_not}",),
        )


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
