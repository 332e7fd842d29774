"""One run of the KSM comparison: start the manager, then boot, churn, check and keep still as planned."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from bench.ksm_limit import Truth
from bench.ksm_managers import MANAGERS, ksm_as_shipped
from bench.ksm_plan import CALM_FROM, STILL, Event, Kind, Setting, churn_script
from bench.ksm_result import Check, Run, disturbance, lives
from bench.ksm_watch import Watch
from bench.lab_managers import Manager, Start
from bench.lab_run import commit
from lab import Guest, Lab, LabError
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.policy.host_state import reserve_for
from memtide.sources.host import HostReader
from memtide.units import MIB

__all__ = ["measure"]

Progress = Callable[[str], None]

HEAD_START_S: Final = 5.0
LOCK_WAIT_S: Final = 1800.0
SAY_EVERY_S: Final = 30.0
LOOK_EVERY_S: Final = 0.2
END_PASSES: Final = 3
PASS_LIMIT_S: Final = 120.0
PROJECT: Final = Path(__file__).parent.parent


def measure(manager: str, setting: Setting, *, minutes: float, progress: Progress) -> Run:
    """Run one manager in one setting and return what was measured.

    Raises:
        LabError: the lab cannot run here, or somebody else used KSM meanwhile.
        ClickException: the manager ended by itself.
    """
    lab = Lab(
        [],
        progress=progress,
        host_available_bytes=setting.host_bytes,
        host_swap_bytes=setting.host_swap_bytes,
        wait_s=LOCK_WAIT_S,
    )
    with lab, ksm_as_shipped(), tempfile.TemporaryDirectory(prefix="memtide-bench-") as folder:
        host = _host()
        start = Start(uri=lab.uri, folder=Path(folder), usable_bytes=host.memory.usable_total_bytes, mom=None)
        with MANAGERS[manager].start(start) as running:
            time.sleep(HEAD_START_S)
            return _Measurement(lab, manager, running, setting, minutes, progress).run(reserve_for(host, Limits()))


class _Measurement:
    """The measured part of a run."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a run is, as `measure` was told
        self, lab: Lab, manager: str, running: Manager, setting: Setting, minutes: float, progress: Progress
    ) -> None:
        self._lab = lab
        self._manager = manager
        self._process = running.process
        self._setting = setting
        self._minutes = minutes
        self._progress = progress
        self._steady = MANAGERS[manager].steady
        self._watch = Watch(self._pids, setting.sample_every_s)
        self._checks: list[Check] = []
        self._say_at_s = SAY_EVERY_S

    def run(self, reserve_bytes: int) -> Run:
        began_at = datetime.now().astimezone().isoformat(timespec="seconds")
        with self._watch as watch:
            for event in self._setting.planned(self._minutes):
                self._wait_until(event.at_s)
                self._happen(event)
            self._wait_until(self._minutes * 60)
        self._expect_undisturbed()
        ends = [self._look() for _ in range(END_PASSES)]
        guests = self._lab.guests
        return Run(
            manager=self._manager,
            setting=self._setting.name,
            minutes=self._minutes,
            began_at=began_at,
            commit=commit(),
            calm_from_s=self._minutes * 60 * CALM_FROM,
            reserve_bytes=reserve_bytes,
            samples=watch.samples,
            checks=self._checks,
            ends=ends,
            lives=[life for guest in guests for life in lives(guest.name, guest.history, watch.began_s)],
        )

    def _happen(self, event: Event) -> None:
        began_s = self._watch.since_s()
        match event.kind:
            case Kind.BOOT:
                self._lab.boot([self._setting.spec()] * 2)
            case Kind.CHURN:
                self._lab.guests[event.guest].command(churn_script(event.guest, self._minutes))
            case Kind.RESET:
                self._lab.guests[event.guest].reset()
            case Kind.REPLACE:
                self._lab.guests[event.guest].kill()
                self._lab.boot([self._setting.spec()])
            case Kind.STILL:
                for guest in self._running():
                    guest.command(STILL)
            case Kind.CHECK:
                self._checks.append(self._look())
        took_s = self._watch.since_s() - began_s
        self._progress(f"  {began_s:4.0f} s: {event.kind} {event.guest or ''} ({took_s:.1f} s)")

    def _look(self) -> Check:
        """Take the truth, in a process of its own so that the samples go on."""
        at_s = self._watch.since_s()
        kernel_saved_bytes = self._watch.sample().saved_bytes
        guests = self._running()
        command = [sys.executable, "-m", "bench.ksm_limit", *(str(guest.pid) for guest in guests)]
        try:
            told = subprocess.run(
                command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=PASS_LIMIT_S
            )
        finally:
            for guest in guests:  # a pass that was killed may have left one stopped
                guest.cont_process()
        if told.returncode:
            raise LabError(f"`{' '.join(command)}` failed: {told.stderr.strip()}")
        truth = msgspec.json.decode(told.stdout, type=Truth)
        self._progress(
            f"  {at_s:4.0f} s: truly saved {truth.saved_bytes / MIB:.0f} of {truth.limit_bytes / MIB:.0f} MiB,"
            f" the kernel says {kernel_saved_bytes / MIB:.0f} (pass {truth.took_s:.1f} s, CPU {truth.cpu_s:.1f} s)"
        )
        return Check(at_s=at_s, kernel_saved_bytes=kernel_saved_bytes, truth=truth)

    def _wait_until(self, at_s: float) -> None:
        while (left_s := at_s - self._watch.since_s()) > 0:
            if self._process is not None and self._process.poll() is not None:
                raise click.ClickException(f"{self._manager} ended by itself ({self._process.returncode})")
            if self._watch.since_s() >= self._say_at_s:
                self._say_at_s += SAY_EVERY_S
                self._say()
                self._expect_undisturbed()
            time.sleep(min(left_s, LOOK_EVERY_S))

    def _say(self) -> None:
        first, last = self._watch.samples[0], self._watch.samples[-1]
        self._progress(
            f"  {last.at_s:4.0f} s: {len(last.guests)} guests, saved {last.saved_bytes / MIB:.0f} MiB,"
            f" ksmd used {last.ksmd_cpu_s - first.ksmd_cpu_s:.2f} s, {last.full_scans - first.full_scans} full scans"
        )

    def _expect_undisturbed(self) -> None:
        if trouble := disturbance(self._watch.samples, steady=self._steady):
            raise LabError(f"the run is worth nothing: {trouble}; let nobody else use KSM meanwhile, and run it again")

    def _running(self) -> list[Guest]:
        return [guest for guest in self._lab.guests if guest.alive]

    def _pids(self) -> dict[str, int]:
        found = {}
        for guest in tuple(self._lab.guests):
            try:
                found[guest.name] = guest.pid
            except LabError:  # ended
                continue
        return found


def _host() -> Host:
    reader = HostReader(Path("/"))
    try:
        return reader.sample(time.time())
    finally:
        reader.close()
