"""The pure parts of the KSM comparison: the plan, what is computed from samples, the limit, the verdicts."""

from itertools import pairwise
from typing import Any

import pytest

from bench.ksm_limit import PAGE_BYTES, Truth, mergeable_regions, present_runs
from bench.ksm_plan import SETTINGS, Kind, churn_script
from bench.ksm_result import Check, GuestSample, Life, Run, Sample, disturbance, lives, merged_after_s
from bench.ksm_table import table, verdicts
from lab import Report, parse
from lab.script import Op
from memtide.units import MIB
from tests.unit.test_bench_lab import report

PRESENT, FILE = 1 << 63, 1 << 61


def sample(at_s: float, **said: Any) -> Sample:
    """Return a moment in which nothing happens, but for what is said."""
    quiet: dict[str, Any] = {
        "saved_bytes": 0, "profit_bytes": 0, "run": 1, "pages_scanned": 0, "full_scans": 0, "ksmd_cpu_s": 0.0,
        "cow_breaks": 0, "available_bytes": 4096 * MIB, "guests": {},
    }  # fmt: skip
    return Sample(at_s=at_s, **(quiet | said))


def truth(saved_pages: int, limit_pages: int = 1000) -> Truth:
    """Return a pass over 2000 pages that found this."""
    return Truth(
        guests=2, resident_pages=2000, frames=2000 - saved_pages, hashed_pages=2000, contents=2000 - limit_pages,
        zero_pages=0, took_s=1.0, cpu_s=1.0, longest_stop_s=0.5,
    )  # fmt: skip


def run(manager: str, cpu_s: float = 10.0, saved_pages: tuple[int, ...] = (960, 960), **measured: Any) -> Run:
    """Return a run of ten minutes that spent so much CPU evenly, but for what is measured."""
    good: dict[str, Any] = {
        "setting": "roomy", "minutes": 10.0, "began_at": "2026-11-24T12:00:00+00:00", "commit": "e6ebe37",
        "calm_from_s": 540.0, "reserve_bytes": 300 * MIB, "checks": [],
        "samples": [sample(0.0), sample(540.0, ksmd_cpu_s=cpu_s), sample(600.0, ksmd_cpu_s=cpu_s)],
        "ends": [Check(at_s=600.0, kernel_saved_bytes=0, truth=truth(pages)) for pages in saved_pages],
        "lives": [],
    }  # fmt: skip
    return Run(manager=manager, **(good | measured))


def verdict(words: str, *runs: Run) -> str:
    """Return the one verdict that speaks of this."""
    (line,) = [line for line in verdicts(runs) if words in line]
    return line


def test_only_private_mappings_that_were_offered_to_ksm_count() -> None:
    """A shared mapping is never merged, whatever its flags say."""
    smaps = """\
1000-3000 rw-p 00000000 00:00 0
Size:                  8 kB
VmFlags: rd wr mr mw me ac dd mg sd
3000-5000 rw-p 00000000 00:00 0 [heap]
VmFlags: rd wr mr mw me ac sd
5000-6000 rw-s 00000000 00:01 99 /memfd:x
VmFlags: rd wr sh mg
7f0000000000-7f0000001000 r--p 00000000 00:00 0
VmFlags: rd mg
"""
    assert mergeable_regions(smaps) == [(0x1000, 0x3000), (0x7F0000000000, 0x7F0000001000)]


def test_runs_of_pages_are_what_the_guest_has_itself() -> None:
    """Absent, swapped, file and zero pages are left out, and no run is longer than a chunk."""
    own = PRESENT | 7
    assert list(present_runs([own, own, 0, PRESENT | FILE | 7, own, PRESENT | 5, 1 << 62, own], {5})) == [
        (0, 2), (4, 1), (7, 1),
    ]  # fmt: skip
    assert list(present_runs([own] * 600, set())) == [(0, 256), (256, 256), (512, 88)]
    assert list(present_runs([], set())) == []


def test_the_truth_is_pages_without_a_frame_of_their_own() -> None:
    """The limit counts contents and the saving counts frames."""
    assert truth(500).saved_bytes == 500 * PAGE_BYTES
    assert truth(500).limit_bytes == 1000 * PAGE_BYTES
    assert truth(500).share == pytest.approx(0.5)
    assert truth(0, limit_pages=0).share is None


@pytest.mark.parametrize("minutes", [2.0, 10.0])
def test_the_plan_scales_and_ends_in_a_calm(minutes: float) -> None:
    """Every guest churns at another moment; nobody is touched before it is booted or after the calm began."""
    events = SETTINGS["roomy"].planned(minutes)
    assert all(before.at_s <= after.at_s for before, after in pairwise(events))
    booted: set[int] = set()
    for event in events:
        if event.kind is Kind.BOOT:
            booted |= {event.guest, event.guest + 1}
        elif event.kind in (Kind.CHURN, Kind.RESET, Kind.REPLACE):
            assert event.guest in booted
    assert len(booted) == 8
    assert len({event.at_s for event in events if event.kind is Kind.CHURN}) == 8
    assert events[-1].at_s < 0.9 * minutes * 60


def test_churn_gives_40_to_80_mib_up_and_takes_it_again() -> None:
    """In a loop as long as the time between two rounds of all guests; what is hot stays small."""
    given = set()
    for guest in range(8):
        script = parse(churn_script(guest, 10.0))
        assert script.loop
        assert sum(step.duration_s for step in script.steps) == pytest.approx(180.0)
        assert all(step.hot_bytes == 8 * MIB for step in script.steps)
        first, last = script.steps[0], script.steps[-1]
        assert first.op is Op.GROW
        given.add((last.size_bytes - first.size_bytes) // MIB)
    assert given == {40, 50, 60, 70, 80}


def test_a_guest_is_merged_when_it_has_95_percent_of_its_most() -> None:
    """Counted from its first report; one that never merged has no time."""
    life = Life(guest="lab-0", up_s=10.0)
    samples = [
        sample(at_s, guests={"lab-0": GuestSample(rss_bytes=MIB, merged_bytes=merged)})
        for at_s, merged in ((11.0, 0), (30.0, 94), (40.0, 95), (50.0, 100), (60.0, 60))
    ]
    assert merged_after_s(samples, life) == pytest.approx(30.0)
    assert merged_after_s(samples[:1], life) is None
    assert merged_after_s(samples, Life(guest="lab-1", up_s=0.0)) is None


def test_a_reset_begins_another_life() -> None:
    """The guest's own clock starts again; a small step back is none."""
    clocks: list[Report] = [
        report(uptime_s=uptime, received_s=received)
        for uptime, received in ((3.0, 103.0), (50.0, 150.0), (49.5, 151.0), (2.0, 160.0))
    ]
    assert lives("lab-0", clocks, 100.0) == [
        Life(guest="lab-0", up_s=3.0),
        Life(guest="lab-0", up_s=60.0, reset=True),
    ]
    assert lives("lab-0", [], 100.0) == []


def test_cpu_is_measured_against_a_fifth_and_a_half() -> None:
    """Of always-on and of the advisor, over the same time only."""
    always_on, advisor = run("always-on", cpu_s=100.0), run("advisor", cpu_s=40.0)
    assert "PASS" in verdict("1/5 of always-on", run("tide", cpu_s=20.0), always_on, advisor)
    assert "not reached" in verdict("1/5 of always-on", run("tide", cpu_s=20.1), always_on, advisor)
    assert "PASS" in verdict("1/2 of advisor", run("tide", cpu_s=20.0), always_on, advisor)
    assert "not reached" in verdict("1/2 of advisor", run("tide", cpu_s=20.1), always_on, advisor)
    assert "not decided" in verdict("1/2 of advisor", run("tide"), run("advisor", minutes=2.0))


def test_saving_is_measured_by_the_truth_and_no_more_lenient_than_it_is_exact() -> None:
    """95 % of the limit, and the best of the others but for what repeated passes differ by."""
    assert "PASS" in verdict("95%", run("tide", saved_pages=(950, 950)))
    assert "not reached" in verdict("95%", run("tide", saved_pages=(949, 950)))
    best = run("always-on", saved_pages=(970, 970))
    assert "not reached" in verdict("best of the others", run("tide", saved_pages=(965, 965)), best)
    assert "not reached" in verdict("best of the others", run("tide", saved_pages=(962, 972)), best)
    wobbling = run("always-on", saved_pages=(970, 960))
    assert "PASS" in verdict("best of the others", run("tide", saved_pages=(960, 970)), wobbling)
    assert "PASS" in verdict("best of the others", run("tide", saved_pages=(970, 970)), best)
    assert "not decided" in verdict("best of the others", run("tide"))


def test_calm_and_new_guests() -> None:
    """Below a hundredth of a CPU, and nobody later than a minute; a reset guest is not counted."""
    busy = [sample(0.0), sample(540.0, ksmd_cpu_s=1.0), sample(600.0, ksmd_cpu_s=1.6)]
    assert "not reached" in verdict("calm", run("tide", samples=busy))
    assert "PASS" in verdict("calm", run("tide"))
    samples = [
        sample(at_s, guests={"lab-0": GuestSample(rss_bytes=MIB, merged_bytes=merged)})
        for at_s, merged in ((0.0, 0), (60.0, 100), (540.0, 200), (600.0, 200))
    ]
    good, late = Life(guest="lab-0", up_s=5.0), Life(guest="lab-1", up_s=5.0)
    again = Life(guest="lab-0", up_s=300.0, reset=True)
    assert "PASS" in verdict("new guests", run("tide", samples=samples, lives=[good, again]))
    assert "lab-1 never" in verdict("new guests", run("tide", samples=samples, lives=[good, late]))
    assert "not reached" in verdict("new guests", run("tide", samples=samples, lives=[good, late]))


@pytest.mark.parametrize(("merged_at_s", "expected"), [(2.0, "PASS"), (4.0, "PASS"), (4.25, "not reached")])
def test_pressure_starts_the_clock_of_the_first_merge(merged_at_s: float, expected: str) -> None:
    """A host that gets short at 2 s must have its first page merged by 4 s; the speed reached is told."""
    samples = [
        sample(
            step / 4,
            available_bytes=(4096 if step < 8 else 100) * MIB,
            saved_bytes=4096 if step / 4 >= merged_at_s else 0,
            pages_scanned=0 if step < 12 else 50_000 * (step - 11),
        )
        for step in range(20)
    ]
    line = verdict("host short", run("tide", setting="short", samples=samples))
    assert expected in line
    assert "200 thousand pages/s" in line
    assert "not decided" in verdict("host short", run("tide", setting="short"))


def test_the_table_leaves_out_what_nobody_has_and_marks_what_one_lacks() -> None:
    """KSM that is off has no profit per CPU second; the checks of a run without any are no rows."""
    text = table([run("off", cpu_s=0.0, saved_pages=(0, 0)), run("always-on")])
    assert "| GiB saved per CPU second | n/a | 0.000 |" in text
    assert "first check" not in text
    assert "| ksmd CPU, s | 0.00 | 10.00 |" in text


def test_a_run_that_others_disturbed_is_recognised() -> None:
    """Scans are counted anew only after run=2; a manager that writes once does not switch KSM itself."""
    assert disturbance([sample(0.0, full_scans=3), sample(9.0, full_scans=4)], steady=True) is None
    undone = [sample(0.0, full_scans=3), sample(9.0, full_scans=0)]
    assert "run=2) at 9 s" in str(disturbance(undone, steady=False))
    stopped = [sample(0.0), sample(9.0, run=0)]
    assert "from 1 to 0 at 9 s" in str(disturbance(stopped, steady=True))
    assert disturbance(stopped, steady=False) is None
