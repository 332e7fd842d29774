"""``memtide simulate`` in a table and in words, and how far it is."""

import sys
import textwrap
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import click

from memtide.faces.cli.table import Column, table
from memtide.faces.cli.terminal import Line, Span, line
from memtide.units import format_duration
from memtide.views.simulation import PolicyView, ScenarioView, SimulationView, verdict

__all__ = ["Progress", "list_lines", "simulation_lines", "simulation_table"]

QUIET_S: Final = 2.0
"""Who waits no longer than this needs no progress."""
WIDE: Final = 100


def list_lines(scenarios: Sequence[ScenarioView], *, width: int | None) -> list[Line]:
    """Return the scenarios, each with its sentence."""
    lines: list[Line] = []
    for each in scenarios:
        facts = f"{each.guests} guest{'' if each.guests == 1 else 's'}, {format_duration(each.duration_s)}"
        lines += [line(Span(each.name, "bold"), Span(f"  {facts}", "dim"))]
        lines += [line(f"  {row}") for row in textwrap.wrap(each.intent, (width or WIDE) - 2)]
    return lines


def simulation_lines(view: SimulationView, *, intent: str, duration_s: float, width: int | None) -> list[Line]:
    """Return the table of laws and what it means."""
    lag = f", guests' figures {format_duration(view.lag_s)} late" if view.lag_s else ""
    title = line(Span(view.scenario, "bold"), f": {format_duration(duration_s)} simulated{lag}")
    words = [line(row) for text in verdict(view, duration_s) for row in textwrap.wrap(text, width or WIDE) or [""]]
    wrapped = [line(Span(row, "dim")) for row in textwrap.wrap(intent, width or WIDE)]
    return [title, *wrapped, line(), *simulation_table(view, width=width), line(), *words]


def simulation_table(view: SimulationView, *, width: int | None) -> list[Line]:
    """Return the laws' figures, a row for each."""
    return table(_columns(view.policies), width)


def _columns(policies: dict[str, PolicyView]) -> list[Column]:
    rows = list(policies.values())
    killed = [Span(str(row.oom_kills), "bad" if row.oom_kills else "") for row in rows]
    cells: tuple[tuple[str, list[str | Span], int], ...] = (
        ("SHORTAGE GiB·s", [f"{row.shortage_gib_s:,.1f}" for row in rows], 0),
        ("WORST GUEST", [_worst(row) for row in rows], 3),
        ("KILLED", [*killed], 0),
        ("UNDER RESERVE", [_seconds(row.host_under_reserve_s) for row in rows], 0),
        ("MOVED GiB", [f"{row.moved_gib:,.1f}" for row in rows], 2),
        ("REVERSALS", [str(row.reversals) for row in rows], 4),
        ("GUEST SWAP GiB", [f"{row.guest_swap_gib:,.1f}" for row in rows], 5),
        ("HOST SWAP GiB", [f"{row.host_swap_gib:,.1f}" for row in rows], 6),
    )
    return [
        Column(heading="LAW", cells=tuple(Span(name) for name in policies), right=False),
        *(
            Column(
                heading=heading,
                cells=tuple(cell if isinstance(cell, Span) else Span(cell) for cell in column),
                drop=drop,
            )
            for heading, column, drop in cells
        ),
    ]


def _worst(row: PolicyView) -> str:
    return "-" if row.worst_guest is None else f"{row.worst_guest} {row.worst_guest_shortage_gib_s:,.1f}"


def _seconds(seconds: float) -> str:
    return "never" if seconds == 0 else f"{seconds:,.0f} s"


class Progress:
    """Says on stderr how far a long run is: in place for a person, a line for each law otherwise."""

    def __init__(self, scenario: str, laws: int) -> None:
        self._scenario = scenario
        self._laws = laws
        self._names: list[str] = []
        self._said = ""

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._in_place = sys.stderr is not None and sys.stderr.isatty()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_place and self._said:
            click.echo("\r\x1b[K", nl=False, err=True)

    def tell(self, law: str, share: float) -> None:
        """Take note of how far a law's run is."""
        if law not in self._names:
            self._names.append(law)
        if time.monotonic() - self._began_s < QUIET_S:
            return
        text = f"{self._scenario}: law {law}, {len(self._names)} of {self._laws}"
        if self._in_place:
            text = f"{text}, {share:.0%}"
            click.echo(f"\r{text}\x1b[K", nl=False, err=True)
        elif text != self._said:
            click.echo(text, err=True)
        self._said = text
