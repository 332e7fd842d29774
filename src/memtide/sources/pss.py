"""Proportional set sizes of many guests, read one at a time and seldom, because they are dear.

smaps_rollup walks all of a guest's page tables: 16 ms per GiB, so a second for a big guest. Hence a thread of its own,
never two at a time; who asks gets the last figure and its age.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from memtide.model.base import Missing, Model
from memtide.sources.process import ProcessReader, Qemu

__all__ = ["Pss", "PssReadings"]

EVERY_S: Final = 300.0
DEAR_EVERY_S: Final = 3600.0
"""For a guest whose reading took longer than ``DEAR_S``."""
DEAR_S: Final = 0.05


class Pss(Model, frozen=True, kw_only=True):
    """One guest's proportional set size, in the words of ``Observed``."""

    pss_bytes: int | None = None
    pss_at_s: float | None = None
    missing: Missing = {}

    @classmethod
    def unknown(cls, why: str) -> Self:
        """Return that nothing is known, and why."""
        return cls(missing={"pss_bytes": why, "pss_at_s": why})


UNREAD: Final = Pss.unknown(
    "not read yet: it is dear, so one guest at a time is read, and each every five minutes or less"
)


class PssReadings:
    """The last figure of each guest's process.

    Args:
        root: ``/``, or a captured tree.
        elapsed_s: a clock for how long a reading took.
    """

    def __init__(self, root: Path = Path("/"), *, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._reader = ProcessReader(root)  # not shared: the thread reads while others do
        self._elapsed_s = elapsed_s
        self._last: dict[Qemu, Pss] = {}
        self._due_at_s: dict[Qemu, float] = {}
        self._thread: threading.Thread | None = None
        self._result: tuple[Qemu, Pss, float] | None = None
        """What the thread read, and when to read it again; looked at only after the thread's end."""

    def of(self, processes: Mapping[str, Qemu], now_s: float) -> dict[str, Pss]:
        """Return what is known of these guests by UUID, and begin to read the one that has waited longest."""
        if not self.busy:
            self._pick_up()
            self._begin(set(processes.values()), now_s)
        return {uuid: self._last.get(qemu, UNREAD) for uuid, qemu in processes.items()}

    @property
    def busy(self) -> bool:
        """Whether a reading is under way."""
        return self._thread is not None and self._thread.is_alive()

    def _pick_up(self) -> None:
        if self._result is not None:
            qemu, self._last[qemu], self._due_at_s[qemu] = self._result
            self._result = None

    def _begin(self, running: set[Qemu], now_s: float) -> None:
        self._last = {qemu: pss for qemu, pss in self._last.items() if qemu in running}
        self._due_at_s = {qemu: self._due_at_s.get(qemu, float("-inf")) for qemu in running}
        due = [(due_s, qemu.started_ticks, qemu.pid, qemu) for qemu, due_s in self._due_at_s.items() if due_s <= now_s]
        if due:
            # daemonic: a guest whose memory lock is never let go must not keep the process from ending
            self._thread = threading.Thread(target=self._read, args=(min(due)[-1], now_s), name="pss", daemon=True)
            self._thread.start()

    def _read(self, qemu: Qemu, now_s: float) -> None:
        """Read one guest, in the thread."""
        began_s = self._elapsed_s()
        missing: Missing = {}
        pss_bytes = self._reader.pss_bytes(qemu, missing)
        again_s = DEAR_EVERY_S if self._elapsed_s() - began_s > DEAR_S else EVERY_S
        pss = Pss.unknown(missing["pss_bytes"]) if pss_bytes is None else Pss(pss_bytes=pss_bytes, pss_at_s=now_s)
        self._result = (qemu, pss, now_s + again_s)
