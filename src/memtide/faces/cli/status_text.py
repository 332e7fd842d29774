"""``memtide status`` in words and colours: the host block, the guests' table, the reasons."""

import textwrap
from collections.abc import Sequence
from typing import Final

from memtide.faces.cli.table import Column, table
from memtide.faces.cli.terminal import Line, Span, line
from memtide.model.reason import ReasonCode
from memtide.units import format_duration, format_ratio, format_size
from memtide.views.ksm_schema import HANDS_OFF
from memtide.views.schema import GuestView, HostView, StatusView
from memtide.views.words import pair

__all__ = ["guest_lines", "head_lines", "reason_lines", "status_lines"]

LABEL_WIDTH: Final = 10
BAR_MOST: Final = 100
GUEST_BAR: Final = 16
WIDE: Final = 120
"""From this width on the reasons stand in the table,"""
WITH_BARS: Final = 140
"""and from this on every guest has its bar."""

STATE_STYLES: Final = {"high": "good", "soft": "warn", "hard": "bad", "low": "bad"}
DOING_STYLES: Final = {
    "starving": "bad",
    "no answer": "bad",
    "stuck": "bad",
    "gets": "good",
    "gets back": "good",
    "would get": "good",
    "relieved": "good",
    "gives": "warn",
    "would give": "warn",
    "old stats": "warn",
    "no stats": "warn",
    "bad stats": "warn",
}
KSM_TOLD: Final = HANDS_OFF | {ReasonCode.KSM_TENANTS}
"""Reasons of the law on KSM that an operator may want to change; `memtide ksm` tells the others."""
KSM_RUNS: Final = {0: "at rest", 1: "scanning", 2: "unmerging everything"}
UNKNOWN: Final = "?"
NEVER: Final = "-"


def status_lines(view: StatusView, *, width: int | None, drawn: bool) -> list[Line]:
    """Return everything.

    Args:
        view: what is told.
        width: of the terminal; ``None``: as wide as needed.
        drawn: whether bars are drawn.
    """
    wide = width is None or width >= WIDE
    lines = [*head_lines(view, width=width, drawn=drawn), line(), *guest_lines(view.guests, width=width, wide=wide)]
    return lines if wide or not view.guests else [*lines, line(), *reason_lines(view.guests, width=width)]


# --- the host ---------------------------------------------------------------------------------------------------


def head_lines(view: StatusView, *, width: int | None, drawn: bool, short: bool = False) -> list[Line]:
    """Return what there is to say of daemon and host; ``short`` saves lines for a small terminal."""
    host = view.host
    state = Span(host.state.upper(), STATE_STYLES.get(host.state, ""))
    means = f" for {format_duration(host.state_for_s)}: {host.means}"
    pressure, swap = _pressure(host), _swap(host)
    rows = (
        ("" if drawn else "memory", _memory(host)),
        ("promised", _promised(host)),
        ("pressure", f"{pressure.partition(' of ')[0]}; swap {swap}" if short else pressure),
        ("swap", "" if short else swap),
        ("ksm", _ksm(host)),
        ("so far", _so_far(view)),
    )
    return [
        _title(view),
        *(line(Span(f"! {trouble}", "bad")) for trouble in view.daemon.troubles),
        *_labelled("host", (state, Span(means)), width, short=short),
        *([_bar(host, width)] if drawn else []),
        *(row for label, text in rows if text for row in _labelled(label, (Span(""), Span(text)), width, short=short)),
    ]


def _title(view: StatusView) -> Line:
    daemon = view.daemon
    acting = Span("acting", "good") if daemon.acting else Span("only watching", "warn")
    up = format_duration(max(0.0, daemon.taken_at_s - daemon.started_at_s))
    # a figure two periods old is news that something hangs
    late = daemon.age_s > 2 * daemon.period_s + 1
    return line(
        Span("memtide", "bold"),
        f" {daemon.version} on {view.host.name}, {daemon.uri.partition('?')[0]}: ",
        acting,
        *([Span(f", figures {format_duration(daemon.age_s)} old", "bad")] if late else []),
        *([Span(f", paused for {format_duration(daemon.paused_for_s)}", "warn")] if daemon.paused_for_s else []),
        f", mode {daemon.mode}, up {up}",
    )


def _labelled(label: str, spans: tuple[Span, Span], width: int | None, *, short: bool) -> list[Line]:
    """Return a labelled sentence over as many lines as it takes, or one; the first span is its first word."""
    word, rest = spans
    text = word.text + rest.text
    room = len(text) if width is None else max(20, width - LABEL_WIDTH)
    rows = [textwrap.shorten(text, room, placeholder=" …")] if short else textwrap.wrap(text, room)
    first = (Span(f"{label:<{LABEL_WIDTH}}", "dim"), word, Span(rows[0][len(word.text) :]))
    return [first, *(line(" " * LABEL_WIDTH + row) for row in rows[1:])]


def _bar(host: HostView, width: int | None) -> Line:
    """Return the host's memory as a bar: used, free for guests, and the line under which the reserve begins."""
    cells = min(BAR_MOST, (width or BAR_MOST) - LABEL_WIDTH)
    total_bytes = max(1, host.usable_total_bytes)
    used = _share(total_bytes - host.available_bytes, total_bytes, cells)
    reserve_at = min(cells - 1, _share(total_bytes - host.reserve_bytes, total_bytes, cells))
    bar = "█" * used + "░" * (cells - used)
    style = STATE_STYLES.get(host.state, "")
    mark = Span("│", "bold")
    before, after = bar[:reserve_at], bar[reserve_at + 1 :]
    return line(Span(f"{'memory':<{LABEL_WIDTH}}", "dim"), Span(before, style), mark, Span(after, style))


def _share(part_bytes: int, whole_bytes: int, cells: int) -> int:
    return max(0, min(cells, round(part_bytes / whole_bytes * cells)))


def _memory(host: HostView) -> str:
    used = f"{pair(host.usable_total_bytes - host.available_bytes, host.usable_total_bytes, 'of')} used"
    pages = f"; {format_size(host.huge_pages_bytes)} more are huge pages" if host.huge_pages_bytes else ""
    if host.headroom_bytes < 0:
        left = f"{pair(host.available_bytes, host.reserve_bytes, 'of')} reserve left"
        return f"{used}, {left}: {format_size(-host.headroom_bytes)} short{pages}"
    return f"{used}, {format_size(host.available_bytes)} available, reserve {format_size(host.reserve_bytes)}{pages}"


def _promised(host: HostView) -> str:
    ratios = host.overcommit
    if ratios.configured_ratio is None or ratios.granted_ratio is None:
        return f"unknown: {host.missing.get('overcommit', 'some figures are missing')}"
    costs = "" if ratios.resident_ratio is None else f", {format_ratio(ratios.resident_ratio)} in use"
    return (
        f"up to {format_ratio(ratios.configured_ratio)} of what the host can give, "
        f"{format_ratio(ratios.granted_ratio)} given now{costs}"
    )


def _pressure(host: HostView) -> str:
    pressure = host.pressure
    if pressure is None:
        return f"unknown: {host.missing.get('pressure', 'this kernel does not tell')}"
    full = "" if pressure.full_avg10_ratio is None else f", full {format_ratio(pressure.full_avg10_ratio)}"
    return f"some {format_ratio(pressure.some_avg10_ratio)}{full} of the last 10 s spent waiting for memory"


def _swap(host: HostView) -> str:
    swap = host.swap
    if not swap.total_bytes:
        return "none"
    rates = [f"{word} {format_size(int(bps))}/s" for word, bps in (("in", swap.in_bps), ("out", swap.out_bps)) if bps]
    return ", ".join([f"{pair(swap.used_bytes, swap.total_bytes, 'of')} used", *rates])


def _ksm(host: HostView) -> str:
    ksm = host.ksm
    if ksm is None:
        return f"unknown: {host.missing.get('ksm', 'this kernel has none')}"
    cpu = "" if ksm.ksmd_cpu_ratio is None else f", ksmd at {format_ratio(ksm.ksmd_cpu_ratio)} of a CPU"
    profit = "" if ksm.profit_bytes is None else f" ({format_size(ksm.profit_bytes)} after its own cost)"
    why = f"; {ksm.why}" if ksm.reason in KSM_TOLD else ""
    # that reason names them itself
    unnamed = ksm.other_writers if ksm.reason != ReasonCode.KSM_OTHER_WRITER else ()
    writers = f"; steered by {', '.join(unnamed)}, not by memtide" if unnamed else ""
    return f"{KSM_RUNS.get(ksm.run, UNKNOWN)}: saves {format_size(ksm.saved_bytes)}{profit}{cpu}{why}{writers}"


def _so_far(view: StatusView) -> str:
    """Return what acting came to; in observe mode there is nothing to tell."""
    totals = view.daemon.totals
    if not view.daemon.acting:
        return ""
    return (
        f"{format_size(totals.taken_bytes)} taken, {format_size(totals.given_bytes)} given, "
        f"{totals.reliefs} {'relief' if totals.reliefs == 1 else 'reliefs'}; "
        f"host gained {format_size(totals.host_gained_bytes)}"
    )


# --- the guests -------------------------------------------------------------------------------------------------


def guest_lines(guests: Sequence[GuestView], *, width: int | None, wide: bool) -> list[Line]:
    """Return the guests' table; with ``wide`` it says why, too."""
    if not guests:
        return [line(Span("no guests", "dim"))]
    moving = any(guest.target_bytes not in {None, guest.current_bytes} for guest in guests)
    columns = [
        Column(heading="GUEST", cells=tuple(Span(guest.name) for guest in guests), right=False, cut=True),
        Column(heading="MAXIMUM", cells=_sizes([guest.maximum_bytes for guest in guests])),
        Column(heading="CURRENT", cells=_sizes([guest.current_bytes for guest in guests])),
        Column(heading="TARGET", cells=tuple(map(_target, guests)), drop=1 if moving else 3),
        Column(heading="USED", cells=_sizes([guest.used_bytes for guest in guests])),
        Column(heading="USABLE", cells=_sizes([guest.usable_bytes for guest in guests])),
        Column(heading="ON HOST", cells=_sizes([guest.host_cost_bytes for guest in guests])),
        Column(heading="STATS", cells=tuple(map(_stats, guests)), right=False, drop=2),
        Column(heading="DOING", cells=tuple(map(_doing, guests)), right=False),
    ]
    if width is not None and width >= WITH_BARS:
        columns.insert(1, Column(heading="", cells=tuple(map(_guest_bar, guests)), right=False))
    if wide:
        columns.append(Column(heading="WHY", cells=tuple(map(_why, guests)), right=False, cut=True))
    return table(columns, width)


def reason_lines(guests: Sequence[GuestView], *, width: int | None) -> list[Line]:
    """Return every reason once, with the guests it holds for."""
    groups: dict[str, list[GuestView]] = {}
    for guest in guests:
        groups.setdefault(guest.why, []).append(guest)
    lines = []
    for why, members in groups.items():
        names = ", ".join(guest.name for guest in members)
        rows = textwrap.wrap(f"{names}: {why}", (width or 10_000) - 2, break_on_hyphens=False)
        lines += [line(row if index == 0 else f"  {row}") for index, row in enumerate(rows)]
    return lines


def _sizes(sizes: Sequence[int | None]) -> tuple[Span, ...]:
    return tuple(Span(UNKNOWN, "dim") if size is None else Span(format_size(size)) for size in sizes)


def _target(guest: GuestView) -> Span:
    return Span(NEVER, "dim") if guest.target_bytes is None else Span(format_size(guest.target_bytes))


def _stats(guest: GuestView) -> Span:
    return Span(guest.stats, "" if guest.stats == "fresh" else "warn")


def _guest_bar(guest: GuestView) -> Span:
    """Return the guest's maximum as a bar: what it uses, what it has beside that, what is taken from it."""
    if guest.maximum_bytes is None or guest.current_bytes is None:
        return Span("")
    has = _share(guest.current_bytes, guest.maximum_bytes, GUEST_BAR)
    uses = min(has, _share(guest.used_bytes or 0, guest.maximum_bytes, GUEST_BAR))
    bar = "█" * uses + "░" * (has - uses) + "·" * (GUEST_BAR - has)
    return Span(bar, DOING_STYLES.get(guest.doing, ""))


def _doing(guest: GuestView) -> Span:
    return Span(guest.doing, DOING_STYLES.get(guest.doing, "dim"))


def _why(guest: GuestView) -> Span:
    return Span(guest.why, "dim" if guest.reason in {"content", "at-maximum"} else "")
