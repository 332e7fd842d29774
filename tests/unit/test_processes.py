"""QEMU processes of many guests: searched rarely, read as often as it is worth, never another's."""

import time
from pathlib import Path
from uuid import UUID

import pytest

from memtide.sources.process import Qemu
from memtide.sources.processes import FACTS_EVERY_S, SEARCH_EVERY_S, GuestProcesses, started_at_s

A, B = str(UUID(int=1)), str(UUID(int=2))


class Proc:
    """A /proc with processes in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()

    def run(self, pid: int, uuid: str | None = None, *, rss_kib: int = 1000, started: int = 5000) -> None:
        """Start a QEMU, or with no UUID something else."""
        folder = self.root / "proc" / str(pid)
        folder.mkdir(exist_ok=True)
        cmdline = f"/usr/bin/qemu-system-x86_64\0-uuid\0{uuid}\0" if uuid else "/bin/sleep\0infinity\0"
        (folder / "cmdline").write_text(cmdline)
        rest = " ".join(["0"] * 9 + ["7", "8"] + ["0"] * 6 + [str(started), "0"])
        (folder / "stat").write_text(f"{pid} (qemu (x) y) S 1 {rest}")
        (folder / "status").write_text(f"VmRSS:\t{rss_kib} kB\nVmSwap:\t0 kB\n")
        (folder / "cgroup").write_text("0::/init.scope\n")
        (folder / "ksm_merging_pages").write_text("3\n")

    def end(self, pid: int) -> None:
        """End a process."""
        folder = self.root / "proc" / str(pid)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A guest and a bystander."""
    proc = Proc(tmp_path)
    proc.run(10, A)
    proc.run(11)
    return proc


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One entry for each search of all of /proc."""
    searches: list[float] = []
    reader = GuestProcesses.of.__globals__["ProcessReader"]
    original = reader.find_all

    def find_all(self: object) -> dict[str, Qemu]:
        searches.append(time.monotonic())
        found: dict[str, Qemu] = original(self)
        return found

    monkeypatch.setattr(reader, "find_all", find_all)
    return searches


def test_facts_of_those_that_were_found(proc: Proc, searches: list[float]) -> None:
    """Who is not found is not there, and is searched for only now and then."""
    processes = GuestProcesses(proc.root)
    for at_s in (0, 1, SEARCH_EVERY_S - 1):
        found = processes.of({A, B}, at_s)
        assert {uuid: (one.qemu.pid, one.facts.rss_bytes) for uuid, one in found.items()} == {A: (10, 1024000)}
    assert len(searches) == 1
    proc.run(12, B)
    assert set(processes.of({A, B}, SEARCH_EVERY_S)) == {A, B}
    assert len(searches) == 2
    processes.of({A, B}, 10 * SEARCH_EVERY_S)
    assert len(searches) == 2


def test_facts_are_read_again_when_it_is_time(proc: Proc) -> None:
    """They change slowly and cost more than a statistic."""
    processes = GuestProcesses(proc.root)
    processes.of({A}, 0)
    proc.run(10, A, rss_kib=2000)
    assert processes.of({A}, FACTS_EVERY_S - 1)[A].facts.rss_bytes == 1024000
    assert processes.of({A}, FACTS_EVERY_S)[A].facts.rss_bytes == 2048000


def test_a_guest_that_started_anew_is_searched_at_once(proc: Proc) -> None:
    """Its event says so; its old process is nobody's."""
    processes = GuestProcesses(proc.root)
    processes.of({A}, 0)
    proc.end(10)
    proc.run(20, A, rss_kib=1)
    processes.forget(A)
    assert processes.of({A}, 1)[A].qemu.pid == 20


def test_a_guest_that_started_anew_without_a_word_is_found(proc: Proc) -> None:
    """Its process has gone, or another has its number now: never is that one taken for the guest's."""
    processes = GuestProcesses(proc.root)
    processes.of({A}, 0)
    proc.end(10)
    proc.run(10, started=9000)
    proc.run(20, A, started=9001)
    assert processes.of({A}, FACTS_EVERY_S) == {}
    assert processes.of({A}, FACTS_EVERY_S + 2)[A].qemu.pid == 20


def test_proportional_set_sizes_can_be_left_out(proc: Proc) -> None:
    """They come at a later tick, from a thread; without them nothing is begun, and the reason says so."""
    (proc.root / "proc/10/smaps_rollup").write_text("Pss: 5 kB\n")
    without = GuestProcesses(proc.root, pss=False)
    processes = GuestProcesses(proc.root)
    assert processes.of({A}, 0)[A].pss.pss_bytes is None
    end_s = time.monotonic() + 10
    while processes.of({A}, 2)[A].pss.pss_bytes is None:
        assert time.monotonic() < end_s
        time.sleep(0.001)
    pss = processes.of({A}, 2)[A].pss
    assert (pss.pss_bytes, pss.pss_at_s, pss.missing) == (5 * 1024, 0, {})
    for _ in range(3):
        assert without.of({A}, 0)[A].pss.missing.keys() == {"pss_bytes", "pss_at_s"}


def test_when_a_process_started() -> None:
    """In seconds since 1970: our own is some seconds old."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    age_s = time.time() - started_at_s(Qemu(uuid=A, pid=1, started_ticks=ticks))
    assert 0 <= age_s < 3600
