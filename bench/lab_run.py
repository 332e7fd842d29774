"""One run of the comparison: boot, start the manager, start the scripts, warm up, measure."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from bench.lab_managers import LAWS, Manager, Start, ksm_at_rest
from bench.lab_result import (
    HostSample,
    Run,
    moved_bytes,
    percentiles,
    reversals,
    seconds_under,
    shortage_gib_s,
    slowest_each_second_ms,
    touches_ms,
)
from bench.lab_settings import HOST_SWAP_BYTES, WARM_UP_S, Setting
from bench.lab_watch import SAMPLE_EVERY_S, Busy, HostWatch, busy
from lab import Guest, Lab, Report
from lab.guest import Fill
from lab.host import available_bytes
from memtide.units import GIB, MIB

__all__ = ["commit", "measure"]

Progress = Callable[[str], None]

SAY_EVERY_S: Final = 30.0
MANAGER_HEAD_START_S: Final = 5.0
LOCK_WAIT_S: Final = 3600.0
SILENT_S: Final = 10.0
"""A guest that reported so long ago is as good as dead: its reporter is locked in its memory and needs little."""


def measure(  # noqa: PLR0913 - what a run is, all by keyword but the two that name it
    law: str, setting: Setting, *, minutes: float, fill: Fill, mom: Path | None, progress: Progress
) -> Run:
    """Run one law in one setting and return what was measured.

    Raises:
        LabError: the lab cannot run here.
        ClickException: the manager ended by itself.
    """
    row = LAWS[law]
    lab = Lab(
        setting.specs(fill, row.stats_period_s),
        progress=progress,
        host_available_bytes=setting.host_bytes if row.host_short else None,
        host_swap_bytes=HOST_SWAP_BYTES if row.host_swap and row.host_short else 0,
        wait_s=LOCK_WAIT_S,
    )
    with lab, ksm_at_rest(), tempfile.TemporaryDirectory(prefix="memtide-bench-") as folder:
        watch = HostWatch(lab)
        start = Start(uri=lab.uri, folder=Path(folder), usable_bytes=watch.usable_bytes(), mom=mom)
        with row.start(start) as manager:
            watch.manager_pid = None if manager.process is None else manager.process.pid
            watch.wait(MANAGER_HEAD_START_S)
            for index, guest in enumerate(lab.guests):  # all at once: they keep step
                guest.command(setting.script(index), limit_s=None)
            watch.wait(WARM_UP_S)
            return _Measurement(lab, manager, watch, progress).run(law, setting, minutes * 60, fill)


class _Measurement:
    """The measured part of a run."""

    def __init__(self, lab: Lab, manager: Manager, watch: HostWatch, progress: Progress) -> None:
        self._lab = lab
        self._manager = manager
        self._watch = watch
        self._progress = progress
        self._began_s = time.monotonic()
        self._began_at_s = time.time()

    def run(self, law: str, setting: Setting, duration_s: float, fill: Fill) -> Run:
        before = self._busy()
        self._wait(duration_s)
        used = self._busy().since(before)
        samples = self._watch.samples
        histories = [self._history(guest) for guest in self._lab.guests]
        reserve_bytes = self._watch.reserve_bytes()
        dead_s = sum(self._dead_s(history) for history in histories)
        kills = samples[-1].oom_kills - samples[0].oom_kills
        return Run(
            law=law,
            setting=setting.name,
            fill=fill,
            began_at=datetime.fromtimestamp(self._began_at_s).astimezone().isoformat(timespec="seconds"),
            commit=commit(),
            measured_s=samples[-1].at_s - samples[0].at_s,
            guests=setting.guests,
            nominal_bytes=setting.guests * setting.size_bytes,
            host_before_boot_bytes=setting.host_bytes,
            reserve_bytes=reserve_bytes,
            shortage_gib_s=sum(map(shortage_gib_s, histories)) + dead_s * setting.mean_bytes / GIB,
            guest_swap_pages=sum(_grew(h, lambda r: r.swap_in_pages + r.swap_out_pages) for h in histories),
            guest_major_faults=sum(_grew(h, lambda r: r.major_faults) for h in histories),
            host_swap_pages=samples[-1].swap_pages - samples[0].swap_pages,
            touch_ms=percentiles(touch for history in histories for touch in touches_ms(history)),
            slowest_ms=percentiles(touch for history in histories for touch in slowest_each_second_ms(history)),
            stall_some_s=_grew_s(samples, lambda s: s.stall_some_us),
            stall_full_s=_grew_s(samples, lambda s: s.stall_full_us),
            guest_oom_kills=sum(_grew(h, lambda r: r.oom_kills) for h in histories),
            host_oom_kills=kills,
            under_reserve_s=seconds_under(samples, reserve_bytes),
            under_quarter_s=seconds_under(samples, reserve_bytes / 4),
            lowest_available_bytes=min(sample.available_bytes for sample in samples),
            reversals=sum(reversals(report.mem_total_bytes for report in h) for h in histories),
            moved_bytes=sum(map(moved_bytes, histories)),
            host_gained_bytes=self._manager.gained_bytes(self._began_at_s),
            manager_cpu_s=used.manager_s,
            libvirtd_cpu_s=used.libvirtd_s,
            others_cpu_s=used.machine_s - used.guests_s - used.libvirtd_s - (used.manager_s or 0.0),
            others_spread_bytes=max(s.others_bytes for s in samples) - min(s.others_bytes for s in samples),
            off_bytes=max(abs(s.off_bytes) for s in samples),
            off_mean_bytes=sum(s.off_bytes for s in samples) // len(samples),
        )

    def _wait(self, duration_s: float) -> None:
        """Sample the host until the time is over."""
        end_s = self._began_s + duration_s
        say_at_s = self._began_s + SAY_EVERY_S
        while (now_s := time.monotonic()) < end_s:
            self._watch.sample()
            if now_s >= say_at_s:
                say_at_s += SAY_EVERY_S
                self._say(end_s - now_s)
            time.sleep(SAMPLE_EVERY_S)
        self._watch.sample()

    def _say(self, left_s: float) -> None:
        first, last = self._watch.samples[0], self._watch.samples[-1]
        histories = [self._history(guest) for guest in self._lab.guests]
        swapped = sum(_grew(h, lambda r: r.swap_in_pages + r.swap_out_pages) for h in histories)
        self._progress(
            f"  {left_s:4.0f} s left: host has {available_bytes() // MIB} MiB, swapped"
            f" {last.swap_pages - first.swap_pages} pages; guests lacked {sum(map(shortage_gib_s, histories)):.1f}"
            f" GiB.s, swapped {swapped} pages"
        )

    def _history(self, guest: Guest) -> list[Report]:
        """Return what the guest reported in the measured time, and the report before: what it began with."""
        return [report for report in guest.history if report.received_s >= self._began_s - 1]

    def _dead_s(self, history: Sequence[Report]) -> float:
        """Return how long the host has been without this guest; it lacks all it wanted."""
        last_s = history[-1].received_s if history else self._began_s
        silent_s = self._watch.samples[-1].at_s - last_s
        return silent_s if silent_s > SILENT_S else 0.0

    def _busy(self) -> Busy:
        process = self._manager.process
        return busy(self._lab, self._watch.pids, None if process is None else process.pid)


def _grew(history: Sequence[Report], read: Callable[[Report], int]) -> int:
    return read(history[-1]) - read(history[0]) if history else 0


def _grew_s(samples: Sequence[HostSample], read: Callable[[HostSample], int | None]) -> float | None:
    first, last = read(samples[0]), read(samples[-1])
    return None if first is None or last is None else (last - first) / 1e6


def commit() -> str:
    """Return the commit, with a plus where the working tree differs from it; "unknown" outside of a repository."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
