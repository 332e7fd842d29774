"""The daemon's side: one folder, one lock, two sockets."""

import fcntl
import grp
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from memtide.errors import AlreadyRunningError, ControlError, PermissionDeniedError
from memtide.runtime.control.daemon import Daemon
from memtide.runtime.control.interfaces import MANAGER, READER, Manager, Reader
from memtide.runtime.control.listener import Listener, bind

__all__ = ["serving"]

GROUP: Final = "memtide"
"""Its members may change guests, where the host has such a group; otherwise only root (or whoever runs us) may."""
READER_MODE: Final = 0o666
FOLDER_MODE: Final = 0o755
LOCK: Final = "lock"


@asynccontextmanager
async def serving(folder: Path, daemon: Daemon) -> AsyncIterator[None]:
    """Serve a daemon on ``org.memtide.Reader`` and ``org.memtide.Manager`` while the block runs.

    Args:
        folder: made if it is missing; holds the sockets and a lock, so that two daemons cannot serve it.
        daemon: what is served.

    Raises:
        AlreadyRunningError: a living daemon serves this folder.
        PermissionDeniedError: the folder is not ours to write.
        ControlError: sockets cannot be made there.
    """
    async with AsyncExitStack() as stack:
        try:
            _take(stack, folder)
            group_id = _group()
            _listen(stack, folder / READER, daemon, READER_MODE, None)
            _listen(stack, folder / MANAGER, daemon, 0o600 if group_id is None else 0o660, group_id)
        except PermissionError as error:
            raise PermissionDeniedError(
                f"memtide cannot make its sockets in {folder}: {error.strerror}",
                "run it as root, or name another folder with --control",
            ) from error
        except OSError as error:
            raise ControlError(
                f"memtide cannot make its sockets in {folder}: {error.strerror or error}",
                "name another folder with --control",
            ) from error
        yield


def _take(stack: AsyncExitStack, folder: Path) -> None:
    """Make the folder ours until the stack unwinds."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    # the kernel drops the lock with its process, so sockets in an unlocked folder belong to a dead daemon
    lock = stack.enter_context((folder / LOCK).open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AlreadyRunningError(
            f"another memtide already serves {folder}",
            "`memtide status` shows it; stop it first, or name another folder with --control",
        ) from error


def _listen(stack: AsyncExitStack, path: Path, daemon: Daemon, mode: int, group_id: int | None) -> None:
    path.unlink(missing_ok=True)
    server = bind(path, mode, group_id)
    stack.callback(path.unlink, missing_ok=True)
    listener = Listener(server, lambda peer: Reader(daemon) if path.name == READER else Manager(daemon, peer))
    stack.push_async_callback(listener.close)


def _group() -> int | None:
    """Return the id of the managers' group; ``None`` where there is none, or where we could not give it."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None
