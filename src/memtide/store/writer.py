"""The one thread that writes: a slow, full or broken disk stops it, and never the loop that hands things to it.

Originals come first, because an action waits for them. All else is written in batches, each one transaction. What
the disk does not take stays in the backlog and is tried again; what SQLite refuses for its values is dropped alone.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

from memtide.errors import MemtideError
from memtide.model.record import Change, Event, Severity
from memtide.store.backlog import Backlog, Entry
from memtide.store.database import Database
from memtide.store.originals import Key
from memtide.store.retention import Retention
from memtide.store.statements import change_dropped, change_kept, event_kept
from memtide.store.troubles import REFUSALS, explain, is_damage
from memtide.units import format_duration

__all__ = ["Writer"]

log = logging.getLogger(__name__)

BATCH: Final = 256
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 30.0
PRUNE_EVERY_S: Final = 60.0
PRUNE_AGAIN_S: Final = 0.1
SLOW_S: Final = 10.0
"""A write that takes longer than this is a trouble to be told."""


class _Edit(NamedTuple):
    """An original to keep or forget, the entry that does the same to its copy, and who waits for it."""

    edit: Change | Key
    copy: Entry
    done: "Future[None]"


class Writer:
    """Writes what it is handed, in its own thread.

    Args:
        database: given away to the thread, but for what it says any thread may ask.
        folder: for the messages.
        retention: how long to keep what.
        now_s: the wall clock.
    """

    def __init__(self, database: Database, folder: Path, retention: Retention, now_s: Callable[[], float]) -> None:
        self._database = database
        self._folder = folder
        self._retention = retention
        self._now_s = now_s
        # shared with the callers, touched only while holding this
        self._state = threading.Condition()
        self._backlog = Backlog()
        self._edits: list[_Edit] = []
        self._damaged = False
        self._stopping = False
        self._busy_since: float | None = None
        self._trouble: str | None = None
        self._trouble_since: float = 0.0
        self._refused = 0
        self._lost_told = 0
        # the thread's own
        self._batch_most = BATCH
        self._retry_s = RETRY_FIRST_S
        self._due = 0.0
        self._prune_due = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="memtide-store", daemon=True)
        self._thread.start()

    # --- for any thread ---------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """Why history is not being written now, in a sentence; ``None`` when it is."""
        with self._state:
            now = time.monotonic()
            if self._trouble is not None:
                what, since = self._trouble, self._trouble_since
            elif self._busy_since is not None and now - self._busy_since > SLOW_S:
                what, since = f"the disk of {self._folder} does not answer", self._busy_since
            else:
                return None
            lost = self._lost() - self._lost_told
            waiting = f"waiting: {_entries(len(self._backlog))}" + (f", dropped: {lost}" if lost else "")
            return f"{what}; no history was written for {format_duration(now - since)} ({waiting})"

    def add(self, entry: Entry) -> None:
        """Take an entry to be written soon; never waits for the disk."""
        with self._state:
            self._backlog.add(entry)
            self._state.notify_all()

    def edit(self, edit: Change | Key) -> "Future[None]":
        """Keep or forget an original; done when it is on the disk, or failed with OSError."""
        copy = change_kept(edit) if isinstance(edit, Change) else change_dropped(*edit)
        waiting = _Edit(edit, Entry((copy,)), Future())
        with self._state:
            self._edits.append(waiting)
            self._state.notify_all()
        return waiting.done

    def wait_idle(self, timeout_s: float) -> None:
        """Return when everything handed over was written, when there is trouble, or when the time is over."""
        with self._state:
            self._state.wait_for(self._is_idle, timeout_s)

    def found_damage(self) -> None:
        """Have the database set aside: a reader found it damaged."""
        with self._state:
            self._damaged = True
            self._state.notify_all()

    def stop(self, timeout_s: float) -> bool:
        """Write what waits, try once more what failed, and end; return whether that was in time."""
        with self._state:
            self._stopping = True
            self._state.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _is_idle(self) -> bool:
        busy = self._busy_since is not None
        return self._trouble is not None or not (busy or self._backlog or self._edits or self._damaged)

    def _lost(self) -> int:
        return self._backlog.records_dropped + self._backlog.others_dropped + self._refused

    # --- in the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            log.exception("the thread that writes history failed")
            with self._state:
                self._trouble, self._trouble_since = (
                    f"the thread that writes history failed ({error})",
                    time.monotonic(),
                )
                self._state.notify_all()
            raise
        finally:
            self._database.close()

    def _work(self) -> None:
        while True:
            edits, batch, last = self._next()
            if edits:
                self._edit(edits)
            if batch or self._damaged:
                self._attempt(self._database.write, batch)
            elif time.monotonic() >= self._prune_due and not self._backlog:
                self._attempt(self._prune, [])
            if last and (self._trouble is not None or not self._backlog):
                break
        if self._backlog:
            log.error("the end of history is lost (%s): %s", _entries(len(self._backlog)), self._trouble)

    def _next(self) -> tuple[list[_Edit], list[Entry], bool]:
        """Wait for work; return originals to keep, entries to write, and whether we are stopping."""
        with self._state:
            self._busy_since = None
            self._state.notify_all()
            self._state.wait_for(self._has_work, max(0.0, self._rest_until() - time.monotonic()))
            self._busy_since = time.monotonic()
            edits, self._edits = self._edits, []
            write_now = self._stopping or time.monotonic() >= self._due
            return edits, self._backlog.take(self._batch_most) if write_now else [], self._stopping

    def _has_work(self) -> bool:
        waiting = self._backlog or self._damaged
        return bool(self._edits or self._stopping or (waiting and time.monotonic() >= self._due))

    def _rest_until(self) -> float:
        return self._due if self._backlog or self._damaged else self._prune_due

    def _edit(self, edits: list[_Edit]) -> None:
        """Write the originals once for all who wait."""
        wanted = [edit for edit in edits if edit.done.set_running_or_notify_cancel()]
        try:
            self._database.edit_originals(edit.edit for edit in wanted)
        except OSError as error:
            for edit in wanted:
                edit.done.set_exception(error)
            return
        for edit in wanted:
            self.add(edit.copy)
            edit.done.set_result(None)

    def _attempt(self, work: Callable[[list[Entry]], None], batch: list[Entry]) -> None:
        """Do something with the database; what cannot be done now is done later."""
        try:
            if self._damaged:
                self._database.set_aside()
                with self._state:
                    self._damaged = False
            work(batch)
        except (sqlite3.Error, OSError, MemtideError, *REFUSALS) as error:
            self._failed(error, batch)
        else:
            self._succeeded()

    def _prune(self, _nothing: list[Entry]) -> None:
        self._prune_due = time.monotonic() + PRUNE_EVERY_S
        if self._database.prune(self._retention):
            self._prune_due = time.monotonic() + PRUNE_AGAIN_S

    def _failed(self, error: Exception, batch: list[Entry]) -> None:
        # asks the file system, which may take its time: not while holding what the callers need
        what = error if isinstance(error, MemtideError) else explain(error, self._folder)
        with self._state:
            if isinstance(error, REFUSALS) and batch:
                self._refuse(error, batch)
                return
            self._backlog.put_back(batch)
            if is_damage(error):
                self._damaged = True
            if self._trouble is None:
                self._trouble_since = time.monotonic()
                log.error("%s; history waits in memory", what.message)
            self._trouble = what.message
            self._due = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, RETRY_MOST_S)
            self._state.notify_all()

    def _refuse(self, error: Exception, batch: list[Entry]) -> None:
        """Find the one entry whose values no database takes, and go on without it."""
        if len(batch) > 1:
            self._backlog.put_back(batch)
            self._batch_most = 1
            return
        self._refused += 1
        log.error("an entry of history cannot be kept: %s (%s)", error, batch[0].statements[0][0].split("(")[0].strip())

    def _succeeded(self) -> None:
        with self._state:
            trouble, self._trouble = self._trouble, None
            lost = self._lost() - self._lost_told
            self._lost_told += lost
            self._due, self._retry_s, self._batch_most = 0.0, RETRY_FIRST_S, BATCH
            if trouble is None and not lost:
                return
            text = f"history has a gap: {_entries(lost)} dropped" if lost else "nothing is lost"
            if trouble is not None:
                gone = format_duration(time.monotonic() - self._trouble_since)
                text = f"history was not written for {gone}, because {trouble}; {text}"
            log.warning("%s", text)
            event = Event(at_s=self._now_s(), severity=Severity.WARNING, code="history-gap", text=text)
            self._backlog.add(Entry((event_kept(event, self._database.number()),)))


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
