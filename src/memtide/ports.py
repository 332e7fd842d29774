"""The seams between the core and the world: what the loop needs, and nothing about who provides it.

Real and simulated providers pass the same contract tests (tests/contract).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from memtide.model.action import Action, Outcome, Reply
from memtide.model.decision import Decision
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.model.record import Change, ChangeKind, Event, Record
from memtide.model.snapshot import GuestSample, Snapshot

__all__ = ["Actuator", "Clock", "GuestCalls", "GuestSource", "HostSource", "Notify", "Policy", "Store"]

State = TypeVar("State")
Result = TypeVar("Result")

Notify = Callable[[Event], None]
"""Called in the event loop's thread when something happened in the world."""


class Clock(Protocol):
    """Time, so that the simulator can run faster than it."""

    def now_s(self) -> float:
        """Return the wall-clock time in seconds since 1970 (the clock of libvirt's ``last-update``)."""
        ...

    async def sleep(self, duration_s: float, wake: asyncio.Event) -> None:
        """Return after the duration, or at once when ``wake`` is set (and leave it set)."""
        ...


class HostSource(Protocol):
    """Reads the host. Quick enough for the event loop: a few files in /proc and /sys."""

    def sample(self, now_s: float) -> Host:
        """Return what the host's kernel measures now.

        Raises:
            SourceError: /proc/meminfo itself cannot be read; all else is ``None`` with a reason.
        """
        ...


class GuestSource(Protocol):
    """Reads the guests. Never blocks the event loop, never takes longer than its deadline."""

    async def start(self, notify: Notify) -> None:
        """Connect and begin to watch for events.

        Raises:
            SourceError: nobody answers there.
            PermissionDeniedError: somebody does, but not to this user.
        """
        ...

    async def sample(self, now_s: float) -> GuestSample:
        """Return the guests that answered in time, and those known to exist that did not.

        Raises:
            SourceError: the whole hypervisor is away; every guest is unknown, none is gone.
        """
        ...

    async def stop(self) -> None:
        """Disconnect; safe to call twice and while a call hangs."""
        ...


class GuestCalls(Protocol):
    """Lets an actuator call the hypervisor about one guest without knowing the hypervisor's library."""

    async def on_guest(self, uuid: str, call: Callable[[Any], Result], *, deadline_s: float) -> Result:
        """Return what ``call`` returns for the guest's handle (a virDomain); it runs in a thread and may block.

        Raises:
            ActuatorError: there is no such guest, or the hypervisor refused.
            NoAnswerError: nothing came back in time.
        """
        ...

    def forget_traits(self, uuid: str) -> None:
        """Read how the guest is built again at the next sample, because it was just changed."""
        ...


class Actuator(Protocol):
    """Makes one kind of change. Idempotent; never raises for what the world answers."""

    async def apply(self, action: Action) -> Reply:
        """Ask for the change and return what was answered within the deadline."""
        ...


class Policy(Protocol[State]):
    """A law: pure, total, and the same for daemon, dry run, simulator and replay."""

    @property
    def name(self) -> str:
        """Return the law's name, as in ``--policy``."""
        ...

    def initial(self) -> State:
        """Return the state of a law that has seen nothing yet."""
        ...

    def decide(self, state: State, snapshot: Snapshot, limits: Limits) -> tuple[State, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        ...

    def answered(self, state: State, action: Action, reply: Reply) -> State:
        """Return the state that knows how the action was answered (refused, not sent, no answer)."""
        ...


class Store(Protocol):
    """What must outlive a crash. Every method may raise StoreError."""

    @property
    def trouble(self) -> str | None:
        """Return why history is not being written now, in a sentence; ``None`` when all is well."""
        ...

    async def remember(self, change: Change) -> None:
        """Keep the original value, durably, before the first write; the first one remembered wins."""
        ...

    async def forget(self, kind: ChangeKind, key: str) -> None:
        """Drop an original that was put back (or whose guest is gone for good)."""
        ...

    async def changes(self) -> tuple[Change, ...]:
        """Return the originals of everything that we changed and did not put back."""
        ...

    async def append(self, record: Record) -> None:
        """Keep a tick in which something was decided."""
        ...

    async def save_outcome(self, outcome: Outcome) -> Outcome:
        """Keep an outcome, new (``id`` is None) or changed; return it with its ``id``."""
        ...

    async def save_event(self, event: Event) -> None:
        """Keep an event."""
        ...

    async def keep(self, key: str, value: str | None) -> None:
        """Keep a fact of the daemon's own (a size set by hand); ``None`` drops it."""
        ...

    async def kept(self) -> dict[str, str]:
        """Return all such facts."""
        ...
