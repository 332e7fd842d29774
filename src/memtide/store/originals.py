"""The originals of everything that memtide changed: what ``restore`` puts back, and what must never be lost.

The truth is ``originals.json``, a small file that a person can read. Every change of it is a new file, synced and
renamed over the old one, so there is always a whole one; a call returns when it is on the disk. The database holds
a copy (``change_made``), for the day on which somebody deletes or breaks the file. One is text of a few kilobytes,
the other pages of SQLite: one accident rarely takes both.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from memtide.model.base import Model
from memtide.model.record import Change, ChangeKind

__all__ = ["Key", "Originals"]

Key: TypeAlias = tuple[ChangeKind, str]
"""What an original is of: a guest's memory, by its UUID; a KSM file, by its name."""

NAME: Final = "originals.json"
FORMAT: Final = 1


class _Content(Model, frozen=True, kw_only=True):
    format: int = FORMAT
    changes: tuple[Change, ...]


class Originals:
    """The originals in one folder. Calls block until the disk has them; one thread at a time.

    Args:
        folder: exists and may be written.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._by_key: dict[Key, Change] = {}

    @property
    def all(self) -> tuple[Change, ...]:
        """All originals that are on the disk, the oldest first."""
        return tuple(self._by_key.values())

    def load(self) -> str | None:
        """Read the file; return ``None``, or why it tells nothing.

        Raises:
            OSError: it is there, but not to be read.
        """
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return "is not there"
        except msgspec.DecodeError as error:
            return f"cannot be understood ({error})"
        if content.format != FORMAT:
            return f"has the unknown format {content.format}"
        self._by_key = {(change.kind, change.key): change for change in content.changes}
        return None

    def set_aside(self, suffix: str) -> Path | None:
        """Move a file that cannot be understood out of the way; return where it is now, if there was one."""
        return self.path.rename(self.path.with_name(f"{NAME}.{suffix}")) if self.path.exists() else None

    def edit(self, edits: Iterable[Change | Key]) -> None:
        """Keep originals (of two for the same thing the first stays) and forget those whose keys are named.

        Raises:
            OSError: the disk does not take it; what was there before still is.
        """
        by_key = dict(self._by_key)
        for edit in edits:
            if isinstance(edit, Change):
                by_key.setdefault((edit.kind, edit.key), edit)
            else:
                by_key.pop(edit, None)
        self._write(by_key)

    def _write(self, by_key: dict[Key, Change]) -> None:
        if by_key == self._by_key and self.path.exists():
            return
        text = msgspec.json.format(msgspec.json.encode(_Content(changes=tuple(by_key.values())))) + b"\n"
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self.path.parent)
        self._by_key = by_key


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
