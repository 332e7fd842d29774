"""The KSM comparison for people: a table, and a verdict against what issue 4 asks ("Done when" 1 and 2). Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.ksm_result import Run
from memtide.units import GIB, MIB

__all__ = ["OURS", "table", "verdicts"]

OURS: Final = "tide"
LEAST_SHARE: Final = 0.95
CALM_CPU_RATIO: Final = 0.01
NEW_GUEST_S: Final = 60.0
TICK_S: Final = 2.0
"""memtide's period."""
CPU_SHARES: Final = {"always-on": 1 / 5, "advisor": 1 / 2}
SPEED_LOOK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure: its words, how to read it from a run, how to print it."""

    words: str
    read: Callable[[Run], float | None]
    form: str = "{:.0f}"


def _per_cpu_s(run: Run) -> float | None:
    return run.saved_bytes / GIB / run.ksmd_cpu_s if run.ksmd_cpu_s > 0 else None


def _slowest_new_s(run: Run) -> float | None:
    """Return the longest time of a new guest; ``None`` where one never merged, which is no time at all."""
    times = [took_s for took_s in run.merged_after_s.values() if took_s is not None]
    return max(times) if times and len(times) == len(run.merged_after_s) else None


def _mean_new_s(run: Run) -> float | None:
    times = [took_s for took_s in run.merged_after_s.values() if took_s is not None]
    return sum(times) / len(times) if times else None


def _check_share(place: int) -> Callable[[Run], float | None]:
    def read(run: Run) -> float | None:
        share = run.checks[place].truth.share if place < len(run.checks) else None
        return None if share is None else share * 100

    return read


def _profit_mib(run: Run) -> float | None:
    profit_bytes = run.samples[-1].profit_bytes
    return None if profit_bytes is None else profit_bytes / MIB


def _first_rate(run: Run) -> float | None:
    """Return ksmd's highest speed in the ten seconds after the host got short, in thousands of pages a second."""
    if run.short_s is None:
        return None
    return max(run.scan_rates(run.short_s, run.short_s + SPEED_LOOK_S), default=0.0) / 1000


ROWS: Final = (
    Row(words="could be saved at the end, MiB", read=lambda run: run.limit_bytes / MIB),
    Row(words="saved at the end, MiB", read=lambda run: run.saved_bytes / MIB),
    Row(words="of what could be, %", read=lambda run: None if run.share is None else run.share * 100, form="{:.1f}"),
    Row(words="passes at the end differ by, %", read=lambda run: run.spread * 100, form="{:.2f}"),
    Row(words="first check, %", read=_check_share(0), form="{:.1f}"),
    Row(words="second check, %", read=_check_share(1), form="{:.1f}"),
    Row(words="third check, %", read=_check_share(2), form="{:.1f}"),
    Row(words="saved on average by the kernel's figure, MiB", read=lambda run: run.mean_saved_bytes / MIB),
    Row(words="ksmd CPU, s", read=lambda run: run.ksmd_cpu_s, form="{:.2f}"),
    Row(words="ksmd in the calm at the end, % of a CPU", read=lambda run: run.calm_cpu_ratio * 100, form="{:.2f}"),
    Row(words="GiB saved per CPU second", read=_per_cpu_s, form="{:.3f}"),
    Row(words="profit at the end by the kernel's figure, MiB", read=_profit_mib),
    Row(words="new guest merged after, mean s", read=_mean_new_s),
    Row(words="slowest new guest, s", read=_slowest_new_s),
    Row(words="merged pages written to", read=lambda run: run.cow_breaks),
    Row(words="full scans", read=lambda run: run.samples[-1].full_scans - run.samples[0].full_scans),
    Row(words="host short: first page merged after, s", read=lambda run: run.first_merge_s, form="{:.2f}"),
    Row(words="fastest in the 10 s after, 1000 pages/s", read=_first_rate),
    Row(words="host's lowest, MiB", read=lambda run: min(s.available_bytes for s in run.samples) / MIB),
    Row(words="longest pass of a check, s", read=lambda run: max(c.truth.took_s for c in (*run.checks, *run.ends)),
        form="{:.1f}"),
)  # fmt: skip


def table(runs: Sequence[Run]) -> str:
    """Return the runs of one setting as a Markdown table, a column each."""
    lines = ["| | " + " | ".join(run.manager for run in runs) + " |", "|---|" + "---:|" * len(runs)]
    lines.append("| minutes | " + " | ".join(f"{run.minutes:g}" for run in runs) + " |")
    lines.append("| commit, began | " + " | ".join(f"{run.commit} {run.began_at[11:16]}" for run in runs) + " |")
    for row in ROWS:
        values = [row.read(run) for run in runs]
        if any(value is not None for value in values):
            cells = ("n/a" if value is None else row.form.format(value) for value in values)
            lines.append(f"| {row.words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(runs: Sequence[Run]) -> list[str]:
    """Return a line a bar for every run of ours among the runs of one setting: reached or not, with the figures."""
    return [
        f"{run.manager} ({run.minutes:g} min, {run.setting}): {line}"
        for run in runs
        if run.manager == OURS
        for line in (_short(run) if run.setting == "short" else _roomy(run, runs))
    ]


def _roomy(run: Run, runs: Sequence[Run]) -> Iterator[str]:
    # runs of another length had other guests at other times
    others = [other for other in runs if other.manager != OURS and other.minutes == run.minutes]
    yield _bar(
        f"saving at least {LEAST_SHARE:.0%} of what hashing finds",
        reached=run.share is not None and run.share >= LEAST_SHARE,
        figures=f"{run.saved_bytes / MIB:.0f} of {run.limit_bytes / MIB:.0f} MiB, {run.share or 0.0:.1%}",
    )
    yield _best(run, others)
    for name, share in CPU_SHARES.items():
        yield _cpu(run, [other for other in others if other.manager == name], name, share)
    yield _bar(
        "calm: ksmd below 1 % of a CPU",
        reached=run.calm_cpu_ratio < CALM_CPU_RATIO,
        figures=f"{run.calm_cpu_ratio:.2%}",
    )
    yield _new_guests(run)


def _best(run: Run, others: Sequence[Run]) -> str:
    words = "saving at least the best of the others', as a share of what could be"
    shares = {other.manager: other.share for other in others if other.share is not None}
    if not shares or run.share is None:
        return f"{words}: not decided, nobody else ran as long"
    best = max(others, key=lambda other: other.share or 0.0)
    tolerance = min(run.spread, best.spread)  # the larger one is ksmd still merging, not the measurement
    return _bar(
        words,
        reached=run.share >= (best.share or 0.0) - tolerance,
        figures=f"{run.share:.2%}, {best.manager} {best.share or 0.0:.2%}; repeated passes differ by {tolerance:.2%}",
    )


def _cpu(run: Run, others: Sequence[Run], name: str, share: float) -> str:
    words = f"ksmd CPU at most 1/{1 / share:.0f} of {name}'s"
    if not others:
        return f"{words}: not decided, no run of `{name}` as long"
    bar_s = share * sum(other.ksmd_cpu_s for other in others) / len(others)
    return _bar(words, reached=run.ksmd_cpu_s <= bar_s, figures=f"{run.ksmd_cpu_s:.2f} s of {bar_s:.2f}")


def _new_guests(run: Run) -> str:
    times = run.merged_after_s
    late = [name for name, took_s in times.items() if took_s is None or took_s > NEW_GUEST_S]
    figures = ", ".join(f"{name} {'never' if took_s is None else f'{took_s:.0f} s'}" for name, took_s in times.items())
    return _bar(f"new guests merged within {NEW_GUEST_S:.0f} s", reached=not late and bool(times), figures=figures)


def _short(run: Run) -> Iterator[str]:
    words = f"host short: first pages merged within a tick of {TICK_S:g} s"
    if run.short_s is None:
        yield f"{words}: not decided, the host never had less than {run.reserve_bytes / MIB:.0f} MiB"
        return
    first_s = run.first_merge_s
    yield _bar(
        words,
        reached=first_s is not None and first_s <= TICK_S,
        figures=("never" if first_s is None else f"{first_s:.2f} s")
        + f"; ksmd's fastest in the 10 s after: {_first_rate(run) or 0.0:.0f} thousand pages/s",
    )


def _bar(words: str, *, reached: bool, figures: str) -> str:
    return f"{'PASS' if reached else 'not reached'}: {words} ({figures})"
