"""Sizes over time, as straight lines between points: what a simulated guest's programs hold, read and touch."""

from bisect import bisect_right

from memtide.model.base import Model

__all__ = ["Curve", "flat", "wave"]


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
        time_s = elapsed_s - self.phase_s
        if self.repeat_s is not None:
            time_s %= self.repeat_s
        after = bisect_right(self.points, time_s, key=lambda point: point[0])
        if after == 0 or after == len(self.points):
            return self.points[max(0, after - 1)][1]
        (from_s, from_bytes), (to_s, to_bytes) = self.points[after - 1 : after + 1]
        return from_bytes + int((to_bytes - from_bytes) * (time_s - from_s) / (to_s - from_s))


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
