"""What a terminal is asked and told: its width, its colours, its whole screen."""

import functools
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import click
import msgspec

__all__ = ["Line", "Screen", "Span", "columns", "is_terminal", "line", "print_json", "print_lines", "render"]

STYLES: Final = {
    "bold": functools.partial(click.style, bold=True),
    "dim": functools.partial(click.style, dim=True),
    "good": functools.partial(click.style, fg="green"),
    "warn": functools.partial(click.style, fg="yellow"),
    "bad": functools.partial(click.style, fg="red", bold=True),
}


class Span(NamedTuple):
    """Some text in one style."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """Return a line of plain and styled parts."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def render(spans: Line, *, width: int | None, coloured: bool) -> str:
    """Return a line as text, cut to the width if there is one."""
    rest = sum(len(span.text) for span in spans) if width is None else width
    pieces = []
    for span in spans:
        text = span.text[:rest]
        rest -= len(text)
        pieces.append(STYLES[span.style](text) if coloured and span.style and text else text)
    return "".join(pieces)


def is_terminal() -> bool:
    """Say whether a person reads along."""
    # closed by the caller (`>&-`): Python then has no stdout at all
    return sys.stdout is not None and sys.stdout.isatty()


def columns() -> int | None:
    """Return the terminal's width; ``None`` for a pipe or a file, which are as wide as needed."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def print_lines(lines: Sequence[Line]) -> None:
    """Print lines, coloured where a person reads them and has not said NO_COLOR (no-color.org)."""
    coloured = _coloured()
    for each in lines:
        click.echo(render(each, width=None, coloured=coloured).rstrip(), color=coloured)


def print_json(value: object, *, lines: bool = False) -> None:
    """Print a value as JSON, indented, or in one line for a stream of them."""
    text = msgspec.json.encode(value)
    click.echo(text if lines else msgspec.json.format(text, indent=2))


def _coloured() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR")


class Screen:
    """The whole terminal, redrawn in place on its second screen, so that the first comes back unharmed."""

    def __enter__(self) -> Self:
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        if self._keys is not None:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        self._write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("\x1b[?25h\x1b[?1049l")
        if self._keys is not None:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)

    @property
    def size(self) -> os.terminal_size:
        """Columns and rows, now."""
        return shutil.get_terminal_size()

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines; what does not fit is cut off."""
        size, coloured = self.size, _coloured()
        rows = [render(each, width=size.columns, coloured=coloured) + "\x1b[K" for each in lines[: size.lines]]
        self._write("\x1b[H" + "\r\n".join(rows) + "\x1b[J")

    def key(self, timeout_s: float) -> str:
        """Wait so long for a key; empty when none was pressed."""
        ready, _, _ = select.select([] if self._keys is None else [self._keys], [], [], timeout_s)
        return os.read(ready[0], 1).decode("ascii", "replace") if ready else ""

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
