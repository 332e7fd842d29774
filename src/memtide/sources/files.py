"""Small kernel files: read whole, kept open between readings, and a reason in words when they cannot be read.

Keeping a file open halves the cost of a reading, and it still works when the host has no memory left to open one.
"""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from memtide.model.base import Missing

__all__ = ["KernelFiles"]

T = TypeVar("T")

_CHUNK_BYTES: Final = 64 * 1024
_MOST_BYTES: Final = 16 * 1024 * 1024
"""More than the longest command line that Linux allows (6 MiB). Only what is no kernel file is larger."""
_REASONS: Final = {
    errno.ENOENT: "there is no {path}",
    errno.ENOTDIR: "there is no {path}",
    errno.ESRCH: "there is no {path} any more: the process is gone",
    errno.ENODEV: "there is no {path} any more",
    errno.EACCES: "this user may not read {path}",
    errno.EPERM: "this user may not read {path}",
    errno.EFBIG: f"{{path}} is too large: more than {_MOST_BYTES >> 20} MiB",
    errno.ESPIPE: "{path} is no file",
    errno.EOPNOTSUPP: "{path} is switched off in this kernel",
}


class KernelFiles:
    """Files below a root folder, by their path from there (``proc/meminfo``).

    Args:
        root: ``/``, or a captured tree.
        keep_open: keep every file open after its first reading. Not for files of processes: there are too many.
    """

    def __init__(self, root: Path, *, keep_open: bool = True) -> None:
        self.root = root
        self._prefix = str(root).rstrip("/") + "/"
        self._keep_open = keep_open
        self._open: dict[str, int] = {}

    def read(self, path: str) -> bytes:
        """Return the file's content of now.

        Raises:
            OSError: it is not there, or not readable (any more). The next call tries again from the start.
        """
        descriptor = self._open.get(path)
        if descriptor is None:
            # a pipe in a captured tree must not make anybody wait
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = self._open[path] = os.open(self._prefix + path, flags)
        try:
            data = _read_all(descriptor)
        except OSError:
            self._close(path)
            raise
        if not self._keep_open:
            self._close(path)
        return data

    def parsed(self, path: str, parse: Callable[[bytes], T | None], missing: Missing, field: str) -> T | None:
        """Return what the file says, or ``None`` with the reason in ``missing[field]``."""
        try:
            data = self.read(path)
        except OSError as error:
            missing[field] = reason(path, error)
            return None
        value = parse(data)
        if value is None:
            missing[field] = f"/{path} says nothing that memtide understands: {data[:60]!r}"
        return value

    def value(self, path: str, parse: Callable[[bytes], T | None]) -> T | None:
        """Return what the file says, or ``None`` where its absence is no news."""
        return self.parsed(path, parse, missing={}, field="")

    def names(self, path: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the entries of a folder that match, unsorted; none when there is no such folder."""
        try:
            return [entry.name for entry in (self.root / path).iterdir() if pattern.fullmatch(entry.name)]
        except OSError:
            return []

    def close(self) -> None:
        """Close all files. A later reading opens them again."""
        for path in tuple(self._open):
            self._close(path)

    def _close(self, path: str) -> None:
        os.close(self._open.pop(path))


def reason(path: str, error: OSError) -> str:
    """Return why a file could not be read, for people."""
    text = _REASONS.get(error.errno or 0, "{path} cannot be read: {error}")
    return text.format(path=f"/{path}", error=error.strerror or error)


def _read_all(descriptor: int) -> bytes:
    # the kernel hands out files of many records, such as vmstat, a page at a time
    chunks = []
    offset = 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, offset):
        chunks.append(chunk)
        offset += len(chunk)
        if offset > _MOST_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return b"".join(chunks)
