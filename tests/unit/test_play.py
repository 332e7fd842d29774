"""The runner: what it counts, when it asks the law, and what others do meanwhile."""

from typing import Any

import pytest

from memtide.model.action import Action, Reply, SetMemory
from memtide.model.decision import Budget, Decision, HostState
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.sim.curve import Curve, flat
from memtide.sim.events import HugePages, Outage, SizeByHand, StopGuest
from memtide.sim.play import play
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

BUDGET = Budget(reserve_bytes=0, available_bytes=0, headroom_bytes=0, missing_bytes=0, pending_bytes=0)


class Scripted:
    """A law that does as it was told at its n-th look, and counts its looks from its last start."""

    name = "scripted"

    def __init__(self, state: HostState = HostState.HIGH, sizes: tuple[int | None, ...] = ()) -> None:
        self.state = state
        self.sizes = sizes
        self.looks: list[tuple[float, int]] = []
        """When, and which look since the start."""

    def initial(self) -> int:
        return 0

    def decide(self, state: int, snapshot: Snapshot, limits: Limits) -> tuple[int, Decision]:
        self.looks.append((snapshot.taken_at_s, state))
        size_bytes = self.sizes[state] if state < len(self.sizes) else None
        actions = () if size_bytes is None else tuple(_sized(guest, size_bytes) for guest in snapshot.guests)
        return state + 1, Decision(
            decided_at_s=snapshot.taken_at_s,
            policy=self.name,
            mode=limits.mode.value,
            state=self.state,
            state_since_s=0.0,
            budget=BUDGET,
            verdicts=(),
            actions=actions,
        )

    def answered(self, state: int, action: Action, reply: Reply) -> int:  # noqa: ARG002 - the port's signature
        return state


def _sized(guest: Any, size_bytes: int) -> SetMemory:
    return SetMemory(
        uuid=guest.uuid, name=guest.name, from_bytes=guest.observed.current_bytes, to_bytes=size_bytes,
        reason=Reason(code=ReasonCode.PEER), expected_gain_bytes=0,
    )  # fmt: skip


def world(*guests: GuestSpec, total_bytes: int = 4 * GIB, swap_bytes: int = 0) -> World:
    """Return a host with these guests."""
    return World(HostSpec(total_bytes=total_bytes, swap_bytes=swap_bytes), guests)


@pytest.mark.parametrize(("state", "looks"), [(HostState.HIGH, 5), (HostState.SOFT, 10), (HostState.LOW, 20)])
def test_a_law_is_asked_as_the_loop_asks_it(state: HostState, looks: int) -> None:
    """Every period while the host has its reserve, and oftener the shorter it is."""
    law = Scripted(state)
    trace = play(world(GuestSpec(name="a")), law, Limits(period_s=2.0), duration_s=10.0)
    assert len(law.looks) == len(trace.ticks) == looks


def test_a_dead_daemon_asks_nothing_and_has_forgotten_everything() -> None:
    """No look falls into the outage, and the first one after it is a first look."""
    law = Scripted()
    played = world(GuestSpec(name="a"))
    play(played, law, Limits(), duration_s=20.0, outages=(Outage(from_s=5.0, to_s=11.0),))
    looks = [(at_s - played.start_s, count) for at_s, count in law.looks]
    assert not [at_s for at_s, _ in looks if 5.0 <= at_s < 11.0]
    assert [count for _, count in looks] == [0, 1, 2, 0, 1, 2, 3, 4]


def test_time_under_the_reserve_and_under_the_emergency_line() -> None:
    """Both are counted against the caller's figure, the second against a quarter of it."""
    levels = ((0.0, 0), (10.0, 0), (10.1, 2 * GIB), (20.0, 2 * GIB), (20.1, int(2.9 * GIB)))
    rising = GuestSpec(name="a", maximum_bytes=4 * GIB, anonymous=Curve(points=levels), touch_bps=100 * GIB)
    trace = play(world(rising), None, Limits(), duration_s=30.0, reserve_bytes=2 * GIB)
    assert trace.under_reserve_s == pytest.approx(20.0, abs=0.3)
    assert trace.under_line_s == pytest.approx(10.0, abs=0.3)
    assert trace.least_available_bytes < GIB // 2


def test_reversals_relief_and_bytes_moved() -> None:
    """Down, up, down is two reversals; a time of lack ends when the guest has its memory."""
    guest = GuestSpec(name="a", anonymous=flat(700 * MIB), swap_bytes=GIB)
    law = Scripted(sizes=(400 * MIB, GIB, GIB, 900 * MIB))
    trace = play(world(guest), law, Limits(), duration_s=20.0)
    assert trace.reversals == 2
    assert len(trace.reliefs_s) == 1
    assert 0.5 < trace.reliefs_s[0] < 6.0
    assert trace.moved_bytes == (2 * (1024 - 400) + 124) * MIB
    assert trace.action_count == 4
    assert trace.shortage_gib_s > 0
    assert trace.guest_swap_bytes > 300 * MIB


def test_a_guest_that_the_host_killed_goes_on_lacking_its_memory() -> None:
    """A law must not look kind because its guests are dead."""
    rising = Curve(points=((0.0, 100 * MIB), (10.0, 3 * GIB)))
    guests = (GuestSpec(name=name, maximum_bytes=4 * GIB, anonymous=rising) for name in ("a", "b"))
    trace = play(world(*guests), None, Limits(), duration_s=60.0)
    assert trace.oom_kills == 1
    [killed] = trace.world.killed
    assert trace[killed].shortage_gib_s > 3 * 45


def test_others_act_too_once_or_again_and_again() -> None:
    """Somebody sets a size every ten seconds, reserves huge pages once, and shuts a guest down, gone or not."""
    played = world(GuestSpec(name="a"), GuestSpec(name="b"))
    events = (
        SizeByHand(guest="a", at_s=5.0, every_s=10.0, size_bytes=600 * MIB),
        HugePages(at_s=6.0, size_bytes=GIB),
        StopGuest(guest="b", at_s=7.0),
        StopGuest(guest="b", at_s=8.0),
    )
    law = Scripted(sizes=(None, None, None, GIB))
    trace = play(played, law, Limits(), duration_s=16.0, events=events)
    assert trace["a"].guest.target_bytes == 600 * MIB
    assert trace["a"].reversals == 2
    assert played.memory.huge_pages_bytes == GIB
    assert [guest.spec.name for guest in played.guests.values()] == ["a"]
    assert trace["b"].guest.spec.name == "b"


def test_ticks_need_not_be_kept_and_progress_is_told() -> None:
    """A long run of many guests has no room for its snapshots; shares rise from nothing."""
    shares: list[float] = []
    trace = play(
        world(GuestSpec(name="a")), Scripted(sizes=(GIB,)), Limits(), duration_s=40.0, keep_ticks=False,
        tell=shares.append,
    )  # fmt: skip
    assert trace.ticks == []
    assert trace.action_count == 1
    assert shares == [0.0, 0.25, 0.5, 0.75]
