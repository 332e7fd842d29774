"""``memtide ksm`` in words and colours: the verdict, the figures, the guests, what would change it, the history."""

import re
import textwrap
from collections.abc import Sequence
from typing import Final

from memtide.faces.cli.ksm_plot import LABEL_WIDTH as PLOT_LABEL
from memtide.faces.cli.ksm_plot import plot
from memtide.faces.cli.table import Column, table
from memtide.faces.cli.terminal import Line, Span, line
from memtide.units import MIB, format_duration, format_ratio, format_size
from memtide.views.ksm_schema import KsmAccount, KsmGuest, KsmReport
from memtide.views.ksm_verdict import WORTH_BYTES_PER_CPU

__all__ = ["ksm_lines"]

LABEL_WIDTH: Final = 10
PLOT_WIDEST: Final = 110
POINTS_LEAST: Final = 3
VERDICT_STYLES: Final = {"worth-it": "good", "dear": "warn", "costs-more": "bad", "no-ksm": "warn", "unknown": "warn"}
NO_DAEMON: Final = "no memtide daemon told this: nothing weighs its CPU against what it brings, and there is no history"
NO_OPINION: Final = "the daemon's law has no opinion on KSM"
RUNS: Final = {0: "rests", 1: "scans", 2: "unmerges everything"}
UNKNOWN: Final = "?"
UNIT: Final = re.compile(r"(\d) (?=[KMGT]?i?B\b|%|s\b|\d+[mhd]\b)")


def ksm_lines(report: KsmReport, *, width: int | None) -> list[Line]:
    """Return the whole report, no wider than the terminal; ``width`` is ``None`` for a pipe."""
    lines = _head(report, width)
    if report.guests:
        lines += [line(), *_guests(report, width)]
    if report.advice:
        lines += [line(), line(Span("what would change it", "bold"))]
        lines += [row for advice in report.advice for row in _bullet(advice.text, width)]
    return [*lines, *_history(report, width)] if report.daemon and report.run is not None else lines


# --- the head ---------------------------------------------------------------------------------------------------


def _head(report: KsmReport, width: int | None) -> list[Line]:
    word, _, rest = report.headline.partition(":")
    style = VERDICT_STYLES.get(report.verdict, "")
    rows = (
        ("do", report.do),
        ("ksmd", _ksmd(report)),
        ("next", report.steering.next if report.steering else ""),
        ("saved", _saved(report)),
        ("looked at", _looked_at(report)),
        ("cpu", _cpu(report)),
        ("host", _account(report.account) if report.account else report.missing.get("account", "")),
        ("stopping", _stopping(report)),
        ("changed", _changed(report)),
    )
    return [
        line(Span("KSM", "bold"), f" on {report.host}"),
        *_labelled("verdict", Span(word, style), f":{rest}" if rest else "", width),
        *(row for label, text in rows if text for row in _labelled(label, Span(""), text, width)),
    ]


def _labelled(label: str, word: Span, text: str, width: int | None) -> list[Line]:
    whole = word.text + text
    rows = _wrapped(whole, width, LABEL_WIDTH)
    first = (Span(f"{label:<{LABEL_WIDTH}}", "dim"), word, Span(rows[0][len(word.text) :]))
    return [first, *(line(" " * LABEL_WIDTH + row) for row in rows[1:])]


def _bullet(text: str, width: int | None) -> list[Line]:
    rows = _wrapped(text, width, 2)
    return [line(f"{'- ' if index == 0 else '  '}{row}") for index, row in enumerate(rows)]


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    """Return a text over as many lines as it takes; a number stays with its unit."""
    room = 10_000 if width is None else max(20, width - indent)
    rows = textwrap.wrap(UNIT.sub("\\1\u00a0", text), room, break_on_hyphens=False)
    return [row.replace("\u00a0", " ") for row in rows]


def _ksmd(report: KsmReport) -> str:
    if report.run is None:
        return ""
    doing = RUNS.get(report.run, UNKNOWN)
    steering = report.steering
    if steering is None:
        return f"{doing}; {NO_OPINION if report.daemon else NO_DAEMON}"
    since = f" for {format_duration(steering.for_s)}"
    if steering.scanning != (report.run == 1):
        since = f", though{since} it should {'scan' if steering.scanning else 'rest'}"
    look_s = None if steering.look_again_in_s is None else format_duration(steering.look_again_in_s)
    # some reasons say it themselves
    look = "" if look_s is None or look_s in steering.next else f"; looks again in {look_s}"
    cap = "" if steering.max_cpu_ratio is None else f"; at most {format_ratio(steering.max_cpu_ratio)} of a CPU"
    return f"{doing}{since}: {steering.why}{look}{cap}"


def _saved(report: KsmReport) -> str:
    if not report.saved_bytes and not report.bookkeeping_bytes:
        return ""
    saved_bytes = report.saved_bytes or 0
    zeros = f", {format_size(report.zero_bytes)} of it zeros" if report.zero_bytes else ""
    profit = ""
    if report.profit_bytes is not None and report.bookkeeping_bytes is not None:
        profit = f"; {format_size(report.profit_bytes)} after {format_size(report.bookkeeping_bytes)} of bookkeeping"
    parted = ""
    if report.parted_bytes:
        parted = f"; about {format_size(report.parted_bytes)} of it is gone already (written since the last full scan)"
    return f"{format_size(saved_bytes)}{zeros}{profit}{parted}"


def _looked_at(report: KsmReport) -> str:
    if report.shared_bytes is None or not (report.merged_bytes or report.unshared_bytes or report.volatile_bytes):
        return ""
    parts = [f"{format_size(report.merged_bytes or 0)} merged into {format_size(report.shared_bytes)} of copies"]
    rest = ((report.unshared_bytes, "without a twin"), (report.volatile_bytes, "not compared yet"))
    parts += [f"{format_size(size)} {words}" for size, words in rest if size is not None]
    scans = (
        ""
        if report.full_scans is None
        else f"; {report.full_scans} full {'scan' if report.full_scans == 1 else 'scans'}"
    )
    return f"{', '.join(parts)}{scans}"


def _cpu(report: KsmReport) -> str:
    cpu = report.cpu
    shares = (
        (cpu.now_ratio, "now"),
        (cpu.watched_ratio, f"over the last {format_duration(cpu.watched_s)}"),
        (cpu.since_boot_ratio, "since boot"),
    )
    told = [f"{format_ratio(ratio)} {when}" for ratio, when in shares if ratio is not None]
    if not told:
        return ""
    price = ""
    if report.worth_cpu_ratio is not None and report.saved_bytes:
        worth = format_ratio(report.worth_cpu_ratio)
        price = f"; the profit would be worth up to {worth} ({format_size(WORTH_BYTES_PER_CPU)} a core)"
    each = report.gained_per_cpu_s_bytes
    gained = f"; {format_size(each)} gained for each CPU second" if each is not None and cpu.watched_s else ""
    return f"ksmd takes of one core {', '.join(told)}{price}{gained}"


def _account(account: KsmAccount) -> str:
    if account.guests_held_bytes is None or account.saved_bytes is None or account.other_bytes is None:
        return f"{format_size(account.used_bytes)} used; what the guests hold of it is unknown"
    if account.other_bytes < 0:
        rest = f"that is {format_size(-account.other_bytes)} more than is in use: these figures contradict each other"
    else:
        rest = f"other {format_size(account.other_bytes)}"
    by = {"cgroup": " by their cgroups", "mixed": ", some by their cgroup"}.get(account.basis or "", "")
    noun = "guest holds" if account.guests == 1 else "guests hold"
    held, saved = format_size(account.guests_held_bytes), format_size(account.saved_bytes)
    pss_bytes, cost_bytes = account.guests_pss_bytes, account.guests_cost_bytes
    check = ""
    if pss_bytes is not None and cost_bytes is not None:
        check = f"; by PSS the guests cost {format_size(pss_bytes)}, by this {format_size(cost_bytes)}"
    used = format_size(account.used_bytes)
    return f"{account.guests} {noun} {held}{by}, less {saved} saved, {rest}: {used} used{check}"


def _stopping(report: KsmReport) -> str:
    cost_bytes = report.cost_of_stopping_bytes
    if not cost_bytes:
        return ""
    spare = f"{format_size(report.available_bytes)} available, reserve {format_size(report.reserve_bytes)}"
    over_bytes = cost_bytes - report.room_bytes
    verdict = f"too little by {format_size(over_bytes)}" if over_bytes > 0 else "enough"
    return (
        f"resting costs nothing, merged pages stay merged; undoing it needs {format_size(cost_bytes)} "
        f"({spare}: {verdict})"
    )


def _changed(report: KsmReport) -> str:
    differ = [each for each in report.settings if each.original not in {None, each.value}]
    changed = ", ".join(f"{each.name} {each.original} -> {each.value}" for each in differ)
    return f"{changed}; `memtide restore --all` puts them back" if changed else ""


# --- the guests -------------------------------------------------------------------------------------------------


def _guests(report: KsmReport, width: int | None) -> list[Line]:
    guests = report.guests
    columns = [
        Column(heading="GUEST", cells=tuple(Span(guest.name) for guest in guests), right=False, cut=True),
        Column(heading="RESIDENT", cells=_sizes([guest.resident_bytes for guest in guests]), drop=2),
        Column(heading="MERGED", cells=_sizes([guest.merged_bytes for guest in guests])),
        Column(heading="SAVES", cells=_sizes([guest.saving_bytes for guest in guests])),
        Column(heading="ZEROS", cells=_sizes([guest.zero_bytes for guest in guests]), drop=3),
        Column(heading="PROFIT", cells=tuple(map(_profit, guests)), drop=1),
    ]
    if any(guest.saving_age_s is not None for guest in guests):
        columns.insert(4, Column(heading="AS OF", cells=tuple(map(_age, guests)), drop=4))
    if any(guest.why_not for guest in guests):
        columns.append(Column(heading="CANNOT SHARE", cells=tuple(map(_why_not, guests)), right=False))
    if len(report.owners) > 1:
        columns.append(Column(heading="OWNER", cells=tuple(Span(guest.owner or "-") for guest in guests), right=False))
    return table(columns, width)


def _sizes(sizes: Sequence[int | None]) -> tuple[Span, ...]:
    return tuple(Span(UNKNOWN, "dim") if size is None else Span(format_size(size)) for size in sizes)


def _age(guest: KsmGuest) -> Span:
    """Return how old the guest's part in the saving is: it is dear to measure."""
    return Span("" if guest.saving_age_s is None else f"{format_duration(guest.saving_age_s)} ago", "dim")


def _profit(guest: KsmGuest) -> Span:
    if guest.profit_bytes is None:
        return Span(UNKNOWN, "dim")
    return Span(format_size(guest.profit_bytes), "bad" if guest.profit_bytes < 0 else "")


def _why_not(guest: KsmGuest) -> Span:
    return Span(guest.why_not or "", "warn")


# --- the history ------------------------------------------------------------------------------------------------


def _history(report: KsmReport, width: int | None) -> list[Line]:
    points = report.history
    if len(points) < POINTS_LEAST:
        return [line(), line(Span("history: a point a minute is kept; it is drawn when there are three", "dim"))]
    wide = min(PLOT_WIDEST, width or PLOT_WIDEST)
    span_s = points[-1].at_s - points[0].at_s
    saved = [float(point.saved_bytes) for point in points]
    cpu = [point.ksmd_cpu_ratio for point in points]
    cells = min(wide - PLOT_LABEL - 2, len(points))
    ago = f"{format_duration(span_s)} ago"
    return [
        line(),
        line(Span("saved", "bold")),
        *plot(saved, width=wide, height=5, label=lambda value: format_size(int(value)), least=MIB),
        line(Span("ksmd's share of one CPU", "bold")),
        *plot(cpu, width=wide, height=2, label=format_ratio, least=0.01),
        line(Span(f"{'':>{PLOT_LABEL}}  {ago}{'now':>{max(4, cells - len(ago))}}", "dim")),
    ]
