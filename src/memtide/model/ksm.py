"""Kernel samepage merging, as /sys/kernel/mm/ksm tells it.

Source: Documentation/admin-guide/mm/ksm.rst. Counters are in pages of the host's own page size.
"""

from memtide.model.base import Missing, Model

__all__ = ["Ksm"]


class Ksm(Model, frozen=True, kw_only=True):
    """One reading of KSM. A file that this kernel does not have is ``None`` with its reason in ``missing``."""

    page_size_bytes: int
    run: int
    """0: ksmd stopped, merged pages stay merged. 1: scanning. 2: stopped and everything unmerged."""
    pages_shared: int
    """Pages that others share: the copies that remain."""
    pages_sharing: int
    """How many more sites share them: these are the pages saved (``pages_shared`` is already excluded)."""
    pages_unshared: int | None = None
    pages_volatile: int | None = None
    pages_to_scan: int | None = None
    sleep_millisecs: int | None = None
    full_scans: int | None = None
    zero_pages: int | None = None
    general_profit_bytes: int | None = None
    """Signed: negative when KSM's own bookkeeping costs more than it saves."""
    merge_across_nodes: bool | None = None
    advisor_mode: str | None = None
    ksmd_cpu_s_total: float | None = None
    """CPU seconds that the ksmd kernel thread has used since boot."""
    missing: Missing = {}
