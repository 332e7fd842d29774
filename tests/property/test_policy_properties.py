"""What must hold of the law for every history of every host: invariants I2, I3, I4, I5, I9 and I11 of the research."""

from hypothesis import given, settings
from hypothesis import strategies as st
from make import GIB, MIB, START_S, guest, host

from memtide.model.action import SetMemory
from memtide.model.guest import Guest, GuestState, GuestTraits, Observed, Reported
from memtide.model.limits import GuestLimits, Limits, Mode
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.share import Claim, fill
from memtide.policy.tide import Tide

sizes = st.integers(min_value=0, max_value=4 * GIB)
weights = st.floats(min_value=0.1, max_value=100)
any_u64 = st.one_of(st.integers(min_value=0, max_value=2**64 - 1), sizes)


@given(amount=sizes, caps=st.dictionaries(st.text(max_size=3), st.tuples(sizes, weights), max_size=8))
def test_shares_add_up_and_stay_under_their_caps(amount: int, caps: dict[str, tuple[int, float]]) -> None:
    """The shares' sum is the amount or all caps, to the byte, and no share exceeds its cap."""
    shares = fill(amount, {key: Claim(cap_bytes=cap, weight=weight) for key, (cap, weight) in caps.items()})

    assert all(0 <= shares[key] <= cap for key, (cap, _) in caps.items())
    assert sum(shares.values()) == min(amount, sum(cap for cap, _ in caps.values()))


@given(amount=sizes, more=sizes, caps=st.lists(st.tuples(sizes, weights), min_size=1, max_size=6))
def test_a_larger_amount_lowers_nobodys_share(amount: int, more: int, caps: list[tuple[int, float]]) -> None:
    """Monotone in the amount, but for the rounding of one byte a claimant."""
    claims = {str(i): Claim(cap_bytes=cap, weight=weight) for i, (cap, weight) in enumerate(caps)}

    less, greater = fill(amount, claims), fill(amount + more, claims)

    assert all(greater[key] >= less[key] - len(claims) for key in claims)


@st.composite
def hostile_guests(draw: st.DrawFn, name: str, at_s: float) -> Guest:
    """A guest whose report is anything a u64 can hold, or fits together."""
    maximum = draw(st.integers(min_value=64 * MIB, max_value=4 * GIB))
    current = draw(st.integers(min_value=32 * MIB, max_value=maximum))
    if draw(st.booleans()):
        used = draw(st.integers(min_value=0, max_value=current))
        return guest(
            name, at_s=at_s, maximum_bytes=maximum, current_bytes=current, used_bytes=used,
            resident_bytes=draw(st.integers(min_value=0, max_value=maximum)),
        )  # fmt: skip
    reported = Reported(
        updated_at_s=draw(st.one_of(st.just(at_s), st.floats(min_value=0, max_value=4e9))),
        total_bytes=draw(any_u64),
        usable_bytes=draw(any_u64),
        swap_out_bytes_total=draw(st.none() | any_u64),
        swap_in_bytes_total=draw(st.none() | any_u64),
    )
    return Guest(
        uuid=f"uuid-{name}",
        name=name,
        state=draw(st.sampled_from(GuestState)),
        observed=Observed(maximum_bytes=maximum, current_bytes=current, rss_bytes=draw(st.none() | any_u64)),
        reported=draw(st.none() | st.just(reported)),
        traits=GuestTraits(has_balloon=draw(st.booleans()), stats_period_s=draw(st.none() | st.just(1))),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """A few ticks of a few guests, anything goes."""
    ticks = []
    for tick in range(draw(st.integers(min_value=2, max_value=5))):
        at_s = START_S + 2.0 * tick
        names = draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1))
        guests = tuple(draw(hostile_guests(name, at_s)) for name in names)
        available = draw(st.integers(min_value=0, max_value=8 * GIB))
        swap = draw(st.sampled_from([0, GIB]))
        ticks.append(
            Snapshot(
                taken_at_s=at_s,
                host=host(at_s=at_s, available_bytes=available, swap_total_bytes=swap, swap_free_bytes=swap),
                guests=guests,
            )
        )
    return ticks


@settings(max_examples=80, deadline=None)
@given(
    history=histories(),
    mode=st.sampled_from(Mode),
    floor=st.integers(min_value=0, max_value=GIB),
    weight=weights,
)
def test_no_history_makes_the_law_hurt_a_guest(history: list[Snapshot], mode: Mode, floor: int, weight: float) -> None:
    """Never under the floor, never over the maximum, nothing taken without fresh figures, always with a reason."""
    law = Tide()
    state = law.initial()
    limits = Limits(mode=mode, defaults=GuestLimits(floor_bytes=floor, weight=weight))
    for snapshot in history:
        guests = {g.uuid: g for g in snapshot.guests}
        state, decision = law.decide(state, snapshot, limits)

        assert {verdict.uuid for verdict in decision.verdicts} == set(guests)
        for action in decision.actions:
            assert action.reason.numbers or action.reason.code is ReasonCode.STUCK
            if not isinstance(action, SetMemory):
                continue
            seen = guests[action.uuid]
            assert seen.state is GuestState.RUNNING
            assert seen.traits.has_balloon
            assert action.to_bytes <= seen.observed.maximum_bytes
            if action.to_bytes < seen.observed.current_bytes:
                assert action.to_bytes >= limits.defaults.floor_for(seen.observed.maximum_bytes)
                assert seen.reported is not None
                assert abs(seen.reported.updated_at_s - snapshot.taken_at_s) <= 10


@settings(max_examples=25, deadline=None)
@given(history=histories())
def test_the_law_is_a_function(history: list[Snapshot]) -> None:
    """The same history gives the same decisions: a replay is the truth."""

    def decisions() -> list[object]:
        law, limits = Tide(), Limits()
        state, made = law.initial(), []
        for snapshot in history:
            state, decision = law.decide(state, snapshot, limits)
            made.append(decision)
        return made

    assert decisions() == decisions()
