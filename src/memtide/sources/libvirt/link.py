"""The connection to libvirt: opened with a deadline, watched, and opened again after it was lost.

libvirt's own event loop runs in one daemon thread, for life; its callbacks hand over to asyncio's loop. (The asyncio
adapter that ships with the binding must not be used together with worker threads: it updates asyncio's loop from
whichever thread makes a call, and events then arrive up to a second late.)

A lost connection is not closed but let go: its registrations are withdrawn, and the binding closes it when its last
user is gone, because a call that hangs on it may still be inside libvirt's library.

There is no keep-alive (``setKeepAlive``). It ends one of the calls that wait on a connection and leaves the others
waiting on what that one had on its stack; when a frozen libvirtd goes on, libvirt's client then reads freed memory
(9.0: "GLib-CRITICAL: g_main_loop_quit", seen with seven calls and plain libvirt; without it all of them return). Our
deadlines find a libvirtd that hangs, and the socket tells of one that is gone.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from memtide.errors import NoAnswerError, PermissionDeniedError, SourceError
from memtide.sources.libvirt.api import Connection, binding
from memtide.sources.libvirt.workers import Workers

__all__ = ["OPEN_S", "Link", "Subscribe"]

Result = TypeVar("Result")

OPEN_S: Final = 30.0
"""A libvirtd that has just started answers only when it has found its guests again."""
LET_GO_S: Final = 5.0
STUCK_MOST: Final = 4
"""libvirtd serves 5 calls of a client at a time (``max_client_requests``), and reads no more while all of them hang."""
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MOST_S: Final = 4.0
"""Short: a try costs nothing while nobody listens, and who was away must be found again within 10 s."""
DENIED: Final = ("OPERATION_DENIED", "AUTH_FAILED", "AUTH_CANCELLED", "AUTH_UNAVAILABLE", "ACCESS_DENIED")
CLOSED: Final = {0: "it failed", 1: "the other side closed it", 3: "we closed it"}
"""virConnectCloseReason."""

Subscribe = Callable[[Connection, "Link"], list[int]]
"""Registers for a new connection's events, in a worker; returns the registrations."""

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
                try:
                    libvirt.virEventRunDefaultImpl()
                except libvirt.libvirtError:  # poll(2) failed; without this thread no loss would ever be noticed
                    time.sleep(1)

        _event_thread = threading.Thread(target=turn, name="memtide-libvirt-events", daemon=True)
        _event_thread.start()


class Link:
    """One connection that comes back.

    Args:
        uri: for example ``qemu:///system``.
        readonly: libvirt then refuses every change, whatever we do.
        workers: where calls run.
        subscribe: called with each new connection.
    """

    def __init__(self, uri: str, *, readonly: bool, workers: Workers, subscribe: Subscribe) -> None:
        self.uri = uri
        self._readonly = readonly
        self._workers = workers
        self._subscribe = subscribe
        self._connection: Connection | None = None
        self._registered: list[int] = []
        self._opening: asyncio.Task[tuple[Connection, list[int]]] | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._number = 0
        self._back_off_s = 0.0
        self._retry_at_s = 0.0
        self._why = "it was not opened yet"

    @property
    def connection(self) -> Connection | None:
        """Return the connection, or ``None`` while it is lost."""
        return self._connection

    @property
    def worn_out(self) -> bool:
        """Say whether so many calls hang on this connection that the next ones would hang with them."""
        return self._workers.stuck_on(self._number) >= STUCK_MOST

    async def call(self, function: Callable[[], Result], *, deadline_s: float) -> Result:
        """Return what a call on this connection returns, or raise what it raises.

        Raises:
            NoAnswerError: it did not come back in time; it is left behind.
        """
        return await self._workers.call(function, deadline_s=deadline_s, connection=self._number)

    async def open(self, wait_s: float) -> Connection:
        """Return a working connection, opening one when there is none and its time has come.

        Args:
            wait_s: how long to wait for it now; it is opened on meanwhile, for a later call.

        Raises:
            SourceError: nobody answers, or it is too early to try again.
            PermissionDeniedError: somebody answers, but not to this user.
        """
        if self._connection is not None:
            return self._connection
        self._loop = asyncio.get_running_loop()
        if self._opening is None:
            if self._loop.time() < self._retry_at_s:
                raise SourceError(self._away())
            self._opening = asyncio.create_task(self._workers.call(self._connect, deadline_s=OPEN_S))
        opening = self._opening
        await asyncio.wait({opening}, timeout=wait_s)
        if not opening.done():
            raise SourceError(f"libvirt at {self.uri} has not answered yet", "is libvirtd hanging?")
        self._opening = None
        try:
            self._connection, self._registered = opening.result()
        except (SourceError, PermissionDeniedError, NoAnswerError) as error:
            self._wait_longer(error.message)
            if isinstance(error, NoAnswerError):
                raise SourceError(self._away(), "is libvirtd hanging?") from error
            raise
        self._back_off_s = 0.0
        self._number += 1
        return self._connection

    def lose(self, why: str) -> None:
        """Drop the connection, which hangs or was closed; :meth:`open` makes a new one when its time has come."""
        if self._connection is not None:
            self.renew()
            self._wait_longer(why)

    def renew(self) -> None:
        """Drop the connection; the next :meth:`open` makes a new one at once."""
        if self._connection is None:
            return
        lost, registered = self._connection, self._registered
        self._connection, self._registered = None, []
        letting_go = asyncio.ensure_future(self._let_go(lost, registered))
        self._letting_go.add(letting_go)
        letting_go.add_done_callback(self._letting_go.discard)

    async def close(self) -> None:
        """Drop the connection for good; one that hangs is left to the end of the process."""
        self.lose("memtide stopped")
        if self._opening is not None:
            self._opening.cancel()
        await asyncio.gather(*self._letting_go)

    def post(self, connection: Connection, function: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401 - passed on
        """Call a function in asyncio's thread unless the connection is an old one; for callbacks, run in libvirt's."""

        def hand_over() -> None:
            if connection is self._connection:
                function(*arguments)

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(hand_over)

    def _wait_longer(self, why: str) -> None:
        self._why = why
        self._back_off_s = min(BACK_OFF_MOST_S, max(BACK_OFF_FIRST_S, 2 * self._back_off_s))
        if self._loop is not None:
            self._retry_at_s = self._loop.time() + self._back_off_s

    def _away(self) -> str:
        return f"libvirt at {self.uri} is away: {self._why}"

    def _connect(self) -> tuple[Connection, list[int]]:
        """Open, in a worker; too late, it is let go at once, for nobody waits for it any more."""
        began_s = time.monotonic()
        libvirt = binding()
        _start_event_thread()
        try:
            opened: Connection = (libvirt.openReadOnly if self._readonly else libvirt.open)(self.uri)
            opened.registerCloseCallback(self._closed, None)
            registered = self._subscribe(opened, self)
        except libvirt.libvirtError as error:
            raise self._explained(error) from error
        if time.monotonic() - began_s >= OPEN_S:
            _withdraw(opened, registered)
        return opened, registered

    async def _let_go(self, connection: Connection, registered: list[int]) -> None:
        with contextlib.suppress(NoAnswerError):
            await self._workers.call(lambda: _withdraw(connection, registered), deadline_s=LET_GO_S)

    def _closed(self, connection: Connection, reason: int, _opaque: object) -> None:
        """Take note, in libvirt's thread, that the other side went away."""
        self.post(connection, self.lose, CLOSED.get(reason, "it was closed"))

    def _explained(self, error: Any) -> SourceError | PermissionDeniedError:  # noqa: ANN401 - libvirtError
        text = str(error)
        denied = {getattr(binding(), f"VIR_ERR_{name}") for name in DENIED}
        if error.get_error_code() in denied or "ermission denied" in text:
            return PermissionDeniedError(
                f"this user may not use libvirt at {self.uri}: {text}",
                "run memtide as root, or add the user to the group libvirt (which is as good as root)",
            )
        return SourceError(
            f"libvirt at {self.uri} cannot be reached: {text}",
            "is libvirtd running (systemctl status libvirtd)? Another place: --uri; without libvirt: --sim",
        )


def _withdraw(connection: Connection, registered: list[int]) -> None:
    """Withdraw what keeps a connection alive, in a worker; on a dead one libvirt complains and does it."""
    error = binding().libvirtError
    for number in registered:
        with contextlib.suppress(error):
            connection.domainEventDeregisterAny(number)
    with contextlib.suppress(error):
        connection.unregisterCloseCallback()
