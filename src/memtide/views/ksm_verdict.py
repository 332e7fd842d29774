"""Whether KSM is worth its CPU on this host, in a sentence, and what to do about it.

Worth it is decided by a price: ``WORTH_BYTES_PER_CPU`` of profit for a whole core. The seed article's
operator was content with 13.6 GiB for 73 % of a core, 18.7 GiB a core; the line is under half of that.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from memtide.model.ksm import Ksm
from memtide.units import GIB, format_ratio, format_size

__all__ = ["WORTH_BYTES_PER_CPU", "Judgement", "Weights", "has_none", "judge", "unread"]

WORTH_BYTES_PER_CPU: Final = 8 * GIB
TWICE: Final = 2
"""A page is merged at ksmd's second visit at the earliest: before that nothing is to be judged."""
UNMERGING: Final = 2
AT_REST_RATIO: Final = 0.0005
"""Less than is printed: at rest."""
NOT_THERE: Final = "there is no /sys/kernel/mm/ksm/run"
"""How the readers say that this kernel has no KSM: its first file is not there."""
GET_KSM: Final = "it needs a kernel built with CONFIG_KSM=y: `grep CONFIG_KSM /boot/config-$(uname -r)` tells"
SWITCH_ON: Final = "`memtide run --act` scans when that is worth it; by hand: echo 1 > /sys/kernel/mm/ksm/run"
SCAN_LESS: Final = "scan less: `memtide run --act` does, by hand echo 0 > /sys/kernel/mm/ksm/run (what is merged stays)"


class Judgement(NamedTuple):
    """A verdict: its code, the sentence, what to do."""

    code: str
    headline: str
    do: str = ""


class Weights(NamedTuple):
    """What is weighed, sizes in bytes."""

    ksm: Ksm
    saved_bytes: int
    profit_bytes: int | None
    bookkeeping_bytes: int | None
    cpu_ratio: float | None
    available_bytes: int
    room_bytes: int
    missing: dict[str, str]

    @property
    def worth_cpu_ratio(self) -> float | None:
        """Return the most CPU that the profit is worth, as a share of one CPU."""
        return None if self.profit_bytes is None else max(0.0, self.profit_bytes / WORTH_BYTES_PER_CPU)

    @property
    def undoing(self) -> str:
        """Return what undoing would take, beside what there is."""
        has = f"the host has {format_size(self.available_bytes)} available"
        return f"undoing it needs {format_size(self.saved_bytes)}, {has}"


def has_none(why: str) -> bool:
    """Return whether KSM was not read because this kernel has none: then nothing is merged, which is no unknown."""
    return why.startswith(NOT_THERE)


def unread(why: str) -> Judgement:
    """Return the verdict on a host whose KSM could not be read."""
    if has_none(why):
        return Judgement("no-ksm", f"no KSM in this kernel: {why}", GET_KSM)
    return Judgement("unknown", f"unknown: {why}")


def judge(weights: Weights) -> Judgement:
    """Return the verdict: the first row that holds."""
    return next(say(weights) for holds, say in ROWS if holds(weights))


def _dear(w: Weights) -> bool:
    worth = w.worth_cpu_ratio
    return w.cpu_ratio is not None and worth is not None and w.cpu_ratio > worth


def _early(w: Weights) -> bool:
    young = w.ksm.run == 1 and w.ksm.full_scans is not None and w.ksm.full_scans < TWICE
    return young and (not w.saved_bytes or (w.profit_bytes or 0) < 0 or _dear(w))


def _say_early(w: Weights) -> Judgement:
    so_far = f"so far it saves {format_size(w.saved_bytes)}"
    return Judgement("too-early", f"too early to tell: ksmd has not been through all memory twice yet; {so_far}")


def _say_nothing(w: Weights) -> Judgement:
    costs = f"; its bookkeeping takes {format_size(w.bookkeeping_bytes)}" if w.bookkeeping_bytes else ""
    return Judgement("nothing", f"nothing to merge: ksmd found no two pages alike{costs}", SCAN_LESS)


def _say_costs_more(w: Weights) -> Judgement:
    parts = f"saves {format_size(w.saved_bytes)}, its own bookkeeping takes {format_size(w.bookkeeping_bytes or 0)}"
    room = f"needs {format_size(w.saved_bytes)}, the host can give {format_size(w.room_bytes)}"
    do = f"`memtide ksm unmerge` undoes it and gets the bookkeeping back ({room})"
    return Judgement("costs-more", f"costs more than it saves: {format_size(w.profit_bytes or 0)} ({parts})", do)


def _say_unknown(w: Weights) -> Judgement:
    field = "profit_bytes" if w.profit_bytes is None else "ksmd_cpu_ratio"
    what = "what its bookkeeping takes" if w.profit_bytes is None else "what ksmd takes"
    saves = f"saves {format_size(w.saved_bytes)}"
    return Judgement("unknown", f"unknown: {saves}, but {what} is not known ({w.missing.get(field, 'not told')})")


def _say_dear(w: Weights) -> Judgement:
    takes = f"saves {format_size(w.saved_bytes)} for {format_ratio(w.cpu_ratio or 0.0)} of a core"
    return Judgement("dear", f"too dear: {takes}; it is worth {format_ratio(w.worth_cpu_ratio or 0.0)}", SCAN_LESS)


def _say_worth(w: Weights) -> Judgement:
    saves = f"saves {format_size(w.saved_bytes)}"
    rests = (w.cpu_ratio or 0.0) < AT_REST_RATIO
    price = "while ksmd rests" if rests else f"for {format_ratio(w.cpu_ratio or 0.0)} of a core"
    return Judgement("worth-it", f"worth it: {saves} {price}; {w.undoing}")


ROWS: Final[tuple[tuple[Callable[[Weights], bool], Callable[[Weights], Judgement]], ...]] = (
    (
        lambda w: w.ksm.run == UNMERGING,
        lambda w: Judgement("unmerging", f"undone: run=2, {format_size(w.saved_bytes)} still merged", SWITCH_ON),
    ),
    (_early, _say_early),
    (
        lambda w: not w.saved_bytes and w.ksm.run == 0 and not (w.profit_bytes or 0) < 0,
        lambda _w: Judgement("off", "off: ksmd does not scan, and nothing is merged", SWITCH_ON),
    ),
    (lambda w: not w.saved_bytes and w.ksm.run == 1, _say_nothing),
    (lambda w: w.profit_bytes is not None and w.profit_bytes < 0, _say_costs_more),
    (lambda w: w.profit_bytes is None or w.cpu_ratio is None, _say_unknown),
    (_dear, _say_dear),
    (lambda _w: True, _say_worth),
)
"""Read from the top."""
