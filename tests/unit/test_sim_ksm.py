"""The simulated KSM: what it saves, at what rate, at what price, and what its files say."""

import pytest

from memtide.model.derived import ksm_profit_bytes, ksm_saved_bytes
from memtide.model.ksm import Ksm
from memtide.sim.curve import flat
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

FAST = {"ksm_pages_to_scan": 5000, "ksm_sleep_millisecs": 20}
"""125000 pages a second, 490 MiB."""


def twins(count: int = 4, *, run: int = 1, rewritten_bps: int = 0, **host: int) -> World:
    """Return a host with guests of one image that have 100 of the 200 MiB that they hold in common."""
    guests = [
        GuestSpec(
            name=f"g{i}", anonymous=flat(200 * MIB), image="debian", identical_bytes=100 * MIB,
            rewritten_bps=rewritten_bps,
        )
        for i in range(count)
    ]  # fmt: skip
    return World(HostSpec(total_bytes=16 * GIB, ksm_run=run, **(FAST | host)), guests)


def files(world: World) -> Ksm:
    """Return what the files say."""
    ksm = observe_host(world).ksm
    assert ksm is not None
    return ksm


def test_of_identical_pages_one_copy_remains() -> None:
    """Four times 100 MiB: 300 MiB come back to the host, and are what the files say is saved."""
    world = twins()
    before_bytes = world.memory.available_bytes
    rss_bytes = [guest.observed.rss_bytes for guest in observe_guests(world).guests]

    world.advance(30)

    saved_bytes = ksm_saved_bytes(files(world))
    assert saved_bytes == pytest.approx(300 * MIB, rel=0.01)
    assert world.memory.available_bytes - before_bytes == pytest.approx(saved_bytes, abs=4096)
    assert files(world).pages_shared * 4096 == pytest.approx(100 * MIB, rel=0.01)
    guests = observe_guests(world).guests
    assert [guest.observed.rss_bytes for guest in guests] == rss_bytes
    assert [guest.observed.merged_bytes for guest in guests] == [pytest.approx(100 * MIB, rel=0.01)] * 4


def test_nothing_is_merged_in_the_first_scan() -> None:
    """A page has to look the same twice: 4 x 304 MiB take 2.5 s, and only then merging begins."""
    world = twins()

    world.advance(2.3)
    assert (files(world).full_scans, files(world).pages_sharing) == (0, 0)

    world.advance(1.5)
    assert files(world).full_scans == 1
    assert 0 < ksm_saved_bytes(files(world)) < 300 * MIB


def test_ksmd_is_as_slow_and_as_cheap_as_its_files_say() -> None:
    """100 pages every 20 ms are 4900 a second: 2 % of a core, and a scan of 1.2 GiB takes a minute."""
    slow, fast = twins(ksm_pages_to_scan=100), twins()

    slow.advance(50)
    fast.advance(50)

    assert files(slow).full_scans == 0
    assert files(slow).ksmd_cpu_s_total == pytest.approx(1.0, rel=0.05)
    assert files(fast).full_scans == pytest.approx(20, abs=1)
    assert files(fast).ksmd_cpu_s_total == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize(("run", "saved_bytes"), [("0", 300 * MIB), ("2", 0)])
def test_stopped_it_keeps_what_is_merged_and_2_parts_it(run: str, saved_bytes: int) -> None:
    """Writing 0 stops the scanning, writing 2 gives every guest its own copy back."""
    world = twins()
    world.advance(30)
    cpu_s = files(world).ksmd_cpu_s_total

    world.ksm.files["run"] = run
    world.advance(10)

    assert ksm_saved_bytes(files(world)) == pytest.approx(saved_bytes, rel=0.01)
    assert files(world).ksmd_cpu_s_total == cpu_s


def test_pages_that_are_written_to_part_again() -> None:
    """At 10 MiB/s in each guest what is saved hovers below all of it, and the host's memory with it."""
    world = twins(rewritten_bps=10 * MIB)
    world.advance(60)

    assert 150 * MIB < ksm_saved_bytes(files(world)) < 290 * MIB

    world.ksm.files["run"] = "0"
    world.advance(60)
    assert ksm_saved_bytes(files(world)) == 0


def test_parting_pages_on_a_full_host_costs_a_guest() -> None:
    """300 MiB are needed at once and 46 MiB are left: no memory is made from nothing, the OOM killer comes."""
    guests = [
        GuestSpec(name=f"g{i}", anonymous=flat(200 * MIB), image="debian", identical_bytes=100 * MIB) for i in range(4)
    ]
    world = World(HostSpec(total_bytes=2 * GIB, ksm_run=1, **FAST), guests)
    world.advance(30)
    world.add(GuestSpec(name="last", anonymous=flat(470 * MIB)))
    world.advance(1)
    assert world.oom_kills_total == 0

    world.ksm.files["run"] = "2"
    for _ in range(50):
        world.advance(0.1)
        assert world.memory.free_bytes >= 0

    assert world.oom_kills_total == 1
    assert world.memory.merged_bytes == 0


def test_the_last_guest_of_an_image_shares_with_nobody() -> None:
    """When its twin ends, all that was merged is its own again."""
    world = twins(2)
    world.advance(30)
    assert ksm_saved_bytes(files(world)) == pytest.approx(100 * MIB, rel=0.01)

    world.remove("g0")
    world.advance(0.1)

    assert files(world).pages_sharing == files(world).pages_shared == 0
    assert world.memory.merged_bytes == 0


def test_looking_costs_memory_too() -> None:
    """64 bytes for every page looked at: with nothing to merge the profit is negative."""
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), [GuestSpec(name="a", anonymous=flat(500 * MIB))])
    world.advance(30)

    profit_bytes = ksm_profit_bytes(files(world))
    assert profit_bytes is not None
    assert profit_bytes == -64 * (world.memory.resident_bytes // 4096)


def test_without_a_word_from_anybody_ksm_does_nothing() -> None:
    """It is off until somebody writes 1, and looks at as many pages as it is told to: none is none."""
    for world in (twins(run=0), twins(ksm_pages_to_scan=0)):
        world.advance(30)

        assert files(world).full_scans == files(world).ksmd_cpu_s_total == 0
        assert world.memory.merged_bytes == 0
