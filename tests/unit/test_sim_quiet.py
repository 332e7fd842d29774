"""Guests in which nothing moves are not stepped: what comes of it is the same to the byte, and takes less time."""

import msgspec
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from memtide.errors import MemtideError
from memtide.model.guest import Guest
from memtide.model.host import Host
from memtide.model.snapshot import Absent
from memtide.sim.behaviours import (
    Babbling,
    Behaviour,
    Driverless,
    Hung,
    Intermittent,
    Lying,
    Migrating,
    Rebooting,
    Silent,
    Slow,
    Stuck,
    Uncounted,
    Vanishing,
)
from memtide.sim.curve import Curve, flat, leak, noise, walk, wave
from memtide.sim.guest import SimGuest
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

CURVES = (
    flat(0),
    flat(200 * MIB),
    wave(60 * MIB, 700 * MIB, period_s=30, high_s=10, phase_s=3),
    leak(0, 900 * MIB, bps=20 * MIB, at_s=5),
    noise(50 * MIB, 500 * MIB, every_s=8, seed=3),
    walk(50 * MIB, 500 * MIB, step_bytes=100 * MIB, every_s=6, seed=4),
    Curve(points=((0, 0), (11, 300 * MIB), (20, 0)), repeat_s=25),
)
BEHAVIOURS = (
    Behaviour(),
    Babbling(seed=1),
    Driverless(),
    Hung(from_s=7, to_s=13),
    Intermittent(works_s=2, rests_s=5),
    Lying(figures={"usable_bytes": 2**64 - 1}),
    Migrating(at_s=9, takes_s=8),
    Rebooting(at_s=8, boot_s=4),
    Silent(),
    Slow(bps=MIB),
    Stuck(),
    Uncounted(),
    Vanishing(at_s=17),
)
HOSTS = (
    HostSpec(total_bytes=16 * GIB),
    HostSpec(total_bytes=int(3.2 * GIB), swap_bytes=2 * GIB, base=wave(400 * MIB, GIB, period_s=20, high_s=5)),
    HostSpec(total_bytes=4 * GIB, swap_bytes=GIB, guests_swap_bps=100 * MIB, ksm_run=1, ksm_pages_to_scan=5000),
)
Moves = list[tuple[int, int, int]]
Seen = tuple[tuple[Guest, ...], tuple[Absent, ...], Host, dict[str, tuple[float | int, ...]]]

specs = st.builds(
    GuestSpec,
    name=st.just(""),
    anonymous=st.sampled_from(CURVES),
    hot_cache=st.sampled_from(CURVES[:2]),
    cold_cache=st.sampled_from((CURVES[0], CURVES[6])),
    hot_ratio=st.sampled_from((1.0, 0.5)),
    freed_bytes=st.sampled_from((0, 300 * MIB)),
    swap_bytes=st.sampled_from((0, GIB)),
    swap_compression=st.sampled_from((None, 3.0)),
    deflates_on_oom=st.booleans(),
    stats_period_s=st.sampled_from((None, 1, 2)),
    stats_lag_s=st.sampled_from((0.0, 1.5)),
    stats_jitter_s=st.sampled_from((0.0, 2.0)),
    stats_loss_ratio=st.sampled_from((0.0, 0.3)),
    reports_free_pages=st.booleans(),
    idle_bytes=st.sampled_from((0, 40 * MIB)),
    pinned=st.booleans(),
    start_at_s=st.sampled_from((0.0, 0.0, 6.0)),
    image=st.sampled_from((None, "debian")),
    identical_bytes=st.just(80 * MIB),
    rewritten_bps=st.sampled_from((0, MIB)),
    behaviour=st.sampled_from(BEHAVIOURS),
)


def course(host: HostSpec, guests: list[GuestSpec], moves: Moves, step_s: float, *, skips_quiet: bool) -> list[Seen]:
    """Return everything there is to see in 30 s."""
    named = [msgspec.structs.replace(spec, name=f"g{i}") for i, spec in enumerate(guests)]
    try:
        world = World(host, named, step_s=step_s, seed=7, skips_quiet=skips_quiet)
    except MemtideError:
        reject()  # too many pinned guests for the host
    everybody = list(world.guests.values())
    seen = []
    for second in range(30):
        for at_s, which, target_bytes in moves:
            if at_s == second and everybody:
                everybody[which % len(everybody)].target_bytes = target_bytes
        world.advance(1.0)
        sample = observe_guests(world)
        seen.append((sample.guests, sample.absent, observe_host(world), {g.spec.name: sums(g) for g in everybody}))
    return seen


def sums(guest: SimGuest) -> tuple[float | int, ...]:
    """Return what a guest has gone through, which memtide cannot see."""
    return guest.shortage_byte_s_total, guest.moved_bytes_total, guest.oom_kills_total, guest.major_faults_total


@pytest.mark.parametrize("step_s", [0.1, 1.0])
@settings(max_examples=40, deadline=None)
@given(
    host=st.sampled_from(HOSTS),
    guests=st.lists(specs, min_size=1, max_size=5),
    moves=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 9), st.integers(100 * MIB, GIB)), max_size=5),
)
def test_it_makes_no_difference_whether_quiet_guests_are_stepped(
    host: HostSpec, guests: list[GuestSpec], moves: Moves, step_s: float
) -> None:
    """All that memtide sees, and all that guests suffer, second by second."""
    fast = course(host, guests, moves, step_s, skips_quiet=True)
    assert fast == course(host, guests, moves, step_s, skips_quiet=False)


def test_quiet_guests_are_not_stepped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level guest is looked at in its first step and then rests; one whose demand moves does not."""
    stepped: list[str] = []
    real = SimGuest.step

    def step(guest: SimGuest, *arguments: float) -> None:
        stepped.append(guest.spec.name)
        real(guest, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SimGuest, "step", step)
    rising = leak(0, 900 * MIB, bps=MIB)
    world = World(
        HostSpec(total_bytes=8 * GIB),
        [GuestSpec(name="level", anonymous=flat(MIB)), GuestSpec(name="rising", anonymous=rising)],
    )

    world.advance(10)

    assert stepped.count("level") == 1
    assert stepped.count("rising") == 100
