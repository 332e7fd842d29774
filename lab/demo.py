"""The README's `./run`: eight real guests whose maxima are twice the host's memory, and memtide acting on them.

memtide runs as its own process in the foreground, as an operator would start it; the lab only boots the guests,
listens to what they say of themselves, and tells at the end what memtide cannot know: whether a guest suffered.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from lab.errors import LabError
from lab.guest import Guest
from lab.lab import Lab
from lab.scripts import DEMO_HOST_AVAILABLE_BYTES, demo
from memtide.errors import MemtideError
from memtide.faces.cli.run import run

__all__ = ["show"]

STATE: Final = Path(os.environ.get("MEMTIDE_DEMO_STATE", "/var/lib/memtide-lab"))
CONTROL: Final = Path(os.environ.get("MEMTIDE_DEMO_CONTROL", "/run/memtide-demo"))
"""Not the usual places, so that a real daemon on this machine keeps its own."""
VMSTAT: Final = Path("/proc/vmstat")


def show(arguments: Sequence[str], progress: Callable[[str], None]) -> int:
    """Boot the guests, run memtide on them until it ends, say how the guests fared; return memtide's exit status.

    Args:
        arguments: further options for `memtide run`.
        progress: told a line about each thing that takes a while.
    """
    check(arguments)
    kills_before = host_oom_kills()
    with Lab(demo(), progress=progress, host_available_bytes=DEMO_HOST_AVAILABLE_BYTES, wait_s=60) as lab:
        progress("")
        progress(f"8 guests of 1 GiB on a host with {DEMO_HOST_AVAILABLE_BYTES >> 30} GiB left: 200 %.")
        progress("In another terminal:")
        progress(f"  export MEMTIDE_CONTROL={CONTROL} MEMTIDE_STATE={STATE}")
        progress("  .venv/bin/memtide status | why lab-giant | log --follow")
        status = run_memtide(lab.uri, arguments)
        progress("")
        progress("What the guests say of themselves:")
        for line in fares(lab.guests):
            progress(line)
        progress(f"host OOM kills: {host_oom_kills() - kills_before}")
        progress("")
        progress(f"The log stays in {STATE}: .venv/bin/memtide log --state {STATE}")
    shutil.rmtree(CONTROL, ignore_errors=True)
    return status


def check(arguments: Sequence[str]) -> None:
    """Let `memtide run` refuse its options before eight guests are booted.

    Raises:
        LabError: it does not take them.
    """
    try:
        run.make_context("memtide run", list(arguments))
    except (click.ClickException, MemtideError) as error:
        raise LabError(f"memtide run does not take these options: {error}") from error


def run_memtide(uri: str, arguments: Sequence[str]) -> int:
    """Run `memtide run --act` in the foreground; Ctrl-C is for it alone."""
    memtide = Path(sys.executable).with_name("memtide")
    environment = os.environ | {"MEMTIDE_STATE": str(STATE), "MEMTIDE_CONTROL": str(CONTROL)}
    live = ["--live"] if sys.stdout.isatty() else []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            [memtide, "run", "--act", "--uri", uri, *live, *arguments],
            env=environment,
            check=False,
            # a child inherits "ignored": give it back its own Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def fares(guests: Sequence[Guest]) -> list[str]:
    """Return a line a guest: kills, swap, faults and the slowest touch of its working set."""
    lines = [f"  {'guest':14}{'OOM kills':>10}{'swapped out':>13}{'major faults':>14}{'slowest touch':>15}"]
    for guest in guests:
        if not guest.alive:
            lines.append(f"  {guest.name:14}gone")
            continue
        last = guest.report()
        slowest_ms = max((r.touch_max_ms for r in guest.history if r.touch_max_ms is not None), default=None)
        touch = "-" if slowest_ms is None else f"{slowest_ms:.0f} ms"
        swapped = f"{last.swap_out_pages * 4096 >> 20} MiB"
        kills = last.oom_kills + last.workload_kills
        lines.append(f"  {guest.name:14}{kills:>10}{swapped:>13}{last.major_faults:>14}{touch:>15}")
    return lines


def host_oom_kills() -> int:
    """Return how many processes the host's kernel has killed for memory since boot."""
    return next(int(line.split()[1]) for line in VMSTAT.read_text().splitlines() if line.startswith("oom_kill "))
