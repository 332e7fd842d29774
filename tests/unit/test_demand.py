"""What a guest needs, read from figures that are torn, stale or hostile."""

from make import GIB, KERNEL_BYTES, MIB, START_S, guest

from memtide.model.guest import GuestTraits, StatsState
from memtide.policy.demand import Estimate, estimate, stats_state


def after(*kinds: dict) -> Estimate:
    """Return the estimate after these guests were seen two seconds apart, each with a fresh report."""
    found = None
    for i, kind in enumerate(kinds):
        at_s = START_S + 2 * i
        found = estimate(found, guest(**{"at_s": at_s} | kind), at_s)
    assert found is not None
    return found


def test_demand_is_kernel_and_used() -> None:
    """In quiet the kernel's share is learned: demand is current minus usable."""
    found = after({"used_bytes": 300 * MIB}, {"used_bytes": 300 * MIB})

    assert found.kernel_bytes == KERNEL_BYTES
    assert found.demand_bytes == KERNEL_BYTES + 300 * MIB


def test_a_torn_sample_does_not_move_the_kernels_share() -> None:
    """While memory moves, current and the report are of different moments and their difference is not learned."""
    quiet = {"used_bytes": 300 * MIB}
    torn = {"used_bytes": 300 * MIB, "current_bytes": 500 * MIB, "total_bytes": GIB - KERNEL_BYTES,
            "usable_bytes": GIB - KERNEL_BYTES - 300 * MIB, "at_s": START_S + 4}  # fmt: skip
    found = after(quiet, quiet, torn)

    assert found.kernel_bytes == KERNEL_BYTES
    assert found.demand_bytes == KERNEL_BYTES + 300 * MIB


def test_a_guest_that_deflates_on_oom_does_not_look_full() -> None:
    """Taken memory looks used to such a guest; it is taken out once MemTotal shows which accounting it has."""
    squeezed = {
        "current_bytes": 400 * MIB,
        "total_bytes": GIB - KERNEL_BYTES,
        "usable_bytes": GIB - KERNEL_BYTES - 200 * MIB - 624 * MIB,
    }
    found = after(squeezed, squeezed, squeezed)

    assert found.keeps_total
    assert found.demand_bytes == found.kernel_bytes + 200 * MIB


def test_debt_is_kept_and_forgotten() -> None:
    """Swapped-out memory counts as demand; it is forgotten with a half-life of ten minutes."""
    out = {"used_bytes": 100 * MIB, "swap_out_bytes_total": 64 * MIB}
    found = after({"used_bytes": 100 * MIB, "swap_out_bytes_total": 0}, out)
    later = estimate(found, guest(**out, at_s=START_S + 602), START_S + 602)

    assert found.swap.debt_bytes == 64 * MIB
    assert 31 * MIB < later.swap.debt_bytes < 33 * MIB


def test_growth_rises_at_once_and_fades() -> None:
    """A guest that grew a report ago is expected to go on, less each time."""
    rose = after({"used_bytes": 100 * MIB}, {"used_bytes": 100 * MIB}, {"used_bytes": 300 * MIB})
    stayed = estimate(rose, guest(used_bytes=300 * MIB, at_s=START_S + 6), START_S + 6)

    assert rose.growth_bps == 100 * MIB
    assert 0 < stayed.growth_bps < rose.growth_bps


def test_a_period_of_its_own_makes_a_guest_stale_later() -> None:
    """A guest that reports every minute by its owner's wish is fresh for three minutes."""
    slow = GuestTraits(has_balloon=True, stats_period_s=60)

    assert stats_state(guest(traits=slow), START_S + 100, 2.0) is StatsState.FRESH
    assert stats_state(guest(), START_S + 100, 2.0) is StatsState.STALE
    assert stats_state(guest(reported=False), START_S, 2.0) is StatsState.NONE
