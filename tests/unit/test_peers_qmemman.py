"""qmemman's law against vectors worked out by hand. Guests of 2 GiB on a host of 8 GiB, no floor."""

from typing import Any

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import numbers_of, play, sizes

from memtide.model.decision import Decision
from memtide.model.guest import GuestTraits
from memtide.model.limits import GuestLimits, Limits
from memtide.model.snapshot import Absent
from memtide.policy.peers import qmemman
from memtide.policy.peers.qmemman import Domain, Qmemman, QmemmanState, balance, fitting, is_significant

NO_FLOOR = Limits(defaults=GuestLimits(floor_ratio=0.0))


def domain(pref_mib: float, actual_mib: float, *, maximum_mib: int = 2048, target_mib: float | None = None) -> Domain:
    """Return a guest in the balance."""
    return Domain(
        used_bytes=0,
        pref_bytes=int(pref_mib * MIB),
        current_bytes=int(actual_mib * MIB),
        actual_bytes=int(actual_mib * MIB),
        floor_bytes=0,
        maximum_bytes=maximum_mib * MIB,
        target_bytes=int((actual_mib if target_mib is None else target_mib) * MIB),
    )


def test_constants_are_those_of_algo_and_systemstate() -> None:
    """Of qubes/qmemman/algo.py and systemstate.py."""
    assert (qmemman.CACHE_FACTOR, qmemman.PREF_LEAST_BYTES, qmemman.ROUNDING) == (1.3, 200 * MIB, 0.999)
    assert (qmemman.HOST_FREE_BYTES, qmemman.HOST_FREE_SHARE) == (50 * MIB, 0.9)
    assert (qmemman.LEAST_TRANSFER_BYTES, qmemman.LEAST_GAIN_UNDER_PREF_BYTES) == (150 * MIB, 15 * MIB)
    assert qmemman.LEAST_DONATION_BYTES == 10 * MIB


@pytest.mark.parametrize(
    ("free_mib", "domains", "expected_mib"),
    [
        # enough: avail = 400 - (300 - 500 + 600 - 500) = 500; a third and two thirds of it on top of pref
        (400, {"a": (300, 500), "b": (600, 500)}, {"a": 0.999 * (300 + 500 / 3), "b": 0.999 * (600 + 1000 / 3)}),
        # more than enough: 2500 each, so both are full and the rest stays free
        (3000, {"a": (1000, 1000), "b": (1000, 1000)}, {"a": 2048, "b": 2048}),
        # enough: 1400 + 1050 is over b's 2048; a gets 0.999 of the 399.55
        (
            1500,
            {"a": (600, 600), "b": (1400, 1400)},
            {"a": 0.999 * 1050 + 0.999 * (0.999 * 2450 - 2048), "b": 2048},
        ),
        # enough: b's 319 over go to a and c in halves; a is full at 1100, and c gets what a could not take
        (
            1800,
            {"a": (600, 600, 1100), "b": (1400, 1400), "c": (600, 600)},
            {"a": 1100, "b": 2048, "c": 1247.2},
        ),
        # low: a gives its 200, b gets nothing yet (S = 100 - 200)
        (100, {"a": (300, 500), "b": (900, 500)}, {"a": 300}),
        # low, nobody to give: S = 100 in proportion to pref
        (100, {"a": (600, 500), "b": (900, 500)}, {"a": 0.999 * (500 + 40), "b": 0.999 * (500 + 60)}),
        # low: less than 10 MiB over pref is not asked for; S = 100 is b's, up to its maximum
        (100, {"a": (495, 500), "b": (900, 500, 550)}, {"b": 550}),
        # low and full: no donor, no acceptor
        (-100, {"a": (3000, 2048)}, {}),
    ],
)
def test_balance_by_hand(free_mib: int, domains: dict[str, tuple[int, ...]], expected_mib: dict[str, float]) -> None:
    """Enough for everybody's pref, or not."""
    given = {
        name: domain(pref, actual, maximum_mib=most[0] if most else 2048)
        for name, (pref, actual, *most) in domains.items()
    }

    found = balance(free_mib * MIB, given)

    assert {name: size / MIB for name, size in found.items()} == {
        name: pytest.approx(size, abs=0.05) for name, size in expected_mib.items()
    }


def test_donors_come_first() -> None:
    """In whatever order the guests are listed."""
    assert list(balance(400 * MIB, {"b": domain(600, 500), "a": domain(300, 500), "c": domain(700, 500)})) == [
        "a",
        "b",
        "c",
    ]


def test_the_floor_is_kept() -> None:
    """The operator's floor where Qubes has 200 MiB for all: 0.999 * 300 is raised to 300."""
    floor = msgspec.structs.replace(domain(300, 500), floor_bytes=300 * MIB)

    assert balance(-200 * MIB + 1, {"a": floor}) == {"a": 300 * MIB}


@pytest.mark.parametrize(
    ("free_mib", "wanted_mib", "expected"),
    [
        # the host's 50 MiB: 15 short is not too little, 16 is
        (35, {"a": 500}, False),
        (34, {"a": 500}, True),
        # under pref (600) and gaining more than 15
        (50, {"a": 515}, False),
        (50, {"a": 516}, True),
        # above pref it takes 150 MiB in all, the host's 50 off its 50 included
        (100, {"b": 400}, False),
        (101, {"b": 400}, True),
    ],
)
def test_what_is_worth_asking_for(free_mib: int, wanted_mib: dict[str, int], *, expected: bool) -> None:
    """The gates of systemstate."""
    domains = {"a": domain(600, 500), "b": domain(300, 500)}

    found = is_significant({n: size * MIB for n, size in wanted_mib.items()}, domains, free_mib * MIB)

    assert found is expected


@pytest.mark.parametrize(
    ("free_mib", "sent_mib", "complete"),
    [
        # 145 - 100 leaves 45 = 0.9 * 50
        (145, {"a": 400, "b": 600}, True),
        # one less does not: b gets what is above 50
        (144, {"a": 400, "b": 594}, False),
        (50, {"a": 400}, False),
        (-3000, {"a": 400}, False),
    ],
)
def test_memory_is_given_only_when_it_is_there(free_mib: int, sent_mib: dict[str, int], *, complete: bool) -> None:
    """Donors are asked in any case."""
    domains = {"a": domain(400, 500), "b": domain(600, 500)}

    sent, found = fitting({"a": 400 * MIB, "b": 600 * MIB}, domains, free_mib * MIB)

    assert ({name: size / MIB for name, size in sent.items()}, found) == (sent_mib, complete)


class Qubes:
    """A host of 8 GiB; its guests report every tick and, but for stuck ones, are at once where they should be."""

    def __init__(self, stuck: str = "", **used_mib: int) -> None:
        self.law, self.state = Qmemman(), QmemmanState()
        self.used = {name: used * MIB for name, used in used_mib.items()}
        self.sizes = dict.fromkeys(used_mib, 2 * GIB)
        self.stuck = stuck
        self.tick_no = 0
        self.report: dict[str, Any] = {}

    def tick(self, *, reports: bool = True) -> Decision:
        """Return what is decided a second later."""
        self.tick_no += reports
        at_s = START_S + self.tick_no
        guests = [
            guest(
                n, at_s=at_s, maximum_bytes=2 * GIB, current_bytes=self.sizes[n], total_bytes=2 * GIB,
                unused_bytes=2 * GIB - used - 100 * MIB, disk_caches_bytes=100 * MIB, resident_bytes=0, **self.report,
            )
            for n, used in self.used.items()
        ]  # fmt: skip
        cost = 64 * MIB * len(guests)
        seen = snapshot(*guests, at_s=at_s, total_bytes=8 * GIB, available_bytes=8 * GIB - cost)
        self.state, decision = self.law.decide(self.state, seen, NO_FLOOR)
        self.sizes |= {n: size for n, size in sizes(decision).items() if n not in self.stuck}
        return decision


def test_an_overcommitted_host_is_balanced_in_steps() -> None:
    """5 of 2 GiB on 8: F = 8192 - 5 * 2112 - 50 = -2418; a..d use 500 (pref 650), e all: 5542 can be had."""
    host = Qubes(a=500, b=500, c=500, d=500, e=1900)

    first = host.tick()

    # avail = -2418 + 4 * 1398 = 3174: 2600 + 2048 pref; a: 0.999 * (650 + 650/4648 * 3174), e full, its over to a..d
    plain = 0.999 * (650 + 650 / 4648 * 3174)
    over = 0.999 * (2048 + 2048 / 4648 * 3174) - 2048
    wanted = plain + 0.999 * over / 4
    assert {n: size / MIB for n, size in sizes(first).items()} == {n: pytest.approx(wanted, abs=0.01) for n in "abcd"}
    assert numbers_of(first, "a")["used_bytes"] == 500 * MIB
    assert numbers_of(first, "a")["pref_bytes"] == 650 * MIB
    assert sizes(host.tick()) == {}


def test_without_a_new_report_nothing_happens() -> None:
    """The law is driven by reports."""
    host = Qubes(a=500, b=500, c=500, d=500, e=1900)
    host.tick()
    host.used["a"] = 1800 * MIB

    assert sizes(host.tick(reports=False)) == {}
    assert "a" in sizes(host.tick())


def test_a_donor_that_does_not_move_is_left_out_until_it_does() -> None:
    """While another waits for its memory: the rest is balanced without it."""
    host = Qubes("a", a=100, b=1400, c=1400, d=1400, e=1400)
    host.tick()
    host.tick()
    assert host.state.no_progress == frozenset()
    host.used["b"] = 1500 * MIB
    host.tick()
    assert host.state.no_progress == {"uuid-a"}
    assert "wanted_bytes" not in numbers_of(host.tick(), "a")

    host.sizes["a"] = host.state.books.targets["uuid-a"]
    host.tick()

    assert host.state.no_progress == frozenset()


def test_a_guest_left_out_comes_back_when_it_needs_more() -> None:
    """Else it would starve beside free memory."""
    host = Qubes("a", a=100, b=1400, c=1400, d=1400, e=1400)
    host.sizes["a"] = 1500 * MIB
    host.tick()
    host.used["b"] = 1500 * MIB
    host.tick()
    assert host.state.no_progress == {"uuid-a"}
    host.used["a"] = 1400 * MIB

    host.tick()

    assert host.state.no_progress == frozenset()


@pytest.mark.parametrize(
    ("counters", "swap_mib"),
    [
        ([(0, 0), (10, 300)], 290),
        ([(0, 100), (10, 300), (100, 300)], 100),
        # swapped in more than ever seen going out: none
        ([(0, 100), (500, 100)], 0),
        # a reboot: the counters fall
        ([(10, 300), (20, 600), (0, 0)], 0),
        # a counter that is not told changes nothing
        ([(0, 0), (0, 200), (None, 900)], 200),
    ],
)
def test_swap_counts_as_used(counters: list[tuple[int | None, int]], swap_mib: int) -> None:
    """Swapped out less swapped in, since the guest was first seen."""
    host = Qubes(a=500)
    for in_mib, out_mib in counters:
        in_bytes = None if in_mib is None else in_mib * MIB
        host.report = {"swap_in_bytes_total": in_bytes, "swap_out_bytes_total": out_mib * MIB}
        decision = host.tick()

    assert numbers_of(decision, "a")["used_bytes"] == (500 + swap_mib) * MIB


def test_taken_memory_is_not_used_memory() -> None:
    """A driver that gives memory back on OOM leaves MemTotal as it is; what was taken looks used."""
    values = {"maximum_bytes": 2 * GIB, "current_bytes": GIB, "total_bytes": 2 * GIB}
    report = {"unused_bytes": 500 * MIB, "disk_caches_bytes": 24 * MIB}
    traits = GuestTraits(has_balloon=True, deflates_on_oom=True)

    _, decision = play(Qmemman(), snapshot(guest("a", **values, **report, traits=traits)))

    assert numbers_of(decision, "a")["used_bytes"] == 500 * MIB


@pytest.mark.parametrize("report", [{"unused_bytes": None}, {"disk_caches_bytes": None}])
def test_a_guest_that_reports_too_little_is_not_balanced(report: dict[str, None]) -> None:
    """It has no meminfo; its memory is its own."""
    seen = snapshot(guest("a", **{"disk_caches_bytes": 0} | report), available_bytes=8 * GIB)

    state, decision = play(Qmemman(), seen)

    assert (sizes(decision), state.meminfo) == ({}, {})


def test_an_absent_guest_keeps_what_it_said_and_what_it_has() -> None:
    """Its memory is no one's to give; when it answers it goes on from there."""
    host = Qubes(a=500)
    host.tick()
    away = snapshot(at_s=START_S + 9, available_bytes=8 * GIB)
    away = msgspec.structs.replace(away, absent=(Absent(uuid="uuid-a", name="a", reason="hung"),))

    state, decision = host.law.decide(host.state, away, NO_FLOOR)

    assert state.meminfo == host.state.meminfo
    assert state.pool.sizes == {"uuid-a": 2 * GIB}
    assert sizes(decision) == {}
