"""What the kernel writes about the host, as values: pure and total.

Malformed or missing text gives ``None`` (or a field that is ``None``), never an exception, because one odd file
must not cost a tick. The one exception is :func:`parse_meminfo`: without it there is no host to speak of.

Sizes: the kernel's "kB" in /proc and in a node's meminfo is KiB; cgroup and ZFS files are in bytes; KSM counts
pages. Numbers are read with at most 20 digits, the longest that 64 bits can need.
"""

import re
from typing import Final

from memtide.errors import SourceError
from memtide.model.base import Model
from memtide.model.pressure import Pressure, Stall
from memtide.units import KIB

__all__ = [
    "UNLIMITED",
    "VMSTAT_FIELDS",
    "CgroupMemory",
    "Meminfo",
    "numbers",
    "parse_arc_reclaimable",
    "parse_cgroup_memory",
    "parse_choice",
    "parse_count",
    "parse_cow_breaks",
    "parse_limit",
    "parse_meminfo",
    "parse_node_meminfo",
    "parse_number",
    "parse_percent",
    "parse_pressure",
    "parse_run",
    "parse_switch",
    "parse_vmstat",
    "rows",
]

UNLIMITED: Final = 1 << 63
"""What a cgroup without a limit counts as: more than any machine has, as cgroup v1 itself writes it."""


def rows(names: tuple[str, ...], row: str) -> re.Pattern[bytes]:
    """Return a pattern that finds ``(name, digits)`` in the lines that begin with one of these names."""
    return re.compile(rf"^({'|'.join(map(re.escape, names))}){row}$".encode(), re.MULTILINE)


def numbers(pattern: re.Pattern[bytes], data: bytes) -> dict[str, int]:
    """Return the numbers that a pattern of :func:`rows` finds, by name; lines that are not there are absent."""
    return {name.decode(): int(digits) for name, digits in pattern.findall(data)}


# /proc/meminfo and vmstat --------------------------------------------------------------------------------------------

_MEMINFO_NEEDED: Final = ("MemTotal", "MemFree", "MemAvailable", "Cached", "Shmem", "SwapTotal", "SwapFree")
_MEMINFO_HUGE: Final = ("Hugetlb", "HugePages_Total", "HugePages_Free", "Hugepagesize")
_MEMINFO: Final = rows(_MEMINFO_NEEDED + _MEMINFO_HUGE, r":[ \t]+(\d{1,20})(?: kB)?")


class Meminfo(Model, frozen=True, kw_only=True):
    """The lines of /proc/meminfo that memtide uses, in bytes."""

    total_bytes: int
    free_bytes: int
    available_bytes: int
    cached_bytes: int
    shmem_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int
    huge_pages_bytes: int
    """All huge page pools where the kernel says so (``Hugetlb:``, since 4.15), else the default size's pool."""
    huge_pages_free_bytes: int
    """Of the default size's pool only: meminfo does not tell about the others."""


def parse_meminfo(data: bytes) -> Meminfo:
    """Return what /proc/meminfo says.

    Raises:
        SourceError: a line that every kernel since 3.14 writes is missing, so the host cannot be judged.
    """
    lines = numbers(_MEMINFO, data)
    absent = [name for name in _MEMINFO_NEEDED if name not in lines]
    if absent:
        raise SourceError(
            f"/proc/meminfo has no {', '.join(absent)}", hint="memtide needs Linux 3.14 or newer and a real /proc"
        )
    # a kernel without huge pages writes no such line: then there are none
    page_bytes = lines.get("Hugepagesize", 0) * KIB
    default_pool_bytes = lines.get("HugePages_Total", 0) * page_bytes
    return Meminfo(
        total_bytes=lines["MemTotal"] * KIB,
        free_bytes=lines["MemFree"] * KIB,
        available_bytes=lines["MemAvailable"] * KIB,
        cached_bytes=lines["Cached"] * KIB,
        shmem_bytes=lines["Shmem"] * KIB,
        swap_total_bytes=lines["SwapTotal"] * KIB,
        swap_free_bytes=lines["SwapFree"] * KIB,
        huge_pages_bytes=lines["Hugetlb"] * KIB if "Hugetlb" in lines else default_pool_bytes,
        huge_pages_free_bytes=lines.get("HugePages_Free", 0) * page_bytes,
    )


# the kernel's counter -> the field of Host it adds to; refaults were one counter until 5.9, and are two since
_VMSTAT_NAMES: Final = {
    "pswpin": "swap_in_pages_total",
    "pswpout": "swap_out_pages_total",
    "pgmajfault": "major_faults_total",
    "oom_kill": "oom_kills_total",
    "workingset_refault": "refaults_total",
    "workingset_refault_anon": "refaults_total",
    "workingset_refault_file": "refaults_total",
}
VMSTAT_FIELDS: Final = tuple(dict.fromkeys(_VMSTAT_NAMES.values()))
_VMSTAT: Final = rows(tuple(_VMSTAT_NAMES), r" (\d{1,20})")


def parse_vmstat(data: bytes) -> dict[str, int]:
    """Return the counters of /proc/vmstat by the field of ``Host`` they belong to; those not written are absent."""
    fields: dict[str, int] = {}
    for name, count in numbers(_VMSTAT, data).items():
        field = _VMSTAT_NAMES[name]
        fields[field] = fields.get(field, 0) + count
    return fields


_COW_BREAKS: Final = re.compile(rb"^cow_ksm (\d{1,20})$", re.MULTILINE)


def parse_cow_breaks(data: bytes) -> int | None:
    """Return how many writes parted a page from its copies, from /proc/vmstat; ``None`` before Linux 5.18."""
    match = _COW_BREAKS.search(data)
    return int(match[1]) if match else None


# pressure ------------------------------------------------------------------------------------------------------------

_AVERAGE: Final = rb"(\d{1,3}\.\d{1,6})"
_STALL: Final = re.compile(
    rb"^(some|full) avg10=%b avg60=%b avg300=%b total=(\d{1,20})$" % (_AVERAGE, _AVERAGE, _AVERAGE), re.MULTILINE
)


def parse_pressure(data: bytes) -> Pressure | None:
    """Return a pressure file's two lines, percentages as ratios; ``None`` without its ``some`` line."""
    stalls = {
        kind: Stall(
            avg10_ratio=float(avg10) / 100,
            avg60_ratio=float(avg60) / 100,
            avg300_ratio=float(avg300) / 100,
            total_us=int(total_us),
        )
        for kind, avg10, avg60, avg300, total_us in _STALL.findall(data)
    }
    some = stalls.get(b"some")
    return None if some is None else Pressure(some=some, full=stalls.get(b"full"))


# files with one value ------------------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(rb"\s*(-?\d{1,20})\s*\Z")
_COUNT: Final = re.compile(rb"\s*(\d{1,20})\s*\Z")
_CHOICE: Final = re.compile(rb"\[([a-z0-9_-]{1,40})\]")


def parse_number(data: bytes) -> int | None:
    """Return the whole number, signed, that is all the file holds."""
    match = _NUMBER.match(data)
    return int(match[1]) if match else None


def parse_count(data: bytes) -> int | None:
    """Return the whole number, never negative, that is all the file holds."""
    match = _COUNT.match(data)
    return int(match[1]) if match else None


def parse_run(data: bytes) -> int | None:
    """Return what KSM's ``run`` holds: 0, 1 or 2; the kernel knows no other."""
    number = parse_count(data)
    return number if number in {0, 1, 2} else None


def parse_percent(data: bytes) -> float | None:
    """Return a file's whole percentage, never negative, as a ratio."""
    number = parse_count(data)
    return None if number is None else number / 100


def parse_switch(data: bytes) -> bool | None:
    """Return a file that holds 0 or 1."""
    number = parse_number(data)
    return bool(number) if number in (0, 1) else None


def parse_choice(data: bytes) -> str | None:
    """Return what is chosen in a list such as ``[none] scan-time``."""
    match = _CHOICE.search(data)
    return match[1].decode() if match else None


def parse_limit(data: bytes) -> int | None:
    """Return a cgroup's limit in bytes; ``max`` is ``UNLIMITED``, so that limits can simply be compared."""
    return UNLIMITED if data.strip() == b"max" else parse_number(data)


# NUMA, ZFS, cgroups --------------------------------------------------------------------------------------------------

_NODE: Final = re.compile(rb"^Node \d{1,9} (MemTotal|MemFree):[ \t]+(\d{1,20}) kB$", re.MULTILINE)
_ARC: Final = rows(("size", "c_min"), r" +\d{1,3} +(\d{1,20})")
_V2_STAT: Final = ("file", "shmem", "active_file", "inactive_file")
_V1_STAT: Final = ("total_cache", "total_shmem", "total_active_file", "total_inactive_file")
_CGROUP_STAT: Final = rows(_V2_STAT + _V1_STAT, r" (\d{1,20})")


def parse_node_meminfo(data: bytes) -> tuple[int, int] | None:
    """Return a NUMA node's total and free bytes."""
    lines = numbers(_NODE, data)
    if len(lines) < 2:  # noqa: PLR2004 - the two lines asked for
        return None
    return lines["MemTotal"] * KIB, lines["MemFree"] * KIB


def parse_arc_reclaimable(data: bytes) -> int | None:
    """Return what ZFS would give back from its cache (arcstats ``size`` down to ``c_min``), bytes.

    The kernel's MemAvailable does not know of it. A cache below its minimum gives nothing.
    """
    lines = numbers(_ARC, data)
    return max(0, lines["size"] - lines["c_min"]) if len(lines) == 2 else None  # noqa: PLR2004 - the two lines


class CgroupMemory(Model, frozen=True, kw_only=True):
    """What a cgroup's memory.stat says of page cache, its children included, in bytes."""

    cached_bytes: int
    """All page cache, tmpfs and shared memory included."""
    shmem_bytes: int
    reclaimable_bytes: int
    """Cache with files behind it: the kernel drops it before it kills."""


def parse_cgroup_memory(data: bytes) -> CgroupMemory | None:
    """Return a memory.stat of cgroup v2 or v1 (whose sums with children are called ``total_*``)."""
    lines = numbers(_CGROUP_STAT, data)
    for names in (_V2_STAT, _V1_STAT):
        if all(name in lines for name in names):
            cached, shmem, active, inactive = (lines[name] for name in names)
            return CgroupMemory(cached_bytes=cached, shmem_bytes=shmem, reclaimable_bytes=active + inactive)
    return None
