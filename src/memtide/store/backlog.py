"""What waits to be written: bounded, so that a disk that takes nothing cannot fill the memory we are here to save."""

from collections import deque
from typing import Final, NamedTuple

from memtide.store.statements import Statement

__all__ = ["Backlog", "Entry"]

RECORDS_MOST_BYTES: Final = 32 * 1024 * 1024
"""Some thousand decisions of a host with 18 guests, 27 of one with 1000."""
OTHERS_MOST: Final = 20_000
"""Actions, events and copies of originals: days of them, some 20 MiB."""


class Entry(NamedTuple):
    """What must be written together."""

    statements: tuple[Statement, ...]
    record_bytes: int = 0
    """Of a record, which may be dropped when there is no room; 0 for everything else."""


class Backlog:
    """Two queues: records, dropped oldest first when they get too many bytes, and all else, which is written first.

    Attributes:
        records_dropped: how many records were dropped, ever.
        others_dropped: how many other entries were, after days of a disk that takes nothing.
    """

    def __init__(self) -> None:
        self._records: deque[Entry] = deque()
        self._records_bytes = 0
        self._others: deque[Entry] = deque()
        self.records_dropped = 0
        self.others_dropped = 0

    def __len__(self) -> int:
        return len(self._records) + len(self._others)

    def add(self, entry: Entry) -> None:
        """Put an entry at the end."""
        (self._records if entry.record_bytes else self._others).append(entry)
        self._records_bytes += entry.record_bytes
        self._bound()

    def take(self, most: int) -> list[Entry]:
        """Take up to so many entries off the front."""
        taken: list[Entry] = []
        while len(taken) < most and len(self):
            taken.append((self._others or self._records).popleft())
        self._records_bytes -= sum(entry.record_bytes for entry in taken)
        return taken

    def put_back(self, entries: list[Entry]) -> None:
        """Put entries that could not be written in front again, in their order."""
        for entry in reversed(entries):
            (self._records if entry.record_bytes else self._others).appendleft(entry)
            self._records_bytes += entry.record_bytes
        self._bound()

    def _bound(self) -> None:
        while self._records_bytes > RECORDS_MOST_BYTES:
            self._records_bytes -= self._records.popleft().record_bytes
            self.records_dropped += 1
        while len(self._others) > OTHERS_MOST:
            self._others.popleft()
            self.others_dropped += 1
