"""Blocking calls in threads, each with a deadline; a call that hangs is left behind and the others go on.

Threads are daemonic, so a hung call does not keep the process from ending, and reused, so that a call costs one
hand-over each way (an executor would wait for hung threads at exit, and count them against its size for ever).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from memtide.errors import NoAnswerError

__all__ = ["Workers"]

Result = TypeVar("Result")

AT_ONCE: Final = 32
"""More calls than this wait for their turn; a call left behind gives its place away."""
STUCK_MOST: Final = 16
"""No more are tried while so many hang: each takes one of libvirtd's 20 threads (``max_workers``), and whoever comes
to mend the host needs some."""

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Workers:
    """Threads for calls that may hang; at most ``AT_ONCE`` at work and ``STUCK_MOST`` stuck."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []
        self._places = asyncio.Semaphore(AT_ONCE)
        self._behind: dict[asyncio.Future[Any], int] = {}

    @property
    def stuck(self) -> int:
        """Return how many calls are past their deadline and have not come back."""
        return len(self._behind)

    def stuck_on(self, connection: int) -> int:
        """Return how many of them were made on one connection."""
        return sum(number == connection for number in self._behind.values())

    async def call(self, function: Callable[[], Result], *, deadline_s: float, connection: int = 0) -> Result:
        """Return what the function returns, or raise what it raises.

        Args:
            function: runs in a thread.
            deadline_s: seconds from its start; waiting for a place is not counted.
            connection: number of the connection that it takes a place of, for ``stuck_on``; 0: of none.

        Raises:
            NoAnswerError: it did not come back in time; it is left behind.
        """
        async with self._places:
            if self.stuck >= STUCK_MOST:
                raise NoAnswerError(f"{self.stuck} calls hang already; no more are tried")
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Result] = loop.create_future()
            jobs = self._idle.pop() if self._idle else self._spawn(loop)
            jobs.put((function, future))
            # a timer of our own: asyncio's wait and wait_for cost half as much again as the whole hand-over
            timer = loop.call_later(deadline_s, self._leave_behind, future, deadline_s, connection)
            try:
                return await future
            except asyncio.CancelledError:
                if future.cancelled():
                    self._behind[future] = connection
                raise
            finally:
                timer.cancel()

    def _leave_behind(self, future: "asyncio.Future[Any]", deadline_s: float, connection: int) -> None:
        if not future.done():
            self._behind[future] = connection
            future.set_exception(NoAnswerError(f"no answer within {deadline_s:g} s"))

    def _spawn(self, loop: asyncio.AbstractEventLoop) -> "SimpleQueue[Job]":
        jobs: SimpleQueue[Job] = SimpleQueue()
        threading.Thread(target=self._work, args=(loop, jobs), name="memtide-libvirt", daemon=True).start()
        return jobs

    def _work(self, loop: asyncio.AbstractEventLoop, jobs: "SimpleQueue[Job]") -> None:
        while True:
            function, future = jobs.get()
            value: Any = None
            failure: BaseException | None = None
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                failure = error
            with contextlib.suppress(RuntimeError):  # the event loop ended meanwhile
                loop.call_soon_threadsafe(self._settle, future, value, failure, jobs)
            # keep nothing alive while idle
            del function, future, value, failure

    def _settle(
        self, future: "asyncio.Future[Any]", value: object, failure: BaseException | None, jobs: "SimpleQueue[Job]"
    ) -> None:
        self._idle.append(jobs)
        if future.done():  # nobody waits any more: it was left behind, and has come back
            self._behind.pop(future, None)
        elif failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(value)
