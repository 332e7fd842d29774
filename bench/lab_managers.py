"""The managers under comparison, each as a process of its own, as an operator would run it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from bench.lab_mom import adapted

__all__ = ["LAWS", "Law", "Manager", "Start", "ksm_at_rest"]

END_LIMIT_S: Final = 20.0
OWN_FAULT: Final = "bug: "
"""How memtide's loop begins a line about a failure of its own."""
MEMTIDE: Final = Path(sys.executable).with_name("memtide")
PROJECT: Final = Path(__file__).parent.parent
KSM: Final = Path("/sys/kernel/mm/ksm")
KSM_FILES: Final = ("run", "pages_to_scan", "sleep_millisecs", "merge_across_nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """One that runs."""

    process: subprocess.Popen[bytes] | None
    """``None``: nobody manages."""
    state: Path | None = None
    """Where memtide's own log is, if it keeps one."""

    def gained_bytes(self, since_s: float) -> int | None:
        """Return what the host gained by the shrinks asked since then (wall clock), by the manager's own log."""
        if self.state is None:
            return None
        told = subprocess.run(
            [MEMTIDE, "log", "--json", "-n", "1000000", "--state", self.state, "--control", self.state],
            capture_output=True,
            text=True,
            check=True,
        )
        entries: list[dict[str, Any]] = [json.loads(line) for line in told.stdout.splitlines()]
        shrinks = (e for e in entries if e["kind"] == "memory" and e["to_bytes"] < e["from_bytes"])
        return sum(e["host_gained_bytes"] or 0 for e in shrinks if e["at_s"] >= since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a manager needs to know to start."""

    uri: str
    folder: Path
    """For what it writes; removed after the run."""
    usable_bytes: int
    """The host's memory without huge pages."""
    mom: Path | None
    """oVirt MOM's source tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One row of the comparison."""

    words: str
    start: Callable[[Start], AbstractContextManager[Manager]]
    host_swap: bool = True
    host_short: bool = True
    stats_period_s: int | None = None
    """Of the guests; ``None``: the manager sets its own, or nobody does."""


@contextmanager
def _nobody(_start: Start) -> Iterator[Manager]:
    yield Manager(process=None)


def _tide(settings: str) -> Callable[[Start], AbstractContextManager[Manager]]:
    @contextmanager
    def run(start: Start) -> Iterator[Manager]:
        config = start.folder / "memtide.toml"
        config.write_text(settings)
        arguments = ["run", "--quiet", "--act", "--uri", start.uri, "--config", str(config)]
        places = {"MEMTIDE_STATE": str(start.folder / "state"), "MEMTIDE_CONTROL": str(start.folder / "control")}
        with _process([str(MEMTIDE), *arguments], start.folder, places) as process:
            yield Manager(process=process, state=start.folder / "state")

    return run


def _prototype(name: str) -> Callable[[Start], AbstractContextManager[Manager]]:
    @contextmanager
    def run(start: Start) -> Iterator[Manager]:
        command = [sys.executable, "-m", "bench.lab_policy", name, start.uri, str(start.folder)]
        with _process(command, start.folder, {}) as process:
            yield Manager(process=process, state=start.folder / "state")

    return run


@contextmanager
def _mom(start: Start) -> Iterator[Manager]:
    if start.mom is None:
        raise click.UsageError("the law `mom` needs --mom PATH, oVirt MOM's source tree")
    adaptation = adapted(start.mom, start.folder, uri=start.uri, usable_bytes=start.usable_bytes)
    with _process(adaptation.command, start.folder, adaptation.environment) as process:
        yield Manager(process=process)


@contextmanager
def _process(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a manager for a `with` block; a Ctrl-C at the terminal reaches us, and we end it."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
        words = output.read_text(errors="replace")
        if process.poll() is not None:
            raise click.ClickException(f"`{' '.join(command)}` ended by itself ({process.returncode}): {words[-800:]}")
        if OWN_FAULT in words:  # or a law that fails in every tick would be measured as no law at all
            raise click.ClickException(f"`{' '.join(command)}` failed inside: {words[-800:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT_S)
        process.kill()
        process.wait()


@contextmanager
def ksm_at_rest() -> Iterator[None]:
    """Begin with KSM off and nothing merged, whoever ran before, and put its settings back afterwards."""
    before = {name: (KSM / name).read_text() for name in KSM_FILES if (KSM / name).exists()}
    try:
        if before:
            (KSM / "run").write_text("2")
            (KSM / "run").write_text("0")
        yield
    finally:
        for name in reversed(before):
            with contextlib.suppress(OSError):  # not while pages are merged, which is no harm here
                (KSM / name).write_text(before[name])


LAWS: Final = {
    "none": Law(words="no host swap, no manager", start=_nobody, host_swap=False),
    "kernel": Law(words="the kernel alone, with swap on zram", start=_nobody),
    "unshort": Law(words="the same guests on a host that is not short", start=_nobody, host_short=False),
    "mom": Law(words="oVirt MOM, stock balloon and KSM rules", start=_mom),
    "fixed": Law(words="prototype, fixed cushion", start=_prototype("fixed"), stats_period_s=1),
    "by-state": Law(words="prototype, cushion by state", start=_prototype("by-state"), stats_period_s=1),
    "nominal": Law(words="prototype, follows demand by nominal sizes", start=_prototype("nominal"), stats_period_s=1),
    "ksmtuned": Law(words="ksmtuned's law: KSM only", start=_prototype("ksmtuned")),
    "tide": Law(words="memtide as it comes", start=_tide("")),
    "tide-follow": Law(words="memtide in mode follow", start=_tide('[law]\nmode = "follow"\n')),
}
