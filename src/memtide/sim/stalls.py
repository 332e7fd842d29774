"""Pressure as the kernel tells it: averages over 10, 60 and 300 seconds and the sum of all stalled time."""

import math
from typing import Final

from memtide.model.pressure import Stall

__all__ = ["StallMeter"]

WINDOWS_S: Final = (10.0, 60.0, 300.0)


class StallMeter:
    """One line of a pressure file (kernel/sched/psi.c decays its averages in the same way, every 2 s).

    Args:
        step_s: the time between two calls of ``add``.
    """

    def __init__(self, step_s: float) -> None:
        self._step_us = step_s * 1e6
        self._weights = tuple(1 - math.exp(-step_s / window_s) for window_s in WINDOWS_S)
        self._averages = [0.0, 0.0, 0.0]
        self._total_us = 0.0

    def add(self, ratio: float) -> None:
        """Count a step of which this share (0 to 1) was spent waiting."""
        self._total_us += ratio * self._step_us
        for i, weight in enumerate(self._weights):
            self._averages[i] += (ratio - self._averages[i]) * weight

    def read(self) -> Stall:
        """Return the figures of now."""
        avg10, avg60, avg300 = self._averages
        return Stall(avg10_ratio=avg10, avg60_ratio=avg60, avg300_ratio=avg300, total_us=int(self._total_us))
