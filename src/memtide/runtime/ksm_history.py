"""What the daemon remembers of KSM: a reading a minute for a day, in memory only."""

import collections
from typing import Final

from memtide.model.ksm import Ksm
from memtide.views.live import KsmPast

__all__ = ["KsmHistory"]

EVERY_S: Final = 60.0
MOST: Final = 24 * 60


class KsmHistory:
    """A ring of readings, and the count of parted pages when ksmd was last through everything."""

    def __init__(self) -> None:
        self._readings: collections.deque[Ksm] = collections.deque(maxlen=MOST)
        self._latest: Ksm | None = None
        self._breaks_at_scan: int | None = None

    def add(self, ksm: Ksm | None) -> None:
        """Take note of a tick's reading; ``None``: there was none."""
        if ksm is None:
            return
        before, self._latest = self._latest, ksm
        if before is not None and ksm.taken_at_s < before.taken_at_s:
            # the clock was set back: times of before mean nothing any more
            self._readings.clear()
        if before is not None and ksm.full_scans != before.full_scans:
            self._breaks_at_scan = ksm.cow_breaks_total
        if not self._readings or ksm.taken_at_s - self._readings[-1].taken_at_s >= EVERY_S:
            self._readings.append(ksm)

    def past(self) -> KsmPast:
        """Return all of it."""
        return KsmPast(readings=tuple(self._readings), breaks_at_scan=self._breaks_at_scan)
