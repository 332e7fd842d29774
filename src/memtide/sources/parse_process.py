"""What the kernel writes about one process, as values: pure and total, like ``parse``."""

import itertools
import re
import uuid
from pathlib import PurePosixPath
from typing import Final

from memtide.model.base import Model
from memtide.sources.parse import numbers, rows
from memtide.units import KIB

__all__ = [
    "CgroupPaths",
    "ProcessMemory",
    "ProcessStat",
    "parse_cgroup_paths",
    "parse_process_memory",
    "parse_process_stat",
    "parse_qemu_uuid",
]

_STATUS: Final = rows(("VmRSS", "VmSwap"), r":[ \t]+(\d{1,20}) kB")
# pid (name, which may hold spaces and brackets) state ppid ... utime(14) stime(15) ... starttime(22)
_STAT: Final = re.compile(
    rb"\d{1,10} \((.{0,64})\) \S (\d{1,10})(?: -?\d{1,20}){9} (\d{1,20}) (\d{1,20})(?: -?\d{1,20}){6} (\d{1,20})",
    re.DOTALL,
)


class CgroupPaths(Model, frozen=True, kw_only=True):
    """Where a process is in the cgroup trees, seen from the reader's cgroup namespace.

    A path that begins with ``/..`` lies outside that namespace (cgroup_namespaces(7)).
    """

    v1_memory: str | None = None
    """In the memory controller's own tree (cgroup v1)."""
    v2: str | None = None


def parse_cgroup_paths(data: bytes) -> CgroupPaths | None:
    """Return a /proc/PID/cgroup; ``None`` when it has neither a memory line nor a unified one."""
    v1_memory = v2 = None
    for line in data.decode(errors="replace").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/"):
            continue
        if "memory" in controllers.split(","):
            v1_memory = path
        elif number == "0" and not controllers:
            v2 = path
    return CgroupPaths(v1_memory=v1_memory, v2=v2) if v1_memory or v2 else None


class ProcessStat(Model, frozen=True, kw_only=True):
    """The fields of /proc/PID/stat that memtide uses (proc_pid_stat(5))."""

    name: str
    parent: int
    cpu_ticks: int
    """User and system time since it started, in clock ticks."""
    started_ticks: int
    """When it started, in clock ticks after boot: with the pid it names the process for good."""


def parse_process_stat(data: bytes) -> ProcessStat | None:
    """Return a /proc/PID/stat."""
    match = _STAT.match(data)
    if match is None:
        return None
    name, parent, user, system, started = match.groups()
    return ProcessStat(
        name=name.decode(errors="replace"),
        parent=int(parent),
        cpu_ticks=int(user) + int(system),
        started_ticks=int(started),
    )


class ProcessMemory(Model, frozen=True, kw_only=True):
    """Resident and swapped memory of one process, from /proc/PID/status."""

    rss_bytes: int
    swapped_bytes: int


def parse_process_memory(data: bytes) -> ProcessMemory | None:
    """Return VmRSS and VmSwap; ``None`` for a zombie or a kernel thread, which have neither."""
    lines = numbers(_STATUS, data)
    if len(lines) < 2:  # noqa: PLR2004 - the two lines asked for
        return None
    return ProcessMemory(rss_bytes=lines["VmRSS"] * KIB, swapped_bytes=lines["VmSwap"] * KIB)


def parse_qemu_uuid(cmdline: bytes) -> str | None:
    """Return the guest's UUID, in the usual spelling, when this command line is a QEMU's.

    Other helpers of a guest (swtpm, virtiofsd) carry its UUID too, but neither the name nor the option.
    """
    program, *arguments = cmdline.decode(errors="replace").split("\0")
    name = PurePosixPath(program).name
    if not ("qemu" in name or name == "kvm"):
        return None
    for option, value in itertools.pairwise(arguments):
        if option in ("-uuid", "--uuid"):
            try:
                return str(uuid.UUID(value))
            except ValueError:
                return None
    return None
