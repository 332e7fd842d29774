"""When a guest's own figures are taken and when they can be seen: every stats period, and late by a lag."""

from collections import deque
from collections.abc import Callable
from typing import Final

from memtide.model.guest import Reported

__all__ = ["Reports"]

EARLY_S: Final = 1e-6
"""Steps are floats: a report due now must not wait a whole step for the last rounded digit."""


class Reports:
    """One guest's reports.

    Args:
        period_s: the stats period; ``None``: it was never asked to report.
        lag_s: from the moment a report speaks of to the moment it can be seen.
        first_at_s: when the first one is taken; spreads guests that would report in step.
    """

    def __init__(self, period_s: int | None, lag_s: float, first_at_s: float) -> None:
        self.period_s = period_s
        self.latest: Reported | None = None
        self._lag_s = lag_s
        self._next_at_s = first_at_s
        self._under_way: deque[tuple[float, Reported]] = deque()

    def set_period(self, period_s: int, now_s: float) -> None:
        """Report every so many seconds from now on; 0: no more."""
        self.period_s = period_s or None
        self._next_at_s = now_s + period_s

    def step(self, now_s: float, take: Callable[[], Reported | None]) -> None:
        """Take a report if one is due, and deliver those that have travelled long enough."""
        if self.period_s is not None and now_s >= self._next_at_s - EARLY_S:
            self._next_at_s = now_s + self.period_s
            report = take()
            if report is not None:
                self._under_way.append((now_s + self._lag_s, report))
        while self._under_way and now_s >= self._under_way[0][0] - EARLY_S:
            self.latest = self._under_way.popleft()[1]
