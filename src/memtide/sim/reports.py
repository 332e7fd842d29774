"""When a guest's own figures are taken and when they can be seen: every stats period, late, and not always."""

import math
import random
from collections import deque
from typing import Final, Protocol

from memtide.model.guest import Reported
from memtide.sim.spec import GuestSpec

__all__ = ["Reports"]

EARLY_S: Final = 1e-6
"""Steps are floats: a report due now must not wait a whole step for the last rounded digit."""


class Figures(Protocol):
    """A guest that can be asked."""

    def figures(self, now_s: float) -> Reported | None:
        """Return what it says of itself now; ``None``: nothing."""
        ...


class Reports:
    """One guest's reports.

    Args:
        spec: how often they are taken, how late they are seen, how many are lost.
        first_at_s: when the first one is taken; spreads guests that would report in step.
        seed: makes chance the same every time.
    """

    __slots__ = (
        "_chance",
        "_jitter_s",
        "_lag_s",
        "_loss_ratio",
        "_next_at_s",
        "_under_way",
        "due_s",
        "latest",
        "period_s",
    )

    def __init__(self, spec: GuestSpec, first_at_s: float, seed: str) -> None:
        self.period_s = spec.stats_period_s
        """``None``: it was never asked to report."""
        self.latest: Reported | None = None
        self.due_s = 0.0
        """Before this moment (wall time) there is nothing to do here."""
        self._lag_s, self._jitter_s, self._loss_ratio = spec.stats_lag_s, spec.stats_jitter_s, spec.stats_loss_ratio
        self._chance = random.Random(seed) if self._jitter_s or self._loss_ratio else None  # noqa: S311 - no secret
        self._next_at_s = first_at_s
        self._under_way: deque[tuple[float, Reported]] = deque()

    def set_period(self, period_s: int, now_s: float) -> None:
        """Report every so many seconds from now on; 0: no more."""
        self.period_s = period_s or None
        self._next_at_s = now_s + period_s
        self.due_s = 0.0

    def step(self, now_s: float, guest: Figures) -> None:
        """Take a report if one is due, and deliver those that have travelled long enough."""
        if self.period_s is not None and now_s >= self._next_at_s - EARLY_S:
            self._next_at_s = now_s + self.period_s
            report = guest.figures(now_s)
            if report is not None:
                self._send(now_s, report)
        while self._under_way and now_s >= self._under_way[0][0] - EARLY_S:
            self.latest = self._under_way.popleft()[1]
        next_at_s = math.inf if self.period_s is None else self._next_at_s
        self.due_s = min(next_at_s, self._under_way[0][0] if self._under_way else math.inf) - EARLY_S

    def _send(self, now_s: float, report: Reported) -> None:
        lag_s = self._lag_s
        if self._chance is not None:
            if self._chance.random() < self._loss_ratio:
                return
            lag_s += self._chance.random() * self._jitter_s
        if not lag_s:
            self.latest = report
            return
        before_s = self._under_way[-1][0] if self._under_way else 0.0
        self._under_way.append((max(before_s, now_s + lag_s), report))
