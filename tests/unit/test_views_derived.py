"""The formulas, against figures worked out elsewhere."""

import make_live
import pytest

from memtide.model.derived import (
    ksm_merged_bytes,
    ksm_profit_bytes,
    ksm_saved_bytes,
    ksmd_cpu_ratio,
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
