"""The connection to libvirt: opened with a deadline, watched, and opened again after it was lost.

libvirt's own event loop runs in one daemon thread, for life; its callbacks hand over to asyncio's loop. (The asyncio
adapter that ships with the binding must not be used together with worker threads: it updates asyncio's loop from
whichever thread makes a call, and events then arrive up to a second late.)
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from memtide.errors import NoAnswerError, PermissionDeniedError, SourceError
from memtide.sources.libvirt.api import Connection, binding
from memtide.sources.libvirt.workers import Workers

__all__ = ["Link"]

OPEN_S: Final = 10.0
KEEPALIVE_S: Final = 5
KEEPALIVE_COUNT: Final = 3
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MOST_S: Final = 30.0
PERMISSION_CODES: Final = frozenset({29, 44, 45, 79, 88})
"""virErrorNumber: OPERATION_DENIED, AUTH_CANCELLED/FAILED, AUTH_UNAVAILABLE, ACCESS_DENIED."""

_event_thread_lock = threading.Lock()
_event_thread: threading.Thread | None = None


def _start_event_thread() -> None:
    """Run libvirt's event loop; it must be registered before the first connection and never end."""
    global _event_thread  # noqa: PLW0603 - one per process, as libvirt demands
    with _event_thread_lock:
        if _event_thread is not None:
            return
        libvirt = binding()
        libvirt.virEventRegisterDefaultImpl()

        def turn() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        _event_thread = threading.Thread(target=turn, name="memtide-libvirt-events", daemon=True)
        _event_thread.start()


class Link:
    """One connection that comes back.

    Args:
        uri: for example ``qemu:///system``.
        readonly: libvirt then refuses every change, whatever we do.
        workers: where calls run.
        subscribe: called in a worker with each new connection, to register for events.
    """

    def __init__(
        self, uri: str, *, readonly: bool, workers: Workers, subscribe: Callable[[Connection, "Link"], None]
    ) -> None:
        self.uri = uri
        self._readonly = readonly
        self._workers = workers
        self._subscribe = subscribe
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._back_off_s = 0.0
        self._retry_at_s = 0.0
        self._why = "it was not opened yet"

    @property
    def connection(self) -> Connection | None:
        """Return the connection, or ``None`` while it is lost."""
        return self._connection

    async def open(self) -> Connection:
        """Return a working connection, opening one when there is none and its time has come.

        Raises:
            SourceError: nobody answers, or it is too early to try again.
            PermissionDeniedError: somebody answers, but not to this user.
        """
        if self._connection is not None:
            return self._connection
        self._loop = asyncio.get_running_loop()
        if self._loop.time() < self._retry_at_s:
            raise SourceError(self._lost())
        try:
            connection = await self._workers.call(self._connect, deadline_s=OPEN_S)
        except (SourceError, PermissionDeniedError, NoAnswerError) as error:
            self._wait_longer(error.message)
            if isinstance(error, NoAnswerError):
                raise SourceError(self._lost(), "is libvirtd hanging?") from error
            raise
        self._connection, self._back_off_s = connection, 0.0
        return connection

    def lose(self, why: str) -> None:
        """Drop the connection, which hangs or was closed; the next :meth:`open` makes a new one."""
        if self._connection is not None:
            self._connection = None
            self._wait_longer(why)

    def post(self, function: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - passed on
        """Call a function in asyncio's thread; for callbacks, which run in libvirt's."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _wait_longer(self, why: str) -> None:
        self._why = why
        self._back_off_s = min(BACK_OFF_MOST_S, max(BACK_OFF_FIRST_S, 2 * self._back_off_s))
        if self._loop is not None:
            self._retry_at_s = self._loop.time() + self._back_off_s

    def _lost(self) -> str:
        return f"libvirt at {self.uri} is away: {self._why}"

    def _connect(self) -> Connection:
        """Open, in a worker."""
        libvirt = binding()
        _start_event_thread()
        try:
            opened: Connection = (libvirt.openReadOnly if self._readonly else libvirt.open)(self.uri)
            opened.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
        except libvirt.libvirtError as error:
            raise self._explained(error) from error
        opened.registerCloseCallback(self._closed, None)
        self._subscribe(opened, self)
        return opened

    def _closed(self, connection: Connection, reason: int, _opaque: object) -> None:
        """Take note, in libvirt's thread, that the other side went away."""
        names = {0: "it failed", 1: "the other side closed it", 2: "it did not answer for 15 s", 3: "we closed it"}
        self.post(self._lose_if, connection, names.get(reason, "it was closed"))

    def _lose_if(self, connection: Connection, why: str) -> None:
        """Drop the connection unless a newer one is in place."""
        if self._connection is None or connection is self._connection or not self._connection.isAlive():
            self.lose(why)

    def _explained(self, error: Any) -> SourceError | PermissionDeniedError:  # noqa: ANN401 - libvirtError
        text = str(error)
        if error.get_error_code() in PERMISSION_CODES or "ermission denied" in text:
            return PermissionDeniedError(
                f"this user may not use libvirt at {self.uri}: {text}",
                "run memtide as root, or add the user to the group libvirt (which is as good as root)",
            )
        return SourceError(
            f"libvirt at {self.uri} cannot be reached: {text}",
            "is libvirtd running (systemctl status libvirtd)? Another place: --uri; without libvirt: --sim",
        )
