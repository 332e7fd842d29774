"""The two worlds that pass the same contract: simulated, and real guests under libvirt.

Each has five guests, by what they are for:

====== ==========================================================================================================
freed  512 MiB, touched and freed 300 MiB: what the host can gain
mute   nobody has set a stats period
bare   no balloon device
frail  for hanging
doomed for killing
====== ==========================================================================================================
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lab import GuestSpec as LabSpec
from lab import Lab
from memtide.actuators.balloon import BalloonActuator
from memtide.actuators.ksm import KsmActuator
from memtide.actuators.stats_period import StatsPeriodActuator
from memtide.model.action import Action, Reply, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.guest import Guest
from memtide.model.host import Host
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import GuestSample
from memtide.ports import Actuator, Clock, GuestSource, HostSource
from memtide.runtime.clock import SystemClock
from memtide.sim.behaviours import Hung
from memtide.sim.curve import flat
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sim.spec import GuestSpec as SimSpec
from memtide.sim.spec import HostSpec
from memtide.sim.world import World
from memtide.sources.host import HostReader
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.processes import GuestProcesses
from memtide.units import GIB, MIB

BECAUSE = Reason(code=ReasonCode.OPERATOR)
ROOT = Path("/")
SIZE_BYTES = 512 * MIB
FREED_BYTES = 300 * MIB
PERIOD_S = 2
LAB_WAIT_S = 600.0
"""Another lab may be running on this machine."""


@dataclass(slots=True, kw_only=True)
class Provider:
    """One world: the ports that memtide sees, and the hands that do things to its guests."""

    clock: Clock
    host: HostSource
    guests: GuestSource
    actuators: Mapping[type[Action], Actuator]
    vanish: Callable[[str], None]
    hang: Callable[[str], None]
    resume: Callable[[str], None]
    alive: set[str]
    """Names of the guests that run now."""

    async def wait(self, duration_s: float) -> None:
        """Let the world's time pass."""
        await self.clock.sleep(duration_s, asyncio.Event())

    async def sample(self) -> GuestSample:
        """Return the guests as they are now."""
        return await self.guests.sample(self.clock.now_s())

    def sample_host(self) -> Host:
        """Return the host as it is now."""
        return self.host.sample(self.clock.now_s())

    async def guest(self, name: str) -> Guest:
        """Return one guest as it is now."""
        # a guest may be absent from one reply, on a busy machine; three in a row is a failure
        for _ in range(3):
            for guest in (await self.sample()).guests:
                if guest.name == name:
                    return guest
        raise AssertionError(f"{name} was absent three times in a row")

    async def until(self, name: str, holds: Callable[[Guest], bool], *, limit_s: float) -> Guest:
        """Return the guest once this holds of it, or as it is when the time is over."""
        end_s = self.clock.now_s() + limit_s
        while not holds(guest := await self.guest(name)) and self.clock.now_s() < end_s:
            await self.wait(0.5)
        return guest

    async def apply(self, action: Action) -> Reply:
        """Ask for a change."""
        return await self.actuators[type(action)].apply(action)

    async def set_memory(self, guest: Guest, to_bytes: int) -> Reply:
        """Ask for a guest's size."""
        current_bytes = guest.observed.current_bytes
        return await self.apply(
            SetMemory(uuid=guest.uuid, name=guest.name, from_bytes=current_bytes, to_bytes=to_bytes, reason=BECAUSE)
        )

    async def set_period(self, guest: Guest, to_s: int) -> Reply:
        """Ask for a guest's stats period."""
        from_s = guest.traits.stats_period_s
        return await self.apply(
            SetStatsPeriod(uuid=guest.uuid, name=guest.name, from_s=from_s, to_s=to_s, reason=BECAUSE)
        )


# --- simulated ----------------------------------------------------------------------------------------------------


def sim_world() -> World:
    """Return a new simulated world with the five guests."""

    def spec(name: str, **rest: Any) -> SimSpec:
        values = {"maximum_bytes": SIZE_BYTES, "anonymous": flat(20 * MIB), "stats_period_s": PERIOD_S} | rest
        return SimSpec(name=name, **values)

    guests = (
        spec("freed", freed_bytes=FREED_BYTES),
        spec("mute", stats_period_s=None),
        spec("bare", stats_period_s=None, has_balloon=False),
        spec("frail"),
        spec("doomed"),
    )
    return World(HostSpec(total_bytes=8 * GIB), guests)


@asynccontextmanager
async def simulated(world: World) -> AsyncIterator[Provider]:
    """Serve a simulated world behind the ports."""
    actuator = SimActuator(world)

    def behave(name: str, **change: Any) -> None:
        guest = world.guest(name)
        guest.spec = msgspec.structs.replace(guest.spec, **change)

    provider = Provider(
        clock=SimClock(world),
        host=SimHostSource(world),
        guests=SimGuestSource(world),
        actuators={SetMemory: actuator, SetStatsPeriod: actuator, SetKsm: actuator},
        vanish=world.remove,
        hang=lambda name: behave(name, behaviour=Hung(from_s=0, to_s=1e9)),
        resume=lambda name: behave(name, behaviour=SimSpec(name=name).behaviour),
        alive={guest.spec.name for guest in world.guests.values()},
    )
    await provider.guests.start(lambda _event: None)
    await provider.wait(2 * PERIOD_S)
    yield provider
    await provider.guests.stop()


# --- real ---------------------------------------------------------------------------------------------------------


def booted_lab() -> Lab:
    """Return a lab with the five guests, to be used in a ``with``."""

    def spec(name: str, **rest: Any) -> LabSpec:
        values = {"size_bytes": SIZE_BYTES, "script": "hold 20MiB", "stats_period_s": PERIOD_S} | rest
        return LabSpec(name=name, **values)

    guests = [
        spec("freed", script=f"touchfree {FREED_BYTES // MIB}MiB; hold 20MiB"),
        spec("mute", stats_period_s=None),
        spec("bare", stats_period_s=None, balloon=False),
        spec("frail"),
        spec("doomed"),
    ]
    return Lab(guests, wait_s=LAB_WAIT_S)


@asynccontextmanager
async def real(lab: Lab) -> AsyncIterator[Provider]:
    """Serve a running lab behind the ports."""
    by_name = {guest.name: guest for guest in lab.guests}
    source = LibvirtGuests(lab.uri, readonly=False, processes=GuestProcesses(ROOT))
    provider = Provider(
        clock=SystemClock(),
        host=HostReader(ROOT),
        guests=source,
        actuators={
            SetMemory: BalloonActuator(source),
            SetStatsPeriod: StatsPeriodActuator(source),
            SetKsm: KsmActuator(ROOT),
        },
        vanish=lambda name: by_name[name].kill(),
        hang=lambda name: by_name[name].stop_process(),
        resume=lambda name: by_name[name].cont_process(),
        alive={guest.name for guest in lab.guests if guest.alive},
    )
    await source.start(lambda _event: None)
    yield provider
    await source.stop()
