"""Bulk statistics: absent is not zero, and who contradicts himself is not believed."""

from typing import Any

import libvirt
import pytest
from fake_libvirt import answer, without_job

from memtide.model.base import Missing
from memtide.model.guest import GuestState, Reported
from memtide.sources.libvirt.stats import (
    BUSY_REASONS,
    STATES,
    has_stopped,
    parse_observed,
    parse_reported,
    parse_state,
)
from memtide.units import KIB

UNSAID = 2**64 - 1


def reported(**balloon: Any) -> tuple[Reported | None, Missing]:
    """Parse a healthy guest's report with something changed."""
    stats = answer(**balloon)
    observed = parse_observed(stats)
    assert observed is not None
    missing: Missing = {}
    return parse_reported(stats, observed, missing), missing


def test_a_healthy_guest() -> None:
    """KiB become bytes, libvirt's names become ours, nothing is missing."""
    report, missing = reported(last_update=1_700_000_000)
    assert report == Reported(
        updated_at_s=1_700_000_000.0,
        total_bytes=1000000 * KIB,
        usable_bytes=600000 * KIB,
        unused_bytes=500000 * KIB,
        disk_caches_bytes=90000 * KIB,
        swap_in_bytes_total=0,
        swap_out_bytes_total=0,
        major_faults_total=12,
        minor_faults_total=3456,
    )
    assert missing == {}


@pytest.mark.parametrize("last_update", [0, None, -1, UNSAID, "7"])
def test_a_guest_that_never_reported(last_update: object) -> None:
    """No driver, or no period: its figures, if any, are none."""
    report, missing = reported(last_update=last_update)
    assert report is None
    assert "never reported" in missing["reported"]


@pytest.mark.parametrize("name", ["available", "usable"])
@pytest.mark.parametrize("value", [None, -1, UNSAID, UNSAID // KIB, "many", 1.5])
def test_a_report_without_what_matters_is_none(name: str, value: object) -> None:
    """An old driver does not say; QEMU says -1 for that."""
    report, missing = reported(**{name: value})
    assert report is None
    assert "does not say" in missing["reported"]


@pytest.mark.parametrize(
    "lie",
    [{"usable": 1000001}, {"available": 0, "usable": 0}, {"available": (1 << 20) + 1}],
    ids=["more usable than total", "no memory at all", "more than its maximum"],
)
def test_a_guest_that_contradicts_itself_is_not_believed(lie: dict[str, int]) -> None:
    """And the reason has its numbers."""
    report, missing = reported(**lie)
    assert report is None
    assert "contradicts itself" in missing["reported"]


def test_what_else_a_driver_does_not_say_is_none_with_a_reason() -> None:
    """FreeBSD, Windows and old kernels leave fields out; more unused than there is counts as not said."""
    report, missing = reported(unused=1000001, swap_in=UNSAID, disk_caches=None, major_fault=-1)
    assert report is not None
    names = {"unused_bytes", "swap_in_bytes_total", "disk_caches_bytes", "major_faults_total"}
    assert {name for name in names if getattr(report, name) is None} == names
    assert set(missing) == names


def test_torn_figures_are_kept_as_they_are() -> None:
    """``current`` is of now and the report of earlier: smaller than what it reports is no contradiction."""
    report, _ = reported(current=300000)
    assert report is not None
    assert report.used_bytes == 400000 * KIB


@pytest.mark.parametrize("gone", ["current", "maximum"])
@pytest.mark.parametrize("value", [None, 0, UNSAID])
def test_nothing_is_observed_of_a_guest_that_was_left_out(gone: str, value: int | None) -> None:
    """It is unknown this time; it does not have 0 bytes."""
    assert parse_observed(answer(**{gone: value})) is None


def test_what_libvirt_knew_before_is_not_an_observation() -> None:
    """A guest that hangs is listed with its last known sizes; taken as real, it would look well and merely mute."""
    assert parse_observed(without_job(answer())) is None


def test_resident_memory_may_be_unknown() -> None:
    """Then it is ``None``, and a current above the maximum raises the maximum."""
    observed = parse_observed(answer(rss=None, current=(1 << 20) + 4))
    assert observed is not None
    assert observed.rss_bytes is None
    assert observed.maximum_bytes == observed.current_bytes


def constants(prefix: str) -> dict[str, int]:
    """Return the binding's own names for these numbers."""
    return {name.removeprefix(prefix): value for name, value in vars(libvirt).items() if name.startswith(prefix)}


def test_states_are_libvirts() -> None:
    """By the binding's own constants."""
    own = {"PMSUSPENDED": GuestState.SUSPENDED, "SHUTDOWN": GuestState.SHUTTING_DOWN}
    for name in ("RUNNING", "BLOCKED", "PAUSED", "SHUTDOWN", "CRASHED", "PMSUSPENDED"):
        assert STATES[getattr(libvirt, f"VIR_DOMAIN_{name}")] == own.get(name, name.lower())
    assert has_stopped({"state.state": libvirt.VIR_DOMAIN_SHUTOFF})
    assert not has_stopped({})
    assert parse_state({"state.state": 99}) == (GuestState.UNKNOWN, None)
    assert parse_state({}) == (GuestState.UNKNOWN, None)


def test_busy_reasons_are_libvirts() -> None:
    """A guest that libvirt paused for its own work is left alone; one that a user paused is just paused."""
    paused, running = constants("VIR_DOMAIN_PAUSED_"), constants("VIR_DOMAIN_RUNNING_")
    assert {(3, paused[name]) for name in ("MIGRATION", "SAVE", "DUMP", "SNAPSHOT", "STARTING_UP", "POSTCOPY")} | {
        (1, running["POSTCOPY"])
    } == set(BUSY_REASONS)
    assert parse_state({"state.state": 3, "state.reason": paused["USER"]}) == (GuestState.PAUSED, None)
    assert parse_state({"state.state": 3, "state.reason": paused["MIGRATION"]}) == (GuestState.PAUSED, "migration")
