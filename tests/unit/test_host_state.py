"""The host's states, their hysteresis, and what pressure may say."""

import msgspec
import pytest
from make import GIB, MIB, START_S, host

from memtide.model.decision import HostState
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.policy.host_state import HostTrack, observe_host, reserve_for

RESERVE_BYTES = GIB


def states(*readings: Host) -> list[HostState]:
    """Return the state after each reading."""
    track, seen = HostTrack(), []
    for reading in readings:
        track = observe_host(track, reading, RESERVE_BYTES)
        seen.append(track.state)
    return seen


@pytest.mark.parametrize(
    ("available_bytes", "state"),
    [
        (GIB, HostState.HIGH),
        (GIB - 1, HostState.SOFT),
        (512 * MIB - 1, HostState.HARD),
        (256 * MIB - 1, HostState.LOW),
        (0, HostState.LOW),
    ],
)
def test_each_state_begins_under_its_line(available_bytes: int, state: HostState) -> None:
    """Soft under the reserve, hard under half of it, low under a quarter."""
    assert states(host(available_bytes=available_bytes)) == [state]


def test_worse_at_once_better_after_ten_seconds() -> None:
    """A state gets worse with one reading and better only when the line was cleared by a quarter for ten seconds."""
    falls = [host(at_s=START_S + i, available_bytes=b) for i, b in enumerate((2 * GIB, 900 * MIB, 100 * MIB))]
    rises = [host(at_s=START_S + 10 + i, available_bytes=2 * GIB) for i in (0, 5, 9, 10)]

    assert states(*falls, *rises)[1:] == [
        HostState.SOFT, HostState.LOW, HostState.LOW, HostState.LOW, HostState.LOW, HostState.HIGH,
    ]  # fmt: skip


def test_hovering_at_the_line_does_not_flip() -> None:
    """Between the line and a quarter above it nothing changes."""
    hover = [host(at_s=START_S + 2 * i, available_bytes=GIB + (-1) ** i * 50 * MIB) for i in range(40)]

    assert set(states(*hover)[1:]) == {HostState.SOFT}


def test_pressure_without_shortage_is_somebody_elses() -> None:
    """A limited cgroup's stalls leak into the host's figure: with memory to spare they change nothing."""
    assert states(host(available_bytes=4 * GIB, some=0.5)) == [HostState.HIGH]
    assert states(host(available_bytes=GIB + MIB, some=0.5)) == [HostState.SOFT]


def test_the_reserve_is_the_operators_or_the_formulas() -> None:
    """Bytes win over a share, a share over the formula, and no reserve is larger than the host."""
    big = host(total_bytes=64 * GIB)

    assert reserve_for(big, Limits(reserve_bytes=3 * GIB, reserve_ratio=0.5)) == 3 * GIB
    assert reserve_for(big, Limits(reserve_ratio=0.5)) == 32 * GIB
    assert reserve_for(big, Limits()) == int(512 * MIB + 0.03 * 64 * GIB)
    assert reserve_for(big, Limits(reserve_bytes=100 * GIB)) == 64 * GIB


def test_huge_pages_are_not_the_guests() -> None:
    """The auto reserve is derived from what guests can have, huge pages taken out."""
    pooled = host(total_bytes=24 * GIB, huge_pages_total_bytes=20 * GIB)

    assert reserve_for(pooled, Limits()) == int(0.15 * 4 * GIB)


def test_a_host_without_pressure_figures_is_judged_by_its_memory() -> None:
    """Kernels without PSI are as safe."""
    silent = msgspec.structs.replace(host(available_bytes=900 * MIB), pressure=None)

    assert states(silent) == [HostState.SOFT]


def test_what_ksm_saves_may_be_needed_again() -> None:
    """Two per cent of it stand in the automatic reserve, and in no figure that an operator chose."""
    plain = host()
    merging = msgspec.structs.replace(plain, ksm=msgspec.structs.replace(plain.ksm, pages_sharing=GIB // 4096))

    assert reserve_for(merging, Limits()) - reserve_for(plain, Limits()) == pytest.approx(0.02 * GIB, abs=1)
    assert reserve_for(merging, Limits(reserve_bytes=GIB)) == GIB
