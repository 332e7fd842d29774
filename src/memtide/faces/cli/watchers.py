"""Who shows a running daemon in its own terminal: line by line, or as a screen that is redrawn.

The daemon's thread only hands over what happened; another thread writes it. A terminal that stands still (Ctrl-S,
a dead ssh) must not keep the daemon from its guests.
"""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Final, Protocol

from memtide.faces.cli.log_text import entry_lines, is_final, local_zone, name_width
from memtide.faces.cli.screen_text import screen_lines
from memtide.faces.cli.terminal import Screen, columns, is_terminal, print_lines
from memtide.model.record import LogEntry
from memtide.views.live import Live
from memtide.views.log import log_view
from memtide.views.schema import LogView
from memtide.views.status import status

__all__ = ["Painter", "Printer", "Silent", "shown"]

LOOK_S: Final = 0.25
"""How long a key, a new size of the terminal or the end waits at most."""
END_WITHIN_S: Final = 2.0
REMEMBERED: Final = 50
"""Log entries; more than any terminal has lines."""


class Silent:
    """Watches without a word, for the summary at the end."""

    last: Live | None = None

    def tick(self, live: Live) -> None:
        """Keep the newest moment."""
        self.last = live

    def entry(self, entry: LogEntry) -> None:
        """Say nothing."""

    def work(self, over: threading.Event) -> None:
        """Do nothing until it is over."""
        over.wait()


class Printer(Silent):
    """Prints every entry once nothing more will come of it."""

    def __init__(self) -> None:
        self._entries: queue.SimpleQueue[LogView] = queue.SimpleQueue()

    def entry(self, entry: LogEntry) -> None:
        """Hand over an entry."""
        view = log_view(entry)
        if is_final(view):
            self._entries.put(view)

    def work(self, over: threading.Event) -> None:
        """Print until it is over and all is said; a file is read on other days, a terminal is not."""
        names = 0
        while not (over.is_set() and self._entries.empty()):
            with contextlib.suppress(queue.Empty, OSError):
                view = self._entries.get(timeout=LOOK_S)
                names = max(names, name_width([view]))
                zone, dated = local_zone(), not is_terminal()
                print_lines(entry_lines(view, zone=zone, dated=dated, names=names, width=columns()))


class Painter(Silent):
    """Redraws the whole terminal after every tick; a terminal that has gone is no reason to stop.

    Args:
        asking: options that commands in another terminal need to find this daemon.
    """

    def __init__(self, asking: str) -> None:
        self._asking = asking
        self._latest: tuple[LogView, ...] = ()

    def entry(self, entry: LogEntry) -> None:
        """Hand over an entry."""
        view = log_view(entry)
        if is_final(view):
            self._latest = (*self._latest, view)[-REMEMBERED:]

    def work(self, over: threading.Event) -> None:
        """Draw until it is over."""
        drawn: object = None
        with contextlib.suppress(OSError), Screen() as screen:
            while not over.is_set():
                live, latest, size = self.last, self._latest, screen.size
                if live is not None and (live, latest, size) != drawn:
                    screen.draw(screen_lines(status(live), latest, size, local_zone(), asking=self._asking))
                    drawn = (live, latest, size)
                if screen.key(LOOK_S) in {"q", "Q"}:
                    # the daemon ends as it would for Ctrl-C
                    os.kill(os.getpid(), signal.SIGINT)


class Watching(Protocol):
    """A watcher with a thread of its own."""

    def work(self, over: threading.Event) -> None:
        """Show what was handed over, until it is over."""
        ...


@contextlib.contextmanager
def shown(watcher: Watching) -> Iterator[None]:
    """Let the watcher work in a thread while the block runs."""
    over = threading.Event()
    thread = threading.Thread(target=watcher.work, args=(over,), name="watcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(END_WITHIN_S)
