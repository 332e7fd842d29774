"""Recording: a daemon that only observes, and whose every tick goes into a trace.

It is the daemon's own loop with the daemon's own sources, so a trace holds what a daemon saw, and what it would have
done. It takes no lock, keeps no store and asks with a connection that only reads: it can run beside a daemon.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from memtide import __version__
from memtide.errors import MemtideError
from memtide.model.action import Outcome
from memtide.model.base import Model
from memtide.model.limits import Limits
from memtide.model.record import Change, ChangeKind, Event, Record
from memtide.model.snapshot import Snapshot
from memtide.model.trace import Frame, TraceHeader
from memtide.ports import GuestSource
from memtide.runtime import wiring
from memtide.runtime.loop import Loop
from memtide.runtime.options import RunOptions
from memtide.runtime.parts import Eyes
from memtide.runtime.record_file import TraceWriter
from memtide.runtime.record_names import NamelessGuests, NamelessWill
from memtide.runtime.record_will import WatchedWill
from memtide.runtime.service import overrides
from memtide.runtime.settings_file import load

__all__ = ["Progress", "Recorder", "Tell", "record"]


class Progress(Model, frozen=True, kw_only=True):
    """How far a recording is."""

    path: Path
    ticks: int
    ran_s: float
    """By the clock of what is recorded."""
    guests: int
    """In the last tick."""
    size_bytes: int
    troubles: tuple[str, ...] = ()
    """What cannot be seen now, a sentence each."""


Tell = Callable[[Progress], None]


def record(options: RunOptions, *, out: Path | None, anonymous: bool, tell: Tell) -> Progress:
    """Record until the time is over or a signal ends it.

    Args:
        options: which guests, which settings, for how long, or the simulated host.
        out: the file; ``None``: named after the host and the moment, in the current folder.
        anonymous: take names out.
        tell: told after every tick.

    Raises:
        MemtideError: it could not begin, or the file could not be written to its end.
    """
    loaded = load(options.config, overrides(options))
    path = out or Path(f"memtide-{_host_name(anonymous=anonymous)}-{time.strftime('%Y%m%d-%H%M%S')}.trace.gz")

    async def run() -> Progress:
        async with wiring.eyes(loaded.settings, simulate=options.simulate) as eyes:
            recorder = Recorder(eyes, loaded.settings.limits, path, anonymous=anonymous, tell=tell)
            await recorder.start()
            with _ended_by_signals(recorder.loop):
                return await recorder.run(options.for_s)

    return asyncio.run(run())


def _host_name(*, anonymous: bool) -> str:
    return "host" if anonymous else socket.gethostname()


class Recorder:
    """One recording.

    Args:
        eyes: what it sees with.
        limits: from the settings.
        path: the file to make.
        anonymous: take names out.
        tell: told after every tick.
    """

    def __init__(self, eyes: Eyes, limits: Limits, path: Path, *, anonymous: bool, tell: Tell) -> None:
        nameless = NamelessGuests(eyes.guests) if anonymous else None
        self._guests: GuestSource = nameless or eyes.guests
        self._path = path
        self._clock = eyes.clock
        self._began_s = eyes.clock.now_s()
        self._header = TraceHeader(
            memtide=__version__,
            host_name=_host_name(anonymous=anonymous),
            uri=eyes.uri,
            began_at_s=self._began_s,
            period_s=limits.period_s,
            anonymous=anonymous,
        )
        self._tell = tell
        self._failure: MemtideError | None = None
        self._last: Snapshot | None = None
        self.loop = Loop(
            clock=eyes.clock,
            host=eyes.host,
            guests=self._guests,
            policy=eyes.policy,
            actuators=eyes.actuators,
            store=_Nowhere(),
            will=WatchedWill(limits, eyes.facts) if nameless is None else NamelessWill(limits, eyes.facts, nameless),
        )

    async def start(self) -> None:
        """Connect, then make the file.

        Raises:
            SourceError, PermissionDeniedError: nobody answers there, or not to this user.
            MemtideError: the file cannot be made.
        """
        await self._guests.start(lambda _event: None)
        self._file = TraceWriter(self._path, self._header)

    async def run(self, for_s: float | None) -> Progress:
        """Record for so long, or until the loop is told to stop.

        Raises:
            StoreError, PermissionDeniedError: the file could not be written to its end.
        """
        try:
            await self.loop.run(for_s=for_s, on_tick=self._ticked)
        finally:
            try:
                self._file.close()
            except MemtideError as error:
                self._failure = self._failure or error
        if self._failure is not None:
            raise self._failure
        return self._progress()

    def _ticked(self) -> None:
        loop = self.loop
        # a tick in which the host could not be read leaves the last snapshot where it was
        if loop.snapshot is None or loop.snapshot is self._last:
            return
        self._last = loop.snapshot
        try:
            self._file.add(Frame(snapshot=loop.snapshot, limits=loop.limits, decision=loop.decision))
        except MemtideError as error:
            # the loop bears whatever goes wrong in a tick, and would go on
            self._failure = error
            loop.stopping.set()
            return
        self._tell(self._progress())

    def _progress(self) -> Progress:
        snapshot = self.loop.snapshot
        return Progress(
            path=self._path,
            ticks=self._file.ticks,
            ran_s=self._clock.now_s() - self._began_s,
            guests=0 if snapshot is None else len(snapshot.guests),
            size_bytes=self._file.size_bytes,
            troubles=self.loop.troubles,
        )


@contextlib.contextmanager
def _ended_by_signals(loop: Loop) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the recording after its tick."""

    def end() -> None:
        loop.stopping.set()
        loop.wake.set()

    running = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        running.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            running.remove_signal_handler(number)


class _Nowhere:
    """A store that keeps nothing: there is nothing to undo, and the trace holds the rest."""

    trouble = None

    async def remember(self, change: Change) -> None:
        """Forget it."""

    async def forget(self, kind: ChangeKind, key: str) -> None:
        """Know nothing of it."""

    async def changes(self) -> tuple[Change, ...]:
        """Return nothing."""
        return ()

    async def append(self, record: Record) -> None:
        """Forget it."""

    async def save_outcome(self, outcome: Outcome) -> Outcome:
        """Return it as it is."""
        return outcome

    async def save_event(self, event: Event) -> None:
        """Forget it."""

    async def keep(self, key: str, value: str | None) -> None:
        """Forget it."""

    async def kept(self) -> dict[str, str]:
        """Return nothing."""
        return {}
