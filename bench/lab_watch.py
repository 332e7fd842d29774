"""Reading the machine while a comparison runs: the host's memory, swap and stalls, and who uses the CPU."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.lab_result import HostSample
from lab import Guest, Lab
from memtide.model.limits import Limits
from memtide.policy.host_state import reserve_for
from memtide.sources.host import HostReader
from memtide.sources.parse import parse_vmstat

__all__ = ["Busy", "HostWatch", "busy"]

ROOT: Final = Path("/")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
BUSY_COLUMNS: Final = (1, 2, 3, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq; not idle, waiting or stolen."""
OWN_COLUMNS: Final = (11, 12, 13, 14)
"""Of /proc/PID/stat behind the name: user and system time, its own and its ended children's."""


class HostWatch:
    """Takes samples of the host, in the terms in which memtide sees it.

    Args:
        guests: whose memory is not that of others.
    """

    def __init__(self, guests: Sequence[Guest]) -> None:
        self._reader = HostReader(ROOT)
        self.pids = [guest.pid for guest in guests]
        self.samples: list[HostSample] = []

    def sample(self) -> None:
        """Read the host once and keep what it says."""
        host = self._reader.sample(time.time())
        counters = parse_vmstat(Path("/proc/vmstat").read_bytes())
        stalls = host.pressure
        self.samples.append(
            HostSample(
                at_s=time.monotonic(),
                available_bytes=host.memory.available_bytes,
                swap_pages=counters["swap_in_pages_total"] + counters["swap_out_pages_total"],
                oom_kills=counters["oom_kills_total"],
                stall_some_us=None if stalls is None else stalls.some.total_us,
                stall_full_us=None if stalls is None or stalls.full is None else stalls.full.total_us,
                others_bytes=_meminfo("AnonPages") - sum(_resident_bytes(pid) for pid in self.pids),
            )
        )

    def reserve_bytes(self) -> int:
        """Return the reserve that memtide would keep here without being told another."""
        return reserve_for(self._reader.sample(time.time()), Limits())

    def usable_bytes(self) -> int:
        """Return the host's memory without huge pages."""
        return self._reader.sample(time.time()).memory.usable_total_bytes

    def close(self) -> None:
        """Close the kernel's files."""
        self._reader.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """CPU seconds since the beginning of each; differences mean something."""

    machine_s: float
    guests_s: float
    libvirtd_s: float
    manager_s: float | None

    def since(self, before: "Busy") -> "Busy":
        """Return what was used between then and now."""
        manager_s = None
        if self.manager_s is not None and before.manager_s is not None:
            manager_s = self.manager_s - before.manager_s
        return Busy(
            machine_s=self.machine_s - before.machine_s,
            guests_s=self.guests_s - before.guests_s,
            libvirtd_s=self.libvirtd_s - before.libvirtd_s,
            manager_s=manager_s,
        )


def busy(lab: Lab, guest_pids: Sequence[int], manager_pid: int | None) -> Busy:
    """Return who used how much CPU until now; a guest that died counts nothing any more."""
    columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return Busy(
        machine_s=sum(int(columns[i]) for i in BUSY_COLUMNS) / TICKS_PER_S,
        guests_s=sum(_cpu_s(pid) for pid in guest_pids),
        libvirtd_s=0.0 if lab.libvirtd.pid is None else _cpu_s(lab.libvirtd.pid),
        manager_s=None if manager_pid is None else _cpu_s(manager_pid),
    )


def _cpu_s(pid: int) -> float:
    try:
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # gone
        return 0.0
    return sum(int(columns[i]) for i in OWN_COLUMNS) / TICKS_PER_S


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:  # gone
        return 0


def _meminfo(name: str) -> int:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
