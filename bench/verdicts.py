"""What the comparison of laws proves: the arithmetic of issue 3, "Done when" 1. Pure; ``bench.laws`` runs and prints.

For one scenario, one lag and one subject (memtide's law in one of its modes) beside its rivals (all laws but memtide's
other mode and the oracle):

a  of the laws that keep the host at least as safe (time under reserve), the subject has the least shortage
b  the host is not longer under its emergency line than with the law that is quickest at that
c  in overload, who weighs w times as much lacks at most a w-th
d  the subject moves at most twice what the calmest law moves that keeps guests whole and the host as safe, time under
   the emergency line included: doing nothing is calm, and not what is meant
e  its shortage is within 5 % of the oracle's at no lag, within 15 % at 2 s

Ties: 1 % or 1 GiB s of shortage, 1 s of time, 0.1 GiB moved. What does not apply is no verdict.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from memtide.model.base import Model

__all__ = ["QUESTIONS", "Figures", "Verdict", "judge", "misses"]

TIE_GIB_S: Final = 1.0
TIE_RATIO: Final = 0.01
TIE_S: Final = 1.0
TIE_GIB: Final = 0.1
MOST_MOVED: Final = 2.0
NEAR_ORACLE: Final = {0.0: 0.05, 2.0: 0.15}
"""Lag in seconds -> how far from the oracle."""
QUESTIONS: Final = {
    "a": "least shortage of the laws that keep the host as safe",
    "b": "not longer under the emergency line than the quickest law",
    "c": "heavier guests protected by their weight",
    "d": "at most twice the bytes of the calmest law that keeps guests whole",
    "e": "near an oracle",
}


class Figures(Model, frozen=True, kw_only=True):
    """What came of one law in one scenario at one lag."""

    law: str
    shortage_gib_s: float
    worst_guest: str | None
    oom_kills: int
    under_reserve_s: float
    under_line_s: float
    moved_gib: float
    reversals: int
    guest_swap_gib: float
    host_swap_gib: float
    major_faults: int
    longest_relief_s: float
    cpu_s: float
    """Of the law itself."""
    by_weight: dict[float, float]
    """Weight -> mean shortage of a guest of that weight, GiB s."""

    @property
    def is_whole(self) -> bool:
        """Say whether no guest was hurt."""
        return self.shortage_gib_s <= TIE_GIB_S and not self.oom_kills


class Verdict(Model, frozen=True, kw_only=True):
    """The answer to one question."""

    question: str
    reached: bool
    value: float
    bound: float
    """What the value may be at most, ties included."""
    text: str
    """With its numbers."""

    @property
    def size(self) -> float:
        """How far beyond its bound the value is, as a factor; to sort misses."""
        return self.value / self.bound


def judge(subject: Figures, rivals: Sequence[Figures], oracle: Figures | None, lag_s: float) -> list[Verdict]:
    """Return the verdicts that apply."""
    as_safe = [rival for rival in rivals if rival.under_reserve_s <= subject.under_reserve_s + TIE_S]
    return [
        *_least_shortage(subject, as_safe),
        *_emergency(subject, rivals),
        *_weights(subject),
        *_calm(subject, as_safe),
        *_near_oracle(subject, oracle, lag_s),
    ]


def misses(verdicts: Mapping[str, Iterable[Verdict]]) -> list[tuple[str, Verdict]]:
    """Return what was not reached, with where, the farthest from its bound first."""
    missed = [(where, verdict) for where, found in verdicts.items() for verdict in found if not verdict.reached]
    return sorted(missed, key=lambda entry: (-entry[1].size, entry[0], entry[1].question))


def _shortage_bound(best_gib_s: float, ratio: float = TIE_RATIO) -> float:
    return max(best_gib_s * (1 + ratio), best_gib_s + TIE_GIB_S)


def _verdict(question: str, value: float, bound: float, text: str) -> Verdict:
    return Verdict(question=question, reached=value <= bound, value=value, bound=bound, text=text)


def _least_shortage(subject: Figures, as_safe: Sequence[Figures]) -> Iterator[Verdict]:
    if as_safe:
        best = min(as_safe, key=lambda figures: (figures.oom_kills > subject.oom_kills, figures.shortage_gib_s))
        yield _verdict(
            "a",
            subject.shortage_gib_s,
            _shortage_bound(best.shortage_gib_s),
            f"shortage {subject.shortage_gib_s:,.1f} GiB·s, {best.law} {best.shortage_gib_s:,.1f}"
            f" (host under its reserve {subject.under_reserve_s:,.0f} and {best.under_reserve_s:,.0f} s)",
        )


def _emergency(subject: Figures, rivals: Sequence[Figures]) -> Iterator[Verdict]:
    if rivals:
        best = min(rivals, key=lambda figures: figures.under_line_s)
        yield _verdict(
            "b",
            subject.under_line_s,
            best.under_line_s + TIE_S,
            f"under the emergency line {subject.under_line_s:,.1f} s, {best.law} {best.under_line_s:,.1f} s",
        )


def _weights(subject: Figures) -> Iterator[Verdict]:
    """Each weight beside the next lighter one; only where somebody lacks something."""
    weights = sorted(subject.by_weight)
    for light, heavy in pairwise(weights):
        light_gib_s, heavy_gib_s = subject.by_weight[light], subject.by_weight[heavy]
        if max(light_gib_s, heavy_gib_s) > TIE_GIB_S:
            yield _verdict(
                "c",
                heavy_gib_s,
                light_gib_s * light / heavy + TIE_GIB_S,
                f"a guest of weight {heavy:g} lacks {heavy_gib_s:,.1f} GiB·s, one of {light:g} {light_gib_s:,.1f}",
            )


def _calm(subject: Figures, as_safe: Sequence[Figures]) -> Iterator[Verdict]:
    line_s = subject.under_line_s + TIE_S
    whole = [figures for figures in as_safe if figures.is_whole and figures.under_line_s <= line_s]
    if whole and subject.is_whole:
        best = min(whole, key=lambda figures: figures.moved_gib)
        yield _verdict(
            "d",
            subject.moved_gib,
            MOST_MOVED * best.moved_gib + TIE_GIB,
            f"moved {subject.moved_gib:,.1f} GiB, {best.law} {best.moved_gib:,.1f}",
        )


def _near_oracle(subject: Figures, oracle: Figures | None, lag_s: float) -> Iterator[Verdict]:
    if oracle is not None and lag_s in NEAR_ORACLE:
        yield _verdict(
            "e",
            subject.shortage_gib_s,
            _shortage_bound(oracle.shortage_gib_s, NEAR_ORACLE[lag_s]),
            f"shortage {subject.shortage_gib_s:,.1f} GiB·s, the oracle {oracle.shortage_gib_s:,.1f}"
            f" (host under its reserve {subject.under_reserve_s:,.0f} and {oracle.under_reserve_s:,.0f} s)",
        )
