"""Kernel samepage merging, as /sys/kernel/mm/ksm tells it.

Source: Documentation/admin-guide/mm/ksm.rst. Counters are in pages of the host's own page size.
"""

from typing import Final

from memtide.model.base import Missing, Model

__all__ = ["Ksm", "settings_of"]


class Ksm(Model, frozen=True, kw_only=True):
    """One reading of KSM. A file that this kernel does not have is ``None`` with its reason in ``missing``."""

    page_size_bytes: int
    taken_at_s: float = 0.0
    """When these files were read: every tick, for a sweep of ksmd may be over in seconds."""
    run: int
    """0: ksmd stopped, merged pages stay merged. 1: scanning. 2: stopped and everything unmerged."""
    pages_shared: int
    """Pages that others share: the copies that remain."""
    pages_sharing: int
    """How many more sites share them: these are the pages saved (``pages_shared`` is already excluded).

    The kernel finds out only at ksmd's next visit that a guest wrote to its page, gave it back or ended: while ksmd
    rests this counts what was shared then (mm/ksm.c: ``remove_node_from_stable_tree``, ``remove_rmap_item_from_tree``).
    """
    cow_breaks_total: int | None = None
    """Writes that parted a page from its copies since boot (``cow_ksm`` of /proc/vmstat, Linux 5.18)."""
    pages_unshared: int | None = None
    pages_volatile: int | None = None
    pages_scanned: int | None = None
    """Pages looked at since boot (Linux 6.6)."""
    pages_skipped: int | None = None
    """Of those, pages that ``smart_scan`` passed over (Linux 6.7)."""
    pages_to_scan: int | None = None
    sleep_millisecs: int | None = None
    full_scans: int | None = None
    zero_pages: int | None = None
    """Pages that became the kernel's one zero page, with ``use_zero_pages`` (Linux 6.6)."""
    general_profit_bytes: int | None = None
    """Signed: negative when KSM's own bookkeeping costs more than it saves."""
    merge_across_nodes: bool | None = None
    max_page_sharing: int | None = None
    """So many sites share one copy at most; then another copy begins."""
    smart_scan: bool | None = None
    """Pages that found no partner are looked at less and less often (Linux 6.7)."""
    use_zero_pages: bool | None = None
    advisor_mode: str | None = None
    """``scan-time``: the kernel itself sets ``pages_to_scan``; ``none``: nobody does (Linux 6.8)."""
    advisor_target_scan_time_s: int | None = None
    advisor_max_cpu_ratio: float | None = None
    ksmd_cpu_s_total: float | None = None
    """CPU seconds that the ksmd kernel thread has used since boot."""
    missing: Missing = {}


SETTINGS: Final = (
    "run",
    "pages_to_scan",
    "sleep_millisecs",
    "smart_scan",
    "use_zero_pages",
    "max_page_sharing",
    "merge_across_nodes",
    "advisor_mode",
)
"""Files that can be written and have a field of their own name."""


def settings_of(ksm: Ksm) -> dict[str, str]:
    """Return what the files that can be written hold, as text, by their names; what is not known is left out."""
    percent = None if ksm.advisor_max_cpu_ratio is None else round(100 * ksm.advisor_max_cpu_ratio)
    read: dict[str, object] = {name: getattr(ksm, name) for name in SETTINGS}
    read |= {"advisor_max_cpu": percent, "advisor_target_scan_time": ksm.advisor_target_scan_time_s}
    known = {name: value for name, value in read.items() if value is not None}
    return {name: str(int(value)) if isinstance(value, bool) else str(value) for name, value in known.items()}
