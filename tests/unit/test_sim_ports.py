"""The simulated world behind the ports: its clock, its sources, its actuator, and a run of the demo."""

import asyncio
import time

import pytest

from memtide.model.action import Result, SetKsm, SetMemory
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Event
from memtide.policy.tide import Tide
from memtide.ports import Actuator, Clock, GuestSource, HostSource
from memtide.sim.behaviours import Vanishing
from memtide.sim.demo import demo_world
from memtide.sim.play import play as run
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

BECAUSE = Reason(code=ReasonCode.OPERATOR)


@pytest.fixture
def world() -> World:
    """Return a host with one guest that freed a lot."""
    return World(HostSpec(total_bytes=4 * GIB), (GuestSpec(name="a", freed_bytes=600 * MIB),))


def test_the_adapters_are_the_ports(world: World) -> None:
    """They can stand wherever the loop wants the real ones."""
    host: HostSource = SimHostSource(world)
    guests: GuestSource = SimGuestSource(world)
    actuator: Actuator = SimActuator(world)
    clock: Clock = SimClock(world)
    assert all((host, guests, actuator, clock))


@pytest.mark.parametrize(("asked_s", "passed_s"), [(2.0, 2.0), (0.0, 0.0), (0.25, 0.3), (1e-7, 0.1)])
async def test_sleeping_is_what_makes_the_worlds_time_pass(world: World, asked_s: float, passed_s: float) -> None:
    """Whole steps, rounded up: a loop that waits for its last microsecond gets on."""
    await SimClock(world).sleep(asked_s, asyncio.Event())

    assert world.elapsed_s == pytest.approx(passed_s)


async def test_a_loops_last_rest_ends() -> None:
    """Waiting for what is left until a moment gets there, though wall times are coarse floats."""
    world = World(HostSpec(total_bytes=4 * GIB), start_s=1_790_000_000.123)
    clock, waits = SimClock(world), 0
    end_s = clock.now_s() + 20
    while clock.now_s() < end_s:
        await clock.sleep(min(2.0, end_s - clock.now_s()), asyncio.Event())
        waits += 1

    assert waits <= 11
    assert world.elapsed_s == pytest.approx(20, abs=0.2)


async def test_an_event_of_the_world_can_end_the_sleep() -> None:
    """A guest vanishes after ten seconds, and whoever is told may wake the sleeper; the wake stays set."""
    world = World(HostSpec(total_bytes=4 * GIB), (GuestSpec(name="a", behaviour=Vanishing(at_s=10)),))
    wake = asyncio.Event()
    await SimGuestSource(world).start(lambda _event: wake.set())

    await SimClock(world).sleep(1000, wake)

    assert world.elapsed_s == pytest.approx(10)
    assert wake.is_set()


async def test_everybody_else_gets_a_turn_in_every_step(world: World) -> None:
    """The control socket answers while simulated time flies."""
    turns, loop = [], asyncio.get_running_loop()

    def turn() -> None:
        turns.append(world.elapsed_s)
        loop.call_soon(turn)

    loop.call_soon(turn)
    await SimClock(world).sleep(5, asyncio.Event())

    assert len(set(turns)) >= 50


async def test_with_a_speed_time_passes_no_faster(world: World) -> None:
    """At twenty times real time two seconds last a tenth of one."""
    clock = SimClock(world, speed=20)
    began_s = time.monotonic()

    await clock.sleep(2, asyncio.Event())

    assert time.monotonic() - began_s >= 0.09
    assert world.elapsed_s == pytest.approx(2)


async def test_guests_that_come_and_go_are_told_of_between_start_and_stop(world: World) -> None:
    """The source passes events on, as libvirt's does."""
    source, events = SimGuestSource(world), []
    await source.start(events.append)
    world.add(GuestSpec(name="b"))
    world.remove("b")
    await source.stop()
    world.add(GuestSpec(name="c"))

    assert [(type(event), event.code, event.guest) for event in events] == [
        (Event, "guest-started", "b"),
        (Event, "guest-stopped", "b"),
    ]


async def test_the_host_gains_what_the_guest_gave(world: World) -> None:
    """Through the ports alone: shrink, wait, and available memory is up by the guest's freed memory."""
    before = SimHostSource(world).sample(world.now_s)
    (guest,) = (await SimGuestSource(world).sample(world.now_s)).guests
    action = SetMemory(uuid=guest.uuid, name="a", from_bytes=GIB, to_bytes=300 * MIB, reason=BECAUSE)

    reply = await SimActuator(world).apply(action)
    await SimClock(world).sleep(3, asyncio.Event())

    after = SimHostSource(world).sample(world.now_s)
    assert reply.result is Result.SENT
    assert after.memory.available_bytes - before.memory.available_bytes == pytest.approx(600 * MIB, rel=0.02)
    assert after.taken_at_s == before.taken_at_s + 3
    assert (await SimActuator(world).apply(action)).result is Result.DONE


@pytest.mark.parametrize(
    ("files", "result"),
    [({"run": "1"}, Result.DONE), ({"no-such-file": "1"}, Result.REFUSED), ({"run": "fast"}, Result.REFUSED)],
)
async def test_ksm_takes_what_the_kernel_would(world: World, files: dict[str, str], result: Result) -> None:
    """A file that exists and a number are taken and can be read back; all else is refused and changes nothing."""
    reply = await SimActuator(world).apply(SetKsm(files=files, before={}, reason=BECAUSE))

    ksm = SimHostSource(world).sample(world.now_s).ksm
    assert reply.result is result
    assert ksm is not None
    assert ksm.run == (1 if result is Result.DONE else 0)


# --- the demo ---------------------------------------------------------------------------------------------------


def test_the_demos_host_swaps_when_nobody_looks_after_it() -> None:
    """What eight guests leave resident does not fit in 4 GiB: swap within two minutes, though nobody needs it."""
    trace = run(demo_world(), None, Limits(), duration_s=120)

    assert trace.host_swap_bytes > 500 * MIB
    assert trace.least_available_bytes == 0
    assert trace.oom_kills == 0


def test_the_demos_host_stays_well_with_the_law() -> None:
    """The same guests with the law: nobody swaps, waits or dies, and memory really moves."""
    trace = run(demo_world(), Tide(), Limits(), duration_s=300)

    assert trace.host_swap_bytes == 0
    assert trace.shortage_gib_s == 0
    assert trace.oom_kills == 0
    assert min(move.to_bytes for move in trace.moves if move.name == "giant") < 600 * MIB
    assert trace.guests.keys() == {"wave-0", "wave-1", "wave-2", "giant", "burster", "filler", "leaker", "steady"}
