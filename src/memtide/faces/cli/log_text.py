"""The log on a terminal: one line an entry for a pipe, wrapped under its reason for people."""

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from memtide.errors import ActuatorError
from memtide.faces.cli.terminal import Line, Span, line
from memtide.views.log import LogLine, log_line
from memtide.views.schema import LogView

__all__ = ["brief_line", "entry_lines", "is_final", "local_zone", "log_lines", "name_width", "raise_if_refused"]

INDENT: Final = " " * 10
NAME_LEAST: Final = 8
NAME_MOST: Final = 24

STYLES: Final = {
    "done": "good",
    "sent": "dim",
    "partial": "warn",
    "refused": "bad",
    "no answer": "bad",
    "observed only": "dim",
}
SEVERITY_STYLES: Final = {"info": "dim", "warning": "warn", "error": "bad"}


def local_zone() -> tzinfo:
    """Return the zone of whoever reads, daylight saving as of now."""
    return datetime.now().astimezone().tzinfo or UTC


def is_final(view: LogView) -> bool:
    """Say whether nothing more will come of the entry: a follower is told once, not at every change."""
    return view.kind == "event" or view.closed_at_s is not None


def raise_if_refused(views: Sequence[LogView]) -> None:
    """End with the status of a refused change when one was; what happened has been printed.

    Raises:
        ActuatorError: a change was refused, or was not answered.
    """
    failed = [view.name for view in views if view.result in {"refused", "no answer"}]
    if failed:
        raise ActuatorError(f"not done for {', '.join(failed)}", "the line above says why")


def name_width(views: Sequence[LogView]) -> int:
    """Return a width that suits the names of these entries."""
    return max(NAME_LEAST, *(min(NAME_MOST, len(view.name)) for view in views), 0)


def log_lines(views: Sequence[LogView], *, zone: tzinfo, now_s: float, width: int | None) -> list[Line]:
    """Return entries, aligned; the day is told when one of them is not of today."""
    today = datetime.fromtimestamp(now_s, zone).date()
    dated = any(datetime.fromtimestamp(view.at_s, zone).date() != today for view in views)
    names = name_width(views)
    return [row for view in views for row in entry_lines(view, zone=zone, dated=dated, names=names, width=width)]


def entry_lines(view: LogView, *, zone: tzinfo, dated: bool, names: int, width: int | None) -> list[Line]:
    """Return one entry: a line, or as many as the width takes."""
    columns = log_line(view, zone=zone, dated=dated)
    lead = (Span(columns.lead(names) + "  ", "bold" if view.from_bytes is not None else ""),)
    result = Span(columns.result, STYLES.get(view.result or "", ""))
    why = Span(columns.why, SEVERITY_STYLES.get(view.severity or "", ""))
    whole = (*lead, why, Span("  "), result)
    if width is None or sum(len(span.text) for span in whole) <= width:
        return [whole]
    return _wrapped(lead, columns, why, result, width)


def brief_line(view: LogView, *, zone: tzinfo, names: int) -> Line:
    """Return one entry for a narrow screen: the sizes are left out where the change tells enough."""
    columns = log_line(view, zone=zone, dated=False)
    told = f"{columns.change:>9}  " if columns.change else f"{columns.span} " if columns.span else ""
    style = STYLES.get(view.result or "", SEVERITY_STYLES.get(view.severity or "", ""))
    return line(f"{columns.time} {columns.name:<{names}}  ", Span(told, style), columns.why)


def _wrapped(lead: Line, columns: LogLine, why: Span, result: Span, width: int) -> list[Line]:
    head = (*lead, result) if len(columns.result) + sum(len(s.text) for s in lead) <= width else lead
    rest = columns.why if head != lead else f"{columns.why}; {columns.result}"
    rows = textwrap.wrap(rest, max(20, width - len(INDENT)), break_on_hyphens=False)
    return [head, *(line(INDENT, Span(row, why.style)) for row in rows)]
