"""The law, one behaviour at a time: a few ticks of a hand-made host."""

import pytest
from make import GIB, MIB, START_S, guest, snapshot

from memtide.model.action import Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import Decision, HostState
from memtide.model.guest import GuestState, GuestTraits
from memtide.model.limits import GuestLimits, GuestRule, Hold, Limits, Mode
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.tide import Tide, TideState

SHORT_BYTES = 900 * MIB
"""Available memory on a 16 GiB host whose auto reserve is about 1 GiB: soft."""


def play(*snapshots: Snapshot, limits: Limits | None = None) -> tuple[TideState, Decision]:
    """Return what the law concludes from the last of these snapshots."""
    law, limits = Tide(), limits or Limits()
    state = law.initial()
    for seen in snapshots:
        state, decision = law.decide(state, seen, limits)
    return state, decision


def sizes(decision: Decision) -> dict[str, int]:
    """Return the sizes asked for, by guest name."""
    return {action.name: action.to_bytes for action in decision.actions if isinstance(action, SetMemory)}


def reason_of(decision: Decision, name: str) -> ReasonCode:
    """Return the verdict's reason on one guest."""
    return next(v.reason.code for v in decision.verdicts if v.name == name)


def ticks(count: int, *guests: dict, **world: object) -> list[Snapshot]:
    """Return the same world seen several times, two seconds apart, with fresh reports."""
    return [
        snapshot(*(guest(**kind, at_s=START_S + 2 * i) for kind in guests), at_s=START_S + 2 * i, **world)
        for i in range(count)
    ]


FULL_OF_AIR = {"name": "air", "used_bytes": 100 * MIB, "resident_bytes": 800 * MIB}
NEVER_TOUCHED = {"name": "paper", "used_bytes": 100 * MIB}
STARVING = {"name": "thin", "current_bytes": 400 * MIB, "used_bytes": 350 * MIB}


def test_resident_slack_is_taken_and_untouched_memory_left_alone() -> None:
    """Taking memory that was never touched gives the host nothing, so only the resident slack is taken."""
    _, decision = play(*ticks(2, FULL_OF_AIR, NEVER_TOUCHED, available_bytes=SHORT_BYTES))

    assert set(sizes(decision)) == {"air"}
    assert reason_of(decision, "paper") is ReasonCode.NOTHING_RESIDENT


def test_nothing_is_taken_while_the_host_has_its_reserve() -> None:
    """In pressure mode a calm host leaves every guest what it has."""
    _, decision = play(*ticks(3, FULL_OF_AIR, available_bytes=8 * GIB))

    assert sizes(decision) == {}
    assert decision.state is HostState.HIGH


def test_follow_mode_takes_slack_from_a_calm_host_slowly() -> None:
    """In follow mode the rest stays the host's, a step a tick."""
    _, decision = play(*ticks(2, FULL_OF_AIR, available_bytes=8 * GIB), limits=Limits(mode=Mode.FOLLOW))

    assert sizes(decision) == {"air": GIB - 128 * MIB}
    assert reason_of(decision, "air") is ReasonCode.FOLLOW


def test_a_starving_guest_is_relieved_on_the_first_sample_that_shows_it() -> None:
    """Relief needs one fresh report, not two, and is not limited in speed."""
    _, decision = play(*ticks(1, STARVING, available_bytes=8 * GIB))

    assert sizes(decision)["thin"] >= 350 * MIB + 40 * MIB + 128 * MIB
    assert reason_of(decision, "thin") is ReasonCode.RELIEF


def test_relief_comes_from_idle_guests_when_the_host_has_nothing() -> None:
    """At the emergency line what a growing guest will soon touch is taken from those with slack in the same tick."""
    thin = [STARVING | {"used_bytes": used_mib * MIB} for used_mib in (150, 350)]
    worlds = [ticks(2, FULL_OF_AIR, kind, available_bytes=200 * MIB)[i] for i, kind in enumerate(thin)]
    _, decision = play(*worlds)

    assert sizes(decision)["air"] < GIB
    assert reason_of(decision, "thin") is ReasonCode.NO_ROOM


def test_room_that_is_not_touched_costs_the_host_nothing() -> None:
    """A guest that lacks room but does not grow gets it even where the host has nothing to spare."""
    _, decision = play(*ticks(1, STARVING, available_bytes=300 * MIB))

    assert sizes(decision)["thin"] > 400 * MIB + 60 * MIB


def test_at_the_emergency_line_nobody_grows_on_credit() -> None:
    """Under a quarter of the reserve even room that is not touched yet is not promised."""
    _, decision = play(*ticks(1, STARVING, available_bytes=100 * MIB))

    assert sizes(decision) == {}
    assert reason_of(decision, "thin") is ReasonCode.NO_ROOM


@pytest.mark.parametrize(
    "trouble", [{"reported": False}, {"total_bytes": 2**50, "usable_bytes": 0}, {"since": True}], ids=str
)
def test_a_hold_holds_whatever_else_is_wrong_with_the_guest(trouble: dict) -> None:
    """A held guest is not grown back to its maximum because its statistics are missing or it has just booted."""
    young = trouble.pop("since", False)
    kind = {"name": "held", "current_bytes": 512 * MIB} | trouble
    seen = ticks(3, kind, available_bytes=8 * GIB)
    if young:
        seen = [
            Snapshot(taken_at_s=s.taken_at_s, host=s.host, guests=(_since(s.guests[0], START_S - 1),)) for s in seen
        ]
    hold = Limits(holds={"uuid-held": Hold(size_bytes=512 * MIB, until_s=START_S + 600)})

    assert sizes(play(*seen, limits=hold)[1]) == {}


def test_a_clock_set_back_does_not_blind_the_law() -> None:
    """Reports that are older than the last one, because the clock went back, are believed from then on."""
    early = ticks(2, {"name": "g", "used_bytes": 100 * MIB}, available_bytes=1100 * MIB)
    back = START_S - 3600
    late = [
        snapshot(guest("g", at_s=back + 2 * i, used_bytes=950 * MIB), at_s=back + 2 * i, available_bytes=1100 * MIB)
        for i in range(2)
    ]
    _, decision = play(*early, *late)

    assert decision.verdicts[0].demand_bytes == 990 * MIB
    assert decision.verdicts[0].starving


def test_a_report_from_the_future_is_not_the_last_word() -> None:
    """One report a day ahead is ignored; the next true one counts."""
    ahead = snapshot(guest("g", at_s=START_S + 86400), at_s=START_S)
    _, decision = play(ahead, *ticks(2, {"name": "g", "used_bytes": 300 * MIB}))

    assert decision.verdicts[0].demand_bytes == 340 * MIB


def test_a_guest_that_never_moves_is_tried_for_days_without_harm() -> None:
    """The back-off is bounded: thousands of failures later the law still decides."""
    law, limits = Tide(), Limits()
    state = law.initial()
    for tick in range(3000):
        at_s = START_S + 40.0 * tick
        state, decision = law.decide(
            state, snapshot(guest(**FULL_OF_AIR, at_s=at_s), at_s=at_s, available_bytes=0), limits
        )

    assert reason_of(decision, "air") in {
        ReasonCode.STUCK, ReasonCode.HOST_SHORT, ReasonCode.MOVING, ReasonCode.OVERLOAD,
    }  # fmt: skip


def test_swap_hides_no_demand() -> None:
    """What a guest swapped out counts as demand, although its usable memory looks comfortable."""
    before = guest("s", current_bytes=500 * MIB, used_bytes=300 * MIB, swap_out_bytes_total=0)
    after = guest("s", at_s=START_S + 2, current_bytes=500 * MIB, used_bytes=300 * MIB, swap_out_bytes_total=200 * MIB)
    host = {"available_bytes": 1100 * MIB}
    _, decision = play(snapshot(before, **host), snapshot(after, at_s=START_S + 2, **host))

    assert sizes(decision)["s"] >= 40 * MIB + 300 * MIB + 200 * MIB
    assert decision.verdicts[0].starving


def test_a_stale_report_protects_its_guest() -> None:
    """No shrink on statistics that stopped, however short the host is."""
    dead = [snapshot(guest("air", resident_bytes=800 * MIB), at_s=START_S + 20 + i, available_bytes=0) for i in (0, 2)]
    _, decision = play(*dead)

    assert sizes(decision) == {}
    assert reason_of(decision, "air") is ReasonCode.STATS_STALE


def test_a_report_that_does_not_move_is_no_report() -> None:
    """Two samples with one update time show no growth, so nothing is taken yet."""
    same = [snapshot(guest(**FULL_OF_AIR), at_s=START_S + i, available_bytes=SHORT_BYTES) for i in (0, 2)]

    assert sizes(play(*same)[1]) == {}


def test_a_guest_without_a_period_is_asked_for_statistics_once() -> None:
    """A missing stats period is set; a guest that still says nothing is not asked again at once."""
    mute = GuestTraits(has_balloon=True)
    law, limits = Tide(), Limits(stats_period_s=1)
    state, first = law.decide(law.initial(), snapshot(guest(reported=False, traits=mute)), limits)
    _, second = law.decide(state, snapshot(guest(reported=False, traits=mute), at_s=START_S + 2), limits)

    assert [type(action) for action in first.actions] == [SetStatsPeriod]
    assert second.actions == ()


def test_a_users_own_period_is_kept() -> None:
    """A guest with a period of its own gets no other."""
    own = GuestTraits(has_balloon=True, stats_period_s=60)
    _, decision = play(snapshot(guest(traits=own)))

    assert decision.actions == ()


def test_free_memory_is_taken_from_the_lighter_guest_first() -> None:
    """Of two guests with the same free slack the lighter one gives, and as long as it is enough it alone."""
    limits = Limits(rules=(GuestRule(match="gold", weight=4.0),))
    gold, lead = FULL_OF_AIR | {"name": "gold"}, FULL_OF_AIR | {"name": "lead"}
    _, little = play(*ticks(2, gold, lead, available_bytes=SHORT_BYTES), limits=limits)
    _, much = play(*ticks(2, gold, lead, available_bytes=0), limits=limits)

    assert set(sizes(little)) == {"lead"}
    assert set(sizes(much)) == {"lead", "gold"}


def test_the_heavier_guest_gives_less_of_its_cache() -> None:
    """Of two guests with the same page cache the one of weight 4 gives a quarter of what the other gives."""
    limits = Limits(rules=(GuestRule(match="gold", weight=4.0),))
    cached = {"used_bytes": 100 * MIB, "unused_bytes": 40 * MIB, "resident_bytes": GIB - 40 * MIB}
    gold, lead = FULL_OF_AIR | cached | {"name": "gold"}, FULL_OF_AIR | cached | {"name": "lead"}
    _, decision = play(*ticks(2, gold, lead, available_bytes=SHORT_BYTES), limits=limits)
    taken = {a.name: a.expected_gain_bytes for a in decision.actions if isinstance(a, SetMemory)}

    assert taken["lead"] > 40 * MIB
    assert abs(taken["lead"] - 4 * taken["gold"]) <= MIB


def test_no_guest_goes_below_its_floor() -> None:
    """A floor holds even when the guest uses far less and the host is out of memory."""
    limits = Limits(defaults=GuestLimits(floor_bytes=700 * MIB))
    _, decision = play(*ticks(2, FULL_OF_AIR, available_bytes=0), limits=limits)

    assert 700 * MIB <= sizes(decision)["air"] < GIB


def test_an_exempt_guest_is_never_touched() -> None:
    """Never means never, for taking and for giving."""
    limits = Limits(rules=(GuestRule(match="*", manage=False),))
    _, decision = play(*ticks(2, FULL_OF_AIR, STARVING, available_bytes=200 * MIB), limits=limits)

    assert sizes(decision) == {}
    assert {v.reason.code for v in decision.verdicts} == {ReasonCode.EXEMPT}


def test_a_held_guest_keeps_the_size_an_operator_chose() -> None:
    """Nothing is taken from a guest under a hold, until it ends."""
    hold = {"uuid-air": Hold(size_bytes=GIB, until_s=START_S + 3)}
    _, held = play(*ticks(2, FULL_OF_AIR, available_bytes=SHORT_BYTES), limits=Limits(holds=hold))
    _, free = play(*ticks(3, FULL_OF_AIR, available_bytes=SHORT_BYTES), limits=Limits(holds=hold))

    assert sizes(held) == {}
    assert set(sizes(free)) == {"air"}


def test_a_guest_that_just_booted_is_left_alone() -> None:
    """Boot is a guest's own peak; it is not judged by it."""
    young = [
        Snapshot(taken_at_s=s.taken_at_s, host=s.host, guests=tuple(_since(g, START_S - 5) for g in s.guests))
        for s in ticks(2, FULL_OF_AIR, available_bytes=SHORT_BYTES)
    ]

    assert reason_of(play(*young)[1], "air") is ReasonCode.BOOT_GRACE


def _since(seen: object, since_s: float) -> object:
    import msgspec  # noqa: PLC0415 - one line of one test

    return msgspec.structs.replace(seen, since_s=since_s)


def test_a_stuck_guest_is_left_alone_and_its_target_taken_back() -> None:
    """A guest that does not move for ten seconds is excluded, and its driver stops trying."""
    played = ticks(8, FULL_OF_AIR, available_bytes=SHORT_BYTES)
    _, decision = play(*played[:7])
    _, later = play(*played)

    assert sizes(decision) == {"air": GIB}
    assert reason_of(decision, "air") is ReasonCode.STUCK
    assert sizes(later) == {}


def test_advice_that_was_not_sent_is_not_held_against_the_guest() -> None:
    """In observe mode a guest does not move because nobody asked it: it is not called stuck."""
    law, limits = Tide(), Limits()
    state = law.initial()
    for seen in ticks(9, FULL_OF_AIR, available_bytes=SHORT_BYTES):
        state, decision = law.decide(state, seen, limits)
        for action in decision.actions:
            state = law.answered(state, action, Reply(result=Result.NOT_SENT))

    assert reason_of(decision, "air") is ReasonCode.HOST_SHORT


def test_what_was_taken_goes_back_when_the_host_is_well_again() -> None:
    """A guest below its maximum on a calm host is handed memory, slowly, up to its maximum."""
    small = {"name": "small", "current_bytes": 600 * MIB}
    _, decision = play(*ticks(1, small, available_bytes=2 * GIB))

    assert 600 * MIB < sizes(decision)["small"] < GIB
    assert reason_of(decision, "small") is ReasonCode.RETURN


def test_absent_is_unknown_not_gone() -> None:
    """A guest that did not answer keeps its track and gets a verdict, but no action."""
    first, second = ticks(2, FULL_OF_AIR, available_bytes=0)
    quiet = Snapshot(
        taken_at_s=second.taken_at_s,
        host=second.host,
        guests=(),
        absent=(Absent(uuid="uuid-air", name="air", reason="no answer within 1.5 s"),),
    )
    state, decision = play(first, quiet)

    assert reason_of(decision, "air") is ReasonCode.ABSENT
    assert "uuid-air" in state.tracks


def test_a_paused_guest_is_not_touched() -> None:
    """A paused guest cannot move its memory."""
    paused = FULL_OF_AIR | {"state": GuestState.PAUSED}

    assert sizes(play(*ticks(2, paused, available_bytes=0))[1]) == {}


def test_ksm_is_steered_with_every_decision() -> None:
    """The verdict on KSM is part of the decision, and a refused switch is not tried every tick."""
    law, limits, guests = Tide(), Limits(), (guest("a"), guest("b"))
    state, first = law.decide(law.initial(), snapshot(*guests, available_bytes=SHORT_BYTES), limits)
    state, decision = law.decide(state, snapshot(*guests, at_s=START_S + 6, available_bytes=SHORT_BYTES), limits)
    switches = [action for action in decision.actions if isinstance(action, SetKsm)]
    state = law.answered(state, switches[0], Reply(result=Result.REFUSED))
    _, again = law.decide(state, snapshot(*guests, at_s=START_S + 8, available_bytes=SHORT_BYTES), limits)

    assert first.ksm is not None
    assert switches[0].files["run"] == "1"
    assert not any(isinstance(action, SetKsm) for action in again.actions)


def test_steady_demand_settles() -> None:
    """The same world seen over and over leads to no action after twenty ticks."""
    small = {"name": "small", "current_bytes": GIB, "used_bytes": 300 * MIB}
    law, limits = Tide(), Limits()
    state, quiet = law.initial(), True
    for tick, seen in enumerate(ticks(40, small, FULL_OF_AIR | {"resident_bytes": 140 * MIB}, available_bytes=GIB)):
        state, decision = law.decide(state, seen, limits)
        quiet = quiet and (tick < 20 or not sizes(decision))

    assert quiet
