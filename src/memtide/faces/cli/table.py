"""A table of sizes and words that fits the terminal: less important columns go first, then long names are cut."""

from collections.abc import Sequence
from typing import Final

from memtide.faces.cli.terminal import Line, Span
from memtide.model.base import Model

__all__ = ["Column", "table"]

GAP: Final = "  "
LEAST_WIDTH: Final = 10
"""A column of words is not cut below this."""


class Column(Model, frozen=True, kw_only=True):
    """One column, heading and cells."""

    heading: str
    cells: tuple[Span, ...]
    right: bool = True
    """Numbers stand right, words left."""
    drop: int = 0
    """The highest goes first when there is no room; 0 stays."""
    cut: bool = False
    """May be shortened."""

    @property
    def width(self) -> int:
        """What the column would like to have."""
        return max(len(self.heading), *(len(cell.text) for cell in self.cells), 0)


def table(columns: Sequence[Column], width: int | None) -> list[Line]:
    """Return heading and rows, no wider than ``width`` if the columns allow it."""
    kept = list(columns)
    while width is not None and _least(kept) > width and any(column.drop for column in kept):
        kept.remove(max(kept, key=lambda column: column.drop))
    widths = _widths(kept, width)
    heading = _row([Span(column.heading, "dim") for column in kept], kept, widths)
    rows = zip(*(column.cells for column in kept), strict=True)
    return [heading, *(_row(cells, kept, widths) for cells in rows)]


def _least(columns: Sequence[Column]) -> int:
    return _total([min(column.width, LEAST_WIDTH) if column.cut else column.width for column in columns])


def _widths(columns: Sequence[Column], width: int | None) -> list[int]:
    widths = [column.width for column in columns]
    for index in sorted(range(len(columns)), key=lambda i: -widths[i]):
        over = 0 if width is None else _total(widths) - width
        if over > 0 and columns[index].cut:
            widths[index] = max(min(LEAST_WIDTH, widths[index]), widths[index] - over)
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * max(0, len(widths) - 1)


def _row(cells: Sequence[Span], columns: Sequence[Column], widths: Sequence[int]) -> Line:
    spans = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = cell.text if len(cell.text) <= width else cell.text[: width - 1] + "…"
        spans += [Span(text.rjust(width) if column.right else text.ljust(width), cell.style), Span(GAP)]
    return tuple(spans[:-1])
