"""The daemon's parts, put together by ``wiring`` and used through their ports."""

from dataclasses import dataclass
from typing import Any, Protocol

from memtide.model.record import LogEntry
from memtide.ports import Clock, GuestSource, HostSource, Policy, Store
from memtide.runtime.ledger import Ledger
from memtide.runtime.loop import Actuators

__all__ = ["History", "Parts", "Waker"]


class History(Store, Protocol):
    """A store that can also be asked."""

    async def log(
        self, *, vm: str | None = None, since_s: float | None = None, limit: int | None = None
    ) -> list[LogEntry]:
        """Return the latest outcomes and events, oldest first."""
        ...


class Waker(Protocol):
    """Something in the world that is readable when the loop should look at once."""

    def fileno(self) -> int:
        """Return the file descriptor to wait on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything concrete that a daemon runs on."""

    uri: str
    clock: Clock
    host: HostSource
    guests: GuestSource
    policy: Policy[Any]
    actuators: Actuators
    store: History
    ledger: Ledger
    waker: Waker | None
    """A trigger on memory pressure; ``None`` where the kernel has none."""
    warnings: tuple[str, ...]
    """What is missing on this host, a sentence each."""
