"""A pressure trigger: the kernel wakes us when tasks begin to wait for memory (Documentation/accounting/psi.rst).

The kernel announces it as POLLPRI, which asyncio never asks for (``add_reader`` watches EPOLLIN). An epoll that
watches the pressure file for EPOLLPRI is itself readable while an event is pending, so that one is handed out. The
kernel forgets an event as soon as anybody polls for it: being readable *is* the message, and nothing is left to read.

It means "look now", not "memory is short": on some kernels the first event of a trigger that was set without
CAP_SYS_RESOURCE tells of stalls from before it was set (seen on 6.18).
"""

import contextlib
import errno
import os
import select
from pathlib import Path
from typing import Final

__all__ = ["PressureTrigger"]

_UNPRIVILEGED_WINDOW_US: Final = 2_000_000
"""Without CAP_SYS_RESOURCE newer kernels accept multiples of this only, and older ones no trigger at all."""

_REASONS: Final = {
    errno.ENOENT: "this kernel does not measure pressure (boot it with psi=1): there is no {path}",
    errno.EOPNOTSUPP: "pressure is switched off in this kernel (boot it with psi=1): {path}",
    errno.EACCES: "this user may not set a trigger on {path}",
    errno.EPERM: "this user may not set a trigger on {path}",
    errno.EROFS: "{path} is read-only here",
}


class PressureTrigger:
    """Becomes readable, at most once per window, when tasks waited for memory longer than a share of it.

    Where the kernel has no pressure or takes no trigger from us, ``why_not`` says why and nothing else works; the
    loop then learns of pressure at its next sample.

    Args:
        root: ``/``, or a captured tree, which has no kernel behind it to set a trigger.
        some_stall_us: how long at least one task waits within the window, microseconds.
        window_us: 500 000 to 10 000 000. When the kernel does not accept it from us, it is 2 s and the stall
            grows in proportion.
    """

    def __init__(self, root: Path, some_stall_us: int, window_us: int) -> None:
        self.why_not: str | None = None
        """Why there is no trigger, in words for people; ``None`` when it is set."""
        self.window_us = window_us
        """The window in force."""
        self._epoll: select.epoll | None = None
        self._file: int | None = None
        path = root / "proc/pressure/memory"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._epoll = select.epoll()
            # a file that cannot be polled is not the kernel's: find out before writing into it
            self._epoll.register(self._file, select.EPOLLPRI)
            self._epoll.unregister(self._file)
            self.window_us = _set_trigger(self._file, some_stall_us, window_us)
            self._epoll.register(self._file, select.EPOLLPRI)
        except OSError as error:
            self.close()
            text = _REASONS.get(error.errno or 0, "the kernel refuses a trigger on {path}: {error}")
            self.why_not = text.format(path=path, error=error.strerror)

    def fileno(self) -> int:
        """Return what to give to ``loop.add_reader``.

        Raises:
            ValueError: there is no trigger (``why_not``), or it is closed.
        """
        if self._epoll is None:
            raise ValueError(f"no pressure trigger: {self.why_not or 'it is closed'}")
        return self._epoll.fileno()

    def close(self) -> None:
        """Take the trigger back; safe to call twice. Remove the reader from the event loop first."""
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _set_trigger(file: int, some_stall_us: int, window_us: int) -> int:
    """Write the trigger with the wished window, else with the one that needs no privilege; return which."""
    with contextlib.suppress(OSError):
        return _write_trigger(file, some_stall_us, window_us)
    return _write_trigger(file, some_stall_us * _UNPRIVILEGED_WINDOW_US // window_us, _UNPRIVILEGED_WINDOW_US)


def _write_trigger(file: int, some_stall_us: int, window_us: int) -> int:
    # the kernel overwrites the last byte with NUL: without one of ours it would eat a digit
    os.write(file, f"some {some_stall_us} {window_us}\0".encode())
    return window_us
