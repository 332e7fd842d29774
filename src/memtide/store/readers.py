"""Questions to the history: each opens the database for itself, so it can be asked from any thread or process."""

import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from memtide.model.action import Outcome
from memtide.model.record import Event, LogEntry, Record
from memtide.store.connect import NAME, connect_reader
from memtide.store.statements import event_of, outcome_of, record_of
from memtide.store.troubles import explain

__all__ = ["read_left_log", "read_log", "read_records"]

log = logging.getLogger(__name__)

Thing = TypeVar("Thing")

GUEST: dict[str, str] = {
    "action": "(uuid = :vm OR name = :vm)",
    # events know names only: a UUID means every name it ever had in an action
    "event": "(guest = :vm OR guest IN (SELECT name FROM action WHERE uuid = :vm))",
}
TIME = {"action": "asked_at", "event": "at"}


def read_log(  # noqa: PLR0913 - one filter each, by name
    folder: Path,
    *,
    vm: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
    limit: int | None = None,
    after_id: int | None = None,
) -> list[LogEntry]:
    """Return actions with their outcomes, and events, in the order of time.

    Args:
        folder: of the database.
        vm: only what is about this guest, by name or UUID.
        since_s: from this time on.
        until_s: before this time.
        limit: at most so many: the newest; with ``after_id`` the next.
        after_id: only entries with a larger number, to go on where the last answer ended.

    Raises:
        sqlite3.Error: the database is not there, or damaged.
    """
    values = {"vm": vm, "since": since_s, "until": until_s, "after": after_id, "limit": -1 if limit is None else limit}
    found: list[LogEntry] = []
    with contextlib.closing(connect_reader(folder)) as connection:
        for table, make in (("action", outcome_of), ("event", event_of)):
            conditions = (
                (vm, GUEST[table]),
                (since_s, f"{TIME[table]} >= :since"),
                (until_s, f"{TIME[table]} < :until"),
                (after_id, "id > :after"),
            )
            where = " AND ".join(["TRUE", *(sql for given, sql in conditions if given is not None)])
            order = f"{TIME[table]} DESC, id DESC" if after_id is None else "id"
            sql = f"SELECT * FROM {table} WHERE {where} ORDER BY {order} LIMIT :limit"  # noqa: S608 - made of constants
            found += _understood(connection.execute(sql, values), make)
    if limit is not None:
        found = sorted(found, key=_number)[:limit] if after_id is not None else sorted(found, key=_moment)[-limit:]
    return sorted(found, key=_moment)


def read_left_log(folder: Path, *, vm: str | None, since_s: float | None, limit: int | None) -> list[LogEntry] | None:
    """Return the log that a daemon, which is gone by now, has left in a folder; ``None``: there is none.

    Raises:
        StoreError, PermissionDeniedError: there is one, and it cannot be read.
    """
    try:
        if not (folder / NAME).exists():
            return None
        return read_log(folder, vm=vm, since_s=since_s, limit=limit)
    except (sqlite3.Error, OSError) as error:
        raise explain(error, folder) from error


def read_records(folder: Path, *, vm: str | None = None, limit: int = 10) -> list[Record]:
    """Return the newest records, the oldest of them first; of one guest, those in which something was done to it.

    Args:
        folder: of the database.
        vm: name or UUID.
        limit: at most so many.

    Raises:
        sqlite3.Error: the database is not there, or damaged.
    """
    about = "WHERE id IN (SELECT record FROM record_guest WHERE uuid = :vm OR name = :vm)" if vm is not None else ""
    sql = f"SELECT body FROM record {about} ORDER BY at DESC, id DESC LIMIT :limit"  # noqa: S608 - made of constants
    with contextlib.closing(connect_reader(folder)) as connection:
        rows = connection.execute(sql, {"vm": vm, "limit": limit})
        return _understood(rows, lambda row: record_of(row["body"]))[::-1]


def _understood(rows: Iterable[sqlite3.Row], make: Callable[[sqlite3.Row], Thing]) -> list[Thing]:
    """Return what rows keep, without those that another version of memtide wrote in a way this one cannot read."""
    found, skipped = [], 0
    for row in rows:
        try:
            found.append(make(row))
        except (ValueError, TypeError, msgspec.DecodeError, zlib.error):
            skipped += 1
    if skipped:
        log.warning("%d entries of the history cannot be understood and were left out", skipped)
    return found


def _moment(entry: LogEntry) -> tuple[float, int]:
    match entry:
        case Outcome():
            return entry.asked_at_s, _number(entry)
        case Event():
            return entry.at_s, _number(entry)


def _number(entry: LogEntry) -> int:
    return entry.id or 0
