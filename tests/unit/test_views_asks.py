"""What a law asks for in vain counts once, and laws that ask for the same do not differ."""

from make import START_S

from memtide.model.action import Action, SetKsm, SetMemory
from memtide.model.decision import Budget, Decision, HostState
from memtide.model.reason import Reason, ReasonCode
from memtide.units import GIB, MIB
from memtide.views.asks import Ask, Asks, differences

SHORT = Reason(code=ReasonCode.HOST_SHORT)
BUDGET = Budget(reserve_bytes=0, available_bytes=0, headroom_bytes=0, missing_bytes=0, pending_bytes=0)


def change(change_bytes: int, name: str = "a", reason: Reason = SHORT) -> SetMemory:
    """Return a change of a guest of 1 GiB."""
    return SetMemory(uuid=f"uuid-{name}", name=name, from_bytes=GIB, to_bytes=GIB + change_bytes, reason=reason)


def asks(law: str, *said: tuple[float, Action]) -> list[Ask]:
    """Return what a law asked for that said these things at these seconds."""
    gathered = Asks(law)
    for at_s, action in said:
        decision = Decision(
            decided_at_s=START_S + at_s, policy=law, mode="pressure", state=HostState.SOFT, state_since_s=0.0,
            budget=BUDGET, verdicts=(), actions=(action,),
        )  # fmt: skip
        gathered.see(decision)
    return gathered.all()


def test_what_is_repeated_counts_once_by_its_largest_size() -> None:
    """The law says every tick what nobody does."""
    (ask,) = asks("tide", (0, change(-50 * MIB)), (2, change(-300 * MIB)), (4, change(-200 * MIB)))

    assert (ask.change_bytes, ask.ticks, ask.last_at_s - ask.began_at_s) == (-300 * MIB, 3, 4)
    assert ask.action == change(-50 * MIB)


def test_after_a_pause_it_is_another_ask() -> None:
    """And so is the other direction, at any time."""
    apart = asks("tide", (0, change(-50 * MIB)), (31, change(-50 * MIB)), (32, change(60 * MIB)))

    assert [(ask.began_at_s - START_S, ask.change_bytes) for ask in apart] == [
        (0, -50 * MIB), (31, -50 * MIB), (32, 60 * MIB),
    ]  # fmt: skip


def test_ksm_is_asked_of_the_host_and_rests_longer() -> None:
    """A switch is tried again only every minute; that is still one ask."""
    switch = SetKsm(files={"run": "1"}, before={"run": "0"}, reason=SHORT)
    (ask,) = asks("tide", (0, switch), (60, switch), (120, switch))

    assert (ask.uuid, ask.name, ask.kind, ask.ticks) == (None, "host", "ksm", 3)


def test_laws_that_ask_for_nearly_the_same_do_not_differ() -> None:
    """A tenth more or less, a few ticks earlier or later."""
    one = asks("tide", (0, change(-300 * MIB)))
    other = asks("mom", (12, change(-310 * MIB)))

    assert differences({"tide": one, "mom": other}) == []


def test_a_law_that_asks_for_more_or_for_nothing_differs() -> None:
    """All laws stand beside each other, in the order of time; each ask is told once."""
    tide = asks("tide", (0, change(-300 * MIB)), (50, change(-100 * MIB, "b")))
    mom = asks("mom", (10, change(-51 * MIB)))
    found = differences({"tide": tide, "mom": mom, "none": []})

    assert [difference.asks for difference in found] == [
        {"tide": tide[0], "mom": mom[0], "none": None},
        {"tide": tide[1], "mom": None, "none": None},
    ]


def test_what_agrees_stands_beside_it_before_what_only_happens_then() -> None:
    """One law gives and takes within seconds; the other takes too."""
    tide = asks("tide", (0, change(100 * MIB)), (4, change(-300 * MIB)))
    mom = asks("mom", (2, change(-300 * MIB)))
    (found,) = differences({"tide": tide, "mom": mom})

    assert found.asks == {"tide": tide[0], "mom": None}


def test_one_law_alone_differs_from_nobody() -> None:
    """All that it asked for is told."""
    tide = asks("tide", (0, change(-300 * MIB)), (1, change(-200 * MIB, "b")))

    assert [difference.first.name for difference in differences({"tide": tide})] == ["a", "b"]
