"""The law against a simulated host: one sentence of intent each, then the world that proves it."""

import msgspec
import pytest

from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode
from memtide.model.reason import ReasonCode
from memtide.policy.tide import Tide
from memtide.sim.behaviours import Driverless, Hung, Lying, Rebooting, Silent, Stuck, Vanishing
from memtide.sim.curve import Curve, flat, wave
from memtide.sim.demo import demo_world
from memtide.sim.play import Trace
from memtide.sim.play import play as run
from memtide.sim.scenario import find
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

LIMITS = Limits(boot_grace_s=0.0)
SWAP = 512 * MIB


def air(name: str, freed_mib: int = 600, **more: object) -> GuestSpec:
    """Return a guest that touched memory, freed it, and idles."""
    return GuestSpec(name=name, anonymous=flat(40 * MIB), freed_bytes=freed_mib * MIB, swap_bytes=SWAP, **more)


def host(available_gib: float, swap_bytes: int = 0) -> HostSpec:
    """Return a host with so much for guests."""
    return HostSpec(total_bytes=int((available_gib + 0.56) * GIB), base_bytes=512 * MIB, swap_bytes=swap_bytes)


def play(world: World, duration_s: float, limits: Limits = LIMITS) -> Trace:
    """Run the law on a world."""
    return run(world, Tide(), limits, duration_s=duration_s)


def test_a_short_host_gets_its_reserve_back_from_idle_guests() -> None:
    """Touched and freed memory is returned until the host has its reserve, and no guest is short of anything."""
    trace = play(World(host(6), [air(f"g{i}") for i in range(8)]), 20)

    reserve_bytes = trace.ticks[-1].decision.budget.reserve_bytes
    assert trace.ticks[0].decision.budget.headroom_bytes < 0
    assert trace.world.memory.available_bytes >= reserve_bytes
    assert trace.shortage_gib_s == 0


def test_without_a_manager_the_same_host_stays_short() -> None:
    """The control: nobody acts, nothing comes back."""
    world = World(host(6), [air(f"g{i}") for i in range(8)])
    before_bytes = world.memory.available_bytes
    run(world, None, LIMITS, duration_s=20)

    assert world.memory.available_bytes <= before_bytes


def test_a_floor_guest_gets_one_and_a_half_times_its_floor_from_idle_ones() -> None:
    """Demand of a guest at its floor rises to 1.5 x the floor on a short host: two periods later it has it."""
    rising = GuestSpec(
        name="thin", current_bytes=400 * MIB, swap_bytes=SWAP,
        anonymous=wave(200 * MIB, 560 * MIB, period_s=1000, high_s=900, ramp_s=1, phase_s=20),
    )  # fmt: skip
    limits = Limits(boot_grace_s=0.0, reserve_bytes=735 * MIB, rules=(GuestRule(match="thin", floor_bytes=400 * MIB),))
    world = World(host(3), [rising, *(air(f"idle-{i}", 700) for i in range(3))])
    before = play(world, 20, limits)
    trace = run(world, Tide(), limits, duration_s=1 + 2 * 2.0)

    assert before.ticks[-1].decision.budget.available_bytes < 1.25 * before.ticks[-1].decision.budget.reserve_bytes
    assert trace["thin"].guest.memory.current_bytes >= 600 * MIB
    assert trace.oom_kills == 0


def test_the_demo_needs_no_swap_with_memtide_and_does_without() -> None:
    """Eight guests at 200 % with demand that moves: nobody suffers; the kernel alone swaps."""
    managed = play(demo_world(), 240)
    alone = run(demo_world(), None, LIMITS, duration_s=240)

    assert managed.oom_kills == 0
    assert managed.host_swap_bytes == 0
    assert managed.shortage_gib_s < 0.5
    assert alone.host_swap_bytes > 100 * MIB


def test_steady_demand_comes_to_rest() -> None:
    """When nothing changes any more nothing is done any more, on a short host too."""
    guests = [air(f"g{i}") for i in range(4)] + [GuestSpec(name="busy", anonymous=flat(700 * MIB), swap_bytes=SWAP)]
    trace = play(World(host(4.0), guests), 120)

    assert any(tick.replies for tick in trace.ticks[:20])
    assert not [action for tick in trace.ticks[20:] for action, _ in tick.replies]


@pytest.mark.parametrize("mode", Mode)
def test_guests_that_deflate_on_oom_come_to_rest_too(mode: Mode) -> None:
    """With that accounting taken memory looks used; a move must not look like growth and be undone."""
    guests = [air(f"g{i}", deflates_on_oom=True) for i in range(4)]
    trace = play(World(host(3.6), guests), 200, Limits(boot_grace_s=0.0, mode=mode))

    assert not [m for tick in trace.ticks[40:] for m, _ in tick.replies]
    assert all(trace[f"g{i}"].reversals <= 1 for i in range(4))


def test_a_square_wave_costs_at_most_one_reversal_per_half_period() -> None:
    """Demand that goes up and down does not make memory swing more often than it does."""
    waves = [
        GuestSpec(
            name=f"w{i}", swap_bytes=SWAP,
            anonymous=wave(60 * MIB, 600 * MIB, period_s=80, high_s=30, ramp_s=10, phase_s=40.0 * i),
        )
        for i in range(2)
    ]  # fmt: skip
    trace = play(World(host(1.9), waves), 320)

    assert trace.shortage_gib_s < 1
    assert all(trace[f"w{i}"].reversals <= 8 for i in range(2))


def test_the_heavier_guest_keeps_more_when_two_are_asked() -> None:
    """Of two guests with the same slack the one of weight 4 gives less."""
    limits = Limits(boot_grace_s=0.0, rules=(GuestRule(match="gold", weight=4.0),))
    trace = play(World(host(1.7), [air("gold"), air("lead")]), 6, limits)

    assert trace["lead"].moved_bytes > trace["gold"].moved_bytes


def test_follow_mode_gives_the_host_what_nobody_wants() -> None:
    """In follow mode slack goes back although the host is not short; in pressure mode it stays."""
    follow = play(World(host(8), [air("a")]), 60, Limits(boot_grace_s=0.0, mode=Mode.FOLLOW))
    pressure = play(World(host(8), [air("a")]), 60)

    assert {move.reason.code for move in follow.moves} == {ReasonCode.FOLLOW}
    assert pressure.moves == []


BAD = {
    "stuck": Stuck(),
    "driverless": Driverless(),
    "silent": Silent(),
    "lying": Lying(figures={"usable_bytes": 2**63, "total_bytes": 2**64 - 1}),
    "starved by its own word": Lying(figures={"usable_bytes": 0}),
    "hung": Hung(from_s=4, to_s=50),
    "vanishing": Vanishing(at_s=6),
    "rebooting": Rebooting(at_s=6),
}


@pytest.mark.parametrize("behaviour", BAD.values(), ids=BAD)
def test_one_bad_guest_does_not_keep_the_host_from_the_others(behaviour: object) -> None:
    """Whatever one guest does, the others give what they hold too much of, and nobody is hurt."""
    guests = [air("bad", behaviour=behaviour), *(air(f"g{i}") for i in range(4))]
    trace = play(World(host(3.4), guests), 60, Limits(boot_grace_s=0.0, reserve_bytes=1200 * MIB))

    assert sum(move.change_bytes < 0 for move in trace.moves if move.name != "bad") >= 2
    assert trace.world.memory.available_bytes >= trace.ticks[0].decision.budget.available_bytes
    assert sum(trace[f"g{i}"].oom_kills for i in range(4)) == 0
    assert sum(trace[f"g{i}"].shortage_gib_s for i in range(4)) == 0


def test_no_guest_is_ever_under_its_floor() -> None:
    """Ten minutes of waves on a tight host: the floor holds at every moment."""
    limits = Limits(boot_grace_s=0.0, defaults=GuestLimits(floor_bytes=300 * MIB))
    waves = [
        GuestSpec(
            name=f"w{i}",
            swap_bytes=SWAP,
            anonymous=wave(60 * MIB, 500 * MIB, period_s=60, high_s=20, ramp_s=8, phase_s=15.0 * i),
        )
        for i in range(4)
    ]
    trace = play(World(host(2.4, swap_bytes=GIB), waves), 600, limits)

    assert min(move.to_bytes for move in trace.moves) >= 300 * MIB


def test_a_starving_guest_that_may_not_be_cut_is_relieved_in_overload_too() -> None:
    """While needs are shared out, a guest in its boot grace has no share; when it starves it gets memory even so."""
    hungry = [
        GuestSpec(name=f"h{i}", swap_bytes=SWAP, anonymous=Curve(points=((5, 300 * MIB), (25, 900 * MIB))))
        for i in range(4)
    ]
    young = GuestSpec(name="young", current_bytes=400 * MIB, swap_bytes=SWAP, start_at_s=30, anonymous=flat(420 * MIB))
    trace = play(World(host(2.9), [*hungry, young]), 90, Limits(boot_grace_s=300.0))

    assert any(move.reason.code is ReasonCode.OVERLOAD for move in trace.moves)
    relieved = [move for move in trace.moves if move.name == "young" and move.change_bytes > 0]
    assert relieved
    assert trace["young"].guest.memory.current_bytes > 480 * MIB


@pytest.mark.parametrize("swap_bytes", [0, 4 * GIB])
@pytest.mark.parametrize("lag_s", [0.0, 2.0])
@pytest.mark.parametrize("name", ["lab-tight", "lab-roomy", "antiphase"])
def test_needs_that_fit_never_lead_to_overload(name: str, lag_s: float, swap_bytes: int) -> None:
    """What some guests grow by others free: sharing out needs then would make guests thrash for nothing.

    Real guests did, for minutes: reports of the two halves come at different moments.
    """
    scenario = find(name)
    guests = [msgspec.structs.replace(guest, stats_jitter_s=0.9, stats_lag_s=lag_s) for guest in scenario.guests]
    host_spec = msgspec.structs.replace(scenario.host, swap_bytes=swap_bytes)
    world = World(host_spec, guests, step_s=scenario.step_s, seed=7)
    trace = play(world, 300, scenario.limits)

    assert trace.shortage_gib_s < 0.5
    assert ReasonCode.OVERLOAD not in {move.reason.code for move in trace.moves}
