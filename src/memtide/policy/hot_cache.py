"""Page cache that a guest uses: it looks like memory to spare and is not.

MemAvailable counts nearly all page cache as free to drop. Whether a guest needs its cache shows only afterwards: it
reads from disk again what was dropped. Major faults that are no swap-ins are such reads (programs and mapped files;
plain ``read`` calls are not counted by the kernel, a known flaw). While they come faster than noise, cache is
charged to demand in steps, never more than the guest has or had; it is forgotten with a half-life of half an hour.
"""

from memtide.model.base import Model
from memtide.model.guest import Reported
from memtide.policy.constants import HOT_CACHE_HALF_LIFE_S, HOT_CACHE_STEP_BYTES, HOT_CACHE_STEP_RATIO, REREAD_NOISE_BPS
from memtide.policy.counters import PAGE_BYTES, risen

__all__ = ["HotCache", "learn"]


class HotCache(Model, frozen=True, kw_only=True):
    """What is believed of one guest's page cache. Bytes."""

    hot_bytes: float = 0.0
    """Cache that the guest reads again and again."""
    most_bytes: int = 0
    """The largest cache seen: no more than that can be hot."""
    faults_total: int | None = None


def learn(before: HotCache, reported: Reported, swap_in_bytes: int, interval_s: float, current_bytes: int) -> HotCache:
    """Return the belief after one more report.

    Args:
        before: the belief so far.
        reported: the guest's figures.
        swap_in_bytes: what it read back from its swap meanwhile: those faults are not of its cache.
        interval_s: since the report before.
        current_bytes: its memory now.
    """
    cache_bytes = reported.disk_caches_bytes or 0
    reread_bytes = risen(before.faults_total, reported.major_faults_total) * PAGE_BYTES - swap_in_bytes
    most_bytes = max(before.most_bytes, cache_bytes)
    hot_bytes = before.hot_bytes * 2.0 ** (-interval_s / HOT_CACHE_HALF_LIFE_S) if before.hot_bytes else 0.0
    if reread_bytes > REREAD_NOISE_BPS * interval_s:
        hot_bytes += max(HOT_CACHE_STEP_BYTES, HOT_CACHE_STEP_RATIO * current_bytes)
    return HotCache(
        hot_bytes=min(hot_bytes, float(most_bytes)), most_bytes=most_bytes, faults_total=reported.major_faults_total
    )
