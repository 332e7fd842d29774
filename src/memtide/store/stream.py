"""What a daemon has in its folder, read while it may run on: all its records one after the other, and its facts."""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from memtide.errors import UsageError
from memtide.model.trace import Frame
from memtide.store.connect import NAME, connect_reader
from memtide.store.schema import schema_of
from memtide.store.statements import record_of
from memtide.store.troubles import explain

__all__ = ["RecordedHistory", "read_facts"]


def read_facts(folder: Path) -> dict[str, str]:
    """Return the facts of a daemon's own (sizes set by hand); none where there is no daemon that this user may ask."""
    try:
        with contextlib.closing(connect_reader(folder)) as connection:
            return {str(key): str(value) for key, value in connection.execute("SELECT key, value FROM meta")}
    except (sqlite3.Error, OSError):
        return {}


class RecordedHistory:
    """A daemon's folder, read like a trace; the daemon may run on.

    Args:
        folder: of the database.

    Raises:
        UsageError: there is no database in it.
    """

    whole: Final = False
    """Only ticks in which something was done, or the host's state changed, are kept."""
    cut_short: Final = False
    header: Final = None
    """A folder does not say which host it is from."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.left_out = 0
        """Ticks that this memtide cannot understand; known once all frames were read."""
        if not (folder / NAME).exists():
            raise UsageError(f"no daemon has kept anything in {folder}", f"it would be in {folder / NAME}")

    def frames(self) -> Iterator[Frame]:
        """Return the kept ticks, the oldest first, but for those that another memtide wrote in a way unknown here.

        Raises:
            StoreError, PermissionDeniedError: the database cannot be read, or a newer memtide wrote it.
        """
        self.left_out = 0
        try:
            with contextlib.closing(connect_reader(self.path)) as connection:
                schema_of(connection, self.path / NAME)
                for (body,) in connection.execute("SELECT body FROM record ORDER BY id"):
                    try:
                        record = record_of(body)
                    except (ValueError, TypeError, msgspec.DecodeError, zlib.error):
                        self.left_out += 1
                        continue
                    yield Frame(snapshot=record.snapshot, decision=record.decision)
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path) from error
