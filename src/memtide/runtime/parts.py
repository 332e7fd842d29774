"""The daemon's parts, put together by ``wiring`` and used through their ports."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from memtide.model.record import LogEntry
from memtide.model.trace import Frame, TraceHeader
from memtide.ports import Clock, GuestSource, HostSource, Policy, Store
from memtide.runtime.ledger import Ledger
from memtide.runtime.loop import Actuators
from memtide.runtime.unmerge import Unmerger

__all__ = ["Eyes", "History", "Parts", "Recording", "Waker"]


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
    unmerger: Unmerger | None = None
    """Takes apart what KSM merged; ``None``: not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """What a daemon sees with, without its hands: no store, no lock, and a connection that only reads."""

    uri: str
    clock: Clock
    host: HostSource
    guests: GuestSource
    policy: Policy[Any]
    actuators: Actuators
    """They send nothing."""
    facts: Callable[[], dict[str, str]]
    """What the daemon of this host, if there is one, keeps for itself: sizes set by hand."""


class Recording(Protocol):
    """What a host went through, on record: a trace, or what a daemon kept."""

    @property
    def path(self) -> Path:
        """Return where it is."""
        ...

    @property
    def header(self) -> TraceHeader | None:
        """Return what it says of itself; ``None``: nothing."""
        ...

    @property
    def whole(self) -> bool:
        """Say whether every tick of its time is in it."""
        ...

    @property
    def cut_short(self) -> bool:
        """Say whether it ends in the middle of a tick; known once all frames were read."""
        ...

    @property
    def left_out(self) -> int:
        """Return how many ticks could not be understood; known once all frames were read."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Return its ticks in order, from the beginning each time.

        Raises:
            MemtideError: it is damaged, or cannot be read.
        """
        ...
