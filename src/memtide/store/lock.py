"""One daemon per state folder: two would fight over the same guests and the same originals."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from memtide.errors import AlreadyRunningError
from memtide.store.troubles import explain

__all__ = ["FolderLock"]

PID_WIDTH: Final = 20


class FolderLock:
    """Holds ``memtide.lock`` in a folder until it is released or the process ends, however it ends.

    Args:
        folder: exists.

    Raises:
        AlreadyRunningError: another process holds it; the message names it.
        PermissionDeniedError: the file cannot be made here by this user.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "memtide.lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise explain(error, folder) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, PID_WIDTH, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunningError(
                f"another memtide (process {holder}) works in {folder} and holds {path}",
                "stop it first (systemctl stop memtide), or name another folder in [store] directory",
            ) from error
        # the lock counts, the number is a courtesy: a full disk must not keep the daemon from starting
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, f"{os.getpid():<{PID_WIDTH - 1}}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the folder; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
