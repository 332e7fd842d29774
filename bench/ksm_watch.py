"""Reading KSM, ksmd and the guests' processes once a second, in a thread of its own: a boot does not stop it."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from bench.ksm_limit import PAGE_BYTES
from bench.ksm_managers import KSM
from bench.ksm_result import GuestSample, Sample
from lab import LabError
from lab.host import available_bytes

__all__ = ["Watch"]

PROC: Final = Path("/proc")
NS_PER_S: Final = 1e9
COW: Final = "cow_ksm "


class Watch:
    """Takes samples for as long as the `with` block lasts.

    Args:
        guests: asked before every sample for the names and pids of the guests that run now.
        every_s: how often.
    """

    def __init__(self, guests: Callable[[], Mapping[str, int]], every_s: float) -> None:
        self._guests = guests
        self._every_s = every_s
        self._ksmd = _ksmd()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.began_s = time.monotonic()
        self.samples: list[Sample] = [self.sample()]
        """The first is of the beginning, so that counters can be compared with it."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def since_s(self) -> float:
        """Return the time since the beginning."""
        return time.monotonic() - self.began_s

    def sample(self) -> Sample:
        """Read everything once.

        Raises:
            OSError: a file is missing: this kernel is older than Linux 6.6.
        """
        cpu_s = int((self._ksmd / "schedstat").read_text().split()[0]) / NS_PER_S
        return Sample(
            at_s=self.since_s(),
            saved_bytes=(_number("pages_sharing") + _number("ksm_zero_pages")) * PAGE_BYTES,
            profit_bytes=_number("general_profit"),
            run=_number("run"),
            pages_scanned=_number("pages_scanned"),
            full_scans=_number("full_scans"),
            ksmd_cpu_s=cpu_s,
            cow_breaks=_cow_breaks(),
            available_bytes=available_bytes(),
            guests={name: found for name, pid in self._guests().items() if (found := _guest(pid)) is not None},
        )

    def _run(self) -> None:
        due_s = self.began_s
        while not self._end.is_set():
            due_s += self._every_s
            self._end.wait(max(0.0, due_s - time.monotonic()))
            self.samples.append(self.sample())


def _number(name: str) -> int:
    return int((KSM / name).read_text())


def _cow_breaks() -> int:
    lines = (PROC / "vmstat").read_text().splitlines()
    return next(int(line.removeprefix(COW)) for line in lines if line.startswith(COW))


def _guest(pid: int) -> GuestSample | None:
    """Return what the kernel says of a QEMU; ``None``: it is gone."""
    try:
        resident_pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        merged_pages = int((PROC / str(pid) / "ksm_merging_pages").read_text())
    except (OSError, IndexError, ValueError):  # of a process that ends the files are empty, or not there
        return None
    return GuestSample(rss_bytes=resident_pages * PAGE_BYTES, merged_bytes=merged_pages * PAGE_BYTES)


def _ksmd() -> Path:
    for comm in PROC.glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "ksmd\n":
                return comm.parent
        except OSError:  # gone meanwhile
            continue
    raise LabError("there is no ksmd here: the kernel has no KSM, or this is a container without the host's processes")
