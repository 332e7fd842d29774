"""A trace being written: every tick is on its way to the disk before the next one, so that a kill loses none."""

import contextlib
import gzip
from pathlib import Path
from typing import Final

import msgspec

from memtide.errors import MemtideError, PermissionDeniedError, StoreError, UsageError
from memtide.model.limits import Limits
from memtide.model.trace import Frame, TraceHeader

__all__ = ["TraceWriter"]

_JSON: Final = msgspec.json.Encoder()
LEVEL: Final = 6
"""gzip's; a tick of 1000 guests takes 10 ms of CPU."""


class TraceWriter:
    """A new file.

    Args:
        path: where; nothing may be there.
        header: the first line.

    Raises:
        UsageError: something of that name is there, or its folder is not.
        PermissionDeniedError: this user may not write there.
        StoreError: the disk is full or failing.
    """

    def __init__(self, path: Path, header: TraceHeader) -> None:
        self.path = path
        self.ticks = 0
        self.size_bytes = 0
        """Of the file so far."""
        self._limits: Limits | None = None
        try:
            self._file = path.open("xb")
        except FileExistsError as error:
            raise UsageError(f"{path} is there already", "name another file with --out, or move it away") from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"there is no folder {path.parent}", "make it, or name another file with --out") from error
        except OSError as error:
            raise self._explained(error) from error
        # no name and no time in it: the same trace is the same file
        self._packed = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._file, mtime=0)
        self._write(_JSON.encode(header))

    def add(self, frame: Frame) -> None:
        """Write a tick; limits that are as before are left out.

        Raises:
            PermissionDeniedError, StoreError: it could not be written; what was written before can be replayed.
        """
        if frame.limits == self._limits:
            frame = msgspec.structs.replace(frame, limits=None)
        else:
            self._limits = frame.limits
        self._write(_JSON.encode(frame))
        self.ticks += 1

    def close(self) -> None:
        """End the file.

        Raises:
            PermissionDeniedError, StoreError: its end could not be written; all ticks are there.
        """
        try:
            self._packed.close()
            self.size_bytes = self._file.tell()
        except OSError as error:
            raise self._explained(error) from error
        finally:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write(self, line: bytes) -> None:
        try:
            self._packed.write(line + b"\n")
            # ends a block, so that a reader has this line although the file has no end yet
            self._packed.flush()
            self.size_bytes = self._file.tell()
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> MemtideError:
        if isinstance(error, PermissionError):
            return PermissionDeniedError(f"{self.path} may not be written by this user", "name another with --out")
        kept = f"the {self.ticks} ticks before can be replayed" if self.ticks else "nothing was recorded"
        return StoreError(f"{self.path} cannot be written: {error.strerror}", kept)
