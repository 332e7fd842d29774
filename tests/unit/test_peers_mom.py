"""MOM's law against vectors worked out by hand from its formulas; a guest of 1000 MiB, a host of 16 GiB."""

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import files_of, numbers_of, play, sizes

from memtide.model.action import Reply, Result, SetKsm
from memtide.model.guest import GuestState
from memtide.model.ksm import Ksm
from memtide.model.limits import GuestLimits, Limits
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.peers import mom
from memtide.policy.peers.mom import Mom

NO_FLOOR = Limits(defaults=GuestLimits(floor_ratio=0.0), manage_ksm=False)


def world(at_s: float, free_ratio: float, **kind: object) -> Snapshot:
    """Return a host with this share free, and one guest."""
    values = {"maximum_bytes": 1000 * MIB, "unused_bytes": 100 * MIB} | kind
    return snapshot(guest("a", at_s=at_s, **values), at_s=at_s, available_bytes=int(16 * GIB * free_ratio))


def steady(free_ratio: float, **kind: object) -> list[Snapshot]:
    """Return the same world at the start and when the rules first run."""
    return [world(START_S + after_s, free_ratio, **kind) for after_s in (0, 10)]


def test_constants_are_those_of_the_stock_rules() -> None:
    """doc/balloon.rules and doc/mom-balloon+ksm.conf of 0.6.5."""
    assert (mom.PRESSURE_THRESHOLD, mom.PRESSURE_CRITICAL, mom.MIN_GUEST_FREE_PERCENT) == (0.20, 0.05, 0.20)
    assert (mom.MAX_BALLOON_CHANGE_PERCENT, mom.MIN_BALLOON_CHANGE_PERCENT) == (0.05, 0.0025)
    assert (mom.SAMPLE_PERIOD_S, mom.POLICY_PERIOD_S, mom.SAMPLES) == (5.0, 10.0, 10)


@pytest.mark.parametrize(
    ("free_ratio", "current_mib", "unused_mib", "wanted_mib"),
    [
        # under pressure, h = 0.10: u + 0.10 A = 400 + 100 < 950, so the step of 5 % decides
        (0.10, 1000, 600, 950.0),
        # u + 0.10 A = 880 + 100 = 980 > 950: what the guest uses, and a tenth
        (0.10, 1000, 120, 980.0),
        # u + 0.10 A = 950 + 100 > A: nothing
        (0.10, 1000, 50, None),
        # the gate: 898 + 100 = 998, and 2 is less than 2.5
        (0.10, 1000, 102, None),
        # critical, h = 0.02: g = -0.03, u - 30 = 970: the guest is meant to swap
        (0.02, 1000, 0, 970.0),
        # just at the critical line g = 0: u = 960
        (0.05, 1000, 40, 960.0),
        # room, h = 0.30: 1.05 * 800 = 840 beats u + 0.2 * 800 = 100 + 160
        (0.30, 800, 700, 840.0),
        # u + 0.2 A = 760 + 160 = 920 beats 840
        (0.30, 800, 40, 920.0),
        # capped by the maximum: 770 + 160 = 930, 1.05 * 980 = 1029
        (0.30, 980, 600, 1000.0),
        # the gate: 999 -> 1000 is less than 0.25 %
        (0.30, 999, 600, None),
        # it has all it may have
        (0.30, 1000, 0, None),
    ],
)
def test_sizes_by_hand(free_ratio: float, current_mib: int, unused_mib: int, wanted_mib: float | None) -> None:
    """One guest, ten seconds of the same figures."""
    seen = steady(free_ratio, current_bytes=current_mib * MIB, unused_bytes=unused_mib * MIB)

    _, decision = play(Mom(), *seen, limits=NO_FLOOR)

    expected = {} if wanted_mib is None else {"a": pytest.approx(wanted_mib * MIB, abs=2 * MIB / 1000)}
    assert sizes(decision) == expected


def test_the_floor_stands_where_mom_has_its_minimum() -> None:
    """max(min, u + g A): a floor of 97 % stops the step of 5 %."""
    limits = Limits(defaults=GuestLimits(floor_ratio=0.97))

    _, decision = play(Mom(), *steady(0.10, unused_bytes=900 * MIB), limits=limits)

    assert sizes(decision) == {"a": 970 * MIB}


def test_it_acts_on_the_mean_of_ten_samples() -> None:
    """Free fell from 50 % to 10 %: the mean is under 20 % only after eight low samples, 40 s later."""
    fell_s = 60
    seen = [world(START_S + t, 0.5 if t < fell_s else 0.10, unused_bytes=600 * MIB) for t in range(0, 130, 5)]

    acted = [s.taken_at_s - START_S for i, s in enumerate(seen) if sizes(play(Mom(), *seen[: i + 1])[1])]

    # low samples at 60, 65, ...: n of ten low gives (10 - n) * 0.05 + n * 0.01 < 0.20 from n = 8 on, at 95 s
    assert acted[0] == 100.0
    assert acted == [100.0, 110.0, 120.0]


def test_it_does_nothing_before_its_first_round() -> None:
    """The policy thread sleeps first."""
    seen = [world(START_S + t, 0.10, unused_bytes=600 * MIB) for t in range(0, 10, 2)]

    assert sizes(play(Mom(), *seen)[1]) == {}


@pytest.mark.parametrize(
    "kind",
    [{"unused_bytes": None}, {"reported": False}, {"state": GuestState.PAUSED}],
    ids=["unused", "none", "paused"],
)
def test_a_guest_without_complete_figures_is_not_seen(kind: dict[str, object]) -> None:
    """A monitor that lacks a field is not ready; the rules do not see its guest."""
    assert sizes(play(Mom(), *steady(0.10, **kind))[1]) == {}


def test_an_absent_guest_keeps_its_history_and_a_gone_one_does_not() -> None:
    """Absent is unknown; gone is gone."""
    first, then = steady(0.10)
    away = msgspec.structs.replace(then, guests=(), absent=(Absent(uuid="uuid-a", name="a", reason="hung"),))
    gone = msgspec.structs.replace(then, guests=())

    state, decision = play(Mom(), first, away)
    assert set(state.guests) == {"uuid-a"}
    assert sizes(decision) == {}
    assert play(Mom(), first, gone)[0].guests == {}


def test_reserved_huge_pages_are_no_memory_of_the_laws_host() -> None:
    """2 of 16 GiB free is pressure; with 8 GiB of huge pages taken out it is 25 % and room."""
    seen = [
        msgspec.structs.replace(s, host=msgspec.structs.replace(s.host, memory=memory))
        for s in steady(2 / 16, current_bytes=800 * MIB)
        for memory in [msgspec.structs.replace(s.host.memory, huge_pages_total_bytes=8 * GIB)]
    ]

    assert sizes(play(Mom(), *seen, limits=NO_FLOOR)[1]) == {"a": 860 * MIB}


def test_a_host_of_huge_pages_only_has_nothing_to_share() -> None:
    """No memory for guests on normal pages, no share of it."""
    seen = [
        msgspec.structs.replace(s, host=msgspec.structs.replace(s.host, memory=memory))
        for s in steady(0.1)
        for memory in [msgspec.structs.replace(s.host.memory, huge_pages_total_bytes=16 * GIB)]
    ]

    assert play(Mom(), *seen)[1].actions == ()


def ksm_world(at_s: float, free_ratio: float, *, maximum_bytes: int, read_at_s: float = 0.0, **ksm: int) -> Snapshot:
    """Return a world whose KSM holds these values."""
    seen = world(at_s, free_ratio, maximum_bytes=maximum_bytes)
    values = {"run": 0, "pages_to_scan": 100, "sleep_millisecs": 20} | ksm
    host = msgspec.structs.replace(
        seen.host, ksm=Ksm(page_size_bytes=4096, pages_shared=0, pages_sharing=0, **values), counters_at_s=read_at_s
    )
    return msgspec.structs.replace(seen, host=host)


@pytest.mark.parametrize(
    ("free_ratio", "maximum_gib", "ksm", "files"),
    [
        # F = 0.1 M < line: scan, 100 + 300 pages, 10 ms on 16 GiB
        (0.10, 1, {}, {"pages_to_scan": "400", "sleep_millisecs": "10", "run": "1"}),
        (0.10, 1, {"run": 1, "pages_to_scan": 1100, "sleep_millisecs": 10}, {"pages_to_scan": "1250"}),
        # F = 0.5 M but C + line = 14 + 3.2 > 16: scan, slower
        (0.50, 14, {"run": 1, "pages_to_scan": 100, "sleep_millisecs": 10}, {"pages_to_scan": "64"}),
        # much is free and little promised, so ksmd stops
        (0.50, 1, {"run": 1}, {"run": "0"}),
        (0.50, 1, {"run": 0}, {}),
        # a kernel without that file: the rest is written
        (0.10, 1, {"pages_to_scan": None}, {"sleep_millisecs": "10", "run": "1"}),
    ],
)
def test_ksm_by_hand(free_ratio: float, maximum_gib: int, ksm: dict[str, int], files: dict[str, str]) -> None:
    """The KSM rules: when ksmd runs, and how fast."""
    seen = [ksm_world(START_S + t, free_ratio, maximum_bytes=maximum_gib * GIB, **ksm) for t in (0, 10)]

    assert files_of(play(Mom(), *seen)[1]) == files


def test_what_was_written_counts_until_ksm_is_read_again() -> None:
    """KSM is read every ten seconds or so: a stale reading is not boosted twice from the same value."""
    first = [ksm_world(START_S + t, 0.10, maximum_bytes=GIB, read_at_s=START_S) for t in (0, 10)]
    stale = ksm_world(START_S + 20, 0.10, maximum_bytes=GIB, read_at_s=START_S)
    read = ksm_world(START_S + 20, 0.10, maximum_bytes=GIB, read_at_s=START_S + 20)

    assert files_of(play(Mom(), *first, stale)[1]) == {"pages_to_scan": "700"}
    assert files_of(play(Mom(), *first, read)[1])["pages_to_scan"] == "400"


@pytest.mark.parametrize(("result", "pages"), [(Result.DONE, "700"), (Result.REFUSED, "400")])
def test_a_refused_ksm_write_is_read_again(result: Result, pages: str) -> None:
    """What was not written does not count as written."""
    law, limits = Mom(), Limits()
    state, decision = play(law, *(ksm_world(START_S + t, 0.10, maximum_bytes=GIB, read_at_s=START_S) for t in (0, 10)))
    action = next(a for a in decision.actions if isinstance(a, SetKsm))
    state = law.answered(state, action, Reply(result=result))

    _, decision = law.decide(state, ksm_world(START_S + 20, 0.10, maximum_bytes=GIB, read_at_s=START_S), limits)

    assert files_of(decision)["pages_to_scan"] == pages


def test_ksm_is_left_alone_where_it_is_not_to_be_managed() -> None:
    """The operator's word counts for every law."""
    seen = [ksm_world(START_S + t, 0.10, maximum_bytes=GIB) for t in (0, 10)]

    assert files_of(play(Mom(), *seen, limits=Limits(manage_ksm=False))[1]) == {}


def test_the_reason_carries_the_laws_own_inputs() -> None:
    """What MOM looked at, by MOM's own reckoning."""
    _, decision = play(Mom(), *steady(0.10, unused_bytes=600 * MIB))
    numbers = numbers_of(decision, "a")

    assert numbers["law"] == "mom"
    assert numbers["used_bytes"] == 400 * MIB
    assert numbers["wanted_bytes"] == 950 * MIB
    assert numbers["line_bytes"] == int(0.2 * 16 * GIB)
    assert numbers["host_free_ratio"] == pytest.approx(0.10)
