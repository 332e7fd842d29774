"""How fast ksmd goes, as the files that say it.

With ``p`` pages between two sleeps of ``s`` seconds and ``c`` CPU seconds a page, ksmd has the share
``d = p c / (p c + s)`` of one CPU and looks at ``r = p / (p c + s)`` pages a second, so::

    p = r s / (1 - r c)          for a rate
    p = d s / (c (1 - d))        for a share of the CPU

A page costs nearly the same however fast it is looked at (a tenth less in large batches): speed decides when memory
comes back, not what that costs. What
a page does cost differs tenfold (0.7 us merged, 8 us while merging), so the share is kept by the account as well.

A host whose owner chose the kernel's own advisor (``advisor_mode`` scan-time) keeps it: then its target and its
limit are set instead.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.derived import ksm_tracked_pages
from memtide.model.ksm import Ksm
from memtide.policy.constants import KSM_CALM_SLEEP_MS, KSM_SLEEP_MS

__all__ = ["Account", "files_for", "refilled"]

PAGES_LEAST: Final = 100
PAGES_MOST: Final = 30_000
"""The kernel's default, and its advisor's ``advisor_max_pages_to_scan``: a write to ``run`` waits for one batch."""
SHARE_MOST: Final = 0.95
"""Of a CPU, in the formulas above: ksmd sleeps at least a little."""
ADVISOR_SHARE_LEAST: Final = 0.10
"""The advisor's own least, fixed in the kernel (mm/ksm.c)."""
DEPTH_S: Final = 30.0
"""What ksmd did not use in so long it may use at once: over ten minutes that is five per cent above its share."""
GO_ON_S: Final = 5.0
"""After a pause it goes on when so much of its share has come in."""


class Account(Model, frozen=True, kw_only=True):
    """ksmd's CPU: what it may still use."""

    left_cpu_s: float | None = None
    """``None``: just opened."""
    used_total_s: float | None = None
    at_s: float = 0.0
    paused: bool = False


def refilled(account: Account, ksm: Ksm, ratio: float) -> Account:
    """Return the account after one more reading; without ksmd's CPU time it is never empty."""
    used, now_s, most_s = ksm.ksmd_cpu_s_total, ksm.taken_at_s, ratio * DEPTH_S
    fresh = Account(left_cpu_s=most_s, used_total_s=used, at_s=now_s)
    if used is None or account.left_cpu_s is None or account.used_total_s is None:
        return fresh
    elapsed_s, spent_s = now_s - account.at_s, used - account.used_total_s
    if elapsed_s < 0 or spent_s < 0:  # a clock set back, another ksmd
        return fresh
    left_s = min(most_s, account.left_cpu_s + ratio * elapsed_s - spent_s)
    paused = left_s < 0 or (account.paused and left_s < ratio * GO_ON_S)
    return msgspec.structs.replace(account, left_cpu_s=left_s, used_total_s=used, at_s=now_s, paused=paused)


def files_for(ksm: Ksm, *, pages_per_s: float | None, most_ratio: float, cost_cpu_s: float) -> dict[str, str]:
    """Return what to write for a rate of pages, ``None`` for as fast as the share of the CPU lets it.

    Args:
        ksm: the last reading: which files there are.
        pages_per_s: how many pages to look at.
        most_ratio: never more than this share of one CPU.
        cost_cpu_s: what a page costs, CPU seconds.
    """
    most_ratio = min(most_ratio, SHARE_MOST)
    if ksm.advisor_mode not in {None, "none"}:
        return _advised(ksm, pages_per_s, most_ratio)
    sleep_ms = KSM_SLEEP_MS if pages_per_s is None else KSM_CALM_SLEEP_MS
    sleep_s = sleep_ms / 1000
    pages = most_ratio * sleep_s / (cost_cpu_s * (1 - most_ratio))
    if pages_per_s is not None and pages_per_s * cost_cpu_s < most_ratio:
        pages = min(pages, pages_per_s * sleep_s / (1 - pages_per_s * cost_cpu_s))
    batch = round(min(PAGES_MOST, max(PAGES_LEAST, pages)))
    return {"pages_to_scan": str(batch), "sleep_millisecs": str(sleep_ms)}


def _advised(ksm: Ksm, pages_per_s: float | None, most_ratio: float) -> dict[str, str]:
    percent = round(100 * max(most_ratio, ADVISOR_SHARE_LEAST))
    target_s = 1 if pages_per_s is None else max(1, round(ksm_tracked_pages(ksm) / pages_per_s))
    return {"advisor_max_cpu": str(percent), "advisor_target_scan_time": str(target_s)}
