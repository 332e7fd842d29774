"""The store of a running daemon: SQLite and the originals' file, behind an interface that never blocks the loop.

What goes where, and how safe it is when the call returns:

* originals (``remember``, ``forget``): ``originals.json``, synced to the disk; the call waits for it, 5 s at most;
* actions, events, records, facts: handed to the writer's thread, in the database some milliseconds later. A crash of
  memtide loses those milliseconds, a power cut the last seconds, a full disk nothing until the backlog is full;
* ``trouble`` says in a sentence when the database does not take them.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from memtide.errors import StoreError
from memtide.model.action import Outcome
from memtide.model.record import Change, ChangeKind, Event, LogEntry, Record
from memtide.store.backlog import Entry
from memtide.store.database import Database
from memtide.store.lock import FolderLock
from memtide.store.originals import Key
from memtide.store.readers import read_log, read_records
from memtide.store.retention import Retention
from memtide.store.statements import Statement, event_kept, fact_kept, outcome_kept, record_kept
from memtide.store.troubles import explain, is_damage
from memtide.store.writer import Writer
from memtide.units import format_duration

__all__ = ["SqliteStore"]

Answer = TypeVar("Answer")

EDIT_S: Final = 5.0
"""An original that is not on the disk by then counts as not kept, and the action it belongs to is not sent."""
READ_AFTER_S: Final = 1.0
"""How long a question waits for what was handed over before it."""
STOP_S: Final = 10.0


class SqliteStore:
    """What must outlive a crash, in one folder; one process at a time.

    Args:
        folder: made, for this user and its group, if it is not there.
        retention: how long to keep what.
        now_s: the wall clock.

    Raises:
        AlreadyRunningError: another process works in this folder.
        PermissionDeniedError: this user may not write there.
        StoreError: the disk is full or failing, or a newer memtide wrote the database.
    """

    def __init__(
        self, folder: Path, *, retention: Retention | None = None, now_s: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = FolderLock(folder)
        except OSError as error:
            raise explain(error, folder) from error
        try:
            self._database = Database(folder, now_s)
        except (sqlite3.Error, OSError) as error:
            self._lock.release()
            raise explain(error, folder) from error
        except StoreError:
            self._lock.release()
            raise
        self._writer = Writer(self._database, folder, retention or Retention(), now_s)
        self._closed = False

    @property
    def trouble(self) -> str | None:
        """Why history is not being written now, in a sentence; ``None`` when all is well."""
        return self._writer.trouble

    # --- originals --------------------------------------------------------------------------------------------

    async def remember(self, change: Change) -> None:
        """Keep an original; on the disk when it returns. Of two for the same thing the first stays.

        Raises:
            StoreError, PermissionDeniedError: it could not be kept, so what it belongs to must not be changed.
        """
        await self._edit(change, change.name)

    async def forget(self, kind: ChangeKind, key: str) -> None:
        """Drop an original; gone from the disk when it returns.

        Raises:
            StoreError, PermissionDeniedError: it is still there.
        """
        await self._edit((kind, key), key)

    async def changes(self) -> tuple[Change, ...]:
        """Return the originals of everything that was changed and not put back, the oldest first."""
        return self._database.originals

    async def _edit(self, edit: Change | Key, name: str) -> None:
        self._check_open()
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._writer.edit(edit)), EDIT_S)
        except TimeoutError as error:
            message = (
                f"the disk of {self._folder} did not answer within {format_duration(EDIT_S)}, so the original of {name}"
            )
            raise StoreError(f"{message} is not safe there", "look for disk errors: journalctl -k") from error
        except OSError as error:
            raise explain(error, self._folder) from error

    # --- history ----------------------------------------------------------------------------------------------

    async def append(self, record: Record) -> None:
        """Keep a tick in which something was decided; dropped first when the disk takes nothing for long."""
        statements, size_bytes = record_kept(record, self._database.number())
        self._add(*statements, record_bytes=size_bytes)

    async def save_outcome(self, outcome: Outcome) -> Outcome:
        """Keep an outcome, new or changed; return it with its number."""
        number = self._database.number() if outcome.id is None else outcome.id
        self._add(outcome_kept(outcome, number))
        return outcome if outcome.id is not None else msgspec.structs.replace(outcome, id=number)

    async def save_event(self, event: Event) -> None:
        """Keep an event."""
        self._add(event_kept(event, self._database.number()))

    async def log(
        self,
        *,
        vm: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
        limit: int | None = None,
        after_id: int | None = None,
    ) -> list[LogEntry]:
        """Return actions and events in the order of time; see :func:`memtide.store.readers.read_log`."""
        return await self._ask(
            lambda: read_log(self._folder, vm=vm, since_s=since_s, until_s=until_s, limit=limit, after_id=after_id)
        )

    async def records(self, vm: str | None = None, limit: int = 10) -> list[Record]:
        """Return the newest records, the oldest of them first; of one guest, those that did something to it."""
        return await self._ask(lambda: read_records(self._folder, vm=vm, limit=limit))

    # --- the daemon's own facts -------------------------------------------------------------------------------

    async def keep(self, key: str, value: str | None) -> None:
        """Keep a fact of the daemon's own that outlives a restart (a pause, a size set by hand); ``None`` drops it."""
        self._add(fact_kept(key, value))
        if value is None:
            self._database.facts.pop(key, None)
        else:
            self._database.facts[key] = value

    async def kept(self) -> dict[str, str]:
        """Return all such facts."""
        return dict(self._database.facts)

    # --- the end ----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Write what waits, then let another process have the folder; safe to call twice.

        Raises:
            StoreError: the disk did not answer; the folder stays locked until this process ends.
        """
        if self._closed:
            return
        self._closed = True
        if not await asyncio.to_thread(self._writer.stop, STOP_S):
            raise StoreError(
                f"the disk of {self._folder} did not answer within {format_duration(STOP_S)}", "see journalctl -k"
            )
        self._lock.release()

    def _add(self, *statements: Statement, record_bytes: int = 0) -> None:
        self._check_open()
        self._writer.add(Entry(statements, record_bytes))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store in {self._folder} is closed already")

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask in a thread, after what was handed over before."""

        def wait_and_ask() -> Answer:
            self._writer.wait_idle(READ_AFTER_S)
            return question()

        try:
            return await asyncio.to_thread(wait_and_ask)
        except sqlite3.Error as error:
            if is_damage(error):
                self._writer.found_damage()
                raise StoreError(
                    f"the database in {self._folder} is damaged, and is being set aside", "ask again: a new one begins"
                ) from error
            raise explain(error, self._folder) from error
