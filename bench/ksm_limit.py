"""What KSM could save and what it does save, from the guests' memory itself: every resident page is hashed once.

    .venv/bin/python -m bench.ksm_limit PID...     the QEMUs of one host; prints one JSON object

The kernel's own figure (`pages_sharing`) is stale while ksmd rests, so two runs cannot be compared by it. Here:

    limit = resident pages - distinct contents       saved = resident pages - distinct page frames

Pages are those of mappings that QEMU offers to KSM (`mg` in smaps), private and anonymous. The frames of all guests
are read first, within a fraction of a second. Then one guest after the other is stopped while its pages are read: a
guest's content holds still under the hashing, and no libvirt call on it waits longer than that. The kernel's zero page
where a guest never wrote is no page of the guest; those that KSM made (`use_zero_pages`) are, and are saved. Zero pages
of a huge page that was split (Linux 6.12: they are mapped to the zero page) count neither as saved nor as to be saved.
The hash has 64 bits and a random key: with a million pages the chance of one false match is 3 in 100 million.
"""

import os
import re
import signal
import sys
import time
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from lab import LabError, processes

__all__ = ["Truth", "mergeable_regions", "present_runs", "take"]

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
CHUNK_PAGES: Final = 256
_ENTRY_BYTES: Final = 8
# Documentation/admin-guide/mm/pagemap.rst
_PRESENT: Final = 1 << 63
_FILE: Final = 1 << 61
_EXCLUSIVE: Final = 1 << 56
_FRAME: Final = (1 << 55) - 1
_ZERO_PAGE: Final = 1 << 24
"""In /proc/kpageflags."""
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ")


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over the memory of all guests."""

    guests: int
    resident_pages: int
    """When the frames were read."""
    frames: int
    hashed_pages: int
    """Resident when the contents were read."""
    contents: int
    zero_pages: int
    """Of them, pages that KSM turned into the kernel's zero page."""
    took_s: float
    cpu_s: float
    longest_stop_s: float
    """The longest that one guest stood still."""

    @property
    def limit_bytes(self) -> int:
        """Return what merging every pair of equal pages would save."""
        return (self.hashed_pages - self.contents) * PAGE_BYTES

    @property
    def saved_bytes(self) -> int:
        """Return what is saved: pages that have no frame of their own."""
        return (self.resident_pages - self.frames) * PAGE_BYTES

    @property
    def share(self) -> float | None:
        """Return the saving as a share of the limit; ``None`` where nothing could be saved."""
        return self.saved_bytes / self.limit_bytes if self.limit_bytes else None


def mergeable_regions(smaps: str) -> list[tuple[int, int]]:
    """Return begin and end of each private mapping that its process offers to KSM."""
    found: list[tuple[int, int]] = []
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if match := _MAPPING.match(line):
            mapping = (int(match[1], 16), int(match[2], 16)) if match[3].endswith("p") else None
        elif line.startswith("VmFlags:") and mapping is not None and "mg" in line.split():
            found.append(mapping)
    return found


def present_runs(entries: Sequence[int], zero_frames: Collection[int]) -> Iterator[tuple[int, int]]:
    """Return index and length of each run of a guest's own present pages, cut at ``CHUNK_PAGES``."""
    begin: int | None = None
    for index, entry in enumerate(entries):
        if not _own(entry, zero_frames):
            if begin is not None:
                yield begin, index - begin
            begin = None
        elif begin is None:
            begin = index
        elif index - begin == CHUNK_PAGES:
            yield begin, CHUNK_PAGES
            begin = index
    if begin is not None:
        yield begin, len(entries) - begin


def _own(entry: int, zero_frames: Collection[int]) -> bool:
    return bool(entry & _PRESENT) and not entry & _FILE and entry & _FRAME not in zero_frames


def take(pids: Iterable[int]) -> Truth:
    """Read the memory of these QEMUs once.

    Raises:
        LabError: one of them is gone, or this is not root.
    """
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    guests = [_Guest(pid) for pid in pids]
    try:
        maps = [guest.entries() for guest in guests]
        zero_frames = _zero_frames(entry for parts in maps for entries in parts for entry in entries)
        own = [e & _FRAME for parts in maps for entries in parts for e in entries if _own(e, zero_frames)]
        zero_pages = sum(guest.zero_pages() for guest in guests)
        contents: set[int] = set()
        hashed, longest_stop_s = 0, 0.0
        for guest in guests:
            count, stop_s = guest.hash_into(contents, zero_frames)
            hashed, longest_stop_s = hashed + count, max(longest_stop_s, stop_s)
    except OSError as problem:
        raise LabError(f"the guests' memory cannot be read: {problem}") from problem
    finally:
        for guest in guests:
            guest.close()
    return Truth(
        guests=len(guests),
        resident_pages=len(own) + zero_pages,
        frames=len(set(own)),
        hashed_pages=hashed + zero_pages,
        contents=len(contents),
        zero_pages=zero_pages,
        took_s=time.monotonic() - began_s,
        cpu_s=time.process_time() - began_cpu_s,
        longest_stop_s=longest_stop_s,
    )


class _Guest:
    """The memory of one QEMU."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._folder = Path(f"/proc/{pid}")
        if not processes.is_ours(pid):
            raise LabError(f"process {pid} is no guest of the lab")
        self._regions = mergeable_regions((self._folder / "smaps").read_text())
        self._pagemap = os.open(self._folder / "pagemap", os.O_RDONLY)
        self._memory = os.open(self._folder / "mem", os.O_RDONLY)

    def entries(self) -> list["array[int]"]:
        """Return the pagemap of each region."""
        parts = []
        for begin, end in self._regions:
            entries = array("Q")
            size = (end - begin) // PAGE_BYTES * _ENTRY_BYTES
            entries.frombytes(os.pread(self._pagemap, size, begin // PAGE_BYTES * _ENTRY_BYTES))
            parts.append(entries)
        return parts

    def zero_pages(self) -> int:
        """Return how many of its pages KSM turned into the kernel's zero page; before Linux 6.6 none."""
        for line in (self._folder / "ksm_stat").read_text().splitlines():
            if line.startswith("ksm_zero_pages "):
                return int(line.split()[1])
        return 0

    def hash_into(self, contents: set[int], zero_frames: Collection[int]) -> tuple[int, float]:
        """Add the hashes of its pages to ``contents``; return how many pages and for how long it stood still."""
        began_s = time.monotonic()
        count = 0
        processes.send(self._pid, signal.SIGSTOP)
        try:
            for (begin, _end), entries in zip(self._regions, self.entries(), strict=True):
                for index, pages in present_runs(entries, zero_frames):
                    data = os.pread(self._memory, pages * PAGE_BYTES, begin + index * PAGE_BYTES)
                    contents.update(hash(data[at : at + PAGE_BYTES]) for at in range(0, len(data), PAGE_BYTES))
                    count += len(data) // PAGE_BYTES
        finally:
            processes.send(self._pid, signal.SIGCONT)
        return count, time.monotonic() - began_s

    def close(self) -> None:
        """Close the kernel's files."""
        os.close(self._pagemap)
        os.close(self._memory)


def _zero_frames(entries: Iterable[int]) -> set[int]:
    """Return which frames are the kernel's zero pages: they are mapped by many, or seem so."""
    frames = {e & _FRAME for e in entries if e & _PRESENT and not e & (_FILE | _EXCLUSIVE)}
    with Path("/proc/kpageflags").open("rb", buffering=0) as file:
        return {f for f in frames if _flags(file.fileno(), f) & _ZERO_PAGE}


def _flags(file: int, frame: int) -> int:
    return int.from_bytes(os.pread(file, _ENTRY_BYTES, frame * _ENTRY_BYTES), sys.byteorder)


if __name__ == "__main__":
    try:
        print(msgspec.json.encode(take(map(int, sys.argv[1:]))).decode())
    except LabError as trouble:
        sys.exit(f"ksm_limit: {trouble}")
