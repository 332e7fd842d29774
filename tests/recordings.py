"""Recordings of simulated hosts, made as `memtide record` makes them, but faster than time."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from memtide.actuators.null import NullActuator
from memtide.model.action import SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.tide import Tide, TideState
from memtide.ports import HostSource
from memtide.runtime.parts import Eyes
from memtide.runtime.record import Progress, Recorder
from memtide.sim.demo import demo_world
from memtide.sim.ports import SimClock, SimGuestSource, SimHostSource
from memtide.sim.world import World


class Watched(Tide):
    """The law, with a note of all that it decided."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def decide(self, state: TideState, snapshot: Snapshot, limits: Limits) -> tuple[TideState, Decision]:
        state, decision = super().decide(state, snapshot, limits)
        self.decisions.append(decision)
        return state, decision


def eyes(
    world: World,
    policy: Tide | None = None,
    host: HostSource | None = None,
    facts: Callable[[], dict[str, str]] = dict,
) -> Eyes:
    """Return what a recording of this world sees with; its clock is as fast as the machine."""
    return Eyes(
        uri="simulation",
        clock=SimClock(world, speed=None),
        host=host or SimHostSource(world),
        guests=SimGuestSource(world),
        policy=policy or Tide(),
        actuators=dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), NullActuator()),
        facts=facts,
    )


def made(  # noqa: PLR0913 - a builder: everything by keyword, everything with a default
    path: Path,
    *,
    world: World | None = None,
    for_s: float = 60.0,
    limits: Limits | None = None,
    anonymous: bool = False,
    policy: Tide | None = None,
    host: HostSource | None = None,
    facts: Callable[[], dict[str, str]] = dict,
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> Progress:
    """Record a world, the demo's unless told, and return how it went."""

    async def run() -> Progress:
        seen = eyes(world or demo_world(), policy, host, facts)
        recorder = Recorder(seen, limits or Limits(), path, anonymous=anonymous, tell=tell)
        await recorder.start()
        return await recorder.run(for_s)

    return asyncio.run(run())
