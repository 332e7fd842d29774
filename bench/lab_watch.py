"""Reading the machine while a comparison runs: the host's memory, swap and stalls, and who uses the CPU."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.lab_result import HostSample
from lab import Lab
from lab.others import others_bytes
from memtide.model.limits import Limits
from memtide.policy.host_state import reserve_for
from memtide.sources.host import HostReader
from memtide.sources.parse import parse_vmstat
from memtide.units import MIB

__all__ = ["SAMPLE_EVERY_S", "Busy", "HostWatch", "busy"]

ROOT: Final = Path("/")
SAMPLE_EVERY_S: Final = 0.5
WORTH_IT_BYTES: Final = 8 * MIB
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
BUSY_COLUMNS: Final = (1, 2, 3, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq; not idle, waiting or stolen."""
OWN_COLUMNS: Final = (11, 12, 13, 14)
"""Of /proc/PID/stat behind the name: user and system time, its own and its ended children's."""


class HostWatch:
    """Takes samples of the host, in the terms in which memtide sees it, and keeps the host's size.

    The machine is shared. What other processes take or free after the host was made small is made up for with as many
    huge pages, so that the guests and their manager have the same memory in every run.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._reader = HostReader(ROOT)
        self._made_up_bytes = 0
        self.pids = [guest.pid for guest in lab.guests]
        self.manager_pid: int | None = None
        self.samples: list[HostSample] = []

    def wait(self, duration_s: float) -> None:
        """Keep the host's size for so long, without a sample."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            self._make_up()
            time.sleep(SAMPLE_EVERY_S)

    def _make_up(self) -> tuple[int, int]:
        """Return what others hold, and what of its change since the host was made small is not made up for."""
        others = others_bytes(() if self.manager_pid is None else (self.manager_pid,))
        if not self._lab.others_bytes:  # the host was not made small
            return others, 0
        off_bytes = others - self._lab.others_bytes - self._made_up_bytes
        if abs(off_bytes) >= WORTH_IT_BYTES:
            self._made_up_bytes += self._lab.host.grow_by(off_bytes)
        return others, others - self._lab.others_bytes - self._made_up_bytes

    def sample(self) -> None:
        """Read the host once and keep what it says."""
        others, off_bytes = self._make_up()
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
                others_bytes=others,
                off_bytes=off_bytes,
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
