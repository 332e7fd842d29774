"""What memtide reads of KSM, on real guests of one image: it moves as it should, and the memory's books close."""

import array
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from lab import Guest, GuestSpec, Lab
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.sources.host import HostReader
from memtide.sources.process import ProcessReader
from memtide.sources.processes import GuestProcess, GuestProcesses
from memtide.units import KIB, MIB

pytestmark = pytest.mark.lab

WAIT_S: Final = 1800.0  # another lab may be running on this machine
SIZE_BYTES: Final = 384 * MIB
HELD_BYTES: Final = 192 * MIB
COMMON: Final = 5 / 8
"""So much of what an ``image`` guest holds is the same in all (lab.guest)."""
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
KSM: Final = Path("/sys/kernel/mm/ksm")
FAST: Final = {
    "advisor_mode": "none",
    "smart_scan": "0",
    "use_zero_pages": "0",
    "pages_to_scan": "5000",
    "sleep_millisecs": "5",
}
KERNEL: Final = ("PageTables", "SecPageTables", "SUnreclaim", "VmallocUsed", "Percpu", "Shmem")
CLOSE_RATIO: Final = 0.02


def chosen(text: str) -> str:
    """Return a setting's value; of a list such as ``[none] scan-time`` the one that is set."""
    return text.partition("[")[2].partition("]")[0] or text.strip()


@contextlib.contextmanager
def steered() -> Iterator[None]:
    """KSM is ours, set fast; afterwards as it was, at rest. Only inside a lab: before it another's may run."""
    before = {name: chosen((KSM / name).read_text()) for name in FAST}
    try:
        for name, value in FAST.items():
            (KSM / name).write_text(value)
        yield
    finally:
        (KSM / "run").write_text("0")
        for name, value in before.items():
            (KSM / name).write_text(value)


def wait(what: str, holds: Callable[[], bool], limit_s: float) -> None:
    """Wait until this holds."""
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.2)


def ksm_now() -> Ksm:
    """Return KSM as memtide reads it, anew."""
    reader = HostReader()
    ksm = reader.sample(time.time()).ksm
    reader.close()
    assert ksm is not None
    return ksm


def sweep(scans: int) -> None:
    """Let ksmd go through everything so many times, then rest."""
    end = (ksm_now().full_scans or 0) + scans
    (KSM / "run").write_text("1")
    wait(f"{scans} full scans", lambda: (ksm_now().full_scans or 0) >= end, 120)
    (KSM / "run").write_text("0")


def forget_the_dead() -> None:
    """Take guests of earlier tests off KSM's books: ksmd does so when it comes by, and while it rests it does not."""
    (KSM / "run").write_text("1")
    wait("an empty KSM", lambda: ksm_now().pages_sharing == 0, 60)
    (KSM / "run").write_text("0")


def processes_of(lab: Lab) -> list[GuestProcess]:
    """Return memtide's facts of the lab's guests, read anew, proportional set sizes included."""
    reader = GuestProcesses()
    pids = {guest.pid for guest in lab.guests}
    uuids = {uuid for uuid, qemu in ProcessReader().find_all().items() if qemu.pid in pids}

    def known() -> list[GuestProcess]:
        return list(reader.of(uuids, time.time()).values())

    wait("the proportional set sizes", lambda: all(one.pss.pss_bytes is not None for one in known()), 30)
    found = sorted(known(), key=lambda one: one.qemu.pid)
    assert len(found) == len(lab.guests)
    return found


def lines(path: str) -> dict[str, int]:
    """Return the kB lines of a /proc file, in bytes."""
    rows = (line.split() for line in Path(path).read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * KIB for row in rows if row[-1] == "kB"}


def anonymous_pages(pid: int) -> set[int]:
    """Return the physical pages behind a process's anonymous memory, from its page tables (pagemap)."""
    pages: set[int] = set()
    with Path(f"/proc/{pid}/pagemap").open("rb") as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            first, end = (int(address, 16) // PAGE_BYTES for address in line.split()[0].split("-"))
            if "[vsyscall]" in line:
                continue
            pagemap.seek(first * 8)
            entries = array.array("Q", pagemap.read((end - first) * 8))
            # bit 63 present, bit 61 of a file or shared; the rest up to bit 54 is the frame
            pages |= {entry & (1 << 55) - 1 for entry in entries if entry >> 61 & 0b101 == 0b100}
    return pages


def anonymous_of_others(guests: set[int]) -> int:
    """Return the anonymous memory of all other processes, bytes."""
    total_bytes = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in guests:
            try:
                total_bytes += lines(f"{folder}/status").get("RssAnon", 0)
            except OSError:  # it has ended
                continue
    return total_bytes


def held_back_bytes() -> int:
    """Return the free pages that wait in the CPUs' own lists: MemFree does not count them, and they come and go."""
    rows = (line.split() for line in Path("/proc/zoneinfo").read_text().splitlines())
    return sum(int(row[1]) for row in rows if row[:1] == ["count:"]) * PAGE_BYTES


class Books:
    """What the host has in use, and what of it others than guests have."""

    def __init__(self, guests: set[int]) -> None:
        meminfo = lines("/proc/meminfo")
        cache = ("MemFree", "Buffers", "Cached", "SReclaimable")
        free_bytes = sum(meminfo[name] for name in cache) + held_back_bytes()
        self.used_bytes = meminfo["MemTotal"] - free_bytes + meminfo["Shmem"]
        self.kernel_bytes = sum(meminfo.get(name, 0) for name in KERNEL)
        self.others_bytes = anonymous_of_others(guests)

    def __repr__(self) -> str:
        sizes = (self.used_bytes, self.kernel_bytes, self.others_bytes)
        return "in use {:.1f}, kernel {:.1f}, others {:.1f}".format(*(size / MIB for size in sizes))


def fill(guest: Guest) -> None:
    """Wait until the guest holds what it should."""
    wait(f"{guest.name} to be full", lambda: guest.report().anon_bytes >= HELD_BYTES, 120)


def check_books(before: Books, host: Host, processes: list[GuestProcess], parted_bytes: int = 0) -> None:
    """Compare what memtide says (resident memory, pages saved) with what it does not read at all.

    1. Per page: the page tables of all guests name so many *different* physical pages. Resident set sizes are
       counters kept at faults, ``pages_sharing`` is KSM's count of its own tree: neither comes from page tables.
    2. As a whole: "others" is what was in use before the guests, plus what the kernel (page tables, slab, stacks) and
       all other processes took since, by their own counters; the guests are in none of them.
    """
    assert host.ksm is not None
    pids = {one.qemu.pid for one in processes}
    after = Books(pids)
    file_bytes = sum(lines(f"/proc/{pid}/status")["RssFile"] for pid in pids)
    cost_bytes = sum(one.facts.rss_bytes or 0 for one in processes) - file_bytes
    # what was written to since ksmd came by is counted in pages_sharing still
    saved_bytes = host.ksm.pages_sharing * PAGE_BYTES - parted_bytes
    pss_bytes = sum(one.pss.pss_bytes or 0 for one in processes)
    real_bytes = len(set().union(*map(anonymous_pages, pids))) * PAGE_BYTES
    since_bytes = after.kernel_bytes - before.kernel_bytes + after.others_bytes - before.others_bytes
    other_bytes = before.used_bytes + since_bytes
    gap_bytes = after.used_bytes - (cost_bytes - saved_bytes + other_bytes)

    def mib(size_bytes: int) -> str:
        return f"{size_bytes / MIB:.1f}"

    print(  # noqa: T201 - the note quotes it
        f"\nMiB before: {before}; with guests: {after}; "
        f"anonymous {mib(cost_bytes)} - saved {mib(saved_bytes)} (by page tables {mib(real_bytes)}) "
        f"+ others {mib(other_bytes)} = in use {mib(after.used_bytes)} {gap_bytes / after.used_bytes:+.2%}; "
        f"PSS {mib(pss_bytes)}, files in RSS {mib(file_bytes)}"
    )
    assert cost_bytes - saved_bytes == pytest.approx(real_bytes, rel=CLOSE_RATIO)
    assert abs(gap_bytes) < CLOSE_RATIO * after.used_bytes


def check_zeros(lab: Lab, before: Books) -> None:
    """Pages of zeros leave a guest's resident memory: what they save must not be subtracted from it once more.

    Where ksmd splits a huge page, Linux 6.12 and newer put the zero page in the place of every part that is all zeros
    (mm/huge_memory.c, RMP_USE_SHARED_ZEROPAGE), which neither ``pages_sharing`` nor ``ksm_zero_pages`` counts; of
    small pages it becomes ``ksm_zero_pages``, with ``use_zero_pages``. Either way it is no memory of the guest's.
    """
    (KSM / "use_zero_pages").write_text("1")
    spec = GuestSpec(name="zeros", size_bytes=SIZE_BYTES, script="hold 192MiB", fill="zero", touch="read")
    (zeros,) = lab.boot([spec])
    fill(zeros)

    def resident_bytes() -> int:
        return sum(one.facts.rss_bytes or 0 for one in processes_of(lab) if one.qemu.pid == zeros.pid)

    apart_bytes = resident_bytes()
    sweep(4)
    host, processes = HostReader().sample(time.time()), processes_of(lab)
    fell_bytes = apart_bytes - resident_bytes()
    zero_bytes = sum(one.facts.ksm_zero_bytes or 0 for one in processes)
    assert host.ksm is not None
    print(  # noqa: T201 - the note quotes it
        f"zeros: resident memory fell by {fell_bytes / MIB:.1f} MiB; "
        f"guests' ksm_zero_pages {zero_bytes / MIB:.1f}, host's {(host.ksm.zero_pages or 0) * PAGE_BYTES / MIB:.1f} MiB"
    )
    assert fell_bytes > 0.9 * HELD_BYTES
    assert zero_bytes == (host.ksm.zero_pages or 0) * PAGE_BYTES
    check_books(before, host, processes)


def test_merged_guests_and_the_books_of_the_host() -> None:
    """Three guests of one image: merged, their shares fall and the books close; rewritten, the breaks are counted."""
    with Lab([], wait_s=WAIT_S) as lab, steered():
        forget_the_dead()
        time.sleep(5)  # libvirtd has only just started
        before = Books(set())
        specs = [
            GuestSpec(name=f"image-{number}", size_bytes=SIZE_BYTES, script="hold 192MiB", fill="image", touch="read")
            for number in range(3)
        ]
        for guest in lab.boot(specs):
            fill(guest)
        apart = processes_of(lab)
        check_books(before, HostReader().sample(time.time()), apart)

        sweep(4)
        together = processes_of(lab)
        host = HostReader().sample(time.time())
        check_books(before, host, together)

        ksm = host.ksm
        assert ksm is not None
        assert ksm.missing == {}
        assert [name for name in ksm.__struct_fields__ if getattr(ksm, name) is None] == []
        for one, other in zip(apart, together, strict=True):
            assert one.qemu == other.qemu
            assert one.facts.merged_bytes == 0
            assert other.facts.merged_bytes is not None
            assert other.facts.merged_bytes > 0.9 * COMMON * HELD_BYTES
            assert other.facts.ksm_profit_bytes is not None
            assert other.facts.ksm_profit_bytes > 0
            assert one.pss.pss_bytes is not None
            assert other.pss.pss_bytes is not None
            # of three equal pages each guest's share is a third
            assert one.pss.pss_bytes - other.pss.pss_bytes > 0.9 * (2 / 3) * COMMON * HELD_BYTES

        # it frees what it held and fills the same pages anew
        lab.guests[0].command("idle")
        wait("an empty guest", lambda: lab.guests[0].report().anon_bytes == 0, 60)
        lab.guests[0].command("hold 192MiB")
        fill(lab.guests[0])
        rewritten = ksm_now()
        assert rewritten.cow_breaks_total is not None
        assert ksm.cow_breaks_total is not None
        broken_bytes = (rewritten.cow_breaks_total - ksm.cow_breaks_total) * PAGE_BYTES
        print(  # noqa: T201 - the note quotes it
            f"parted {broken_bytes / MIB:.1f} MiB; pages_sharing {ksm.pages_sharing} -> {rewritten.pages_sharing} "
            f"at rest, ", end=""
        )  # fmt: skip
        check_books(before, HostReader().sample(time.time()), processes_of(lab), broken_bytes)
        sweep(1)
        print(f"{ksm_now().pages_sharing} after one scan")  # noqa: T201
        assert broken_bytes > 0.5 * COMMON * HELD_BYTES

        check_zeros(lab, before)
