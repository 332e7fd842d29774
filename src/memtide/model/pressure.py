"""Pressure stall information: the share of time in which tasks waited for memory.

Source: Documentation/accounting/psi.rst; /proc/pressure/memory since Linux 4.20.
"""

from memtide.model.base import Model

__all__ = ["Pressure", "Stall"]


class Stall(Model, frozen=True, kw_only=True):
    """One line of a pressure file. Averages are ratios (0 to 1) over the last 10, 60 and 300 seconds."""

    avg10_ratio: float
    avg60_ratio: float
    avg300_ratio: float
    total_us: int
    """Stalled time since boot, microseconds; only grows."""


class Pressure(Model, frozen=True, kw_only=True):
    """Memory pressure of a host or a cgroup, observed by the host's kernel."""

    some: Stall
    """At least one task waited."""
    full: Stall | None = None
    """All runnable tasks waited at once; ``None`` where the kernel does not say."""
