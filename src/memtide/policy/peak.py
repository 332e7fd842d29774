"""The most a guest needed in the last half hour: the room it gets back after its slack was taken.

A guest whose demand comes and goes would have to ask for every rise if it kept only what it needs in its low hour,
and each time it would be late. Room that is not touched costs the host nothing, so after a shrink has brought the
resident slack home the guest gets its room back. The peak is the larger of two windows of a quarter of an hour each,
the younger one still filling: exact to a quarter of an hour, and two numbers instead of a history.
"""

from memtide.model.base import Model
from memtide.policy.constants import PEAK_WINDOW_S

__all__ = ["Peak", "begin", "look", "proven"]


class Peak(Model, frozen=True, kw_only=True):
    """A guest's largest demand in two windows of time. Bytes, seconds."""

    earlier_bytes: int
    """In the window before."""
    lately_bytes: int
    """In the window that is still filling."""
    since_s: float
    """When that window began."""

    @property
    def most_bytes(self) -> int:
        """Return the largest demand of both windows."""
        return max(self.earlier_bytes, self.lately_bytes)


def begin(room_bytes: int, now_s: float) -> Peak:
    """Return the peak of a guest seen for the first time: nobody knows how much of its room it has been using."""
    return Peak(earlier_bytes=room_bytes, lately_bytes=0, since_s=now_s)


def look(peak: Peak, demand_bytes: int, now_s: float) -> Peak:
    """Return the peak after one more look at the guest's demand."""
    if 0 <= now_s - peak.since_s < PEAK_WINDOW_S:
        if demand_bytes <= peak.lately_bytes:
            return peak
        return Peak(earlier_bytes=peak.earlier_bytes, lately_bytes=demand_bytes, since_s=peak.since_s)
    # a clock that was set back begins a new window too: otherwise the old one would last for hours
    return Peak(earlier_bytes=peak.lately_bytes, lately_bytes=demand_bytes, since_s=now_s)


def proven(peak: Peak) -> Peak:
    """Return the peak without the benefit of the doubt that a new guest has: it fills its room with page cache."""
    return Peak(earlier_bytes=peak.lately_bytes, lately_bytes=peak.lately_bytes, since_s=peak.since_s)
