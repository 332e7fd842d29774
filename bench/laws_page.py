"""The page of ``bench.laws``: a table for each scenario, what is proved and what is not, in Markdown."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.oracle import Oracle
from bench.verdicts import QUESTIONS, Figures, Verdict, judge, misses
from memtide.model.base import Model

__all__ = ["Cell", "page"]

HEAD: Final = """\
# The laws beside each other

Made by `{command}`.
`memtide simulate --list` names the scenarios, `bench/verdicts.py` has the arithmetic of the verdicts.

Each cell has one figure for each lag of the guests' statistics ({lags}). **Shortage** is memory that was used or
wanted and not there, summed over time and guests. **Under reserve** and **under line** are the seconds in which the
host had less than its reserve, and less than a quarter of it; the reserve is memtide's for every law. **Killed**
counts kills inside guests and guests killed by the host, whose need counts as shortage from then on. **CPU** is the
law's own, in milliseconds for a simulated minute. `tide` is memtide in mode `pressure`, `tide-follow` in mode
`follow`; `fixed`, `by-state` and `nominal` are the prototypes of the lab notes; `oracle` knows the demand in advance
and competes with nobody. Not simulated: NUMA (S15 of the research), a jump of the clock and a hung libvirtd (S11, S12).
"""
COLUMNS: Final[tuple[tuple[str, Callable[[Figures], str]], ...]] = (
    ("shortage GiB·s", lambda f: f"{f.shortage_gib_s:,.1f}"),
    ("killed", lambda f: str(f.oom_kills)),
    ("under reserve s", lambda f: f"{f.under_reserve_s:,.0f}"),
    ("under line s", lambda f: f"{f.under_line_s:,.0f}"),
    ("longest wait s", lambda f: f"{f.longest_relief_s:,.0f}"),
    ("moved GiB", lambda f: f"{f.moved_gib:,.0f}"),
    ("reversals", lambda f: f"{f.reversals:,}"),
    ("guest swap GiB", lambda f: f"{f.guest_swap_gib:,.0f}"),
    ("host swap GiB", lambda f: f"{f.host_swap_gib:,.0f}"),
)


class Cell(Model, frozen=True, kw_only=True):
    """One scenario with all that was found."""

    scenario: str
    intent: str
    note: str
    duration_s: float
    figures: dict[float, dict[str, Figures]]
    """Lag -> law -> figures."""


def page(cells: Sequence[Cell], *, subjects: Sequence[str], command: str) -> str:
    """Return the whole page."""
    lags = ", ".join(f"{lag_s:g} s" for lag_s in cells[0].figures)
    verdicts = {subject: _verdicts(cells, subject, subjects) for subject in subjects}
    lines = [HEAD.format(command=command, lags=lags), "## What is reached", ""]
    for subject, found in verdicts.items():
        lines += [*_summary(subject, found), ""]
    for cell in cells:
        lines += [*_scenario(cell, subjects), ""]
    return "\n".join(lines).rstrip() + "\n"


def _verdicts(cells: Sequence[Cell], subject: str, subjects: Sequence[str]) -> dict[str, list[Verdict]]:
    return {
        f"{cell.scenario}, lag {lag_s:g} s": _judged(cell, lag_s, subject, subjects)
        for cell in cells
        for lag_s in cell.figures
    }


def _judged(cell: Cell, lag_s: float, subject: str, subjects: Sequence[str]) -> list[Verdict]:
    found = cell.figures[lag_s]
    rivals = [figures for law, figures in found.items() if law != Oracle.name and law not in subjects]
    return judge(found[subject], rivals, found.get(Oracle.name), lag_s)


def _summary(subject: str, verdicts: dict[str, list[Verdict]]) -> list[str]:
    """Return how many verdicts are reached, for each question, and the misses, the largest first."""
    every = [verdict for found in verdicts.values() for verdict in found]
    lines = [f"**{subject}**: reached {sum(verdict.reached for verdict in every)} of {len(every)}.", ""]
    lines += ["| question | reached |", "|---|---|"]
    for letter, question in QUESTIONS.items():
        asked = [verdict for verdict in every if verdict.question == letter]
        lines.append(f"| ({letter}) {question} | {sum(verdict.reached for verdict in asked)} of {len(asked)} |")
    missed = misses(verdicts)
    if missed:
        lines += ["", "Not reached, the largest first (how many times what is allowed):", ""]
        lines += [f"- ({v.question}) {where}: {v.text} ({v.size:,.2g} x)" for where, v in missed]
    return lines


def _scenario(cell: Cell, subjects: Sequence[str]) -> Iterator[str]:
    yield f"## {cell.scenario}"
    yield ""
    yield f"{cell.intent} {cell.note}".strip()
    yield ""
    headings = [heading for heading, _ in COLUMNS]
    yield f"| law | {' | '.join(headings)} | CPU ms/min |"
    yield "|---" * (len(headings) + 2) + "|"
    for law in next(iter(cell.figures.values())):
        found = [by_law[law] for by_law in cell.figures.values()]
        cells = [_triple([write(figures) for figures in found]) for _, write in COLUMNS]
        cpu = max(figures.cpu_s for figures in found) / cell.duration_s * 60_000
        yield f"| {law} | {' | '.join(cells)} | {cpu:,.0f} |"
    yield ""
    for subject in subjects:
        yield from _answers(cell, subject, subjects)


def _answers(cell: Cell, subject: str, subjects: Sequence[str]) -> Iterator[str]:
    by_lag = {lag_s: _judged(cell, lag_s, subject, subjects) for lag_s in cell.figures}
    missed = [(lag_s, v) for lag_s, found in by_lag.items() for v in found if not v.reached]
    reached = sorted({v.question for found in by_lag.values() for v in found} - {v.question for _, v in missed})
    yield f"- {subject}: reached {', '.join(f'({letter})' for letter in reached) or 'nothing at every lag'}"
    for lag_s, verdict in missed:
        yield f"- {subject}: not reached: ({verdict.question}) at lag {lag_s:g} s: {verdict.text}"


def _triple(cells: list[str]) -> str:
    """Return the cells of all lags, once where they are the same."""
    return cells[0] if len(set(cells)) == 1 else " / ".join(cells)
