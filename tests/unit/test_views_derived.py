"""The formulas, against figures worked out elsewhere."""

import make_ksm
import make_live
import pytest

from memtide.model.derived import (
    guest_saving_bytes,
    guests_cost,
    ksm_merged_bytes,
    ksm_parted_bytes,
    ksm_profit_bytes,
    ksm_saved_bytes,
    ksmd_cpu_ratio,
    ksmd_cpu_since_boot_ratio,
    overcommit_ratio,
    rate_per_s,
    total_or_none,
    used_bytes,
)
from memtide.model.guest import GuestTraits
from memtide.units import GIB, MIB


def test_the_article_saved_twice_as_much_as_it_says() -> None:
    """pages_sharing alone is what KSM saves: 13.64 GiB on the article's host, not 7.15."""
    assert ksm_saved_bytes(make_live.ksm()) / GIB == pytest.approx(13.64, abs=0.005)


def test_zero_pages_are_saved_too() -> None:
    """Pages replaced by the kernel's zero page count as saved, not as merged."""
    ksm = make_live.ksm(pages_shared=10, pages_sharing=20, zero_pages=5)

    assert ksm_saved_bytes(ksm) == 25 * 4096
    assert ksm_merged_bytes(ksm) == 30 * 4096


def test_profit_is_the_kernels_or_the_same_sum() -> None:
    """The kernel's signed figure wins; without it the sum of its documentation; without its parts nothing."""
    parts = {"pages_shared": 10, "pages_sharing": 20, "pages_unshared": 5000, "pages_volatile": 70}

    assert ksm_profit_bytes(make_live.ksm(**parts, general_profit_bytes=-7)) == -7
    assert ksm_profit_bytes(make_live.ksm(**parts)) == 20 * 4096 - 5100 * 64
    assert ksm_profit_bytes(make_live.ksm(pages_unshared=None)) is None


def test_ksmd_cpu_is_a_difference() -> None:
    """1.46 s of CPU in 2 s is 73 %; with only one reading it is unknown."""
    before = make_live.host(at_s=make_live.NOW_S - 2, ksm=make_live.ksm(cpu_s=998.54, at_s=make_live.NOW_S - 2))

    assert ksmd_cpu_ratio(before, make_live.host()) == pytest.approx(0.73)
    assert ksmd_cpu_ratio(None, make_live.host()) is None


def test_a_counter_that_fell_has_no_rate() -> None:
    """A reboot or an overflow is unknown, not negative and not zero."""
    assert rate_per_s(10, 5, 1.0) is None
    assert rate_per_s(10, 10, 0.0) is None
    assert rate_per_s(10, 30, 2.0) == 10


def test_overcommit_is_over_what_guests_can_have() -> None:
    """Huge pages and the reserve are not for guests."""
    memory = make_live.host().memory

    assert overcommit_ratio(28 * GIB, memory, 2 * GIB) == 2.0
    assert overcommit_ratio(None, memory, 2 * GIB) is None
    assert overcommit_ratio(GIB, memory, 16 * GIB) is None


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    """Unknown is never 0."""
    assert total_or_none([1, None, 2]) is None
    assert total_or_none([1, 2]) == 3


def test_used_does_not_count_what_was_taken() -> None:
    """With auto-deflation MemTotal stays, so what was taken must not look used."""
    plain = make_live.guest("a", current_bytes=3 * GIB, used_bytes=GIB)
    kept = make_live.guest(
        "b",
        current_bytes=3 * GIB,
        used_bytes=GIB + GIB,
        traits=GuestTraits(has_balloon=True, deflates_on_oom=True),
    )

    assert used_bytes(plain) == GIB
    assert used_bytes(kept) == GIB
    assert used_bytes(make_live.guest("c", reported=False)) is None
    assert used_bytes(make_live.guest("d", used_bytes=64 * MIB)) == 64 * MIB


# --- KSM's account ----------------------------------------------------------------------------------------------


def test_ksmd_cpu_since_boot_needs_the_uptime() -> None:
    """73000 s of CPU in 100000 s is 73 %; an unknown uptime leaves it unknown."""
    ksm = make_live.ksm(cpu_s=73_000.0)

    assert ksmd_cpu_since_boot_ratio(ksm, 100_000.0) == pytest.approx(0.73)
    assert ksmd_cpu_since_boot_ratio(ksm, None) is None


def test_parted_pages_are_counted_at_once() -> None:
    """75,600 writes to merged pages are 295 MiB; never more than is saved, and unknown without both counts."""
    ksm = make_live.ksm(cow_breaks_total=175_600)

    assert ksm_parted_bytes(100_000, ksm) == 75_600 * 4096
    assert ksm_parted_bytes(100_000, make_live.ksm(pages_sharing=10, cow_breaks_total=175_600)) == 10 * 4096
    assert ksm_parted_bytes(None, ksm) is None
    assert ksm_parted_bytes(100_000, make_live.ksm()) is None
    assert ksm_parted_bytes(200_000, ksm) is None, "the count fell: a reboot"


def test_a_guests_part_is_rss_less_pss() -> None:
    """Never negative, and unknown without both."""
    assert guest_saving_bytes(make_ksm.guest("a", rss_bytes=2 * GIB, pss_bytes=GIB)) == GIB
    assert guest_saving_bytes(make_ksm.guest("a", rss_bytes=GIB, pss_bytes=GIB + MIB)) == 0
    assert guest_saving_bytes(make_ksm.guest("a")) is None


def test_resident_memory_counts_what_is_merged_in_full() -> None:
    """So the saving comes off the sum; pages of zeros are in nobody's RSS and do not."""
    ksm = make_live.ksm(pages_sharing=GIB // 4096, zero_pages=GIB // 4096)
    cost = guests_cost([make_ksm.guest("a"), make_ksm.guest("b")], ksm)

    assert cost is not None
    assert (cost.held_bytes, cost.saved_bytes, cost.cost_bytes, cost.basis) == (4 * GIB, GIB, 3 * GIB, "resident")


def test_what_was_parted_while_ksmd_rests_is_saved_no_more() -> None:
    """The kernel counts it until ksmd comes by; the guests' cost does not wait for that."""
    ksm = make_live.ksm(pages_sharing=GIB // 4096)
    twins = [make_ksm.guest("a"), make_ksm.guest("b")]
    cost, late = guests_cost(twins, ksm, 256 * MIB), guests_cost(twins, ksm, 2 * GIB)

    assert cost is not None
    assert late is not None
    assert (cost.saved_bytes, cost.cost_bytes) == (768 * MIB, 4 * GIB - 768 * MIB)
    assert late.saved_bytes == 0


def test_cgroups_are_charged_once_for_what_is_merged() -> None:
    """There the saving is out already, and must not be taken off a second time."""
    ksm = make_live.ksm(pages_sharing=GIB // 4096)
    cost = guests_cost([make_ksm.guest(name, cgroup_bytes=GIB) for name in "ab"], ksm)

    assert cost is not None
    assert (cost.held_bytes, cost.cost_bytes, cost.basis) == (3 * GIB, 2 * GIB, "cgroup")


def test_a_mixed_host_splits_the_saving_by_what_is_merged() -> None:
    """A quarter of the merged pages is the cgroup guest's: so much of the saving is out already."""
    ksm = make_live.ksm(pages_sharing=GIB // 4096)
    by_cgroup = make_ksm.guest("a", cgroup_bytes=GIB, merged_bytes=512 * MIB)
    cost = guests_cost([by_cgroup, make_ksm.guest("b", merged_bytes=1536 * MIB)], ksm)

    assert cost is not None
    assert (cost.cost_bytes, cost.basis) == (GIB + 2 * GIB - 768 * MIB, "mixed")
    assert guests_cost([by_cgroup, make_ksm.guest("b")], ksm) is None, "how it is split is not known"


def test_one_unknown_guest_leaves_the_sum_unknown() -> None:
    """A sum of the others would be a wrong sum."""
    assert guests_cost([make_ksm.guest("a"), make_live.guest("b", cost_bytes=None)], make_live.ksm()) is None
