"""The pure parts of the comparison on real guests: what is computed from reports, the table, the verdicts."""

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from bench.lab_mom import adapted
from bench.lab_result import (
    HostSample,
    Run,
    moved_bytes,
    percentiles,
    quantile,
    reversals,
    seconds_under,
    shortage_gib_s,
    slowest_each_second_ms,
    touches_ms,
)
from bench.lab_settings import PERIOD_S, SETTINGS
from bench.lab_table import table, verdicts
from lab import Report, parse
from memtide.units import GIB, MIB


def report(**said: Any) -> Report:
    """Return a guest's report of a quiet moment, but for what is said."""
    quiet = {field.name: 0 for field in msgspec.structs.fields(Report) if field.required}
    return Report(**(quiet | {"psi_some_us": None, "psi_full_us": None, "mem_total_bytes": GIB} | said))


def run(law: str, **measured: Any) -> Run:
    """Return ten good minutes of a law, but for what was measured."""
    good: dict[str, Any] = {
        "setting": "tight", "fill": "mixed", "began_at": "2026-11-24T12:00:00+00:00", "commit": "e5bb99c",
        "measured_s": 600.0, "guests": 10, "nominal_bytes": 10 * GIB, "host_before_boot_bytes": 4 * GIB,
        "reserve_bytes": 640 * MIB, "shortage_gib_s": 1.0, "guest_swap_pages": 0, "guest_major_faults": 0,
        "host_swap_pages": 0, "touch_ms": {"50": 2.0, "99": 10.0, "100": 20.0}, "stall_some_s": 0.0,
        "stall_full_s": 0.0, "guest_oom_kills": 0, "host_oom_kills": 0, "under_reserve_s": 0.0, "under_quarter_s": 0.0,
        "lowest_available_bytes": 300 * MIB, "reversals": 3, "moved_bytes": GIB, "host_gained_bytes": None,
        "manager_cpu_s": None, "libvirtd_cpu_s": 1.0, "others_cpu_s": 5.0, "others_spread_bytes": 0, "off_bytes": 0,
        "off_mean_bytes": 0,
    }  # fmt: skip
    return Run(law=law, **(good | measured))


def test_shortage_counts_what_is_wanted_and_not_in_memory() -> None:
    """Not yet held and held in swap both lack; a guest that has all it wants lacks nothing."""
    reports = [
        report(received_s=0.0, target_bytes=0),
        report(received_s=1.0, target_bytes=GIB, anon_bytes=GIB // 2),
        report(received_s=3.0, target_bytes=GIB, anon_bytes=GIB, swap_used_bytes=GIB // 4),
        report(received_s=4.0, target_bytes=GIB, anon_bytes=GIB),
        report(received_s=5.0, target_bytes=0, anon_bytes=GIB // 8),
    ]
    assert shortage_gib_s(reports) == pytest.approx(0.5 * 1 + 0.25 * 2)


def test_moved_and_reversals_follow_the_guests_size() -> None:
    """Every change is moved; only coming back by 16 MiB turns."""
    sizes = [1000, 900, 895, 905, 800, 830, 825, 1000, 980]
    assert reversals(size * MIB for size in sizes) == 2
    assert reversals([]) == 0
    assert reversals(size * MIB for size in (1000, 990, 1000, 990)) == 0
    assert moved_bytes([report(mem_total_bytes=size) for size in (100, 60, 60, 90)]) == 70


def test_touches_count_every_round_once_and_the_one_that_never_ends() -> None:
    """The median stands for the rounds a report does not tell; the unfinished round is as old as it is."""
    reports = [
        report(rounds=5, touch_p50_ms=1.0, touch_max_ms=9.0),
        report(rounds=8, touch_p50_ms=2.0, touch_max_ms=7.0),
        report(rounds=8, round_age_ms=900),
    ]
    assert touches_ms(reports) == [2.0, 2.0, 7.0, 900.0]
    assert touches_ms([]) == []
    assert slowest_each_second_ms(reports) == [9.0, 7.0, 900.0]
    assert percentiles([3.0, 1.0, 2.0])["50"] == 2.0
    assert percentiles([]) == {}


def test_quantiles_are_values_that_occurred() -> None:
    """Nearest rank."""
    values = [float(n) for n in range(1, 101)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)] == [1.0, 50.0, 99.0, 100.0, 100.0]


def test_seconds_under_a_line() -> None:
    """The time up to a sample that is under it."""
    samples = [
        HostSample(at_s=at_s, available_bytes=available, swap_pages=0, oom_kills=0, stall_some_us=None,
                   stall_full_us=None, others_bytes=0, off_bytes=0)
        for at_s, available in ((0.0, 50), (1.0, 150), (1.5, 99), (4.0, 100))
    ]  # fmt: skip
    assert seconds_under(samples, 100) == pytest.approx(0.5)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_the_demand_of_all_guests_is_always_the_same(setting: Any) -> None:
    """Half are high while half are low, the scripts last one period, and what is promised is over twice the host."""
    scripts = [parse(setting.script(index)) for index in range(setting.guests)]
    assert all(sum(step.duration_s for step in script.steps) == PERIOD_S for script in scripts)
    for steps in zip(*(script.steps for script in scripts), strict=True):
        assert sum(step.size_bytes for step in steps) == setting.guests * setting.mean_bytes
    assert setting.overcommit_ratio >= 2


def test_runs_of_one_length_are_shown_as_they_are_and_others_by_the_minute_too() -> None:
    """Only what adds up over time gets a rate."""
    same = table([run("kernel", host_swap_pages=5000), run("tide")])
    assert "| host swap in + out, pages | 5000 | 0 |" in same
    differ = table([run("kernel", host_swap_pages=5000, measured_s=300.0), run("tide")])
    assert "| host swap in + out, pages | 5000 (1e+03) | 0 (0) |" in differ
    assert "| touch p99, ms | 10.0 | 10.0 |" in differ
    assert "| manager CPU, s | n/a | n/a |" in differ


def verdict(words: str, *runs: Run) -> str:
    """Return the one verdict that speaks of this."""
    (line,) = [line for line in verdicts(runs) if words in line]
    return line


def test_tight_is_measured_against_the_kernel_and_mom_by_the_minute() -> None:
    """A twentieth of the one and a two-hundredth of the other, whatever the runs' lengths."""
    kernel, mom = run("kernel", host_swap_pages=10_000, measured_s=300.0), run("mom", guest_swap_pages=400_000)
    good, bad = run("tide", host_swap_pages=1000), run("tide", host_swap_pages=900, guest_major_faults=101)
    assert "PASS" in verdict("1/20 of kernel", good, kernel, mom)
    assert "not reached" in verdict("1/20 of kernel", bad, kernel, mom)
    assert "PASS" in verdict("1/200 of mom", good, kernel, mom)
    assert "not decided" in verdict("1/200 of mom", good, kernel)


def test_roomy_is_measured_against_the_kernel_and_a_host_that_is_not_short() -> None:
    """No fault, a hundredth of the kernel's swap, half as slow again at most."""
    kernel = run("kernel", setting="roomy", host_swap_pages=10_000)
    unshort = run("unshort", setting="roomy", touch_ms={"99": 10.0})
    good = run("tide", setting="roomy", host_swap_pages=100, touch_ms={"99": 15.0})
    bad = run("tide", setting="roomy", host_swap_pages=101, touch_ms={"99": 15.1}, guest_major_faults=1)
    for words in ("no guest major fault", "1 % of the kernel", "touch p99"):
        assert "PASS" in verdict(words, good, kernel, unshort)
        assert "not reached" in verdict(words, bad, kernel, unshort)
    assert "not decided" in verdict("touch p99", good, kernel)


def test_always_nobody_is_killed_and_the_host_keeps_its_last_quarter() -> None:
    """In both settings, with the figures."""
    bad = run("tide-follow", host_oom_kills=1, under_quarter_s=0.5, lowest_available_bytes=100 * MIB)
    assert "not reached: no OOM kill (1)" in verdict("OOM", bad)
    assert "not reached: host never under reserve/4 (0.5 s, lowest 100 MiB of 160)" in verdict("reserve/4", bad)
    assert "PASS" in verdict("OOM", run("tide"))
    assert verdicts([run("kernel")]) == []


def test_the_better_prototype_is_the_bar() -> None:
    """Better in each measure than whichever of the two is better in it; a tie is not better."""
    fixed, by_state = run("fixed", host_swap_pages=500), run("by-state", shortage_gib_s=0.5, host_swap_pages=900)
    ours = run("tide", host_swap_pages=400, shortage_gib_s=0.5)
    assert "PASS" in verdict("swap and faults less", ours, fixed, by_state)
    assert "not reached" in verdict("shortage", ours, fixed, by_state)
    assert "not decided" in verdict("shortage", ours, fixed)


def test_mom_is_fitted_outside_its_tree(tmp_path: Path) -> None:
    """Its rules see the host without huge pages; its own files stay as they are."""
    tree, folder = tmp_path / "tree", tmp_path / "folder"
    for name, text in (
        ("momd.in", ""),
        ("doc/balloon.rules", "(/ free Host.mem_available)"),
        ("doc/ksm.rules", "(* Host.mem_available 0.20)"),
        ("doc/mom-balloon+ksm.conf", "[main]\ncontrollers: Balloon, KSM\npolicy:\n"),
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    folder.mkdir()
    adaptation = adapted(tree, folder, uri="test:///default", usable_bytes=4 * GIB)
    assert (folder / "rules").read_text() == "(/ free 4194304)\n(* 4194304 0.20)"
    assert "test:///default" in (folder / "mom.conf").read_text()
    assert adaptation.environment["PATH"].startswith(str(folder))
    assert (tree / "doc/balloon.rules").read_text() == "(/ free Host.mem_available)"
    with pytest.raises(click.ClickException, match="not oVirt MOM's source tree"):
        adapted(folder, folder, uri="", usable_bytes=0)
