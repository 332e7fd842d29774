"""What the host's own kernel measures: memory, pressure, swap, huge pages, NUMA, KSM."""

from memtide.model.base import Missing, Model
from memtide.model.ksm import Ksm
from memtide.model.pressure import Pressure

__all__ = ["Host", "HostMemory", "NumaNode"]


class HostMemory(Model, frozen=True, kw_only=True):
    """/proc/meminfo in bytes, with what 4 KiB guests cannot use already taken out.

    ``available_bytes`` is MemAvailable plus ZFS's reclaimable cache, and never more than what is left
    under the host's own cgroup limit (memtide may run in a container, or the "host" may be one).
    """

    total_bytes: int
    """MemTotal, or the cgroup limit when that is smaller. Huge pages are part of it."""
    available_bytes: int
    free_bytes: int
    cached_bytes: int
    shmem_bytes: int
    huge_pages_total_bytes: int
    """All huge page pools; not available to guests backed by normal pages."""
    huge_pages_free_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int
    arc_reclaimable_bytes: int | None = None
    """What ZFS would give back (size - minimum); ``None`` without ZFS."""
    limit_bytes: int | None = None
    """The host's own cgroup limit, when there is one below MemTotal."""

    @property
    def usable_total_bytes(self) -> int:
        """Memory that guests backed by normal pages can ever have: total minus all huge pages."""
        return max(0, self.total_bytes - self.huge_pages_total_bytes)


class NumaNode(Model, frozen=True, kw_only=True):
    """One NUMA node, from /sys/devices/system/node/nodeN/meminfo."""

    node: int
    total_bytes: int
    free_bytes: int


class Host(Model, frozen=True, kw_only=True):
    """Everything observed about the host at one moment."""

    taken_at_s: float
    memory: HostMemory
    pressure: Pressure | None = None
    ksm: Ksm | None = None
    ksm_writers: tuple[str, ...] = ()
    """Programs running on this host that steer KSM too, by name: ``ksmtuned``, ``momd``."""
    numa: tuple[NumaNode, ...] = ()
    counters_at_s: float = 0.0
    """When NUMA and the counters below were read; they may be older than the sample they are part of."""
    swap_in_pages_total: int | None = None
    swap_out_pages_total: int | None = None
    major_faults_total: int | None = None
    oom_kills_total: int | None = None
    refaults_total: int | None = None
    """Pages faulted back soon after their eviction (workingset_refault_*): the host reclaims what it needs."""
    missing: Missing = {}
