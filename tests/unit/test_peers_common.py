"""The frame around the peers' laws: whom they may size, their clock, and how their targets become a decision."""

from typing import Any

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import play, sizes

from memtide.model.action import Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import HostState
from memtide.model.guest import GuestState, GuestTraits, StatsState
from memtide.model.limits import GuestLimits, GuestRule, Hold, Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Absent
from memtide.policy.laws import LAWS
from memtide.policy.peers.common import after, is_due, subjects
from memtide.policy.peers.none import NoLaw
from memtide.policy.peers.proxmox import Proxmox

BALLOON = GuestTraits(has_balloon=True, stats_period_s=1)


@pytest.mark.parametrize(
    ("kind", "limits", "code"),
    [
        ({}, Limits(rules=(GuestRule(match="a", manage=False),)), ReasonCode.EXEMPT),
        ({"state": GuestState.PAUSED}, Limits(), ReasonCode.NOT_RUNNING),
        ({"traits": GuestTraits(has_balloon=False)}, Limits(), ReasonCode.NO_BALLOON),
        ({"traits": msgspec.structs.replace(BALLOON, huge_pages=True)}, Limits(), ReasonCode.PINNED),
        ({}, Limits(holds={"uuid-a": Hold(size_bytes=GIB, until_s=START_S + 1)}), ReasonCode.HELD),
    ],
)
def test_hands_off(kind: dict[str, Any], limits: Limits, code: ReasonCode) -> None:
    """What the operator, the hypervisor and the guest's build rule out holds for every law, and is its reason."""
    seen = snapshot(guest("a", **kind), guest("b"), available_bytes=GIB)

    able, barred = subjects(seen, limits)
    _, decision = play(Proxmox(), seen, limits=limits)

    assert (set(able), barred) == ({"uuid-b"}, {"uuid-a": code})
    assert set(sizes(decision)) == {"b"}
    assert decision.verdicts[0].reason.code is code
    assert decision.verdicts[0].floor_bytes is None


def test_a_busy_guest_is_left_alone_and_an_ended_hold_is_none() -> None:
    """Migration first; a hold until yesterday is over."""
    busy = msgspec.structs.replace(guest("a"), busy="migrating")
    limits = Limits(holds={"uuid-b": Hold(size_bytes=GIB, until_s=START_S)})

    assert subjects(snapshot(busy, guest("b")), limits)[1] == {"uuid-a": ReasonCode.BUSY}


def test_bounds_are_the_operators() -> None:
    """Ceiling and floor; a floor above the ceiling is the ceiling."""
    limits = Limits(defaults=GuestLimits(ceiling_bytes=600 * MIB, floor_ratio=0.75, weight=2.0))

    able, _ = subjects(snapshot(guest("a"), guest("b", maximum_bytes=512 * MIB)), limits)

    assert [(s.floor_bytes / MIB, s.ceiling_bytes / MIB, s.weight) for s in able.values()] == [
        (600, 600, 2.0),
        (384, 512, 2.0),
    ]


@pytest.mark.parametrize(
    ("due_s", "now_s", "expected"),
    [(0.0, 100.0, True), (100.0, 100.0, True), (101.0, 100.0, False), (110.0, 100.0, False), (111.0, 100.0, True)],
    ids=["first", "on time", "soon", "a period ahead", "clock set back"],
)
def test_when_a_round_is_due(due_s: float, now_s: float, *, expected: bool) -> None:
    """A period of 10 s."""
    assert is_due(due_s, now_s, 10.0) is expected


@pytest.mark.parametrize(
    ("due_s", "now_s", "next_s"),
    [(100.0, 101.0, 110.0), (0.0, 100.0, 110.0), (100.0, 150.0, 160.0), (900.0, 100.0, 110.0)],
    ids=["late by a second", "first", "after a pause", "clock set back"],
)
def test_rounds_keep_their_mean_period(due_s: float, now_s: float, next_s: float) -> None:
    """A late tick does not push all later rounds; after a pause they are not made up for."""
    assert after(due_s, now_s, 10.0) == next_s


def test_guests_are_asked_for_figures_by_laws_that_read_them() -> None:
    """Once a minute where none is set; never by a law that reads none."""
    silent = {"traits": GuestTraits(has_balloon=True), "reported": False}
    seen = [
        snapshot(guest("a", at_s=START_S + t, **silent), at_s=START_S + t, available_bytes=8 * GIB) for t in (0, 30, 60)
    ]

    asked = [
        [a.to_s for a in play(Proxmox(), *seen[:n])[1].actions if isinstance(a, SetStatsPeriod)] for n in (1, 2, 3)
    ]

    assert asked == [[1], [], [1]]
    assert play(NoLaw(), *seen)[1].actions == ()


def test_the_decision_carries_the_laws_line() -> None:
    """Proxmox at 80 % of 16 GiB wants 3.2 GiB free; 1 GiB is 2.2 short."""
    seen = [snapshot(guest(), at_s=START_S + t, available_bytes=GIB) for t in (0, 5)]

    state, first = play(Proxmox(), seen[0])
    _, later = play(Proxmox(), *seen)

    assert (first.state, first.state_since_s) == (HostState.SOFT, START_S)
    assert later.state_since_s == START_S
    assert first.budget.missing_bytes == pytest.approx(2.2 * GIB, abs=2)
    assert first.budget.headroom_bytes == -first.budget.missing_bytes
    move = next(a for a in first.actions if isinstance(a, SetMemory))
    assert move.expected_gain_bytes == -move.change_bytes == 100 * MIB
    assert move.reason.code is ReasonCode.PEER
    assert first.verdicts[0].target_bytes == move.to_bytes == state.books.targets["uuid-a"]
    assert first.verdicts[0].stats is StatsState.FRESH


def test_absent_guests_keep_their_target_and_gone_ones_lose_it() -> None:
    """Absent is unknown, not gone."""
    first = snapshot(guest(), available_bytes=GIB)
    empty = snapshot(at_s=START_S + 1, available_bytes=8 * GIB)
    away = msgspec.structs.replace(empty, absent=(Absent(uuid="uuid-a", name="a", reason="hung"),))

    _, decision = play(Proxmox(), first, away)
    assert decision.verdicts[0].reason == Reason(code=ReasonCode.ABSENT, numbers={"why": "hung"})
    assert decision.verdicts[0].target_bytes == GIB - 100 * MIB
    assert play(Proxmox(), first, empty)[0].books.targets == {}


@pytest.mark.parametrize("name", [name for name in LAWS if name != "tide"])
def test_answers(name: str) -> None:
    """What was accepted is the target, whoever asked; what was not, was never asked for; the rest changes nothing."""
    law = LAWS[name].make()
    state = law.initial()
    action = SetMemory(uuid="u", name="a", from_bytes=2, to_bytes=1, reason=Reason(code=ReasonCode.OPERATOR))
    ksm = SetKsm(files={}, before={}, reason=Reason(code=ReasonCode.OPERATOR))

    sent = law.answered(state, action, Reply(result=Result.SENT))
    refused = law.answered(sent, action, Reply(result=Result.REFUSED))

    assert sent.books.targets == {"u": 1}
    assert law.answered(sent, ksm, Reply(result=Result.DONE)) == sent
    assert refused.books.targets == {}


def test_the_registry_names_what_it_makes() -> None:
    """By the name it is called, in a sentence, with its source."""
    assert list(LAWS) == ["tide", "mom", "proxmox", "proxmox-90", "squeezed", "qmemman", "ksmtuned", "none"]
    for name, law in LAWS.items():
        assert (law.name, law.make().name) == (name, name)
        assert law.source
        assert not law.summary.endswith(".")
