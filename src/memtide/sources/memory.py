"""The host's memory: /proc/meminfo, and what meminfo does not know of: huge pages, ZFS and a limit of its own."""

import re
from typing import Final

from memtide.errors import SourceError
from memtide.model.base import Missing, Model
from memtide.model.host import HostMemory
from memtide.sources.cgroup import HostLimit, LimitReader
from memtide.sources.files import KernelFiles, reason
from memtide.sources.parse import Meminfo, parse_arc_reclaimable, parse_meminfo, parse_number
from memtide.units import KIB

__all__ = ["HugePages", "MemoryReader", "host_memory"]

_MEMINFO: Final = "proc/meminfo"
_ZFS: Final = "proc/spl/kstat/zfs"
_ARCSTATS: Final = re.compile("arcstats")
_HUGE_PAGES: Final = "sys/kernel/mm/hugepages"
_POOL: Final = re.compile(r"hugepages-\d{1,12}kB")


class HugePages(Model, frozen=True, kw_only=True):
    """All huge page pools together, whatever their page size."""

    total_bytes: int
    free_bytes: int


def host_memory(
    meminfo: Meminfo, huge: HugePages, *, arc_reclaimable_bytes: int | None, limit: HostLimit | None
) -> HostMemory:
    """Return the host's memory as it is for guests on normal pages.

    MemAvailable leaves out the huge pages already (they are not free, and not cache), but also ZFS's cache, which
    would be given back: that is added. A limit covers normal pages only, so the huge pages come on top of it.
    """
    available_bytes = meminfo.available_bytes + (arc_reclaimable_bytes or 0)
    total_bytes = meminfo.total_bytes
    free_bytes, cached_bytes, shmem_bytes = meminfo.free_bytes, meminfo.cached_bytes, meminfo.shmem_bytes
    if limit is not None:
        total_bytes = min(total_bytes, limit.limit_bytes + huge.total_bytes)
        available_bytes = min(available_bytes, limit.left_bytes + limit.memory.reclaimable_bytes)
        free_bytes = min(free_bytes, limit.left_bytes)
        cached_bytes, shmem_bytes = limit.memory.cached_bytes, limit.memory.shmem_bytes
    return HostMemory(
        total_bytes=total_bytes,
        available_bytes=min(available_bytes, total_bytes),
        free_bytes=free_bytes,
        cached_bytes=cached_bytes,
        shmem_bytes=shmem_bytes,
        huge_pages_total_bytes=huge.total_bytes,
        huge_pages_free_bytes=huge.free_bytes,
        swap_total_bytes=meminfo.swap_total_bytes,
        swap_free_bytes=meminfo.swap_free_bytes,
        arc_reclaimable_bytes=arc_reclaimable_bytes,
        limit_bytes=None if limit is None else limit.limit_bytes,
    )


class MemoryReader:
    """Reads everything that :func:`host_memory` puts together."""

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self._limit = LimitReader(files)

    def sample(self, missing: Missing) -> HostMemory:
        """Return the host's memory of now.

        Raises:
            SourceError: /proc/meminfo cannot be read, or lacks a line that every kernel writes.
        """
        try:
            meminfo = parse_meminfo(self._files.read(_MEMINFO))
        except OSError as error:
            raise SourceError(f"the host's memory is unknown: {reason(_MEMINFO, error)}") from error
        huge = self._huge_pages(meminfo)
        return host_memory(
            meminfo,
            huge,
            arc_reclaimable_bytes=self._arc_reclaimable_bytes(missing),
            limit=self._limit.sample(meminfo.total_bytes - huge.total_bytes, missing),
        )

    def _huge_pages(self, meminfo: Meminfo) -> HugePages:
        """Add up the pools of all page sizes: meminfo's HugePages_* lines are about the default size only."""
        from_meminfo = HugePages(total_bytes=meminfo.huge_pages_bytes, free_bytes=meminfo.huge_pages_free_bytes)
        if meminfo.huge_pages_bytes == 0:
            return from_meminfo
        total_bytes = free_bytes = 0
        pools = self._files.names(_HUGE_PAGES, _POOL)
        for pool in pools:
            page_bytes = int(pool.removeprefix("hugepages-").removesuffix("kB")) * KIB
            pages, free_pages = (self._pages(pool, name) for name in ("nr_hugepages", "free_hugepages"))
            if pages is None or free_pages is None:
                return from_meminfo
            total_bytes += pages * page_bytes
            free_bytes += free_pages * page_bytes
        return HugePages(total_bytes=total_bytes, free_bytes=free_bytes) if pools else from_meminfo

    def _pages(self, pool: str, name: str) -> int | None:
        return self._files.value(f"{_HUGE_PAGES}/{pool}/{name}", parse_number)

    def _arc_reclaimable_bytes(self, missing: Missing) -> int | None:
        # a host without ZFS is not missing anything
        if not self._files.names(_ZFS, _ARCSTATS):
            return None
        return self._files.parsed(f"{_ZFS}/arcstats", parse_arc_reclaimable, missing, "arc_reclaimable_bytes")
