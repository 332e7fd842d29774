"""Make the host small: reserve memory as huge pages, add compressed swap, give both back.

A reserved huge page leaves MemFree and MemAvailable at once and cannot be used by guests with 4 KiB pages, so a 24 GiB
machine behaves like a 4 GiB one.  Everything else that runs on the machine gets less memory too.
"""

import subprocess
from pathlib import Path
from typing import Final

from lab.errors import LabError
from lab.state import State

_HUGE: Final = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
_HUGE_BYTES: Final = 2 << 20
_MIB: Final = 1 << 20
LEAST_AVAILABLE_BYTES: Final = 512 * _MIB
_NEAR_BYTES: Final = 16 * _MIB
_ROUNDS: Final = 5


def available_bytes() -> int:
    """The host's MemAvailable now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value, *_ = line.split()
        if name == "MemAvailable:":
            return int(value) * 1024
    raise LabError("/proc/meminfo has no MemAvailable")


class HostSize:
    """The host's memory as the lab's guests find it.  Every change is in `state` before it is made."""

    def __init__(self, state: State) -> None:
        self._state = state

    def shrink_to(self, wanted_bytes: int) -> int:
        """Reserve huge pages until MemAvailable is about `wanted_bytes`; returns the MemAvailable achieved, in bytes.

        Call it again with another value to move; up to the original size.  The kernel may give fewer pages than asked
        (fragmentation): compare what is returned.

        Raises:
            LabError: less than 512 MiB or more than the host has was asked, or there are no 2 MiB pages here.
        """
        if not _HUGE.exists():
            raise LabError("this kernel has no 2 MiB huge pages, so the host cannot be made smaller")
        if wanted_bytes < LEAST_AVAILABLE_BYTES:
            raise LabError(
                f"refusing to leave {wanted_bytes // _MIB} MiB available: this machine needs"
                f" {LEAST_AVAILABLE_BYTES // _MIB} MiB to stay usable"
            )
        original = self._remember_huge_pages()
        most_bytes = available_bytes() + (_huge_pages() - original) * _HUGE_BYTES
        if wanted_bytes > most_bytes + _NEAR_BYTES:
            raise LabError(
                f"the host has {most_bytes // _MIB} MiB available, so {wanted_bytes // _MIB} MiB cannot be left"
            )
        for _ in range(_ROUNDS):
            excess_bytes = available_bytes() - wanted_bytes
            if abs(excess_bytes) < _NEAR_BYTES:
                break
            before = _huge_pages()
            _HUGE.write_text(str(max(original, before + excess_bytes // _HUGE_BYTES)))
            if _huge_pages() == before:  # the kernel has no more whole 2 MiB pages to give
                break
        return available_bytes()

    def grow_by(self, change_bytes: int) -> int:
        """Give huge pages back to the host (or, negative, take more); returns by how much it grew, in bytes.

        The kernel may have fewer whole huge pages to take than asked; try again later.
        """
        original = self._remember_huge_pages()
        before = _huge_pages()
        _HUGE.write_text(str(max(original, before - round(change_bytes / _HUGE_BYTES))))
        return (before - _huge_pages()) * _HUGE_BYTES

    def swap_zram(self, size_bytes: int) -> str:
        """Add compressed swap of that size and return its device's name.  Incompressible pages gain nothing there.

        Raises:
            LabError: no free zram device, or mkswap or swapon failed.
        """
        name = _free_zram()
        self._state.zram_devices = [*self._state.zram_devices, name]
        self._state.save()
        Path(f"/sys/block/{name}/disksize").write_text(str(size_bytes))
        for command in (["mkswap", f"/dev/{name}"], ["swapon", "-p", "100", f"/dev/{name}"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
        return name

    def restore(self) -> None:
        """Give back what was changed; nothing to do is fine.  Huge pages first: emptying swap needs memory."""
        if self._state.huge_pages is not None:
            _HUGE.write_text(str(self._state.huge_pages))
            self._state.huge_pages = None
            self._state.save()
        for name in self._state.zram_devices:
            if any(line.startswith(f"/dev/{name} ") for line in Path("/proc/swaps").read_text().splitlines()):
                subprocess.run(["swapoff", f"/dev/{name}"], check=True)
            Path(f"/sys/block/{name}/reset").write_text("1")
        if self._state.zram_devices:
            self._state.zram_devices = []
            self._state.save()

    def _remember_huge_pages(self) -> int:
        if self._state.huge_pages is None:
            self._state.huge_pages = _huge_pages()
            self._state.save()
        return self._state.huge_pages


def _huge_pages() -> int:
    return int(_HUGE.read_text())


def _free_zram() -> str:
    for device in sorted(Path("/sys/block").glob("zram*")):
        if (device / "disksize").read_text().strip() == "0":
            return device.name
    hot_add = Path("/sys/class/zram-control/hot_add")  # reading it creates a device
    if not hot_add.exists():
        raise LabError("no zram on this host: modprobe zram, or do without host swap")
    return f"zram{hot_add.read_text().strip()}"
