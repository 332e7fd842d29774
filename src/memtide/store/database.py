"""The database and the originals' file, together: opened, kept in step, written, pruned, set aside when damaged.

No thread and no queue here: every call blocks until SQLite has answered. :mod:`memtide.store.writer` has the thread.
"""

import contextlib
import itertools
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from memtide.model.record import Change, Event, Severity
from memtide.store.backlog import Entry
from memtide.store.connect import NAME, connect, known_changes, looks_damaged, salvage
from memtide.store.originals import Key, Originals
from memtide.store.retention import Retention, give_back, prune_step
from memtide.store.statements import change_kept, event_kept, fact_kept

__all__ = ["Database"]

log = logging.getLogger(__name__)


class Database:
    """What is kept in one folder. Opened when made; used by one thread at a time.

    Args:
        folder: exists, may be written, and is locked by us.
        now_s: the wall clock.

    Attributes:
        facts: the daemon's own facts, as they were written last.

    Raises:
        StoreError: a newer memtide wrote the database.
        sqlite3.Error: SQLite cannot open it for a reason that is not its content.
        OSError: the originals' file cannot be read or written.
    """

    def __init__(self, folder: Path, now_s: Callable[[], float]) -> None:
        self._path = folder / NAME
        self._now_s = now_s
        self._originals = Originals(folder)
        self._connection: sqlite3.Connection | None = None
        self._aside: Path | None = None
        self.facts: dict[str, str] = {}
        try:
            copies, aside = self._open()
            self._numbers = itertools.count(self._last_number() + 1)
            self.facts = dict(self._ready.execute("SELECT key, value FROM meta"))
            events = list(self._settle_originals(copies, aside))
            self._copy_originals()
            self.write(Entry((event_kept(event, self.number()),)) for event in events)
        except BaseException:
            self.close()
            raise

    @property
    def originals(self) -> tuple[Change, ...]:
        """The originals that are on the disk; safe to ask from any thread."""
        return self._originals.all

    def number(self) -> int:
        """Return the next number of an action, event or record; safe to ask from any thread."""
        return next(self._numbers)

    def edit_originals(self, edits: Iterable[Change | Key]) -> None:
        """Keep and forget originals, durably in their file; their copies in the database are entries to write.

        Raises:
            OSError: the disk does not take it; nothing has changed.
        """
        self._originals.edit(edits)

    def write(self, entries: Iterable[Entry]) -> None:
        """Write entries, all or none.

        Raises:
            sqlite3.Error: SQLite does not take them, or the database is damaged.
            ValueError, TypeError, OverflowError: there is a value among them that no database takes.
        """
        with self._transaction() as connection:
            for entry in entries:
                for sql, values in entry.statements:
                    connection.execute(sql, values)

    def prune(self, retention: Retention) -> bool:
        """Drop a little of what is too old or too much; return whether there may be more.

        Raises:
            sqlite3.Error: SQLite cannot do it now; nothing was dropped.
        """
        with self._transaction() as connection:
            more = prune_step(connection, retention, self._now_s())
        give_back(connection)
        return more

    def set_aside(self) -> None:
        """Replace a database that turned out to be damaged by a new one, with what must be in it.

        Raises:
            sqlite3.Error, OSError: the disk does not allow it now; call again later.
        """
        if self._aside is None:
            self.close()
            self._aside = self._move_aside()
        self._copy_originals()
        event = _damage_event(self._path, self._aside, self._now_s(), f"all {len(self.originals)} originals are kept")
        facts = [Entry((fact_kept(key, value),)) for key, value in dict(self.facts).items()]
        self.write([*facts, Entry((event_kept(event, self.number()),))])
        self._aside = None

    def close(self) -> None:
        """Close the database; safe to call twice."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    @property
    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path)
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._ready
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite ends the transaction itself after some errors, such as a full disk
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise

    def _open(self) -> tuple[tuple[Change, ...], Path | None]:
        """Open the database; return the copies of originals in it, and where a damaged predecessor is."""
        try:
            return known_changes(self._ready), None
        except sqlite3.DatabaseError as error:
            if not looks_damaged(error):
                raise
            log.warning("%s is damaged: %s", self._path, error)
        self.close()
        aside = self._move_aside()
        copies = salvage(aside)
        self._connection = connect(self._path)
        return copies, aside

    def _last_number(self) -> int:
        (last,) = self._ready.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        return int(last)

    def _settle_originals(self, copies: tuple[Change, ...], aside: Path | None) -> Iterator[Event]:
        """Load the originals from their file, or from the copies where it tells nothing; say what went wrong."""
        why = self._originals.load()
        if why is not None:
            broken = self._originals.set_aside(_suffix(self._now_s()))
            self._originals.edit(copies)
            if broken or copies:
                text = f"{self._originals.path} {why}; {len(copies)} originals were taken from the database's copy"
                text += f" (the file is kept as {broken.name})" if broken else ""
                yield Event(at_s=self._now_s(), severity=Severity.ERROR, code="originals-damaged", text=text)
        if aside is not None:
            kept = f"all {len(self.originals)} originals are kept"
            if why is not None:
                kept = f"of the originals {len(copies)} could still be read in it"
            yield _damage_event(self._path, aside, self._now_s(), kept)

    def _copy_originals(self) -> None:
        """Make the copies in the database those of the file."""
        if set(known_changes(self._ready)) != set(self.originals):
            drop_all = Entry((("DELETE FROM change_made", ()),))
            self.write([drop_all, *(Entry((change_kept(change),)) for change in self.originals)])

    def _move_aside(self) -> Path:
        """Move the database with its log and index out of the way; return where it is now."""
        name = f"{self._path.name}.{_suffix(self._now_s())}"
        names = itertools.chain([name], (f"{name}.{attempt}" for attempt in itertools.count(2)))
        aside = next(path for path in map(self._path.with_name, names) if not path.exists())
        for ending in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(NAME + ending).rename(aside.with_name(aside.name + ending))
        return aside


def _suffix(now_s: float) -> str:
    return time.strftime("corrupt-%Y%m%dT%H%M%SZ", time.gmtime(now_s))


def _damage_event(path: Path, aside: Path, now_s: float, kept: str) -> Event:
    text = f"the database {path} was damaged; it is now {aside.name}, and a new one has begun; {kept}"
    return Event(at_s=now_s, severity=Severity.ERROR, code="store-damaged", text=text)
