"""One sweep: ksmd goes through everything twice, the second time to merge what kept its checksum, and rests again.

It takes two looks at a page to merge it (mm/ksm.c), and a process that is new is reached within the first round. So
what can be merged is merged once ksmd has looked twice as often as it keeps books on pages. More brings nothing, and
to stop in time is what makes KSM cheap.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.derived import ksm_saved_pages, ksm_tracked_pages
from memtide.model.ksm import Ksm
from memtide.model.reason import ReasonCode
from memtide.policy.constants import KSM_WORTH_BYTES_PER_CPU_S
from memtide.policy.ksm.signs import Known

__all__ = ["LOOKS", "Mark", "Sweep", "advance", "is_over", "is_stalled", "mark", "set_back"]

LOOKS: Final = 2.05
"""A little more than two: guests grow meanwhile, and the round ends somewhere else than where it began."""
DONE_RATIO: Final = 0.8
DRY_ROUND: Final = 0.2
"""New guests are merged when so much of what was expected of them is, and for such a part of a round no more came."""
ROUNDS_UNCOUNTED: Final = 3
"""On a kernel that does not count looks (before 6.6): one may be half over when the sweep begins."""
LONGEST: Final = 1.6
"""Times the plan: a sweep that still pays goes on so far."""
IDLE_S: Final = 30.0
"""ksmd that runs and looks at nothing for so long has nothing to look at."""
LEAST_CPU_S: Final = 0.05
"""What was found for less tells nothing yet: ksmd's time is counted in hundredths of a second."""


class Mark(Model, frozen=True, kw_only=True):
    """KSM's counters at one moment of a sweep."""

    at_s: float
    looks: int | None
    """Pages looked at or passed over since boot; ``None``: this kernel does not count them."""
    scans: int
    saved_pages: int
    skipped_pages: int
    tracked_pages: int
    cpu_s_total: float | None


class Sweep(Model, frozen=True, kw_only=True):
    """A sweep under way."""

    cause: ReasonCode
    guests: tuple[str, ...]
    """Names of those it is for; empty: for all."""
    full_speed: bool
    files: dict[str, str]
    """The settings that make it as fast and as thorough as it is to be."""
    grown_bytes: int
    broken_bytes: int
    expected_bytes: int
    most_ratio: float
    """The share of a CPU that these keep to."""
    before: dict[str, Known]
    """The guests when it began, by UUID."""
    breaks_at: int | None
    """``cow_breaks_total`` when it began."""
    first: Mark
    last: Mark
    lowest_pages: int
    """The fewest pages saved meanwhile: first ksmd takes off its books what is no longer shared."""
    shrinks: bool = True
    """ksmd's books became smaller since the look before."""
    pays: bool = True
    """What was found since the look before was worth its CPU."""
    paid_looks: int = 0
    """How far it was when that was so last."""

    @property
    def new_bytes(self) -> int:
        """Return what it was to go through for the first time since it was written."""
        return self.grown_bytes + self.broken_bytes

    @property
    def found_pages(self) -> int:
        """Return how many pages it merged."""
        return self.last.saved_pages - self.lowest_pages

    @property
    def cpu_s(self) -> float | None:
        """Return the CPU time it took so far."""
        if self.last.cpu_s_total is None or self.first.cpu_s_total is None:
            return None
        return max(0.0, self.last.cpu_s_total - self.first.cpu_s_total)

    @property
    def looks(self) -> int | None:
        """Return at how many pages it looked so far, each as often as it did."""
        if self.last.looks is None or self.first.looks is None:
            return None
        return self.last.looks - self.first.looks


def mark(ksm: Ksm) -> Mark:
    """Return the counters of this reading."""
    return Mark(
        at_s=ksm.taken_at_s,
        looks=None if ksm.pages_scanned is None else ksm.pages_scanned + (ksm.pages_skipped or 0),
        scans=ksm.full_scans or 0,
        saved_pages=ksm_saved_pages(ksm),
        skipped_pages=ksm.pages_skipped or 0,
        tracked_pages=ksm_tracked_pages(ksm),
        cpu_s_total=ksm.ksmd_cpu_s_total,
    )


def advance(sweep: Sweep, ksm: Ksm, state: HostState) -> Sweep:
    """Return the sweep after one more reading."""
    now = mark(ksm)
    spent_cpu_s = (now.cpu_s_total or 0.0) - (sweep.last.cpu_s_total or 0.0)
    found_bytes = (now.saved_pages - sweep.last.saved_pages) * ksm.page_size_bytes
    pays = spent_cpu_s > LEAST_CPU_S and found_bytes >= spent_cpu_s * KSM_WORTH_BYTES_PER_CPU_S[state]
    sweep = msgspec.structs.replace(
        sweep,
        last=now,
        lowest_pages=min(sweep.lowest_pages, now.saved_pages),
        shrinks=now.tracked_pages < sweep.last.tracked_pages,
        pays=pays,
    )
    return msgspec.structs.replace(sweep, paid_looks=sweep.looks or 0) if pays else sweep


def set_back(sweep: Sweep, now_s: float) -> Sweep:
    """Return the sweep as if all of it had been looked at now: the clock was set back."""
    first, last = (msgspec.structs.replace(at, at_s=now_s) for at in (sweep.first, sweep.last))
    return msgspec.structs.replace(sweep, first=first, last=last)


def is_over(sweep: Sweep, ksm: Ksm) -> bool:
    """Say whether ksmd has seen everything twice, and finds nothing more."""
    if sweep.cause is ReasonCode.KSM_GONE:
        return _is_off_the_books(sweep)
    if sweep.looks is None:
        return sweep.last.scans - sweep.first.scans >= ROUNDS_UNCOUNTED and not sweep.pays
    round_pages = ksm_tracked_pages(ksm)
    if 0 < sweep.looks >= LOOKS * round_pages * (LONGEST if sweep.pays else 1.0):
        return True
    # new guests stand together in ksmd's list and are merged in one go: the others' second visit is not needed
    found_bytes = sweep.found_pages * ksm.page_size_bytes
    as_expected = found_bytes >= DONE_RATIO * sweep.expected_bytes > 0
    dry = sweep.looks - sweep.paid_looks >= DRY_ROUND * round_pages
    return sweep.cause is ReasonCode.KSM_NEW_GUEST and sweep.looks > round_pages and as_expected and dry


def is_stalled(sweep: Sweep, ksm: Ksm) -> bool:
    """Say whether ksmd runs and has looked at nothing for long: no process lets its memory be merged."""
    moved = bool(sweep.looks) or sweep.last.scans != sweep.first.scans or (sweep.cpu_s or 0.0) > LEAST_CPU_S
    return ksm.run == 1 and not moved and sweep.last.at_s - sweep.first.at_s >= IDLE_S


def _is_off_the_books(sweep: Sweep) -> bool:
    """Say whether what ended is: the books have shrunk and no longer do, or a whole round went by."""
    shrunk = sweep.last.tracked_pages < sweep.first.tracked_pages
    whole_round = (sweep.looks or 0) >= sweep.first.tracked_pages or sweep.last.scans - sweep.first.scans > 1
    return whole_round or (shrunk and not sweep.shrinks) or sweep.last.at_s - sweep.first.at_s >= IDLE_S
