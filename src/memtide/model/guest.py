"""A guest: what the host observes of it, what the guest reports of itself, and how it is built.

Observed and reported are different types on purpose: a guest may be stale, broken or lying.
"""

import enum

from memtide.model.base import Missing, Model

__all__ = ["Guest", "GuestState", "GuestTraits", "Observed", "Reported", "StatsState"]


class GuestState(enum.StrEnum):
    """What libvirt says the guest is doing (virDomainState)."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting-down"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


class StatsState(enum.StrEnum):
    """How far a guest's own figures can be trusted."""

    FRESH = "fresh"
    STALE = "stale"
    """They were there once; the last update is too old to act upon."""
    NONE = "none"
    """Never seen, or contradictory: no driver, no stats period, no balloon."""


class Observed(Model, frozen=True, kw_only=True):
    """What the host measures of one guest."""

    maximum_bytes: int
    """Guest memory with nothing taken (libvirt ``<memory>``, ``balloon.maximum``)."""
    current_bytes: int
    """Guest memory now (libvirt ``balloon.current``, dommemstat ``actual``)."""
    rss_bytes: int | None = None
    """Resident memory of the QEMU process; counts KSM pages in full; does not fall when the guest frees."""
    cgroup_bytes: int | None = None
    """memory.current of the guest's cgroup, where there is one."""
    swapped_bytes: int | None = None
    """Part of the QEMU process that the host swapped out (VmSwap)."""
    merged_bytes: int | None = None
    """KSM pages of this process, every sharer counted: never add these up as saved."""
    ksm_zero_bytes: int | None = None
    """Pages of this process that KSM replaced by the kernel's zero page (/proc/PID/ksm_stat, Linux 6.6)."""
    ksm_profit_bytes: int | None = None
    """Signed: what this process saves by merging less KSM's bookkeeping for it (/proc/PID/ksm_stat, Linux 6.4)."""
    pss_bytes: int | None = None
    """Its resident memory with every shared page split among its sharers (/proc/PID/smaps_rollup): RSS less this is
    the guest's part in what is saved. Dear to read, so it may be minutes old."""
    pss_at_s: float | None = None
    """When the above was read."""
    pid: int | None = None

    @property
    def host_cost_bytes(self) -> int | None:
        """What the guest costs the host: its cgroup where there is one, else its resident memory."""
        return self.rss_bytes if self.cgroup_bytes is None else self.cgroup_bytes


class Reported(Model, frozen=True, kw_only=True):
    """What the guest's kernel says over virtio (virtio 1.2, 5.5.6.4), all of one moment: ``updated_at_s``.

    Names are ours: libvirt calls ``total`` "available", ``usable`` is MemAvailable, ``unused`` is MemFree.
    """

    updated_at_s: float
    """Host time of the guest's last report (``balloon.last-update``)."""
    total_bytes: int
    usable_bytes: int
    unused_bytes: int | None = None
    disk_caches_bytes: int | None = None
    swap_in_bytes_total: int | None = None
    swap_out_bytes_total: int | None = None
    major_faults_total: int | None = None
    minor_faults_total: int | None = None

    @property
    def used_bytes(self) -> int:
        """Memory that the guest could not give away without swapping, by its own figures of one update."""
        return self.total_bytes - self.usable_bytes


class GuestTraits(Model, frozen=True, kw_only=True):
    """How a guest is built, from its XML; read once and again when libvirt says that it changed."""

    has_balloon: bool
    stats_period_s: int | None = None
    """``<memballoon><stats period>``; ``None``: not set, so the guest reports nothing."""
    deflates_on_oom: bool = False
    reports_free_pages: bool = False
    huge_pages: bool = False
    locked: bool = False
    shared_memory: bool = False
    """memfd or file backing with shared access: KSM skips it and RSS counts it elsewhere."""
    passthrough: bool = False
    """A VFIO device pins all memory: taking from it gives nothing."""
    mergeable: bool = True
    """``False`` with ``<nosharepages/>``."""
    title: str | None = None
    owner: str | None = None
    """Who the management layer says owns it (OpenNebula, nova), when it says so."""
    overrides: dict[str, str] = {}
    """memtide's own ``<metadata>``: settings by name, as text; checked where settings are."""


class Guest(Model, frozen=True, kw_only=True):
    """One guest at one moment."""

    uuid: str
    name: str
    state: GuestState
    observed: Observed
    traits: GuestTraits
    reported: Reported | None = None
    since_s: float | None = None
    """Host time since which we have known this incarnation (start, reboot or our own start)."""
    busy: str | None = None
    """Why hands are off for now (migration, save, snapshot), else ``None``."""
    missing: Missing = {}
