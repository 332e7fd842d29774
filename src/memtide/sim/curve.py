"""Sizes over time, as straight lines between points: what a simulated guest's programs hold, read and touch."""

import math
import random
from bisect import bisect_right
from typing import Final

from memtide.model.base import Model

__all__ = ["Course", "Curve", "flat", "leak", "noise", "walk", "wave"]

ROUNDING_S: Final = 1e-6
"""A line ends this much sooner than its points say: moments are floats."""


class Curve(Model, frozen=True, kw_only=True):
    """A size for every moment. Times are seconds since the simulated world began."""

    points: tuple[tuple[float, int], ...]
    """(seconds, bytes), the times rising; before the first point and after the last the size stays."""
    repeat_s: float | None = None
    """Begin again after this many seconds; ``None``: once."""
    phase_s: float = 0.0
    """How much later than its own times it runs."""

    def at(self, elapsed_s: float) -> int:
        """Return the bytes at this moment."""
        return Course(self).at(elapsed_s)


class Course:
    """A curve being followed: it knows which of its lines it is on, so that the next moment costs little.

    Args:
        curve: any; moments may be asked for in any order.
    """

    __slots__ = ("_from_bytes", "_from_s", "_phase_s", "_points", "_repeat_s", "_rise_bytes", "_times_s", "_to_s")

    def __init__(self, curve: Curve) -> None:
        self._points = curve.points
        self._times_s = [time_s for time_s, _ in curve.points]
        self._repeat_s, self._phase_s = curve.repeat_s, curve.phase_s
        self._from_s, self._to_s = math.inf, -math.inf
        self._from_bytes = self._rise_bytes = 0

    def at(self, elapsed_s: float) -> int:
        """Return the bytes at this moment."""
        time_s = elapsed_s - self._phase_s
        if self._repeat_s is not None:
            time_s %= self._repeat_s
        if not self._from_s <= time_s < self._to_s:
            self._find(time_s)
        if not self._rise_bytes:
            return self._from_bytes
        return self._from_bytes + int(self._rise_bytes * (time_s - self._from_s) / (self._to_s - self._from_s))

    def flat_until_s(self, elapsed_s: float) -> float:
        """Return until when the size stays as it is; not after now: it is changing."""
        self.at(elapsed_s)
        if self._rise_bytes:
            return elapsed_s
        time_s = elapsed_s - self._phase_s
        if self._repeat_s is None:
            return elapsed_s + self._to_s - time_s - ROUNDING_S
        time_s %= self._repeat_s
        return elapsed_s + min(self._to_s, self._repeat_s) - time_s - ROUNDING_S

    def _find(self, time_s: float) -> None:
        """Find the line of this moment; before the first point and after the last it is level and endless."""
        after = bisect_right(self._times_s, time_s)
        whole = len(self._points)
        self._from_s = self._times_s[after - 1] if after else -math.inf
        self._to_s = self._times_s[after] if after < whole else math.inf
        self._from_bytes = self._points[max(0, after - 1)][1]
        self._rise_bytes = self._points[after][1] - self._from_bytes if 0 < after < whole else 0


def flat(size_bytes: int) -> Curve:
    """Return a size that never changes."""
    return Curve(points=((0.0, size_bytes),))


def wave(  # noqa: PLR0913 - a wave has as many numbers; all but the sizes by keyword
    low_bytes: int, high_bytes: int, *, period_s: float, high_s: float, ramp_s: float = 2.0, phase_s: float = 0.0
) -> Curve:
    """Return a square wave with slopes: up in ``ramp_s``, high for ``high_s``, down in ``ramp_s``, then low."""
    rise = ((0.0, low_bytes), (ramp_s, high_bytes))
    fall = ((ramp_s + high_s, high_bytes), (2 * ramp_s + high_s, low_bytes))
    return Curve(points=rise + fall, repeat_s=period_s, phase_s=phase_s)


def leak(from_bytes: int, to_bytes: int, *, bps: int, at_s: float = 0.0) -> Curve:
    """Return a size that rises from one moment on, by so many bytes per second, and stays at its end."""
    return Curve(points=((at_s, from_bytes), (at_s + (to_bytes - from_bytes) / bps, to_bytes)))


def noise(low_bytes: int, high_bytes: int, *, every_s: float, lasts_s: float = 3600.0, seed: int = 0) -> Curve:
    """Return a size that jumps every so often to any between two, by chance but always the same for one seed.

    It begins again after ``lasts_s``. Between two jumps it stays.
    """
    chance = random.Random(f"noise/{seed}")  # noqa: S311 - no secret
    sizes_bytes = [chance.randint(low_bytes, high_bytes) for _ in range(max(1, int(lasts_s / every_s)))]
    return _steps(sizes_bytes, every_s)


def walk(  # noqa: PLR0913 - as with the wave
    low_bytes: int, high_bytes: int, *, step_bytes: int, every_s: float, lasts_s: float = 3600.0, seed: int = 0
) -> Curve:
    """Return a random walk between two sizes, from their middle: every so often up or down by at most a step."""
    chance = random.Random(f"walk/{seed}")  # noqa: S311 - no secret
    sizes_bytes, size_bytes = [], (low_bytes + high_bytes) // 2
    for _ in range(max(1, int(lasts_s / every_s))):
        sizes_bytes.append(size_bytes)
        size_bytes = min(high_bytes, max(low_bytes, size_bytes + chance.randint(-step_bytes, step_bytes)))
    return _steps(sizes_bytes, every_s)


def _steps(sizes_bytes: list[int], every_s: float) -> Curve:
    """Return these sizes one after the other, again and again; from one to the next in the last tenth of its time."""
    points = []
    for i, size_bytes in enumerate(sizes_bytes):
        points += [(i * every_s, size_bytes), ((i + 0.9) * every_s, size_bytes)]
    return Curve(points=tuple(points), repeat_s=len(sizes_bytes) * every_s)
