"""The simulator against what was measured on real guests (lab-notes), and against its own books."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memtide.sim.curve import Curve, flat, wave
from memtide.sim.guest import SimGuest
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB


def world(*guests: GuestSpec, total_bytes: int = 16 * GIB, swap_bytes: int = 0, lru_error_ratio: float = 0.0) -> World:
    """Return a host of 16 GiB with these guests, whose kernel knows which pages are in use."""
    return World(HostSpec(total_bytes=total_bytes, swap_bytes=swap_bytes, lru_error_ratio=lru_error_ratio), guests)


def set_all(simulated: World, target_bytes: int) -> None:
    """Ask every guest for this size."""
    for guest in simulated.guests.values():
        guest.target_bytes = target_bytes


# --- measured facts ---------------------------------------------------------------------------------------------


def test_touched_and_freed_memory_comes_back_at_the_measured_speed() -> None:
    """4 guests of 1 GiB that freed 600 MiB, all set to 250 MiB: the host gains about 2.4 GiB in 2.5 to 3 s."""
    simulated = world(*(GuestSpec(name=str(i), anonymous=flat(30 * MIB), freed_bytes=600 * MIB) for i in range(4)))
    before_bytes = simulated.memory.available_bytes
    gains_gib = {}

    set_all(simulated, 250 * MIB)
    for at_s in (1, 2, 3):
        simulated.advance(1)
        gains_gib[at_s] = (simulated.memory.available_bytes - before_bytes) / GIB

    assert gains_gib[1] == pytest.approx(1.0, abs=0.1)
    assert gains_gib[2] == pytest.approx(2.0, abs=0.2)
    assert gains_gib[3] == pytest.approx(2.4, abs=0.1)
    assert all(guest.memory.current_bytes < 300 * MIB for guest in simulated.guests.values())


def test_memory_never_touched_gives_the_host_nothing() -> None:
    """8 guests that hold 200 MiB give up 4.2 GiB of nominal memory, as to MOM, and the host gains about nothing."""
    simulated = world(*(GuestSpec(name=str(i), anonymous=flat(200 * MIB)) for i in range(8)))
    before_bytes = simulated.memory.available_bytes

    set_all(simulated, GIB - 540 * MIB)
    simulated.advance(60)

    taken_bytes = sum(GIB - guest.memory.current_bytes for guest in simulated.guests.values())
    assert taken_bytes > 4.2 * GIB
    assert simulated.memory.available_bytes - before_bytes < 0.1 * GIB


def test_a_guest_squeezed_below_its_need_swaps_without_end() -> None:
    """At 300 MiB a guest that uses 700 MiB writes and reads its swap as fast as it can: hundreds of MiB a second."""
    simulated = world(GuestSpec(name="a", anonymous=flat(700 * MIB), swap_bytes=GIB))
    guest = simulated.guest("a")

    guest.target_bytes = 300 * MIB
    simulated.advance(10)
    begun_bytes = guest.memory.swap_in_bytes_total
    simulated.advance(10)

    assert guest.memory.current_bytes == 300 * MIB
    assert guest.memory.swap_in_bytes_total - begun_bytes > 10 * 100 * MIB
    assert guest.major_faults_total > 100_000
    assert guest.shortage_bytes == pytest.approx(400 * MIB, rel=0.3)


def test_given_back_the_memory_ends_the_swapping() -> None:
    """A squeezed guest that is grown again reads its pages back, and then its swap is quiet."""
    simulated = world(GuestSpec(name="a", anonymous=flat(700 * MIB), swap_bytes=GIB))
    guest = simulated.guest("a")
    guest.target_bytes = 300 * MIB
    simulated.advance(10)

    guest.target_bytes = GIB
    simulated.advance(10)
    quiet_bytes = guest.memory.swap_in_bytes_total
    simulated.advance(10)

    assert guest.memory.swap_in_bytes_total == quiet_bytes
    assert guest.shortage_bytes == 0


def test_cold_memory_is_swapped_once_and_left_there() -> None:
    """What a guest never touches again can go to its swap without harm: out once, never in."""
    simulated = world(GuestSpec(name="a", anonymous=flat(700 * MIB), hot_ratio=0.2, swap_bytes=GIB))
    guest = simulated.guest("a")

    guest.target_bytes = 400 * MIB
    simulated.advance(20)

    assert guest.memory.current_bytes == 400 * MIB
    assert guest.memory.swap_out_bytes_total == pytest.approx(350 * MIB, rel=0.1)
    assert guest.memory.swap_in_bytes_total == 0
    assert guest.shortage_bytes == 0


def test_a_guest_without_swap_is_killed_when_it_outgrows_its_memory() -> None:
    """Shortage without swap means the guest's own OOM killer."""
    simulated = world(GuestSpec(name="a", anonymous=wave(100 * MIB, 700 * MIB, period_s=60, high_s=50, phase_s=5)))
    guest = simulated.guest("a")

    guest.target_bytes = 300 * MIB
    simulated.advance(12)

    assert guest.oom_kills_total >= 1
    assert guest.shortage_byte_s_total > 0


def test_a_driver_that_deflates_on_oom_takes_memory_back_instead() -> None:
    """The same guest with deflate-on-oom grows by itself, past its target, and nobody dies."""
    demand = wave(100 * MIB, 700 * MIB, period_s=60, high_s=50, phase_s=5)
    simulated = world(GuestSpec(name="a", anonymous=demand, deflates_on_oom=True))
    guest = simulated.guest("a")

    guest.target_bytes = 300 * MIB
    simulated.advance(12)

    assert guest.oom_kills_total == 0
    assert guest.target_bytes == guest.memory.current_bytes > 700 * MIB
    assert guest.memory.anonymous_bytes == 700 * MIB


@pytest.mark.parametrize(("deflates", "total_mib"), [(False, 460), (True, 984)])
def test_both_accountings_of_taken_memory(*, deflates: bool, total_mib: int) -> None:
    """MemTotal shrinks with the guest, or stays and the taken memory looks used (deflate-on-oom)."""
    simulated = world(GuestSpec(name="a", anonymous=flat(100 * MIB), deflates_on_oom=deflates))
    guest = simulated.guest("a")

    guest.target_bytes = 500 * MIB
    simulated.advance(3)

    report = guest.figures(simulated.now_s)
    assert report is not None
    assert report.total_bytes == total_mib * MIB
    assert report.usable_bytes == (500 - 40 - 100 - 8) * MIB


def test_cold_cache_goes_first_and_hot_cache_comes_back() -> None:
    """The balloon drops cold file data without harm; hot file data that was dropped is read again, at a price."""
    simulated = world(
        GuestSpec(name="cold", cold_cache=flat(600 * MIB)),
        GuestSpec(name="hot", hot_cache=flat(600 * MIB)),
    )

    set_all(simulated, 400 * MIB)
    simulated.advance(10)

    cold, hot = simulated.guest("cold"), simulated.guest("hot")
    assert cold.memory.cold_cache_bytes < 400 * MIB
    assert cold.shortage_byte_s_total == 0
    assert cold.major_faults_total == 0
    assert hot.shortage_bytes > 200 * MIB
    assert hot.major_faults_total > 100_000


def test_a_host_out_of_memory_and_swap_kills_its_largest_guest() -> None:
    """When memory and swap are used up, the guest with the largest resident memory is gone, and the others live."""
    simulated = world(
        GuestSpec(name="large", anonymous=flat(700 * MIB)),
        GuestSpec(name="growing", anonymous=Curve(points=((0, 0), (20, 600 * MIB)))),
        total_bytes=int(1.9 * GIB),
    )

    simulated.advance(30)

    assert [guest.spec.name for guest in simulated.guests.values()] == ["growing"]
    assert simulated.oom_kills_total == 1
    assert simulated.guest("growing").memory.anonymous_bytes == 600 * MIB


def test_the_hosts_swap_takes_cold_pages_first_and_shows_no_pressure() -> None:
    """Freed memory of an idle giant is swapped out for a growing guest, and nobody waits for it."""
    simulated = world(
        GuestSpec(name="giant", freed_bytes=900 * MIB),
        GuestSpec(name="growing", anonymous=Curve(points=((0, 0), (20, 600 * MIB)))),
        total_bytes=int(1.9 * GIB),
        swap_bytes=GIB,
    )

    simulated.advance(30)

    assert simulated.oom_kills_total == 0
    assert simulated.memory.swap_out_bytes_total > 100 * MIB
    assert simulated.memory.swap_in_bytes_total == 0
    assert simulated.guest("growing").shortage_byte_s_total == 0


def test_a_host_that_swaps_hot_pages_shows_pressure() -> None:
    """When hot memory does not fit, pages go in and out and the host's pressure rises."""
    simulated = world(
        *(GuestSpec(name=str(i), anonymous=flat(400 * MIB)) for i in range(4)),
        total_bytes=int(2.75 * GIB),
        swap_bytes=4 * GIB,
    )
    assert simulated.some.read().avg10_ratio == 0

    simulated.add(GuestSpec(name="straw", anonymous=Curve(points=((0, 0), (10, 900 * MIB)))))
    simulated.advance(30)

    assert simulated.memory.swap_in_bytes_total > GIB
    assert simulated.some.read().avg10_ratio > 0.3
    assert simulated.full.read().avg10_ratio <= simulated.some.read().avg10_ratio


def test_huge_pages_take_available_memory_and_give_it_back() -> None:
    """Huge pages fall out of MemAvailable at once; more than there is cannot be had."""
    simulated = world(total_bytes=4 * GIB)
    before_bytes = simulated.memory.available_bytes

    assert simulated.set_huge_pages(GIB) == GIB
    assert simulated.memory.available_bytes == before_bytes - GIB
    assert simulated.set_huge_pages(100 * GIB) == before_bytes
    assert simulated.memory.available_bytes == 0
    assert simulated.set_huge_pages(0) == 0
    assert simulated.memory.available_bytes == before_bytes


def test_freed_memory_stays_resident_until_the_balloon_takes_it() -> None:
    """A guest that frees 500 MiB costs the host the same as before, and 500 MiB less once it was shrunk and grown."""
    simulated = world(GuestSpec(name="a", anonymous=Curve(points=((0, 600 * MIB), (1, 100 * MIB)))))
    guest = simulated.guest("a")
    full_bytes = guest.memory.rss_bytes

    simulated.advance(5)
    assert guest.memory.rss_bytes == full_bytes

    guest.target_bytes = 200 * MIB
    simulated.advance(5)
    guest.target_bytes = GIB
    simulated.advance(5)
    assert guest.memory.current_bytes == GIB
    assert guest.memory.rss_bytes < full_bytes - 490 * MIB


# --- its own books --------------------------------------------------------------------------------------------


def sizes(most_bytes: int) -> st.SearchStrategy[int]:
    """Return any size up to this."""
    return st.integers(min_value=0, max_value=most_bytes)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Return a demand that begins with nothing and jumps about, up to more than the guest has."""
    points = tuple((float(2 * i + 1), draw(sizes(1200 * MIB))) for i in range(draw(st.integers(0, 3))))
    return Curve(points=((0.0, 0), *points), repeat_s=8.0)


@st.composite
def specs(draw: st.DrawFn, name: str) -> GuestSpec:
    """Return any guest of 1 GiB."""
    return GuestSpec(
        name=name,
        anonymous=draw(curves()),
        hot_cache=draw(curves()),
        cold_cache=draw(curves()),
        hot_ratio=draw(st.floats(0, 1)),
        freed_bytes=draw(sizes(300 * MIB)),
        swap_bytes=draw(st.sampled_from([0, 100 * MIB, GIB])),
        swap_compression=draw(st.sampled_from([None, 3.0])),
        deflates_on_oom=draw(st.booleans()),
        reports_free_pages=draw(st.booleans()),
        idle_bytes=draw(st.sampled_from([0, 60 * MIB])),
        image=draw(st.sampled_from([None, "debian"])),
        identical_bytes=draw(sizes(500 * MIB)),
        rewritten_bps=draw(sizes(50 * MIB)),
        recent_ratio=draw(st.floats(0, 1)),
    )


def check_books(simulated: World, guests: list[SimGuest]) -> None:
    """Every page is somewhere, and only there."""
    host = simulated.memory
    assert host.resident_bytes == sum(guest.memory.rss_bytes for guest in simulated.guests.values())
    assert host.swapped_bytes == sum(guest.memory.host_swapped_bytes for guest in simulated.guests.values())
    assert host.free_bytes >= 0
    assert 0 <= host.merged_bytes <= host.resident_bytes
    assert 0 <= host.swapped_bytes <= host.spec.swap_bytes
    for guest in guests:
        memory = guest.memory
        pages = (memory.anonymous_bytes, memory.hot_cache_bytes, memory.cold_cache_bytes, memory.swapped_bytes)
        assert min(pages) >= 0
        assert memory.swapped_bytes <= guest.spec.swap_bytes
        assert 0 <= memory.freed_bytes <= memory.free_bytes
        assert 0 <= memory.host_swapped_bytes <= memory.touched_bytes + guest.spec.idle_bytes
        assert 0 <= memory.lost_bytes <= memory.host_swapped_bytes
        assert memory.current_bytes <= guest.spec.maximum_bytes


@settings(max_examples=100, deadline=None)
@given(
    guests=st.tuples(specs("a"), specs("b"), specs("c")),
    targets=st.lists(st.tuples(sizes(GIB), sizes(GIB), sizes(GIB)), max_size=4),
    swap_bytes=st.sampled_from([0, 300 * MIB, 4 * GIB]),
)
def test_no_page_is_lost_or_counted_twice(
    guests: tuple[GuestSpec, ...], targets: list[tuple[int, ...]], swap_bytes: int
) -> None:
    """Whatever guests do and are asked for, on a host that is too small: all sums add up to the byte."""
    host = HostSpec(total_bytes=2 * GIB, swap_bytes=swap_bytes, ksm_run=1, ksm_pages_to_scan=20_000)
    simulated = World(host, guests)
    everybody = list(simulated.guests.values())
    for sizes_bytes in [*targets, (GIB, GIB, GIB)]:
        for guest, target_bytes in zip(everybody, sizes_bytes, strict=True):
            guest.target_bytes = target_bytes
        for _ in range(20):
            simulated.advance(0.1)
            check_books(simulated, everybody)


def test_the_same_start_takes_the_same_course() -> None:
    """Two worlds from one description are equal after any time: there is no chance in it."""

    def course() -> list[tuple[int, int]]:
        simulated = world(
            GuestSpec(name="a", anonymous=wave(0, 900 * MIB, period_s=7, high_s=3), swap_bytes=GIB),
            GuestSpec(name="b", freed_bytes=800 * MIB),
            total_bytes=2 * GIB,
            swap_bytes=GIB,
        )
        found = []
        for _ in range(50):
            simulated.advance(0.7)
            found.append((simulated.memory.free_bytes, simulated.guest("a").memory.swap_out_bytes_total))
        return found

    assert course() == course()
