"""A history in block characters: as wide as the terminal, a few rows high, readable without colour."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from memtide.faces.cli.terminal import Line, Span, line

__all__ = ["plot"]

EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
LABEL_WIDTH: Final = 10


def plot(
    values: Sequence[float | None], *, width: int, height: int, label: Callable[[float], str], least: float
) -> list[Line]:
    """Return a bar for each column, the highest value's label beside the top row and zero beside the lowest.

    Args:
        values: in order of time, evenly apart; ``None``: unknown, left blank.
        width: of the whole, label included.
        height: rows.
        label: how a value is written.
        least: the top of the scale is never below this, so that noise does not look like a peak.
    """
    columns = _columns(values, max(1, width - LABEL_WIDTH - 2))
    top = max([least, *(value for value in columns if value is not None)])
    rows = []
    for row in range(height, 0, -1):
        cells = "".join(_cell(value, top, height, row) for value in columns)
        text = label(top) if row == height else "0" if row == 1 and height > 1 else ""
        rows.append(line(Span(f"{text:>{LABEL_WIDTH}} │", "dim"), cells))
    return rows


def _columns(values: Sequence[float | None], most: int) -> list[float | None]:
    """Return at most so many means of neighbours."""
    count = min(most, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    return [_mean(values[edges[index] : edges[index + 1]]) for index in range(count)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cell(value: float | None, top: float, height: int, row: int) -> str:
    """Return what of a bar is in this row, counted from the bottom, in eighths."""
    if value is None or value <= 0:
        return " "
    eighths = max(1, math.floor(value / top * height * 8 + 0.5)) - (row - 1) * 8
    return EIGHTHS[max(0, min(8, eighths))]
