"""``memtide replay`` in a table and in words."""

import textwrap
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from memtide.faces.cli.simulate_text import simulation_table
from memtide.faces.cli.table import Column, table
from memtide.faces.cli.terminal import Line, Span, line
from memtide.units import format_duration, format_ratio, format_size
from memtide.views.asks import about_same
from memtide.views.log import clock
from memtide.views.replay import AskView, DifferenceView, EstimateView, RecordedView, ReplayView, TraceView
from memtide.views.simulation import verdict
from memtide.views.words import pair

__all__ = ["replay_lines"]

WIDE: Final = 100
"""Words that nobody looks at in a terminal are wrapped here."""


def replay_lines(view: ReplayView, *, zone: tzinfo, width: int | None, shown: int) -> list[Line]:
    """Return everything, part by part.

    Args:
        view: what came of it.
        zone: of whoever reads.
        width: of the terminal; ``None``: as wide as needed.
        shown: how many differences.
    """
    trace = view.trace
    dated = _day(trace.began_at_s, zone) != _day(trace.ended_at_s, zone)
    lines = [*_trace_lines(trace, zone=zone, width=width), line()]
    lines += [line(Span("what each law would have asked for", "bold"), "  (nothing was sent)")]
    lines += table(_columns(view, zone=zone, dated=dated), width)
    if view.recorded is not None:
        lines += [line(), *_recorded_lines(view.recorded, zone=zone, dated=dated, width=width)]
    lines += [line(), *_difference_lines(view, zone=zone, dated=dated, width=width, shown=shown)]
    if view.estimate is not None:
        lines += [line(), *_estimate_lines(view.estimate, trace, width=width)]
    return lines


def _day(at_s: float, zone: tzinfo) -> object:
    return datetime.fromtimestamp(at_s, zone).date()


def _wrapped(text: str, width: int | None, *, style: str = "", indent: str = "") -> list[Line]:
    rows = textwrap.wrap(text, (width or WIDE) - len(indent), break_on_hyphens=False)
    return [line(indent, Span(row, style)) for row in rows]


def _trace_lines(trace: TraceView, *, zone: tzinfo, width: int | None) -> list[Line]:
    ticks = f"{trace.ticks} tick{'' if trace.ticks == 1 else 's'}"
    guests = f"{trace.guests} guest{'' if trace.guests == 1 else 's'}"
    began, lasted = clock(trace.began_at_s, zone=zone, dated=True), trace.ended_at_s - trace.began_at_s
    facts = f": {ticks} of {guests} in {format_duration(lasted)} from {began}"
    facts += "" if trace.host_name is None else f", on {trace.host_name}"
    lines = [line(Span(trace.path, "bold"), facts)]
    what = "decisions" if trace.whole else "ticks"
    warnings = (
        (trace.cut_short, "it ends in the middle of a tick; what is before that was used"),
        (trace.left_out > 0, f"{trace.left_out} {what} of another memtide cannot be understood and were left out"),
        (
            not trace.whole,
            "a daemon's folder: only ticks in which something was done are in it; a law that remembers less may differ",
        ),
    )
    for holds, sentence in warnings:
        lines += _wrapped(sentence, width, style="warn") if holds else []
    wills = {"recorded": "as recorded", "settings": "from this host's settings"}
    return [*lines, *_wrapped(f"the operator's will: {wills.get(trace.limits, trace.limits)}", width, style="dim")]


def _columns(view: ReplayView, *, zone: tzinfo, dated: bool) -> list[Column]:
    laws = list(view.laws.values())
    cells: tuple[tuple[str, list[str], int], ...] = (
        ("ASKS", [str(law.asks) for law in laws], 0),
        ("TAKE", [format_size(law.take_bytes) for law in laws], 0),
        ("GIVE", [format_size(law.give_bytes) for law in laws], 0),
        ("RELIEFS", [str(law.reliefs) for law in laws], 2),
        ("HOST EXPECTED", [format_size(law.expected_gain_bytes) for law in laws], 3),
        ("OTHER", [str(law.other_asks) for law in laws], 4),
        (
            "FIRST",
            ["-" if law.first_at_s is None else clock(law.first_at_s, zone=zone, dated=dated) for law in laws],
            1,
        ),
    )
    return [
        Column(heading="LAW", cells=tuple(Span(name) for name in view.laws), right=False),
        *(Column(heading=name, cells=tuple(map(Span, column)), drop=drop) for name, column, drop in cells),
    ]


def _recorded_lines(recorded: RecordedView, *, zone: tzinfo, dated: bool, width: int | None) -> list[Line]:
    name = recorded.policy
    if not recorded.compared:
        return _wrapped(f"on record are decisions of the law {name}, which was not asked again", width, style="dim")
    if recorded.same == recorded.compared:
        return _wrapped(f"{name} decides as on record, in all {recorded.compared} ticks, to the last number", width)
    share = format_ratio(recorded.same / recorded.compared)
    text = f"{name} decides as on record in {recorded.same} of {recorded.compared} ticks ({share})"
    if recorded.first_difference_at_s is not None:
        at = clock(recorded.first_difference_at_s, zone=zone, dated=dated)
        text += f"; the first that differs: {at} {recorded.first_difference}"
    return _wrapped(text, width, style="warn")


def _difference_lines(view: ReplayView, *, zone: tzinfo, dated: bool, width: int | None, shown: int) -> list[Line]:
    total = len(view.differences)
    laws = [name for name in view.laws if name in view.differences[0].laws] if view.differences else list(view.laws)
    title = "where they differ" if len(laws) > 1 else f"what {laws[0]} would have asked for"
    if not total:
        return [line("the laws ask for the same" if len(laws) > 1 else f"{laws[0]} would have asked for nothing")]
    lines = [line(Span(title, "bold"))]
    for difference in view.differences[:shown]:
        lines += _difference(difference, zone=zone, dated=dated, width=width)
    if total > shown:
        lines += [line(Span(f"and {total - shown} more; `--limit {total}` shows them all", "dim"))]
    return lines


def _difference(difference: DifferenceView, *, zone: tzinfo, dated: bool, width: int | None) -> list[Line]:
    """Return a line for each ask, with its own time, the later ones under the first; and who asked for nothing."""
    asked = [(law, ask) for law, ask in difference.laws.items() if ask is not None]
    by_ask: dict[str, list[str]] = {}
    times: dict[str, str] = {}
    for law, ask in sorted(asked, key=lambda each: each[1].began_at_s):
        text = _ask(ask, difference.name)
        by_ask.setdefault(text, []).append(law)
        times.setdefault(text, clock(ask.began_at_s, zone=zone, dated=dated))
    said = [f"{times[text]}  {_who(laws)} {text}" for text, laws in by_ask.items()]
    silent = [law for law, ask in difference.laws.items() if ask is None]
    nothing = [f"{', '.join(silent)}: nothing"] if silent else []
    texts = (
        [said[0], *(f"  {text}" for text in (*said[1:], *nothing))] if len(said) > 1 else ["; ".join(said + nothing)]
    )
    rows = (
        [text] if width is None else textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False)
        for text in texts
    )
    return [line(row) for wrapped in rows for row in wrapped]


def _who(laws: Sequence[str]) -> str:
    return laws[0] if len(laws) == 1 else f"{', '.join(laws)}:"


def _ask(ask: AskView, name: str) -> str:
    """Return what a law asks for and why: ``takes 312 MiB from web-3 (1.50 -> 1.20 GiB) for 12 s: host short``."""
    lasted_s = ask.last_at_s - ask.began_at_s
    lasted = f" for {format_duration(lasted_s)}" if lasted_s > 0 else ""
    if ask.from_bytes is None or ask.to_bytes is None or ask.largest_bytes is None:
        return f"asks {name}{lasted}: {ask.what} ({ask.why})"
    change_bytes = ask.to_bytes - ask.from_bytes
    if not change_bytes:
        return f"leaves {name} at {format_size(ask.to_bytes)}{lasted}: {ask.why}"
    size = format_size(abs(change_bytes))
    done = f"takes {size} from {name}" if change_bytes < 0 else f"gives {size} to {name}"
    later = "" if about_same(ask.largest_bytes, change_bytes) else f", later {format_size(abs(ask.largest_bytes))}"
    return f"{done} ({pair(ask.from_bytes, ask.to_bytes, '->')}){later}{lasted}: {ask.why}"


def _estimate_lines(estimate: EstimateView, trace: TraceView, *, width: int | None) -> list[Line]:
    """Return what would have come of it, and what that rests on."""
    title = line(Span("what would have come of it", "bold"), "  (an estimate)")
    if estimate.simulation is None:
        return [title, *(row for note in estimate.notes for row in _wrapped(f"none: {note}", width, style="warn"))]
    words = verdict(estimate.simulation, trace.ended_at_s - trace.began_at_s)
    return [
        title,
        *simulation_table(estimate.simulation, width=width),
        line(),
        *(row for text in words for row in _wrapped(text, width) or [line()]),
        line(),
        *_notes(estimate.notes, width),
    ]


def _notes(notes: Sequence[str], width: int | None) -> list[Line]:
    return [
        row
        for note in ("It assumes that", *(f"- {note}" for note in notes))
        for row in _wrapped(note, width, style="dim")
    ]
