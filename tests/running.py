"""A real `memtide run` in a process of its own, asked through its real command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

MEMTIDE = Path(sys.executable).with_name("memtide")
Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], limit_s: float) -> Found:
    """Return the first true thing that ``look`` finds; fail with a sentence when the limit is over."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


class Daemon:
    """One daemon for a `with` block; its state outlives it in the folder.

    Args:
        folder: for its state, sockets and settings.
        arguments: of `memtide run`.
        settings: the settings file's text.
    """

    def __init__(self, folder: Path, *arguments: str, settings: str = "") -> None:
        self.config = folder / "memtide.toml"
        self.config.write_text(settings)
        self.places = {"MEMTIDE_STATE": str(folder / "state"), "MEMTIDE_CONTROL": str(folder / "control")}
        self.arguments = arguments
        self.errors = folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait for its first tick."""
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [MEMTIDE, "run", "--quiet", "--config", self.config, *self.arguments],
                env=os.environ | self.places,
                stderr=errors,
                # a daemon has no terminal, and with one SIGHUP would end it
                start_new_session=True,
            )
        wait_for("the first tick", lambda: self.process and (self.process.poll() is not None or self.status()), 30)
        assert self.process.poll() is None, self.errors.read_text()
        return self

    def __exit__(self, *_raised: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill()

    def kill(self) -> None:
        """End it the hard way."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Return what a memtide command about this daemon says."""
        return subprocess.run(
            [MEMTIDE, *arguments], env=os.environ | self.places, capture_output=True, text=True, check=False, timeout=60
        )

    def status(self) -> dict[str, Any] | None:
        """Return `memtide status --json`, or ``None`` while nobody answers."""
        answer = self.ask("status", "--json")
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def guest(self, name: str) -> dict[str, Any]:
        """Return one guest of the status."""
        status = self.status()
        assert status is not None, self.errors.read_text()
        return next(guest for guest in status["guests"] if guest["name"] == name)

    def log(self, *arguments: str) -> list[dict[str, Any]]:
        """Return `memtide log --json`, one entry a line."""
        answer = self.ask("log", "--json", "-n", "10000", *arguments)
        assert answer.returncode == 0, answer.stderr
        return [json.loads(line) for line in answer.stdout.splitlines()]
