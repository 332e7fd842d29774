"""What must hold of the law, whatever happens: the invariants of the research, and which test is which.

====  ===========================================================  ====================================================
I1    what is granted is there: all that one tick gives           test_nobody_is_given_what_the_host_has_not
      fits above the emergency line, half of the free swap included.
      (The research had: the sum of all sizes fits the host. Room
      that is never touched costs nothing, so sizes may exceed the
      host by far; what they will cost soon may not.)
I2    floor <= target <= maximum                                  test_policy_properties, test_policy_machine
I3    no shrink on stale figures, in boot grace, of busy guests   test_policy_properties, test_policy_machine
I4    fill is monotone in amount, weight and cap, and does not    test_policy_properties (amount),
      depend on the order of its claims                           test_more_weight_or_need_lowers_no_own_share,
                                                                  test_the_order_of_claims_does_not_matter
I5    shares add up to the amount or all caps, to the byte        test_policy_properties
I6    constant input comes to rest                                test_steady_guests_are_left_alone_soon
      (square waves: test_tide_scenarios, one reversal a half period)
I7    a stuck guest costs the others at most what it keeps        test_a_stuck_guest_costs_the_others_no_more_than...
I8    the law is a function                                       test_policy_properties
I9    every action has a reason with numbers                      test_policy_properties, test_policy_machine
I10   relief comes in the tick of the sample that shows the need  test_relief_comes_with_the_sample_that_shows_the_need
I11   hostile figures hurt nobody                                 test_policy_properties; test_a_liar_moves_nobody_else
I12   each safeguard is needed                                    scenario/test_safeguards
====  ===========================================================  ====================================================
"""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from make import GIB, MIB, START_S, guest, host, snapshot
from test_policy_properties import any_u64, histories, sizes, weights

from memtide.model.action import SetMemory
from memtide.model.limits import Limits
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.host_state import reserve_for
from memtide.policy.share import Claim, fill
from memtide.policy.tide import Tide
from memtide.sim.behaviours import Behaviour, Stuck
from memtide.sim.curve import flat, wave
from memtide.sim.play import play
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World

claims = st.lists(st.tuples(sizes, weights), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(history=histories())
def test_nobody_is_given_what_the_host_has_not(history: list[Snapshot]) -> None:
    """I1: what all growth of one tick will soon cost is above the emergency line, half of the free swap included."""
    law, limits = Tide(), Limits()
    state = law.initial()
    for seen in history:
        state, decision = law.decide(state, seen, limits)
        cost_bytes = -sum(min(0, a.expected_gain_bytes) for a in decision.actions if isinstance(a, SetMemory))
        memory = seen.host.memory
        line_bytes = reserve_for(seen.host, limits) // 4

        assert cost_bytes <= max(0, memory.available_bytes - line_bytes + memory.swap_free_bytes // 2)


@settings(max_examples=100)
@given(amount=sizes, claimed=claims, more=st.integers(0, GIB), heavier=st.floats(1.0, 10.0))
def test_more_weight_or_need_lowers_no_own_share(
    amount: int, claimed: list[tuple[int, float]], more: int, heavier: float
) -> None:
    """I4: who has more weight, or needs more, gets no less, but for a byte's rounding a claimant."""
    before = {str(i): Claim(cap_bytes=cap, weight=weight) for i, (cap, weight) in enumerate(claimed)}
    cap, weight = claimed[0]
    share = fill(amount, before)["0"]

    assert fill(amount, before | {"0": Claim(cap_bytes=cap, weight=weight * heavier)})["0"] >= share - len(claimed)
    assert fill(amount, before | {"0": Claim(cap_bytes=cap + more, weight=weight)})["0"] >= share - len(claimed)


@settings(max_examples=100)
@given(amount=sizes, claimed=claims)
def test_who_is_not_whole_gets_as_much_for_its_weight_as_any(amount: int, claimed: list[tuple[int, float]]) -> None:
    """I4: exact water-filling: only a cap keeps anybody under the level of the others, but for crumbs."""
    given_ = {str(i): Claim(cap_bytes=cap, weight=weight) for i, (cap, weight) in enumerate(claimed)}
    shares = fill(amount, given_)
    crumbs = len(claimed) + 1
    for key, claim in given_.items():
        if shares[key] < claim.cap_bytes:
            level = (shares[key] + crumbs) / claim.weight
            assert all((shares[k] - crumbs) / c.weight <= level * (1 + 1e-9) for k, c in given_.items())


@settings(max_examples=50)
@given(amount=sizes, claimed=claims)
def test_the_order_of_claims_does_not_matter(amount: int, claimed: list[tuple[int, float]]) -> None:
    """I4: the same claims in another order get the same shares."""
    one = {str(i): Claim(cap_bytes=cap, weight=weight) for i, (cap, weight) in enumerate(claimed)}

    assert fill(amount, one) == fill(amount, dict(reversed(one.items())))


@settings(max_examples=15, deadline=None)
@given(
    wants_mib=st.lists(st.integers(20, 800), min_size=1, max_size=4),
    freed_mib=st.integers(0, 150),
    host_mib=st.integers(1000, 4500),
)
def test_steady_guests_are_left_alone_soon(wants_mib: list[int], freed_mib: int, host_mib: int) -> None:
    """I6: guests that want always the same are moved at most for a minute, whatever the host has, if they fit."""
    guests = [
        GuestSpec(name=f"g{i}", anonymous=flat(w * MIB), freed_bytes=freed_mib * MIB, swap_bytes=GIB)
        for i, w in enumerate(wants_mib)
    ]
    total_mib = max(host_mib, sum(wants_mib) + 300 * len(guests) + 700)
    world = World(HostSpec(total_bytes=(total_mib + 512) * MIB), guests)
    trace = play(world, Tide(), Limits(boot_grace_s=0.0), duration_s=100)

    late = [tick for tick in trace.ticks if tick.snapshot.taken_at_s - world.start_s > 60]
    assert not [action for tick in late for action, _ in tick.replies if isinstance(action, SetMemory)]


def others_shortage_gib_s(behaviour: Behaviour, freed_mib: int, high_mib: int) -> tuple[float, int]:
    """Return what two waves lack for a minute beside a guest that is full of air and behaves so, and how many died."""
    waves = [
        GuestSpec(
            name=f"w{i}",
            swap_bytes=GIB,
            anonymous=wave(60 * MIB, high_mib * MIB, period_s=40, high_s=15, ramp_s=3, phase_s=20.0 * i),
        )
        for i in range(2)
    ]
    full = GuestSpec(name="full", anonymous=flat(40 * MIB), freed_bytes=freed_mib * MIB, behaviour=behaviour)
    trace = play(World(HostSpec(total_bytes=2600 * MIB), [*waves, full]), Tide(), Limits(boot_grace_s=0), duration_s=60)
    return sum(trace[f"w{i}"].shortage_gib_s for i in range(2)), trace.oom_kills


@settings(max_examples=10, deadline=None)
@given(freed_mib=st.integers(200, 900), high_mib=st.integers(300, 900))
@example(freed_mib=262, high_mib=877)
def test_a_stuck_guest_costs_the_others_no_more_than_it_keeps(freed_mib: int, high_mib: int) -> None:
    """I7: what the others lack beside a stuck guest is at most what they lack beside a good one, and its air.

    Where that much was what kept the host's kernel from killing one of them, that one lacks all it would have had.
    """
    (good, _), (stuck, kills) = (others_shortage_gib_s(how, freed_mib, high_mib) for how in (Behaviour(), Stuck()))

    assert stuck <= good + (freed_mib + kills * high_mib) / 1024 * 60 + 0.1


@settings(max_examples=60)
@given(used_mib=st.integers(500, 930), others=st.integers(0, 4))
def test_relief_comes_with_the_sample_that_shows_the_need(used_mib: int, others: int) -> None:
    """I10: one fresh report of a guest with next to nothing usable is enough, on a host that has its reserve."""
    thin = guest("thin", maximum_bytes=2 * GIB, current_bytes=(used_mib + 80) * MIB, used_bytes=used_mib * MIB)
    seen = snapshot(thin, *(guest(f"g{i}") for i in range(others)), available_bytes=6 * GIB)
    _, decision = Tide().decide(Tide().initial(), seen, Limits())
    moves = [action for action in decision.actions if isinstance(action, SetMemory) and action.name == "thin"]

    assert [move.reason.code for move in moves] == [ReasonCode.RELIEF]
    assert moves[0].to_bytes >= (used_mib + 80 + 100) * MIB


@settings(max_examples=40, deadline=None)
@given(lies=st.fixed_dictionaries({"total_bytes": any_u64, "usable_bytes": any_u64, "unused_bytes": any_u64}))
def test_a_liar_moves_nobody_else(lies: dict[str, int]) -> None:
    """I11: on a host that has its reserve no figure of one guest takes anything from another."""
    law, limits = Tide(), Limits()
    state = law.initial()
    for tick in range(4):
        at_s = START_S + 2.0 * tick
        liar, honest = guest("liar", at_s=at_s, **lies), guest("honest", at_s=at_s, resident_bytes=800 * MIB)
        seen = Snapshot(taken_at_s=at_s, host=host(at_s=at_s, available_bytes=4 * GIB), guests=(liar, honest))
        state, decision = law.decide(state, seen, limits)

        assert not [a for a in decision.actions if isinstance(a, SetMemory) and a.name == "honest"]
