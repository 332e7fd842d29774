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
    "Credentials",
    "ProcessKsm",
    "ProcessMemory",
    "ProcessStat",
    "parse_cgroup_paths",
    "parse_credentials",
    "parse_name",
    "parse_process_ksm",
    "parse_process_memory",
    "parse_process_stat",
    "parse_program",
    "parse_pss",
    "parse_qemu_uuid",
]

_STATUS: Final = rows(("VmRSS", "VmSwap"), r":[ \t]+(\d{1,20}) kB")
_PSS: Final = rows(("Pss",), r":[ \t]+(\d{1,20}) kB")
_KSM: Final = rows(("ksm_merging_pages", "ksm_zero_pages", "ksm_process_profit"), r" (-?\d{1,20})")
_STATE: Final = re.compile(rb"^State:[ \t]+(\S)", re.MULTILINE)
_EFFECTIVE_UID: Final = re.compile(rb"^Uid:[ \t]+\d{1,10}[ \t]+(\d{1,10})", re.MULTILINE)
_CAPABILITIES: Final = re.compile(rb"^CapEff:[ \t]+([0-9a-f]{1,32})$", re.MULTILINE)
_DAC_OVERRIDE: Final = 1
"""Number of CAP_DAC_OVERRIDE (capabilities(7)): files may be written whoever owns them."""
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


def parse_pss(data: bytes) -> int | None:
    """Return the ``Pss:`` of a smaps_rollup, in bytes: each page split evenly among all that map it."""
    kib = numbers(_PSS, data).get("Pss")
    return None if kib is None else kib * KIB


class ProcessKsm(Model, frozen=True, kw_only=True):
    """What /proc/PID/ksm_stat says; its lines came one by one, so each can be unknown (fs/proc/base.c)."""

    merging_pages: int | None = None
    """Linux 6.4; before, in a file of its own."""
    zero_pages: int | None = None
    """Linux 6.6."""
    profit_bytes: int | None = None
    """Signed. Linux 6.4."""


def parse_process_ksm(data: bytes) -> ProcessKsm:
    """Return a /proc/PID/ksm_stat; an older kernel's, which has only ksm_rmap_items, leaves all of it unknown."""
    lines = numbers(_KSM, data)
    return ProcessKsm(
        merging_pages=lines.get("ksm_merging_pages"),
        zero_pages=lines.get("ksm_zero_pages"),
        profit_bytes=lines.get("ksm_process_profit"),
    )


class Credentials(Model, frozen=True, kw_only=True):
    """What a process may do, from /proc/PID/status."""

    effective_uid: int
    overrides_files: bool
    """It has CAP_DAC_OVERRIDE, in its own user namespace."""


def parse_credentials(data: bytes) -> Credentials | None:
    """Return the credentials of a living process; ``None`` of one that has ended (a zombie)."""
    state, uid, capabilities = (pattern.search(data) for pattern in (_STATE, _EFFECTIVE_UID, _CAPABILITIES))
    if uid is None or capabilities is None or state is None or state[1] in b"ZX":
        return None
    return Credentials(effective_uid=int(uid[1]), overrides_files=bool(int(capabilities[1], 16) >> _DAC_OVERRIDE & 1))


def parse_name(data: bytes) -> str:
    """Return a /proc/PID/comm: the program's name, cut after 15 bytes; of a script run as a command, the script's."""
    return data.decode(errors="replace").rstrip("\n")


def parse_program(cmdline: bytes) -> tuple[str, str]:
    """Return the names of the program and of its first argument that is no option: a script, when it interprets one."""
    program, *arguments = cmdline.decode(errors="replace").split("\0")
    script = next((argument for argument in arguments if not argument.startswith("-")), "")
    return PurePosixPath(program).name, PurePosixPath(script).name


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
