"""Connections to the database: one that writes, some that only read, and one last look into a damaged file."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from memtide.model.record import Change
from memtide.store.schema import TABLES, migrate, schema_of
from memtide.store.statements import change_of, packed
from memtide.store.troubles import is_damage
from memtide.units import MIB

__all__ = ["NAME", "connect", "connect_reader", "known_changes", "looks_damaged", "salvage"]

NAME: Final = "memtide.db"
BUSY_S: Final = 5.0
"""How long to wait for somebody who looks into the database with another program."""
LOG_LEFT_BYTES: Final = 4 * MIB
"""A write-ahead log that grew is cut back to this."""


class Damaged(sqlite3.DatabaseError):
    """What is in a table cannot be meant."""


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that writes: made if need be, brought to today's schema, in autocommit mode.

    Raises:
        StoreError: a newer memtide wrote the database.
        sqlite3.Error: it is damaged, or the disk is full or failing.
    """
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        found = schema_of(connection, path)
        if found == 0:
            # before the first table, or never: lets the file shrink when old rows go
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # a power cut may cost the last seconds of history, never the file; originals do not depend on it
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LEFT_BYTES}")
        # compresses in the writer's thread, so that the event loop does not wait for it
        connection.create_function("packed", 1, packed, deterministic=True)
        migrate(connection, found)
        for table in TABLES:
            # touches every table: what is damaged at its root is known now, not at the first write
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()  # noqa: S608 - names from our own table
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(folder: Path) -> sqlite3.Connection:
    """Return a connection that only reads, while the writer goes on.

    Raises:
        sqlite3.Error: the database is not there, or damaged.
    """
    uri = (folder / NAME).absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def looks_damaged(error: sqlite3.Error) -> bool:
    """Say whether opening failed for the file's own content: no database, or one without our tables."""
    return (
        isinstance(error, Damaged)
        or is_damage(error)
        or "no such table" in str(error)
        or "no such column" in str(error)
    )


def known_changes(connection: sqlite3.Connection) -> tuple[Change, ...]:
    """Return the copies of the originals, the oldest first.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    rows = connection.execute("SELECT kind, key, name, original, at FROM change_made ORDER BY at")
    try:
        return tuple(change_of(row) for row in rows)
    except (ValueError, TypeError) as error:
        raise Damaged(f"an original cannot be understood: {error}") from error


def salvage(path: Path) -> tuple[Change, ...]:
    """Return what can still be read of the originals' copy in a damaged database, row by row."""
    found: list[Change] = []
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(path)
        try:
            for row in connection.execute("SELECT kind, key, name, original, at FROM change_made"):
                with contextlib.suppress(ValueError, TypeError):
                    found.append(change_of(row))
        finally:
            connection.close()
    return tuple(found)
