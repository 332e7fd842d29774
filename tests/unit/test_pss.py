"""Proportional set sizes: one guest at a time, in a thread, seldom, and the dear ones more seldom still."""

import itertools
import time
from pathlib import Path
from threading import Event, get_ident

import pytest

from memtide.model.base import Missing
from memtide.sources.process import ProcessReader, Qemu
from memtide.sources.pss import DEAR_EVERY_S, DEAR_S, EVERY_S, PssReadings

GUESTS = {name: Qemu(uuid=name, pid=number, started_ticks=number) for number, name in enumerate("abc", start=1)}


class Readings(PssReadings):
    """Readings that say what was read and in which thread; each waits until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, takes_s: float = 0.0) -> None:
        self.read: list[str] = []
        self.threads: set[int] = set()
        self.may = Event()
        self.may.set()
        self.fails = ""
        ticks = itertools.count()
        super().__init__(elapsed_s=lambda: next(ticks) * takes_s)
        monkeypatch.setattr(ProcessReader, "pss_bytes", self._slow)

    def _slow(self, qemu: Qemu, missing: Missing) -> int | None:
        self.read.append(qemu.uuid)
        self.threads.add(get_ident())
        assert self.may.wait(10)
        if self.fails:
            missing["pss_bytes"] = self.fails
            return None
        return len(self.read) * 1000

    def tick(self, now_s: float, guests: str = "abc") -> dict[str, tuple[int | None, float | None]]:
        """Ask once, let the reading that it begins end, and return what was known when asked."""
        known = self.of({name: GUESTS[name] for name in guests}, now_s)
        if self.may.is_set():
            self.ended()
        return {name: (pss.pss_bytes, pss.pss_at_s) for name, pss in known.items()}

    def ended(self) -> None:
        """Wait for the reading under way."""
        end_s = time.monotonic() + 10
        while self.busy:
            assert time.monotonic() < end_s
            time.sleep(0.001)


def test_one_guest_each_time_and_each_every_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in turn, the result at a later tick with the time of its reading, then none until the first is due again."""
    readings = Readings(monkeypatch)
    assert readings.tick(100) == dict.fromkeys("abc", (None, None))
    assert readings.tick(102)["a"] == (1000, 100)
    readings.tick(104)
    assert readings.tick(106) == {"a": (1000, 100), "b": (2000, 102), "c": (3000, 104)}
    readings.tick(99 + EVERY_S)
    assert readings.read == ["a", "b", "c"]
    readings.tick(100 + EVERY_S)
    assert readings.read == ["a", "b", "c", "a"]
    assert readings.tick(101 + EVERY_S)["a"] == (4000, 100 + EVERY_S)


def test_a_reading_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the asker's thread that waits, and while it lasts no other begins."""
    readings = Readings(monkeypatch)
    readings.may.clear()
    for now_s in range(0, 20, 2):
        assert readings.tick(now_s)["a"] == (None, None)
    assert readings.read == ["a"]
    assert get_ident() not in readings.threads
    readings.may.set()
    readings.ended()
    assert readings.tick(20)["a"] == (1000, 0)
    assert readings.read == ["a", "b"]


def test_who_is_dear_is_read_every_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest whose page tables took longer than 50 ms."""
    readings = Readings(monkeypatch, takes_s=2 * DEAR_S)
    for now_s in (0, EVERY_S, DEAR_EVERY_S - 1, DEAR_EVERY_S):
        readings.tick(now_s, "a")
    assert readings.read == ["a", "a"]


def test_unknown_has_a_reason_and_is_not_tried_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first reading, and when it may not be read at all."""
    readings = Readings(monkeypatch)
    readings.fails = "this user may not read it"
    (first,) = readings.of({"a": GUESTS["a"]}, 0).values()
    assert "not read yet" in first.missing["pss_bytes"]
    readings.ended()
    (second,) = readings.of({"a": GUESTS["a"]}, 2).values()
    assert second.pss_bytes is second.pss_at_s is None
    assert second.missing == dict.fromkeys(("pss_bytes", "pss_at_s"), "this user may not read it")
    assert readings.read == ["a"]


def test_a_guest_that_started_anew_has_none_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures belong to a process, also when a reading of the old one ends after it."""
    readings = Readings(monkeypatch)
    readings.may.clear()
    readings.tick(0, "a")
    anew = {"a": Qemu(uuid="a", pid=1, started_ticks=99)}
    readings.may.set()
    readings.ended()
    assert readings.of(anew, 2)["a"].pss_bytes is None
    readings.ended()
    assert readings.of(anew, 4)["a"].pss_bytes == 2000


def test_our_own_size_is_real() -> None:
    """A process that may be read: its share is no more than what is resident."""
    pid = int(Path("/proc/self").readlink().name)
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    missing: Missing = {}
    pss_bytes = ProcessReader().pss_bytes(Qemu(uuid="a", pid=pid, started_ticks=started), missing)
    assert missing == {}
    assert pss_bytes is not None
    status = Path("/proc/self/status").read_text()
    assert 0 < pss_bytes <= int(status.partition("VmRSS:")[2].split()[0]) * 1024
