"""What SQLite and the file system complain about, in words for people, and what to do about it."""

import errno
import os
import pwd
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from memtide.errors import MemtideError, PermissionDeniedError, StoreError
from memtide.units import MIB

__all__ = ["REFUSALS", "explain", "is_damage"]

FULL: Final = ("the disk of {folder} is full", "free some space there; nothing that was remembered before is lost")
DENIED: Final = ("{folder} may not be written by user {user}", "let that user own the folder, or run memtide as root")
READ_ONLY: Final = (
    "{folder} is on a read-only file system",
    "remount it writable, or name another in [store] directory",
)
LOCKED: Final = ("another program holds the database in {folder} locked", "find it with: fuser -v {folder}/memtide.db")
FAILING: Final = ("reading or writing in {folder} fails ({error})", "look for disk errors: journalctl -k")

BY_SQLITE: Final = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: DENIED,
    sqlite3.SQLITE_PERM: DENIED,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
}
BY_ERRNO: Final = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EROFS: READ_ONLY,
}
DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
REFUSALS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,
)
"""SQLite, or its Python module, refuses these very values: trying again is of no use."""
ROOM_LEFT_BYTES: Final = MIB
"""SQLite calls some writes to a full disk an I/O error; with less room than this it was the room."""


def explain(error: Exception, folder: Path) -> MemtideError:
    """Return the error that says what is wrong with the store in this folder, and what to do."""
    if isinstance(error, OSError):
        found = BY_ERRNO.get(error.errno or 0, FAILING)
    else:
        found = BY_SQLITE.get(_code(error), FAILING)
    # SQLite has one code for all that can happen to a file: ask the file system which it was
    if found is FAILING and _is_full(folder):
        found = FULL
    if found is FAILING and not os.access(folder, os.W_OK | os.X_OK):
        found = DENIED
    if found is DENIED and _is_read_only(folder):
        found = READ_ONLY
    message, hint = found
    words = {"folder": str(folder), "user": _user(), "error": str(error)}
    kind = PermissionDeniedError if found in (DENIED, READ_ONLY) else StoreError
    return kind(message.format(**words), hint.format(**words))


def is_damage(error: Exception) -> bool:
    """Say whether the database's own bytes are wrong."""
    return _code(error) in DAMAGE


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; other errors, also of the Python module itself, have none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user of a container that has no name in it
        return str(os.geteuid())


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < ROOM_LEFT_BYTES
    except OSError:
        return False


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False
