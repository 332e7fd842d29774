"""``memtide why`` in words and colours."""

import textwrap
from datetime import tzinfo

from memtide.faces.cli.log_text import log_lines
from memtide.faces.cli.status_text import DOING_STYLES
from memtide.faces.cli.terminal import Line, Span, line
from memtide.views.schema import WhyView
from memtide.views.tiers import figures
from memtide.views.why import why_text

__all__ = ["why_lines"]

DETAIL = " " * 10


def why_lines(view: WhyView, *, zone: tzinfo, width: int | None) -> list[Line]:
    """Return the answer, part by part."""
    text = why_text(view)
    style = DOING_STYLES.get(view.guest.doing, "")
    lines = [line(Span(text.headline, "bold"))]
    lines += _part("now", text.verdict, width, style)
    lines += _part("host", text.host, width)
    if view.guest.tier is not None:
        lines += _part("tier", f"{view.guest.tier}: {view.guest.threshold}", width)
    if text.next:
        lines += _part("next", text.next, width)
    lines += [
        line(),
        *(line(Span(f"  {name:<10}", "dim"), f"{size:>9}  {means}") for name, size, means in text.figures),
    ]
    lines += [line(), line(Span("what was done lately", "bold"))]
    for action in view.actions:
        lines += log_lines([action], zone=zone, now_s=view.daemon.taken_at_s, width=width)
        if action.tier is not None:
            lines += _detail(f"tier {action.tier}: {action.threshold}", width)
            lines += _detail(f"numbers: {figures(action.numbers)}", width)
    if not view.actions:
        lines += [line("  nothing was ever done to it")]
    for wish, how in text.advice:
        lines += [line(), line(Span(wish, "bold")), *(line(f"  {row}") for row in how.splitlines())]
    return lines


def _detail(text: str, width: int | None) -> list[Line]:
    rows = textwrap.wrap(text, max(40, (width or 10_000) - len(DETAIL)), break_on_hyphens=False)
    return [line(Span(f"{DETAIL}{row}", "dim")) for row in rows]


def _part(label: str, text: str, width: int | None, style: str = "") -> list[Line]:
    rows = textwrap.wrap(text, (width or 10_000) - 6, break_on_hyphens=False)
    return [line(Span(f"{label if index == 0 else '':<6}", "dim"), Span(row, style)) for index, row in enumerate(rows)]
