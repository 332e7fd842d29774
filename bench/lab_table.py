"""The comparison as a table, and its verdict against what issue 3 asks ("Done when" 2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.lab_result import Run
from memtide.units import GIB, MIB

__all__ = ["OURS", "PROTOTYPES", "table", "verdicts"]

OURS: Final = ("tide", "tide-follow")
PROTOTYPES: Final = ("fixed", "by-state")
SAME_LENGTH_RATIO: Final = 0.02
"""Runs whose measured times differ by less are compared as they are; others by the minute."""
HOST_SWAP_SHARE: Final = 0.01
TOUCH_RATIO: Final = 1.5
KERNEL_SHARE: Final = 1 / 20
MOM_SHARE: Final = 1 / 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure: its words, how to read it from a run, how to print it, and whether it adds up over time."""

    words: str
    read: Callable[[Run], float | None]
    form: str = "{:.0f}"
    adds_up: bool = True


def _touch(share: str) -> Callable[[Run], float | None]:
    return lambda run: run.touch_ms.get(share)


ROWS: Final = (
    Row(words="measured, min", read=lambda run: run.minutes, form="{:.1f}", adds_up=False),
    Row(words="guest shortage, GiB.s", read=lambda run: run.shortage_gib_s, form="{:.2f}"),
    Row(words="guest swap in + out, pages", read=lambda run: run.guest_swap_pages),
    Row(words="guest major faults", read=lambda run: run.guest_major_faults),
    Row(words="host swap in + out, pages", read=lambda run: run.host_swap_pages),
    Row(words="swap and faults together", read=lambda run: run.suffering_pages),
    Row(words="touch p50, ms", read=_touch("50"), form="{:.1f}", adds_up=False),
    Row(words="touch p99, ms", read=_touch("99"), form="{:.1f}", adds_up=False),
    Row(words="slowest touch of a guest's second, p99, ms", read=lambda run: run.slowest_ms.get("99"), adds_up=False),
    Row(words="longest touch, ms", read=_touch("100"), adds_up=False),
    Row(words="host stall some, s", read=lambda run: run.stall_some_s, form="{:.1f}"),
    Row(words="host stall full, s", read=lambda run: run.stall_full_s, form="{:.1f}"),
    Row(words="OOM kills, guest", read=lambda run: run.guest_oom_kills),
    Row(words="OOM kills, host", read=lambda run: run.host_oom_kills),
    Row(words="host under reserve, s", read=lambda run: run.under_reserve_s, form="{:.1f}"),
    Row(words="host under reserve/4, s", read=lambda run: run.under_quarter_s, form="{:.1f}"),
    Row(words="host's lowest, MiB", read=lambda run: run.lowest_available_bytes / MIB, adds_up=False),
    Row(words="reversals", read=lambda run: run.reversals),
    Row(words="moved, GiB", read=lambda run: run.moved_bytes / GIB, form="{:.2f}"),
    Row(
        words="host gained by shrinks, GiB",
        read=lambda run: None if run.host_gained_bytes is None else run.host_gained_bytes / GIB,
        form="{:.2f}",
    ),
    Row(words="manager CPU, s", read=lambda run: run.manager_cpu_s, form="{:.2f}"),
    Row(words="libvirtd CPU, s", read=lambda run: run.libvirtd_cpu_s, form="{:.2f}"),
    Row(words="CPU of all the rest, s", read=lambda run: run.others_cpu_s),
    Row(words="others' memory changed, MiB", read=lambda run: run.others_spread_bytes / MIB, adds_up=False),
    Row(words="of it not made up for, at most, MiB", read=lambda run: run.off_bytes / MIB, adds_up=False),
    Row(words="on average, MiB", read=lambda run: run.off_mean_bytes / MIB, adds_up=False),
)


def table(runs: Sequence[Run]) -> str:
    """Return the runs of one setting as a Markdown table, a column each.

    Where the runs differ in length, what adds up over time is followed by its rate a minute in brackets.
    """
    shortest, longest = (pick(run.measured_s for run in runs) for pick in (min, max))
    by_minute = longest > shortest * (1 + SAME_LENGTH_RATIO)
    names = [run.law if run.fill == "mixed" else f"{run.law} ({run.fill})" for run in runs]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(runs)]
    lines.append("| commit, began | " + " | ".join(f"{run.commit} {run.began_at[11:16]}" for run in runs) + " |")
    for row in ROWS:
        cells = (_cell(row, run, by_minute=by_minute) for run in runs)
        lines.append(f"| {row.words} | " + " | ".join(cells) + " |")
    if by_minute:
        lines.append("\nThe runs differ in length: in brackets, by the minute.")
    return "\n".join(lines)


def _cell(row: Row, run: Run, *, by_minute: bool) -> str:
    value = row.read(run)
    if value is None:
        return "n/a"
    text = row.form.format(value)
    return f"{text} ({value / run.minutes:.3g})" if by_minute and row.adds_up else text


def verdicts(runs: Sequence[Run]) -> list[str]:
    """Return a line a bar for every run of ours among the runs of one setting: reached or not, with the figures."""
    return [
        f"{run.law} ({run.minutes:.1f} min): {line}"
        for run in runs
        if run.law in OURS
        for line in (*_always(run), *(_roomy(run, runs) if run.setting == "roomy" else _tight(run, runs)))
    ]


def _always(run: Run) -> Iterator[str]:
    kills = run.guest_oom_kills + run.host_oom_kills
    yield _bar("no OOM kill", reached=kills == 0, figures=f"{kills}")
    yield _bar(
        "host never under reserve/4",
        reached=run.under_quarter_s == 0,
        figures=f"{run.under_quarter_s:.1f} s, lowest {run.lowest_available_bytes / MIB:.0f} MiB"
        f" of {run.reserve_bytes / 4 / MIB:.0f}",
    )


def _roomy(run: Run, runs: Sequence[Run]) -> Iterator[str]:
    yield _bar("no guest major fault", reached=run.guest_major_faults == 0, figures=f"{run.guest_major_faults}")
    words = "host swap at most 1 % of the kernel alone"
    yield _against(words, run, runs, law="kernel", read=lambda r: r.host_swap_pages, share=HOST_SWAP_SHARE)
    yield _touch_bar(run, runs)
    yield from _prototypes(run, runs)


def _tight(run: Run, runs: Sequence[Run]) -> Iterator[str]:
    for law, share in (("kernel", KERNEL_SHARE), ("mom", MOM_SHARE)):
        words = f"swap and faults together at most 1/{1 / share:.0f} of {law}"
        yield _against(words, run, runs, law=law, read=lambda r: r.suffering_pages, share=share)
    yield from _prototypes(run, runs)


def _touch_bar(run: Run, runs: Sequence[Run]) -> str:
    words = f"touch p99 at most {TOUCH_RATIO:g} x the same guests on a host not short"
    bars = [r.touch_ms["99"] for r in _of("unshort", runs) if "99" in r.touch_ms]
    if not bars or "99" not in run.touch_ms:
        return f"{words}: not decided, no run of `unshort` to compare with"
    bar_ms, own_ms = TOUCH_RATIO * sum(bars) / len(bars), run.touch_ms["99"]
    return _bar(words, reached=own_ms <= bar_ms, figures=f"{own_ms:.1f} ms of {bar_ms:.1f}")


def _prototypes(run: Run, runs: Sequence[Run]) -> Iterator[str]:
    """Compare with the better prototype in what the tight bar counts, and in what the guests lacked."""
    measures: tuple[tuple[str, Callable[[Run], float]], ...] = (
        ("swap and faults", lambda r: r.suffering_pages),
        ("shortage, GiB.s,", lambda r: r.shortage_gib_s),
    )
    for name, read in measures:
        words = f"{name} less than the better prototype"
        bests = {law: rate for law in PROTOTYPES if (rate := _mean_rate(_of(law, runs), read)) is not None}
        if len(bests) < len(PROTOTYPES):
            yield f"{words}: not decided, both {' and '.join(PROTOTYPES)} must have run"
            continue
        best = min(bests, key=lambda law: bests[law])
        own = read(run) / run.minutes
        yield _bar(words, reached=own < bests[best], figures=f"{own:.4g} a minute, {best} {bests[best]:.4g}")


def _against(  # noqa: PLR0913 - a bar is a sentence of six parts
    words: str, run: Run, runs: Sequence[Run], *, law: str, read: Callable[[Run], float], share: float
) -> str:
    other = _mean_rate(_of(law, runs), read)
    if other is None:
        return f"{words}: not decided, no run of `{law}` to compare with"
    own = read(run) / run.minutes
    return _bar(words, reached=own <= share * other, figures=f"{own:.4g} a minute of {share * other:.4g}")


def _of(law: str, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.law == law]


def _mean_rate(runs: Sequence[Run], read: Callable[[Run], float]) -> float | None:
    """Return the measure by the minute, over all the runs of a law; ``None`` without one."""
    return sum(read(run) for run in runs) / sum(run.minutes for run in runs) if runs else None


def _bar(words: str, *, reached: bool, figures: str) -> str:
    return f"{'PASS' if reached else 'not reached'}: {words} ({figures})"
