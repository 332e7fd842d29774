"""How long history is kept, and the small steps in which what is older goes."""

import sqlite3
from typing import Final

from memtide.model.base import Model
from memtide.units import GIB

__all__ = ["Retention", "give_back", "prune_step"]

STEP: Final = 50
"""Rows per table and step: some milliseconds, so that an original waiting to be kept does not wait for pruning."""
PAGES: Final = 256
"""Free pages given back to the file system per step."""
DAY_S: Final = 86400.0


class Retention(Model, frozen=True, kw_only=True):
    """How long each kind of history is kept, and how large the database may get."""

    records_s: float = 7 * DAY_S
    actions_s: float = 90 * DAY_S
    events_s: float = 90 * DAY_S
    most_bytes: int = GIB
    """Above this the oldest records go first, whatever their age."""


def prune_step(connection: sqlite3.Connection, retention: Retention, now_s: float) -> bool:
    """Drop some of what is too old or too much; return whether there may be more.

    Raises:
        sqlite3.Error: the disk does not take it; nothing was dropped.
    """
    old_sql = "SELECT id FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT ?"
    rows = (
        ("record", old_sql.format(table="record", column="at"), (now_s - retention.records_s, STEP)),
        ("action", old_sql.format(table="action", column="asked_at"), (now_s - retention.actions_s, STEP)),
        ("event", old_sql.format(table="event", column="at"), (now_s - retention.events_s, STEP)),
        ("record", "SELECT id FROM record ORDER BY id LIMIT ?", (STEP if _too_large(connection, retention) else 0,)),
    )
    more = False
    for table, sql, values in rows:
        gone = connection.execute(f"DELETE FROM {table} WHERE id IN ({sql}) RETURNING id", values).fetchall()  # noqa: S608 - the table above
        if table == "record":
            connection.executemany("DELETE FROM record_guest WHERE record = ?", gone)
        more = more or len(gone) == STEP
    return more


def give_back(connection: sqlite3.Connection) -> None:
    """Return some free pages to the file system."""
    # execute() would stop after the first page: the pragma answers once per page, with a row of no columns
    connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")


def _too_large(connection: sqlite3.Connection, retention: Retention) -> bool:
    pages, free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return bool((pages - free) * page_bytes > retention.most_bytes)
