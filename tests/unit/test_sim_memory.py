"""What else the simulator knows of memory: free page reporting, pinned guests, compressed swap, a host that moves."""

import pytest

from memtide.model.action import SetMemory
from memtide.model.reason import Reason, ReasonCode
from memtide.sim.act import apply
from memtide.sim.curve import Curve, flat, wave
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

BECAUSE = Reason(code=ReasonCode.OPERATOR)


def set_memory(world: World, to_bytes: int) -> None:
    """Ask every guest for a size."""
    for uuid, guest in world.guests.items():
        apply(world, SetMemory(uuid=uuid, name=guest.spec.name, from_bytes=0, to_bytes=to_bytes, reason=BECAUSE))


# --- free page reporting ----------------------------------------------------------------------------------------


def test_a_guest_that_reports_free_pages_gives_them_back_by_itself() -> None:
    """Of 600 MiB that it freed most is the host's after some seconds; what lies in crumbs stays."""
    world = World(HostSpec(total_bytes=8 * GIB), [GuestSpec(name="a", freed_bytes=600 * MIB, reports_free_pages=True)])
    before_bytes = world.memory.available_bytes

    world.advance(2)
    early_bytes = world.memory.available_bytes - before_bytes
    world.advance(18)

    free_bytes = world.guest("a").memory.free_bytes
    assert 200 * MIB < early_bytes < 400 * MIB
    assert world.memory.available_bytes - before_bytes == pytest.approx(600 * MIB - 0.1 * free_bytes, abs=MIB)
    assert observe_guests(world).guests[0].traits.reports_free_pages


def test_it_costs_nobody_anything() -> None:
    """What is reported is touched again without harm, and the guest keeps its size."""
    demand = wave(50 * MIB, 700 * MIB, period_s=20, high_s=8)
    world = World(HostSpec(total_bytes=8 * GIB), [GuestSpec(name="a", anonymous=demand, reports_free_pages=True)])

    world.advance(60)

    assert world.guest("a").shortage_byte_s_total == 0
    assert world.guest("a").memory.current_bytes == GIB


# --- passthrough ------------------------------------------------------------------------------------------------


def test_taking_from_a_pinned_guest_gives_the_host_nothing() -> None:
    """All its memory is resident from the start, and stays so; given back, it is the guest's again."""
    spec = GuestSpec(name="a", anonymous=flat(100 * MIB), pinned=True, reports_free_pages=True)
    world = World(HostSpec(total_bytes=8 * GIB), [spec])
    rss_bytes = world.guest("a").memory.rss_bytes
    assert rss_bytes == GIB + spec.overhead_bytes
    assert observe_guests(world).guests[0].traits.passthrough

    set_memory(world, 300 * MIB)
    world.advance(10)
    assert world.guest("a").memory.current_bytes == 300 * MIB
    assert world.guest("a").memory.rss_bytes == rss_bytes

    set_memory(world, GIB)
    world.advance(10)
    assert world.guest("a").memory.rss_bytes == rss_bytes == world.memory.resident_bytes


def test_the_hosts_swap_leaves_pinned_guests_alone() -> None:
    """Only the other one's pages go."""
    guests = [
        GuestSpec(name="pinned", pinned=True),
        GuestSpec(name="air", freed_bytes=800 * MIB),
        GuestSpec(name="growing", anonymous=Curve(points=((0, 0), (10, 700 * MIB)))),
    ]
    world = World(HostSpec(total_bytes=3 * GIB, swap_bytes=GIB), guests)

    world.advance(15)

    assert world.guest("pinned").memory.host_swapped_bytes == 0
    assert world.guest("air").memory.host_swapped_bytes > 100 * MIB


# --- a guest's compressed swap ----------------------------------------------------------------------------------


def test_compressed_swap_takes_memory_of_its_own() -> None:
    """To gain 200 MiB at 3:1 it has to swap 300 MiB."""
    spec = GuestSpec(
        name="a", anonymous=flat(800 * MIB), hot_ratio=0.2, swap_bytes=512 * MIB, swap_compression=3.0
    )  # fmt: skip
    world = World(HostSpec(total_bytes=8 * GIB), [spec])

    set_memory(world, (40 + 800 + 8 - 200) * MIB)
    world.advance(10)

    memory = world.guest("a").memory
    assert memory.swapped_bytes == pytest.approx(300 * MIB, rel=0.01)
    assert memory.compressed_bytes == memory.swapped_bytes // 3
    assert world.guest("a").shortage_bytes == 0


def test_guests_that_swap_share_the_hosts_cores() -> None:
    """Two that are squeezed move half as much each as one alone."""

    def moved_bytes(count: int) -> int:
        guests = [GuestSpec(name=f"g{i}", anonymous=flat(700 * MIB), swap_bytes=GIB) for i in range(count)]
        world = World(HostSpec(total_bytes=16 * GIB, guests_swap_bps=100 * MIB), guests)
        set_memory(world, 300 * MIB)
        world.advance(10)
        begun_bytes = world.guest("g0").memory.swap_in_bytes_total
        world.advance(10)
        return world.guest("g0").memory.swap_in_bytes_total - begun_bytes

    assert moved_bytes(2) == pytest.approx(moved_bytes(1) / 2, rel=0.05)


# --- the host ---------------------------------------------------------------------------------------------------


def test_the_host_itself_can_get_hungry() -> None:
    """Its own processes take 2 GiB more for a while: that is missing, and comes back."""
    hungry = Curve(points=((10, 512 * MIB), (15, 2560 * MIB), (30, 2560 * MIB), (31, 512 * MIB)))
    world = World(HostSpec(total_bytes=4 * GIB, base=hungry), [GuestSpec(name="a")])
    before_bytes = world.memory.available_bytes

    world.advance(20)
    assert world.memory.available_bytes == before_bytes - 2 * GIB

    world.advance(15)
    assert world.memory.available_bytes == before_bytes


def test_a_hungry_host_swaps_guests_and_then_kills_one() -> None:
    """What it wants for itself goes before its guests."""
    hungry = Curve(points=((0, 512 * MIB), (20, 2700 * MIB)))
    guests = [GuestSpec(name=f"g{i}", freed_bytes=600 * MIB) for i in range(2)]
    with_swap = World(HostSpec(total_bytes=int(3.5 * GIB), base=hungry, swap_bytes=2 * GIB), guests)
    without = World(HostSpec(total_bytes=int(3.5 * GIB), base=hungry), guests)

    with_swap.advance(40)
    without.advance(40)

    assert (with_swap.oom_kills_total, len(with_swap.guests)) == (0, 2)
    assert with_swap.memory.base_bytes == 2700 * MIB
    assert with_swap.memory.swapped_bytes > 600 * MIB
    assert without.oom_kills_total >= 1


def test_what_nobody_touches_after_the_start_is_swapped_and_never_missed() -> None:
    """Idle memory of kernel and QEMU goes first, and stays in swap however often the guests use the rest."""
    demand = wave(50 * MIB, 500 * MIB, period_s=20, high_s=8)
    guests = [GuestSpec(name=f"g{i}", anonymous=demand, idle_bytes=60 * MIB, recent_ratio=1) for i in range(4)]
    host = HostSpec(total_bytes=int(2.85 * GIB), swap_bytes=GIB, lru_error_ratio=0)
    world = World(host, guests)

    world.advance(60)

    assert 0 < world.memory.swapped_bytes <= 240 * MIB
    assert world.memory.swap_in_bytes_total == 0


def test_the_kernel_guesses_wrong_now_and_then() -> None:
    """Of a hundred pages that it swaps out some are in use, and are read back at once."""

    def course(lru_error_ratio: float) -> World:
        guests = [
            GuestSpec(name="air", freed_bytes=900 * MIB),
            GuestSpec(name="growing", anonymous=Curve(points=((0, 0), (20, 600 * MIB)))),
        ]
        host = HostSpec(total_bytes=int(1.9 * GIB), swap_bytes=GIB, lru_error_ratio=lru_error_ratio)
        world = World(host, guests)
        world.advance(30)
        return world

    right, wrong = course(0.0), course(0.1)
    assert right.memory.swap_in_bytes_total == 0
    assert 0 < wrong.memory.swap_in_bytes_total < 0.15 * wrong.memory.swap_out_bytes_total
    assert wrong.guest("growing").memory.lost_bytes == 0


@pytest.mark.parametrize("step_s", [0.5, 1.0, 2.0])
def test_longer_steps_come_to_the_same(step_s: float) -> None:
    """Host swap and guest swap of a busy minute differ by less than a quarter from those of steps of 0.1 s."""

    def moved_mib(step_s: float) -> tuple[int, int]:
        def demand(i: int) -> Curve:
            return wave(60 * MIB, 600 * MIB, period_s=40, high_s=15, ramp_s=5, phase_s=20.0 * (i % 2))

        guests = [GuestSpec(name=f"g{i}", anonymous=demand(i), swap_bytes=GIB) for i in range(4)]
        guests.append(GuestSpec(name="squeezed", anonymous=flat(600 * MIB), swap_bytes=GIB))
        host = HostSpec(total_bytes=int(3.4 * GIB), swap_bytes=2 * GIB)
        world = World(host, guests, step_s=step_s)
        world.guest("squeezed").target_bytes = 500 * MIB
        world.advance(120)
        memory = world.guest("squeezed").memory
        return world.memory.swap_out_bytes_total // MIB, memory.swap_in_bytes_total // MIB

    assert moved_mib(step_s) == pytest.approx(moved_mib(0.1), rel=0.25)


def test_a_host_swaps_while_file_data_still_count_as_available() -> None:
    """100 MiB of page cache that the kernel holds on to: MemAvailable says 100 MiB more, and swapping begins there."""
    growing = GuestSpec(name="growing", maximum_bytes=4 * GIB, anonymous=Curve(points=((0, 0), (20, 1700 * MIB))))
    guests = [GuestSpec(name="air", freed_bytes=800 * MIB), growing]
    host = HostSpec(total_bytes=3 * GIB, cache_bytes=100 * MIB, swap_bytes=GIB, lru_error_ratio=0)
    world = World(host, guests)
    seen = observe_host(world).memory
    assert seen.cached_bytes == 100 * MIB
    assert seen.available_bytes == seen.free_bytes + 100 * MIB - 48 * MIB

    world.advance(30)

    assert world.memory.swap_out_bytes_total > 100 * MIB
    assert world.memory.available_bytes == pytest.approx(100 * MIB, abs=MIB)
    assert world.set_huge_pages(GIB) == 0
