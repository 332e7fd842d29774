"""Whatever guests say and hosts are: no law fails, leaves the operator's bounds, or forgets a guest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make import GIB, START_S, guest, host

from memtide.model.action import SetMemory
from memtide.model.guest import Guest, GuestState, GuestTraits, Observed, Reported
from memtide.model.limits import GuestLimits, Limits
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.laws import LAWS

any_u64 = st.integers(min_value=0, max_value=2**64 - 1)
sizes = st.integers(min_value=0, max_value=4 * GIB)


@st.composite
def guests(draw: st.DrawFn, name: str, at_s: float) -> Guest:
    """A guest whose report is anything a u64 can hold, or fits together."""
    maximum = draw(sizes)
    current = draw(st.integers(min_value=0, max_value=maximum))
    traits = GuestTraits(has_balloon=True, deflates_on_oom=draw(st.booleans()), huge_pages=draw(st.booleans()))
    if draw(st.booleans()):
        used = draw(st.integers(min_value=0, max_value=current))
        return guest(
            name, at_s=at_s, maximum_bytes=maximum, current_bytes=current, used_bytes=used, traits=traits,
            disk_caches_bytes=draw(st.none() | st.just(0)),
        )  # fmt: skip
    reported = Reported(
        updated_at_s=draw(st.sampled_from([at_s, 0.0, 4e9])),
        total_bytes=draw(any_u64),
        usable_bytes=draw(any_u64),
        unused_bytes=draw(st.none() | any_u64),
        disk_caches_bytes=draw(st.none() | any_u64),
        swap_in_bytes_total=draw(st.none() | any_u64),
        swap_out_bytes_total=draw(st.none() | any_u64),
    )
    return Guest(
        uuid=f"uuid-{name}",
        name=name,
        state=draw(st.sampled_from([GuestState.RUNNING, GuestState.PAUSED])),
        observed=Observed(maximum_bytes=maximum, current_bytes=current, rss_bytes=draw(st.none() | any_u64)),
        reported=draw(st.none() | st.just(reported)),
        traits=traits,
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """A few rounds of a few guests; the clock may go back."""
    seen = []
    at_s = START_S
    for _ in range(draw(st.integers(min_value=2, max_value=4))):
        at_s += draw(st.sampled_from([1.0, 10.0, 60.0, -300.0]))
        names = draw(st.lists(st.sampled_from("abc"), unique=True))
        absent = tuple(Absent(uuid=f"uuid-{n}", name=n, reason="hung") for n in "abc" if n not in names)
        there = host(
            at_s=at_s,
            available_bytes=draw(sizes),
            total_bytes=draw(sizes),
            huge_pages_total_bytes=draw(st.sampled_from([0, GIB])),
        )
        seen.append(
            Snapshot(
                taken_at_s=at_s,
                host=there,
                guests=tuple(draw(guests(name, at_s)) for name in names),
                absent=absent if draw(st.booleans()) else (),
            )
        )
    return seen


@pytest.mark.parametrize("name", [name for name in LAWS if name != "tide"])
@settings(max_examples=60, deadline=None)
@given(history=histories(), floor=sizes, weight=st.sampled_from([0.0, 0.5, 1.0, 4.0]))
def test_no_history_breaks_a_law(name: str, history: list[Snapshot], floor: int, weight: float) -> None:
    """Inside floor and ceiling where it moves a guest at all, a verdict on every guest, and the same again."""
    law = LAWS[name].make()
    limits = Limits(defaults=GuestLimits(floor_bytes=floor, weight=weight, ceiling_bytes=3 * GIB))
    state = law.initial()
    for seen in history:
        by_uuid = {one.uuid: one for one in seen.guests}
        again = law.decide(state, seen, limits)
        state, decision = law.decide(state, seen, limits)

        assert again == (state, decision)
        assert {verdict.uuid for verdict in decision.verdicts} == set(by_uuid) | {one.uuid for one in seen.absent}
        for action in decision.actions:
            if not isinstance(action, SetMemory):
                continue
            one = by_uuid[action.uuid]
            ceiling = min(one.observed.maximum_bytes, 3 * GIB)
            floor_bytes = min(ceiling, limits.defaults.floor_for(one.observed.maximum_bytes))
            assert one.state is GuestState.RUNNING
            # a step towards the bounds is not yet within them: a guest may start outside
            assert min(floor_bytes, one.observed.current_bytes) <= action.to_bytes
            assert action.to_bytes <= max(ceiling, one.observed.current_bytes)
