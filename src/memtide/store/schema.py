"""The database's tables, and how an older database becomes today's.

``PRAGMA user_version`` is the number of migrations that a database has been through. To change the schema, add a
migration at the end; never edit one that was released. A new kind of original (``ChangeKind``) needs one too, if
an empty one: an older memtide must refuse the folder rather than take an original that it does not know for damage.
"""

import sqlite3
from pathlib import Path
from typing import Final

from memtide.errors import StoreError

__all__ = ["MIGRATIONS", "TABLES", "migrate", "schema_of"]

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # small facts of the daemon's own that outlive a restart: an operator's pause, sizes set by hand
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        # second copy of originals.json, in case that file is lost
        """CREATE TABLE change_made (
            kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, original TEXT NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (kind, key)
        ) STRICT, WITHOUT ROWID""",
        # values are bytes for memory, seconds for stats-period, a JSON object of files for ksm
        """CREATE TABLE action (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            asked_at REAL NOT NULL, kind TEXT NOT NULL, uuid TEXT, name TEXT,
            from_value ANY, to_value ANY NOT NULL, expected_gain_bytes INTEGER,
            reason TEXT NOT NULL, numbers TEXT NOT NULL,
            result TEXT NOT NULL, moved_bytes INTEGER, gained_bytes INTEGER, closed_at REAL, detail TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX action_by_time ON action (asked_at)",
        "CREATE INDEX action_by_uuid ON action (uuid, asked_at)",
        "CREATE INDEX action_by_name ON action (name, asked_at)",
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL, severity TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL, guest TEXT
        ) STRICT""",
        "CREATE INDEX event_by_time ON event (at)",
        "CREATE INDEX event_by_guest ON event (guest, at)",
        # body: zlib over the Record as JSON
        "CREATE TABLE record (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, body BLOB NOT NULL) STRICT",
        "CREATE INDEX record_by_time ON record (at)",
        # whom a record's actions were about
        """CREATE TABLE record_guest (
            uuid TEXT NOT NULL, record INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (uuid, record)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX record_guest_by_name ON record_guest (name, record)",
        "CREATE INDEX record_guest_by_record ON record_guest (record)",
    ),
)

TABLES: Final = ("meta", "change_made", "action", "event", "record", "record_guest")


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many migrations a database has been through; 0 for a new one.

    Raises:
        StoreError: a newer memtide wrote it; it is left as it is.
        sqlite3.Error: it is damaged, or not to be read.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer memtide (schema {found}; this one knows {len(MIGRATIONS)})",
            "run the newer memtide, or name another folder in [store] directory",
        )
    return int(found)


def migrate(connection: sqlite3.Connection, found: int) -> None:
    """Bring a database to today's schema, each step whole or not at all.

    Raises:
        sqlite3.Error: the disk is full, or the database is damaged.
    """
    for number, statements in enumerate(MIGRATIONS[found:], start=found + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
