"""The kernel's own way to set ``pages_to_scan`` after each round (``advisor_mode`` scan-time, mm/ksm.c, Linux 6.7).

Pages in proportion to how long the round took over what it should take, times how that changed, smoothed::

    pages = pages * 100 / (100 * target / took) * change / 100,  change = 0.7 * change + 0.3 * (100 * took / before)

held between 10 % of a CPU and ``advisor_max_cpu``, by what the round cost. All in whole numbers, as the kernel does:
a round of under a second counts as one, and the first change is a third of what it should be.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["Advisor"]

LEAST_CPU_PERCENT: Final = 10
NEW_PERCENT: Final = 30


class Advisor:
    """What it remembers from round to round."""

    def __init__(self) -> None:
        self._change = 0
        self._took_s = 0

    def pages(self, files: Mapping[str, str], took_s: float, cpu_s: float) -> int:
        """Return how many pages to scan between two sleeps from now on.

        Args:
            files: KSM's.
            took_s: how long the round took.
            cpu_s: what it cost of one CPU.
        """
        pages, whole_s = int(files["pages_to_scan"]), max(1, int(took_s))
        cpu_percent = max(1, int(cpu_s * 1000) * 100 // (whole_s * 1000))
        factor = max(1, int(files["advisor_target_scan_time"]) * 100 // whole_s)
        change = max(1, whole_s * 100 // (self._took_s or whole_s))
        self._change = ((100 - NEW_PERCENT) * self._change + NEW_PERCENT * change) // 100
        self._took_s = whole_s
        per_percent = max(1, pages // cpu_percent)
        wanted = min(pages * 100 // factor * self._change // 100, per_percent * int(files["advisor_max_cpu"]))
        wanted = max(wanted, per_percent * LEAST_CPU_PERCENT)
        return min(wanted, int(files["advisor_max_pages_to_scan"]))
