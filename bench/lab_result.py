"""What one run of the comparison measured, and how the parts of it are computed from what guests and host reported."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from lab.report import Report
from memtide.units import GIB, MIB

__all__ = [
    "HostSample",
    "Run",
    "moved_bytes",
    "percentiles",
    "quantile",
    "reversals",
    "seconds_under",
    "shortage_gib_s",
    "slowest_each_second_ms",
    "touches_ms",
]

SHARES: Final = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
TURN_BYTES: Final = 16 * MIB
"""A guest's size has turned when it came back by this much: less is not worth the name."""


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The host at one moment of a run; counters are since its boot."""

    at_s: float
    """Monotonic."""
    available_bytes: int
    swap_pages: int
    oom_kills: int
    stall_some_us: int | None
    stall_full_us: int | None
    others_bytes: int
    """Anonymous memory of everything that is neither guest nor manager: other work on the machine."""
    off_bytes: int
    """By how much the host is smaller than it should be, because of that: what could not be made up for."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One law in one setting. Counts are over the measured time, over all guests."""

    law: str
    setting: str
    fill: str
    began_at: str
    """Local time, ISO 8601."""
    commit: str
    measured_s: float
    guests: int
    nominal_bytes: int
    host_before_boot_bytes: int
    reserve_bytes: int
    shortage_gib_s: float
    guest_swap_pages: int
    guest_major_faults: int
    host_swap_pages: int
    touch_ms: dict[str, float]
    """Percentile of the durations of touching the hot memory once -> ms; empty when no round was ever finished."""
    slowest_ms: dict[str, float] = {}
    """The same of the slowest touch in each second of each guest: a guest that touches once in a minute counts in all
    of its sixty seconds, and not as one touch among thousands."""
    stall_some_s: float | None
    stall_full_s: float | None
    guest_oom_kills: int
    host_oom_kills: int
    under_reserve_s: float
    under_quarter_s: float
    lowest_available_bytes: int
    reversals: int
    moved_bytes: int
    host_gained_bytes: int | None
    """By the manager's own log, over its shrinks; ``None`` where it keeps none."""
    manager_cpu_s: float | None
    libvirtd_cpu_s: float
    others_cpu_s: float
    """The machine's busy time that was neither guests nor manager nor libvirtd: the kernel's own work, and others'."""
    others_spread_bytes: int
    """How much the memory of all other work on the machine changed meanwhile; it is made up for with huge pages."""
    off_bytes: int
    """The largest part of it that was not made up for at once, either way: more is a disturbed run."""
    off_mean_bytes: int
    """By how much the host was smaller than it should be, on average."""

    @property
    def minutes(self) -> float:
        """Return the measured time."""
        return self.measured_s / 60

    @property
    def suffering_pages(self) -> int:
        """Return swap of guests and host and the guests' major faults together, in pages."""
        return self.guest_swap_pages + self.host_swap_pages + self.guest_major_faults


def shortage_gib_s(reports: Sequence[Report]) -> float:
    """Return what a guest's workload wanted and did not have in the guest's memory, over time, in GiB x seconds.

    What the workload holds counts as in memory unless it is in the guest's swap.
    """
    lack_byte_s = 0.0
    for before, after in pairwise(reports):
        lack_bytes = max(0, after.target_bytes - (after.anon_bytes - after.swap_used_bytes))
        lack_byte_s += lack_bytes * (after.received_s - before.received_s)
    return lack_byte_s / GIB


def moved_bytes(reports: Sequence[Report]) -> int:
    """Return the sum of all changes of a guest's size; its MemTotal follows its balloon exactly."""
    return sum(abs(after.mem_total_bytes - before.mem_total_bytes) for before, after in pairwise(reports))


def reversals(sizes: Iterable[int]) -> int:
    """Return how often a guest's size turned from growing to shrinking or back, by 16 MiB at least each time."""
    turns, direction = 0, 0
    furthest: int | None = None
    for size in sizes:
        if furthest is None:
            furthest = size
        way = size - furthest
        if direction == 0 and abs(way) >= TURN_BYTES:
            direction, furthest = (1 if way > 0 else -1), size
        elif way * direction > 0:
            furthest = size
        elif -way * direction >= TURN_BYTES:
            turns, direction, furthest = turns + 1, -direction, size
    return turns


def touches_ms(reports: Sequence[Report]) -> list[float]:
    """Return how long each round of touching the hot memory took, as far as a report a second tells.

    A report has the median and the longest of the few rounds since the one before: the other rounds are counted at the
    median. A round still unfinished at the end counts with its age, or a guest that starves for good would be unseen.
    """
    found: list[float] = []
    for before, after in pairwise(reports):
        rounds = after.rounds - before.rounds
        if rounds > 0 and after.touch_p50_ms is not None and after.touch_max_ms is not None:
            found += [after.touch_p50_ms] * (rounds - 1) + [after.touch_max_ms]
    if reports and reports[-1].round_age_ms:
        found.append(float(reports[-1].round_age_ms))
    return found


def slowest_each_second_ms(reports: Sequence[Report]) -> list[float]:
    """Return the slowest touch of each report; where no round was finished, how long it has taken so far."""
    slowest = (report.touch_max_ms if report.touch_max_ms is not None else report.round_age_ms for report in reports)
    return [float(touch_ms) for touch_ms in slowest if touch_ms > 0]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the values' percentiles, ``"50"`` and so on; empty when there are none."""
    ordered = sorted(values)
    return {f"{share * 100:g}": quantile(ordered, share) for share in SHARES if ordered}


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the sorted values do not exceed."""
    place = -int(-share * len(values) // 1)
    return values[min(len(values), max(1, place)) - 1]


def seconds_under(samples: Sequence[HostSample], line_bytes: float) -> float:
    """Return how long the host had less available than ``line_bytes``."""
    return sum(after.at_s - before.at_s for before, after in pairwise(samples) if after.available_bytes < line_bytes)
