"""What the sockets need of the daemon, and nothing about how it does it."""

from collections.abc import AsyncGenerator
from typing import Protocol

from memtide.model.action import Outcome
from memtide.model.base import Model
from memtide.model.reason import Reason
from memtide.model.record import LogEntry
from memtide.runtime.control.fanout import Fanout
from memtide.runtime.unmerge import UnmergeRequest
from memtide.views.live import KsmScene, Live
from memtide.views.unmerge import UnmergeView

__all__ = ["Daemon", "LogQuery"]


class LogQuery(Model, frozen=True, kw_only=True):
    """Which entries of the log; ``None`` means all."""

    vm: str | None = None
    """Name or UUID of a guest."""
    since_s: float | None = None
    """Not older than this moment."""
    limit: int = 100
    """The latest so many."""


class Daemon(Protocol):
    """A running daemon. Every method may raise a MemtideError, whose sentence reaches whoever asked."""

    @property
    def entries(self) -> Fanout:
        """Where the daemon publishes every outcome that is new or changed, and every event."""
        ...

    def live(self) -> Live | None:
        """Return this moment; ``None`` before the first tick."""
        ...

    def ksm(self) -> KsmScene | None:
        """Return this moment of KSM, with what is remembered of it; ``None`` before the first tick."""
        ...

    async def log(self, query: LogQuery) -> list[LogEntry]:
        """Return entries, oldest first."""
        ...

    async def set_memory(self, uuid: str, size_bytes: int, for_s: float, reason: Reason) -> Outcome:
        """Set a guest's memory and leave it there for so long.

        Args:
            uuid: a guest of the latest snapshot.
            size_bytes: between its floor and its maximum.
            for_s: how long the law leaves it alone, unless it starves.
            reason: who asked; it goes into the log.
        """
        ...

    async def restore(self, uuid: str | None, reason: Reason) -> list[Outcome]:
        """Put back the original size of one guest, or all that was ever changed (``None``)."""
        ...

    def unmerge(self, request: UnmergeRequest) -> AsyncGenerator[UnmergeView, None]:
        """Undo KSM's merging in stages; yield the plan, every stage and the end."""
        ...
