"""The simulated KSM: what it saves, at what rate, at what price, and what its files say."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from memtide.model.action import Reply, Result, SetKsm
from memtide.model.derived import ksm_profit_bytes, ksm_saved_bytes
from memtide.model.ksm import Ksm
from memtide.model.reason import Reason, ReasonCode
from memtide.sim.act import apply
from memtide.sim.behaviours import Rebooting
from memtide.sim.curve import flat
from memtide.sim.events import KsmByOther
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec, KsmKernel
from memtide.sim.world import World
from memtide.units import GIB, MIB

FAST = {"ksm_pages_to_scan": 5000, "ksm_sleep_millisecs": 20}
"""125000 pages a second without a partner."""


def twins(count: int = 4, *, run: int = 1, rewritten_bps: int = 0, **host: Any) -> World:
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
    """A page has to look the same twice: 4 x 240 MiB take 1.3 s, and only then merging begins."""
    world = twins()

    world.advance(1.2)
    assert (files(world).full_scans, files(world).pages_sharing) == (0, 0)

    world.advance(1.0)
    assert files(world).full_scans == 1
    assert 0 < ksm_saved_bytes(files(world)) < 300 * MIB


def test_ksmd_is_as_slow_and_as_cheap_as_its_files_say() -> None:
    """100 pages every 20 ms are 5000 a second; a first look costs 1.2 us, so 0.6 % of a core."""
    slow, fast = twins(ksm_pages_to_scan=100), twins()

    slow.advance(45)
    fast.advance(1)

    assert files(slow).full_scans == 0
    assert files(slow).pages_scanned == pytest.approx(45 * 4970, rel=0.01)
    assert files(slow).ksmd_cpu_s_total == pytest.approx(45 * 4970 / 800_000, rel=0.02)
    # 5000 pages take 6.2 ms, then it sleeps 20
    assert files(fast).ksmd_cpu_s_total == pytest.approx(6.2 / 26.2, rel=0.01)


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
    """The host feels it at once; ksmd at rest does not know, but breaks are counted."""
    world = twins(rewritten_bps=10 * MIB)
    world.advance(60)
    assert 150 * MIB < world.memory.merged_bytes < 290 * MIB

    world.ksm.files["run"] = "0"
    before = files(world)
    world.advance(60)

    assert world.memory.merged_bytes == 0
    assert files(world).pages_sharing == before.pages_sharing
    assert before.cow_breaks_total is not None
    breaks = (files(world).cow_breaks_total or 0) - before.cow_breaks_total
    assert breaks * 4096 >= 150 * MIB

    world.ksm.files["run"] = "1"
    world.advance(1)
    assert files(world).pages_sharing < before.pages_sharing


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
    """When its twin ends, nothing is saved any more; the one copy stays a merged page until it is written to."""
    world = twins(2)
    world.advance(30)
    assert ksm_saved_bytes(files(world)) == pytest.approx(100 * MIB, rel=0.01)

    world.remove("g0")
    world.advance(0.1)

    assert files(world).pages_sharing == 0
    assert files(world).pages_shared == pytest.approx(25600, abs=2)
    assert world.memory.merged_bytes == 0


def test_looking_costs_memory_too() -> None:
    """64 bytes for every page looked at: with nothing to merge the profit is negative."""
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), [GuestSpec(name="a", anonymous=flat(500 * MIB))])
    world.advance(30)

    profit_bytes = ksm_profit_bytes(files(world))
    assert profit_bytes is not None
    # what is QEMU's own is not looked at
    assert profit_bytes == pytest.approx(-64 * (world.memory.resident_bytes - 64 * MIB) // 4096, abs=64)


def test_without_a_word_from_anybody_ksm_does_nothing() -> None:
    """It is off until somebody writes 1, and looks at as many pages as it is told to: none is none."""
    for world in (twins(run=0), twins(ksm_pages_to_scan=0)):
        world.advance(30)

        assert files(world).full_scans == files(world).ksmd_cpu_s_total == 0
        assert world.memory.merged_bytes == 0


def newcomer(name: str = "late") -> GuestSpec:
    """Return one more guest of that image."""
    return GuestSpec(name=name, anonymous=flat(200 * MIB), image="debian", identical_bytes=100 * MIB)


def after_rounds(world: World, rounds: int) -> Ksm:
    """Let so many rounds of ksmd end, and return what the files say then."""
    until = (files(world).full_scans or 0) + rounds
    while (files(world).full_scans or 0) < until:
        world.advance(0.1)
    return files(world)


def test_a_new_guest_waits_for_three_rounds() -> None:
    """It is put behind the cursor: the round under way passes it by, the next takes checksums, the third merges."""
    world = twins(4)
    world.advance(30)
    after_rounds(world, 1)
    world.advance(0.1)  # under way again
    before = files(world).pages_sharing
    world.add(newcomer())

    assert after_rounds(world, 1).pages_sharing == before
    assert after_rounds(world, 1).pages_sharing - before < 25600
    assert after_rounds(world, 1).pages_sharing - before == pytest.approx(25600, abs=2)


def test_a_guest_that_ended_stays_on_the_books_while_ksmd_rests() -> None:
    """Its memory is the host's at once; ksmd counts its pages until it runs again, and then takes them off at once."""
    world = twins()
    world.advance(30)
    world.ksm.files["run"] = "0"
    before = files(world)
    world.remove("g0")
    world.advance(60)

    assert files(world).pages_sharing == before.pages_sharing
    assert world.memory.merged_bytes == pytest.approx(200 * MIB, rel=0.01)

    world.ksm.files["run"] = "1"
    world.advance(0.1)
    assert files(world).pages_sharing == pytest.approx(51200, abs=2)


def test_pages_without_a_partner_are_passed_over_more_and_more() -> None:
    """smart_scan: the fifth round passes over all of them, the sixth looks again; without it each round looks."""
    smart, dull = twins(), twins()
    dull.ksm.files["smart_scan"] = "0"
    skipped = [after_rounds(smart, 1).pages_skipped or 0 for _ in range(9)]
    after_rounds(dull, 9)

    # 4 x 140 MiB have no partner
    assert [round((after - before) / 143_360) for before, after in pairwise(skipped)] == [0, 0, 0, 1, 0, 1, 1, 0]
    assert files(dull).pages_skipped == 0
    assert (files(dull).ksmd_cpu_s_total or 0) > 1.3 * (files(smart).ksmd_cpu_s_total or 0)


@pytest.mark.parametrize("use_zero_pages", ["0", "1"])
def test_zero_pages_are_alike_in_one_guest_too(use_zero_pages: str) -> None:
    """They share a copy for every 256 of them, or need none at all; the files count them in different places."""
    guest = GuestSpec(name="a", anonymous=flat(500 * MIB), zero_bytes=100 * MIB)
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), [guest])
    world.ksm.files["use_zero_pages"] = use_zero_pages
    world.advance(10)

    seen = files(world)
    if use_zero_pages == "1":
        assert (seen.pages_sharing, seen.pages_shared, seen.zero_pages) == (0, 0, 25600)
    else:
        assert (seen.pages_sharing, seen.pages_shared, seen.zero_pages) == (25500, 100, 0)


@pytest.mark.parametrize(
    "built", [{"mergeable": False}, {"huge_pages": True}, {"shared_memory": True}, {"pinned": True}]
)
def test_some_guests_are_never_merged(built: dict[str, bool]) -> None:
    """By how they are built; what is observed of them says so."""
    guests = [msgspec.structs.replace(newcomer(f"g{i}"), **built) for i in range(2)]
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), guests)
    world.advance(20)

    assert files(world).pages_sharing == 0


def test_memory_can_become_alike_unseen() -> None:
    """Nothing grows and nothing parts; only rounds that look at old pages again find it."""
    guests = [msgspec.structs.replace(newcomer(f"g{i}"), converging_bps=MIB) for i in range(2)]
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), guests)
    world.advance(10)
    early = files(world)
    world.ksm.files["run"] = "0"
    world.advance(50)
    assert files(world).pages_sharing == early.pages_sharing

    world.ksm.files["run"] = "1"
    world.advance(30)
    assert files(world).pages_sharing > early.pages_sharing + 40 * MIB // 4096
    assert files(world).cow_breaks_total == 0


def test_a_reboot_parts_everything() -> None:
    """All of the guest is written anew: its share is the host's cost at once, and counted as breaks."""
    guests = [newcomer("a"), msgspec.structs.replace(newcomer("b"), behaviour=Rebooting(at_s=20, boot_s=2))]
    world = World(HostSpec(total_bytes=8 * GIB, ksm_run=1, **FAST), guests)
    world.advance(19)
    assert world.memory.merged_bytes == pytest.approx(100 * MIB, rel=0.01)
    world.advance(1.5)

    assert world.memory.merged_bytes == 0
    assert files(world).cow_breaks_total == pytest.approx(25600, abs=2)

    world.advance(20)
    assert world.memory.merged_bytes == pytest.approx(100 * MIB, rel=0.01)


def test_each_guests_part_adds_up_to_what_is_saved() -> None:
    """RSS less PSS over all guests is the host's gain; the profits by guest are not."""
    world = twins()
    world.advance(30)

    seen = [guest.observed for guest in observe_guests(world).guests]
    parts_bytes = sum((one.rss_bytes or 0) - (one.pss_bytes or 0) for one in seen)
    assert parts_bytes == pytest.approx(world.memory.merged_bytes, abs=4 * 4096)
    assert sum(one.ksm_profit_bytes or 0 for one in seen) > 1.2 * world.memory.merged_bytes


def write(world: World, **content: str) -> Reply:
    """Write KSM's files as memtide does."""
    reason = Reason(code=ReasonCode.OPERATOR)
    return apply(world, SetKsm(files=content, before={}, reason=reason))


def test_the_kernel_refuses_what_it_would() -> None:
    """Each file for itself: what is refused does not stop the others."""
    world = twins()
    assert write(world, advisor_mode="scan-time").result is Result.DONE
    assert files(world).pages_to_scan == 500
    refused = write(world, pages_to_scan="4000", sleep_millisecs="1")
    assert refused.result is Result.PARTIAL
    assert "advisor" in refused.detail
    assert files(world).sleep_millisecs == 1
    assert write(world, advisor_mode="none").result is Result.DONE
    assert files(world).pages_to_scan == 100
    world.advance(60)
    assert write(world, run="3").result is write(world, max_page_sharing="1").result is Result.REFUSED
    write(world, pages_to_scan="5000")
    world.advance(20)
    assert "run=2" in write(world, merge_across_nodes="0").detail


def test_the_advisor_sets_the_pages_after_each_round() -> None:
    """Its target of 200 s asks for less than its least of 10 % of a core, so that is what it takes."""
    world = twins()
    write(world, advisor_mode="scan-time")
    world.advance(300)
    cpu_s = files(world).ksmd_cpu_s_total or 0
    world.advance(300)

    assert files(world).pages_to_scan != 500
    assert 0.03 < ((files(world).ksmd_cpu_s_total or 0) - cpu_s) / 300 < 0.4


def test_an_old_kernel_and_one_without_ksm() -> None:
    """What they lack is unknown, with a reason, and cannot be written."""
    old = twins(ksm_kernel=KsmKernel.OLD)
    old.advance(10)
    seen = files(old)
    assert seen.pages_sharing == pytest.approx(76800, abs=4)
    assert seen.general_profit_bytes is seen.smart_scan is seen.advisor_mode is seen.cow_breaks_total is None
    assert seen.missing["general_profit_bytes"]
    assert write(old, smart_scan="0").result is Result.REFUSED

    none = twins(ksm_kernel=KsmKernel.NONE)
    none.advance(10)
    host = observe_host(none)
    assert host.ksm is None
    assert "without KSM" in host.missing["ksm"]
    assert write(none, run="1").result is Result.REFUSED


def test_somebody_else_can_steer_it() -> None:
    """What ksmtuned writes is there, and it can be seen to run."""
    world = twins(run=0)
    KsmByOther(at_s=0, run=1, pages_to_scan=1250, by="ksmtuned").happen(world)

    assert (files(world).run, files(world).pages_to_scan) == (1, 1250)
    assert observe_host(world).ksm_writers == ("ksmtuned",)
