"""How much memory a guest needs, from its own figures.

``demand = kernel + used + debt + hot cache``, all bytes: ``used = MemTotal - MemAvailable`` of ONE report (statistics
are torn: ``current`` is of now, the rest of the report; their difference is nonsense while memory moves);
``kernel = current - MemTotal`` learned only when the report is younger than the last change of ``current``;
``debt`` is what the guest swapped out and would use if it had the memory (``swap_debt``); hot cache is page cache that
proved to be in use (``hot_cache``).

Guests whose driver deflates on OOM keep MemTotal, and taken pages look used; which accounting a guest has is first
believed of its definition, then read off its MemTotal once the two differ. Growth is that of demand, up at once,
fading slowly. A report whose time has not moved is no report.
"""

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Guest, Reported, StatsState
from memtide.policy.constants import (
    GROWTH_FADE,
    KERNEL_SHARE_DEFAULT_BYTES,
    KERNEL_SHARE_DEFAULT_RATIO,
    STATS_LATE_PERIODS,
    STATS_LATE_S,
)
from memtide.policy.hot_cache import HotCache, learn
from memtide.policy.swap_debt import SwapDebt, add_up
from memtide.units import MIB

__all__ = ["Estimate", "estimate", "stats_state"]

MIN_INTERVAL_S = 1.0
"""Report times are whole seconds: two reports "0 s apart" are at least this far apart."""
KERNEL_SHARE_MOST_RATIO = 0.25
"""A larger gap between current and MemTotal is torn or hostile, not a kernel."""


class Estimate(Model, frozen=True, kw_only=True):
    """What is known of one guest's need after its last report."""

    reports: int = 0
    """How many different reports were seen; nothing is taken before the second."""
    updated_at_s: float = 0.0
    usable_bytes: int = 0
    """As the guest says it."""
    kernel_bytes: int | None = None
    """Learned share of the kernel; ``None``: the default stands in."""
    contradicts: bool = False
    """MemTotal fits neither accounting: it is torn, hostile, or memory that the guest does not use at all."""
    keeps_total: bool = False
    """Taken memory looks used to this guest (deflate-on-OOM accounting)."""
    swap: SwapDebt = SwapDebt()
    cache: HotCache = HotCache()
    demand_bytes: int = 0
    not_free_bytes: int | None = None
    """Kernel, used memory and page cache together; ``None``: the guest does not say what is free."""
    growth_bps: float = 0.0
    """Of demand, up at once, fading slowly; never negative."""
    slope_bps: float = 0.0
    """Of demand in the last report interval, signed: a guest that frees memory probably goes on."""
    trend_bps: float = 0.0
    """The same over the last few reports: times of reports are whole seconds, and one interval alone misleads."""
    current_bytes: int = 0
    current_since_s: float = 0.0
    """When ``current`` was last seen to change."""

    @property
    def spare_bytes(self) -> int:
        """Return what the guest could still use without swapping and without dropping cache that it uses."""
        return self.usable_bytes - int(self.cache.hot_bytes)


def stats_state(guest: Guest, now_s: float, period_s: float) -> StatsState:
    """Say whether the guest's report may be acted upon."""
    if guest.reported is None:
        return StatsState.NONE
    late_s = max(STATS_LATE_S, STATS_LATE_PERIODS * max(period_s, guest.traits.stats_period_s or 0))
    # the host's clock may have been set back: a report from the far future is as stale as one from the past
    return StatsState.FRESH if abs(now_s - guest.reported.updated_at_s) <= late_s else StatsState.STALE


def estimate(before: Estimate | None, guest: Guest, now_s: float) -> Estimate:
    """Return the estimate after one more sample; the old one, but for ``current``, when no new report came."""
    observed, reported = guest.observed, guest.reported
    old = before or Estimate(
        current_bytes=observed.current_bytes, current_since_s=now_s, keeps_total=guest.traits.deflates_on_oom
    )
    largest_bytes = max(old.current_bytes, observed.current_bytes)
    old = _with_current(old, observed.current_bytes, now_s)
    if reported is None or reported.updated_at_s == old.updated_at_s or reported.updated_at_s > now_s + STATS_LATE_S:
        return old
    # a report older than the last one: the host's clock was set back; what comes next is measured from here
    known = bool(old.reports) and reported.updated_at_s > old.updated_at_s
    interval_s = max(MIN_INTERVAL_S, reported.updated_at_s - old.updated_at_s) if known else MIN_INTERVAL_S
    quiet = reported.updated_at_s >= old.current_since_s + MIN_INTERVAL_S
    keeps_total = _keeps_total(old, guest, reported) if quiet else old.keeps_total
    learned_bytes = _kernel(guest, reported, keeps_total=keeps_total) if quiet else None
    kernel_bytes = old.kernel_bytes if learned_bytes is None else learned_bytes
    swap = add_up(old.swap, reported, interval_s, observed.maximum_bytes)
    cache = learn(old.cache, reported, swap.in_bytes, interval_s, observed.current_bytes)
    # while memory moves the smaller of two balloons is assumed, so that use is over- and never underestimated
    taken_bytes = max(0, observed.maximum_bytes - largest_bytes) if keeps_total else 0
    used_bytes = max(0, reported.used_bytes - taken_bytes)
    known_kernel_bytes = _default_kernel(guest) if kernel_bytes is None else kernel_bytes
    demand_bytes = min(observed.maximum_bytes, known_kernel_bytes + used_bytes + int(swap.debt_bytes + cache.hot_bytes))
    not_free_bytes = None
    if reported.unused_bytes is not None:
        not_free_bytes = known_kernel_bytes + max(0, reported.total_bytes - reported.unused_bytes - taken_bytes)
    # with that accounting a move looks like growth, until the report is younger than the move
    grew = known and (quiet or not keeps_total)
    slope_bps = (demand_bytes - old.demand_bytes) / interval_s if grew else 0.0
    return Estimate(
        reports=old.reports + 1,
        updated_at_s=reported.updated_at_s,
        usable_bytes=reported.usable_bytes,
        kernel_bytes=kernel_bytes,
        contradicts=learned_bytes is None if quiet else old.contradicts,
        keeps_total=keeps_total,
        swap=swap,
        cache=cache,
        demand_bytes=demand_bytes,
        not_free_bytes=not_free_bytes,
        growth_bps=max(slope_bps, old.growth_bps * GROWTH_FADE if old.growth_bps > MIB else 0.0),
        slope_bps=slope_bps,
        trend_bps=(old.trend_bps + slope_bps) / 2,
        current_bytes=observed.current_bytes,
        current_since_s=old.current_since_s,
    )


def _with_current(old: Estimate, current_bytes: int, now_s: float) -> Estimate:
    if current_bytes == old.current_bytes:
        return old
    return msgspec.structs.replace(old, current_bytes=current_bytes, current_since_s=now_s)


def _default_kernel(guest: Guest) -> int:
    return max(KERNEL_SHARE_DEFAULT_BYTES, int(guest.observed.maximum_bytes * KERNEL_SHARE_DEFAULT_RATIO))


def _keeps_total(old: Estimate, guest: Guest, reported: Reported) -> bool:
    """Say which accounting fits MemTotal better; undecided while next to nothing is taken."""
    observed = guest.observed
    kernel_bytes = _default_kernel(guest) if old.kernel_bytes is None else old.kernel_bytes
    if observed.maximum_bytes - observed.current_bytes <= 2 * kernel_bytes:
        return old.keeps_total
    shrinks = abs(reported.total_bytes - (observed.current_bytes - kernel_bytes))
    stays = abs(reported.total_bytes - (observed.maximum_bytes - kernel_bytes))
    return stays < shrinks


def _kernel(guest: Guest, reported: Reported, *, keeps_total: bool) -> int | None:
    """Return the memory outside MemTotal, or ``None`` when the figures do not fit together."""
    observed = guest.observed
    whole_bytes = observed.maximum_bytes if keeps_total else observed.current_bytes
    kernel_bytes = whole_bytes - reported.total_bytes
    believable = 0 <= kernel_bytes <= max(4 * KERNEL_SHARE_DEFAULT_BYTES, KERNEL_SHARE_MOST_RATIO * whole_bytes)
    return kernel_bytes if believable else None
