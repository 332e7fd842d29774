"""The law's steps one by one: taking, lending room, giving back, sharing in overload."""

import pytest
from make import GIB, MIB, START_S, guest, snapshot

from memtide.model.action import SetMemory
from memtide.model.decision import Decision, HostState
from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.overload import Overload, look
from memtide.policy.plan import Room
from memtide.policy.tide import Tide

RESERVE_BYTES = 1000 * MIB
LIMITS = Limits(reserve_bytes=RESERVE_BYTES)


def ticks(*worlds: tuple[int, list[dict]], limits: Limits = LIMITS, swap_mib: int = 0) -> list[Decision]:
    """Return what the law decides of hosts with so much available (MiB) and such guests, one after the other."""
    law, decisions = Tide(), []
    swap = {"swap_total_bytes": swap_mib * MIB, "swap_free_bytes": swap_mib * MIB}
    state = law.initial()
    for tick, (available_mib, kinds) in enumerate(worlds):
        at_s = START_S + 2.0 * tick
        guests = (guest(**kind, at_s=at_s) for kind in kinds)
        seen: Snapshot = snapshot(*guests, at_s=at_s, available_bytes=available_mib * MIB, **swap)
        state, decision = law.decide(state, seen, limits)
        decisions.append(decision)
    return decisions


def asked(decision: Decision) -> dict[str, SetMemory]:
    """Return the changes of memory by guest name."""
    return {action.name: action for action in decision.actions if isinstance(action, SetMemory)}


def air(name: str, free_mib: int = 600, **more: object) -> dict:
    """Return a guest of 1 GiB that uses 100 MiB and holds so much free memory resident."""
    return {"name": name, "used_bytes": 100 * MIB, "resident_bytes": (140 + free_mib) * MIB} | more


# --- taking -----------------------------------------------------------------------------------------------------


def test_free_memory_is_taken_from_as_few_guests_as_will_do() -> None:
    """The largest holder gives alone as long as it has enough; the others are not disturbed."""
    guests = [air("large", 700), air("small", 300), air("smaller", 200)]
    *_, decision = ticks((800, guests), (800, guests))

    assert set(asked(decision)) == {"large"}


def test_taking_is_a_third_more_than_is_missing() -> None:
    """Not all that is asked comes back."""
    guests = [air("large", 700)]
    *_, decision = ticks((700, guests), (700, guests))

    assert asked(decision)["large"].expected_gain_bytes == pytest.approx(1.3 * 300 * MIB, abs=MIB)


def test_a_guest_that_starves_gives_nothing() -> None:
    """Not even when it holds resident memory that it does not use; only overload cuts needs, and here swap helps."""
    thin = {"name": "thin", "current_bytes": 300 * MIB, "used_bytes": 240 * MIB, "resident_bytes": 300 * MIB}
    *_, decision = ticks((100, [thin]), (100, [thin]), (100, [thin]), swap_mib=4096)

    assert decision.verdicts[0].starving
    assert all(action.change_bytes >= 0 for action in asked(decision).values())


def test_nothing_is_taken_below_what_is_kept() -> None:
    """However short the host is: demand with its margin and the cushion stay."""
    guests = [air("only", 800)]
    *_, decision = ticks((0, guests), (0, guests))

    assert asked(decision)["only"].to_bytes >= 140 * MIB * 1.02 + 32 * MIB


def test_follow_mode_leaves_a_guest_what_it_wants() -> None:
    """It takes from a calm host only what is beyond demand, 15 % and room for a burst."""
    follow = Limits(mode=Mode.FOLLOW, reserve_bytes=RESERVE_BYTES)
    large, small = air("large", 700), air("small", 260, current_bytes=400 * MIB)
    *_, decision = ticks((8000, [large, small]), (8000, [large, small]), limits=follow)

    assert asked(decision)["large"].change_bytes < 0
    assert "small" not in asked(decision) or asked(decision)["small"].change_bytes > 0


# --- room -------------------------------------------------------------------------------------------------------


def test_a_guest_gets_its_room_back_after_its_slack_went_home() -> None:
    """Four seconds after it was taken, on a host that is still short, because untouched room costs nothing."""
    whole = [air("g", 600)]
    to_bytes = asked(ticks((700, whole), (700, whole))[-1])["g"].to_bytes
    taken = [{"name": "g", "current_bytes": to_bytes, "used_bytes": 100 * MIB, "resident_bytes": 140 * MIB}]
    *_, at_once, later = ticks((700, whole), (700, whole), (900, taken), (900, taken))

    assert asked(at_once) == {}
    assert asked(later)["g"].to_bytes == GIB
    assert asked(later)["g"].reason.code is ReasonCode.ROOM
    assert asked(later)["g"].expected_gain_bytes == 0


def test_no_room_is_lent_on_a_host_without_half_of_its_reserve() -> None:
    """There a guest could fill the room before anybody could look."""
    small = [{"name": "g", "current_bytes": 500 * MIB, "used_bytes": 100 * MIB}]
    *_, decision = ticks(*[(490, small)] * 4)

    assert asked(decision) == {}


def test_freed_memory_that_is_resident_is_room_already() -> None:
    """New room on top of it would be used before it."""
    small = [{"name": "g", "current_bytes": 600 * MIB, "used_bytes": 100 * MIB, "resident_bytes": 560 * MIB}]
    *_, decision = ticks(*[(900, small)] * 3)

    assert all(action.change_bytes < 0 for action in asked(decision).values())


# --- giving back ------------------------------------------------------------------------------------------------


def test_a_quarter_of_what_is_spare_goes_back_to_the_heaviest_first() -> None:
    """A tick gives a quarter of what is above the reserve and a quarter, to as few guests as can have it."""
    small = {"current_bytes": 300 * MIB, "used_bytes": 60 * MIB, "maximum_bytes": 4 * GIB}
    guests = [small | {"name": "gold"}, small | {"name": "lead"}]
    limits = Limits(reserve_bytes=RESERVE_BYTES, rules=(GuestRule(match="gold", weight=3.0),))
    decision = ticks((3250, guests), limits=limits)[0]
    given = {name: action.change_bytes // MIB for name, action in asked(decision).items()}

    assert given == {"gold": 500}


def test_of_equals_the_one_that_lacks_most_is_given_back_first() -> None:
    """A tick's share goes to the guest that is furthest from its maximum."""
    guests = [{"name": "a-near", "current_bytes": 900 * MIB}, {"name": "far", "current_bytes": 300 * MIB}]
    decision = ticks((1850, guests))[0]

    assert set(asked(decision)) == {"far"}


def test_nobody_grows_above_a_ceiling() -> None:
    """An operator's ceiling holds for what is given back."""
    small = [{"name": "g", "current_bytes": 500 * MIB}]
    limits = Limits(reserve_bytes=RESERVE_BYTES, defaults=GuestLimits(ceiling_bytes=600 * MIB))
    decision = ticks((12000, small), limits=limits)[0]

    assert asked(decision)["g"].to_bytes == 600 * MIB


# --- overload ---------------------------------------------------------------------------------------------------


def growing(name: str, used_mib: int) -> dict:
    """Return a guest of 2 GiB that has touched all that it uses."""
    return {"name": name, "maximum_bytes": 2 * GIB, "used_bytes": used_mib * MIB}


def overloaded(limits: Limits = LIMITS, swap_mib: int = 0) -> Decision:
    """Return the decision on two guests that grow by 300 MiB a second on a host that has next to nothing."""
    worlds = [
        (900 - 250 * i, [growing("gold", 300 + 600 * min(i, 2)), growing("lead", 300 + 600 * min(i, 2))])
        for i in range(4)
    ]
    return ticks(*worlds, limits=limits, swap_mib=swap_mib)[-1]


def test_in_overload_those_with_room_give_it_before_it_is_used() -> None:
    """Needs that are about to exceed the host are shared, so each is cut to its share."""
    cut = asked(overloaded())

    assert {action.reason.code for action in cut.values()} == {ReasonCode.OVERLOAD}
    assert all(action.to_bytes < 2 * GIB for action in cut.values())


def test_in_overload_the_heavier_guest_keeps_more() -> None:
    """Shares above the floors go by weight."""
    limits = Limits(reserve_bytes=RESERVE_BYTES, rules=(GuestRule(match="gold", weight=4.0),))
    sizes = {verdict.name: verdict.target_bytes or 2 * GIB for verdict in overloaded(limits).verdicts}

    assert sizes["lead"] < sizes["gold"]


def test_in_overload_a_floor_holds() -> None:
    """A floor is a promise even when needs do not fit."""
    limits = Limits(reserve_bytes=RESERVE_BYTES, defaults=GuestLimits(floor_bytes=1500 * MIB))

    assert all(action.to_bytes >= 1500 * MIB for action in asked(overloaded(limits)).values())


def test_while_the_hosts_swap_helps_nobody_is_cut() -> None:
    """Cold pages are a far better victim than any guest's need."""
    assert not [action for action in asked(overloaded(swap_mib=32768)).values() if action.change_bytes < 0]


def host_room(available_mib: int, swap_mib: int = 0, state: HostState = HostState.LOW) -> Room:
    """Return a host with a reserve of 1000 MiB and nothing under way."""
    return Room(
        state=state,
        available_bytes=available_mib * MIB,
        reserve_bytes=1000 * MIB,
        growing_bytes=0,
        shrinking_bytes=0,
        swap_bytes=swap_mib * MIB,
    )


def test_relief_may_use_what_is_above_the_emergency_line_and_the_swap_that_helps() -> None:
    """A quarter of the reserve stays; swap that counts comes on top."""
    assert host_room(400).for_relief_bytes == 150 * MIB
    assert host_room(400, swap_mib=100).for_relief_bytes == 250 * MIB
    assert host_room(100).for_relief_bytes == 0


def test_overload_needs_two_seconds_of_evidence_and_without_swap_one() -> None:
    """Where the kernel kills next, a false overload is the lesser evil."""
    for swap_mib, enough_s in ((0, 1.0), (100, 2.0)):
        room = host_room(0, swap_mib)
        seems = look(Overload(), {}, room, 0.0)

        assert not seems.on
        assert not look(seems, {}, room, enough_s - 0.1).on
        assert look(seems, {}, room, enough_s).on


def test_a_starving_guest_gets_its_room_where_room_is_lent_and_its_need_where_not() -> None:
    """Room costs a calm host nothing; a host at its emergency line promises no more than is needed."""
    whole = air("thin", 600)
    thin = {"name": "thin", "current_bytes": 300 * MIB, "used_bytes": 240 * MIB}
    *_, calm = ticks((8000, [whole]), (8000, [thin]))
    *_, short = ticks((240, [whole]), (240, [thin]), swap_mib=4096)

    assert asked(calm)["thin"].to_bytes == 1024 * MIB
    # demand with its margin, a cushion, and five seconds of growth
    assert 300 * MIB < asked(short)["thin"].to_bytes < 800 * MIB
