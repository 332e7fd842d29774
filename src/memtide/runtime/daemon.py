"""From a command line to a running daemon and back: start, serve, stop cleanly."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Final

from memtide.model.record import Event, Severity
from memtide.runtime import wiring
from memtide.runtime.control.server import serving
from memtide.runtime.options import RunOptions
from memtide.runtime.parts import Parts
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import Loaded, load

__all__ = ["run"]

log: Final = logging.getLogger(__name__)

PRIORITIES: Final = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Of the journal (sd-daemon(3)): ``<N>`` before a line."""


def run(options: RunOptions) -> None:
    """Run until the time is over or a signal ends it.

    Raises:
        MemtideError: it could not start; nothing was changed.
    """
    loaded = load(options.config, overrides(options))
    _log_to_stderr(quiet=options.watcher is not None)
    asyncio.run(_run(options, loaded))


async def _run(options: RunOptions, loaded: Loaded) -> None:
    settings = loaded.settings
    async with wiring.assembled(settings, simulate=options.simulate) as parts:
        service = Service(parts, loaded, options)
        await service.inspect()
        await service.recall()
        if settings.act:
            await parts.store.keep(wiring.URI_FACT, settings.libvirt_uri)
        await parts.guests.start(service.notify)
        async with serving(settings.control_directory, service):
            with _signals(service), _woken_by_pressure(parts, service):
                await _begin(parts, service, acting=settings.act)
                await service.loop.run(for_s=options.for_s, on_tick=service.ticked)
                await service.finish()
            service.ticked()


async def _begin(parts: Parts, service: Service, *, acting: bool) -> None:
    mode = "acting" if acting else "observing"
    at_s = parts.clock.now_s()
    text = f"memtide started, {mode}, on {parts.uri}"
    await service.loop.event(Event(at_s=at_s, severity=Severity.INFO, code="started", text=text))
    for warning in parts.warnings:
        await service.loop.event(Event(at_s=at_s, severity=Severity.WARNING, code="host-lacks", text=warning))


@contextlib.contextmanager
def _signals(service: Service) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop after its tick, SIGHUP reads the settings again (or ends it, in a terminal)."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        service.loop.stopping.set()
        service.loop.wake.set()

    # to a daemon SIGHUP means "read the settings again"; to a program in a terminal that the terminal went away
    hang_up = end if _has_terminal() else service.reload
    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: hang_up}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """Say whether this process hangs on a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _woken_by_pressure(parts: Parts, service: Service) -> Iterator[None]:
    """Memory pressure on the host starts a tick at once."""
    waker = parts.waker
    if waker is None:
        yield
        return

    def wake() -> None:
        service.loop.wake.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(waker.fileno(), wake)
    try:
        yield
    finally:
        loop.remove_reader(waker.fileno())


class _JournalFormatter(logging.Formatter):
    """``<6>sentence`` for the journal, a plain sentence for people."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__("%(message)s")
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"<{PRIORITIES.get(record.levelno, 6)}>{text}" if self._priorities else f"memtide: {text}"


def _log_to_stderr(*, quiet: bool) -> None:
    """Log to stderr: with priorities under systemd, only our own bugs when somebody watches the screen."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter(priorities="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=logging.ERROR if quiet else logging.INFO, handlers=[handler], force=True)
