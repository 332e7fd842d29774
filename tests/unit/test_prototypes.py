"""The prototypes of the lab notes: each rule of theirs, worked out by hand. Host 16 GiB: soft line 1822.7 MiB."""

import pytest
from make import GIB, KERNEL_BYTES, MIB, START_S, guest, snapshot
from peers import numbers_of, play, sizes

from bench.prototypes import BY_STATE, FIXED, PROTOTYPES, Nominal, by_state, fixed
from memtide.model.action import Reply, Result, SetMemory
from memtide.model.limits import GuestLimits, Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot

TOTAL_BYTES = 16 * GIB
CALM_BYTES = 8 * GIB
NO_FLOOR = Limits(defaults=GuestLimits(floor_ratio=0.0))


def ticks(count: int, *guests: dict[str, object], available_bytes: int) -> list[Snapshot]:
    """Return the same world, a second apart, with fresh reports."""
    return [
        snapshot(
            *(guest(**kind, at_s=START_S + i) for kind in guests), at_s=START_S + i, available_bytes=available_bytes
        )
        for i in range(count)
    ]


def test_resident_slack_is_taken_in_proportion_and_the_untouched_left_alone() -> None:
    """1.3 times what is missing, from 872 - 1.02 * 140 - 128 = 601 and 301 MiB of slack."""
    soft_bytes = int(FIXED.soft_ratio * TOTAL_BYTES)
    missing_bytes = 100 * MIB
    air = {"name": "air", "maximum_bytes": GIB, "used_bytes": 100 * MIB, "resident_bytes": 872 * MIB}
    half = {"name": "half", "maximum_bytes": GIB, "used_bytes": 100 * MIB, "resident_bytes": 572 * MIB}
    paper = {"name": "paper", "maximum_bytes": GIB, "used_bytes": 100 * MIB}

    _, decision = play(
        fixed(), *ticks(1, air, half, paper, available_bytes=soft_bytes - missing_bytes), limits=NO_FLOOR
    )

    slack = {name: resident - 1.02 * (100 * MIB + KERNEL_BYTES) - 128 * MIB for name, resident in
             {"air": 872 * MIB, "half": 572 * MIB}.items()}  # fmt: skip
    part = 1.3 * missing_bytes / sum(slack.values())
    assert sizes(decision) == {n: pytest.approx(GIB - part * s, abs=2) for n, s in slack.items()}


def test_all_slack_is_the_most_that_is_taken() -> None:
    """No step limit, but not more than the slack."""
    air = {"name": "air", "used_bytes": 100 * MIB, "resident_bytes": 872 * MIB}

    _, decision = play(fixed(), *ticks(1, air, available_bytes=0), limits=NO_FLOOR)

    keep_bytes = 1.02 * (100 * MIB + KERNEL_BYTES) + 128 * MIB
    assert sizes(decision)["air"] == pytest.approx(GIB - (872 * MIB - keep_bytes), abs=2)


@pytest.mark.parametrize(
    ("available_mib", "cushion_mib"), [(2000, 128), (1300, 64), (500, 32)], ids=["calm", "soft", "hard"]
)
def test_the_cushion_by_state(available_mib: int, cushion_mib: int) -> None:
    """On 16 GiB by-state's lines are 1333 and 533 MiB; fixed has one cushion."""
    assert BY_STATE.for_host(available_mib * MIB, TOTAL_BYTES) == cushion_mib * MIB
    assert FIXED.for_host(available_mib * MIB, TOTAL_BYTES) == 128 * MIB


@pytest.mark.parametrize(
    ("usable_mib", "gets_mib"),
    # 3/4 of 128 is 96: at 95 it lacks 33, and gets a whole cushion
    [(95, 128), (96, 0)],
)
def test_relief_by_hand(usable_mib: int, gets_mib: int) -> None:
    """Usable memory under three quarters of the cushion is distress."""
    used_bytes = 500 * MIB - KERNEL_BYTES - usable_mib * MIB
    thin = {"name": "thin", "current_bytes": 500 * MIB, "used_bytes": used_bytes}

    _, decision = play(fixed(), *ticks(1, thin, available_bytes=2500 * MIB))

    assert sizes(decision) == ({"thin": (500 + gets_mib) * MIB} if gets_mib else {})


def test_growth_is_looked_ahead() -> None:
    """Growing 20 MiB/s: 140 usable is under 96 + 100, and it lacks 128 + 100 - 140 = 88, so it gets a cushion."""
    before, now = (
        snapshot(guest("a", at_s=START_S + t, current_bytes=500 * MIB, used_bytes=u * MIB), at_s=START_S + t,
                 available_bytes=2500 * MIB)
        for t, u in ((0, 300), (1, 320))
    )  # fmt: skip

    assert sizes(play(fixed(), before, now)[1]) == {"a": 628 * MIB}


@pytest.mark.parametrize(("swapped_mib", "asked"), [(5, True), (0, False)])
def test_under_the_hard_line_only_a_swapping_guest_is_relieved(swapped_mib: int, *, asked: bool) -> None:
    """The host comes first there, except before a guest that swaps already."""
    kind = {"current_bytes": 500 * MIB, "used_bytes": 440 * MIB, "swap_out_bytes_total": 0}
    first = snapshot(guest("a", **kind), available_bytes=2500 * MIB)
    kind |= {"swap_out_bytes_total": swapped_mib * MIB, "current_bytes": 500 * MIB}
    then = snapshot(guest("a", at_s=START_S + 1, **kind), at_s=START_S + 1, available_bytes=100 * MIB)

    assert ("a" in sizes(play(fixed(), first, then)[1])) is asked


def test_nothing_is_taken_for_four_seconds_after_relief() -> None:
    """What was just given is not taken at once."""
    thin = {"current_bytes": 500 * MIB, "used_bytes": 400 * MIB}
    first = snapshot(guest("a", **thin), available_bytes=2500 * MIB)
    full = {"used_bytes": 100 * MIB, "resident_bytes": 900 * MIB}
    after = [
        snapshot(guest("a", at_s=START_S + t, **full), at_s=START_S + t, available_bytes=900 * MIB) for t in (3, 4)
    ]

    assert sizes(play(fixed(), first, after[0])[1]) == {}
    assert "a" in sizes(play(fixed(), first, *after)[1])


def test_memory_goes_back_only_well_above_the_soft_line() -> None:
    """A tenth of what is above 1.5 soft lines (2734.0 MiB) a second."""
    small = {"maximum_bytes": 4 * GIB, "current_bytes": GIB, "used_bytes": 100 * MIB}
    spare_bytes = CALM_BYTES - int(1.5 * int(FIXED.soft_ratio * TOTAL_BYTES))

    assert sizes(play(fixed(), *ticks(1, small, available_bytes=2700 * MIB))[1]) == {}
    assert sizes(play(fixed(), *ticks(1, small, available_bytes=CALM_BYTES))[1]) == {
        "a": pytest.approx(GIB + 0.1 * spare_bytes, abs=2)
    }


def test_a_report_that_has_not_moved_is_no_report() -> None:
    """Growth is not read off the same report twice, and without any there is nothing to act upon."""
    seen = [
        snapshot(guest("a", at_s=START_S, used_bytes=used * MIB), at_s=START_S + t, available_bytes=2500 * MIB)
        for t, used in ((0, 100), (1, 900))
    ]

    assert numbers_of(play(fixed(), *seen)[1], "a")["used_bytes"] == 100 * MIB + KERNEL_BYTES
    blind = snapshot(guest("a", reported=False), available_bytes=0)
    assert sizes(play(fixed(), blind)[1]) == {}


def test_the_kernels_share_is_not_learned_while_the_guest_moves() -> None:
    """Statistics are torn: ``current`` is of now, MemTotal of the report."""
    first = snapshot(guest("a", used_bytes=100 * MIB), available_bytes=2500 * MIB)
    torn = guest("a", at_s=START_S + 1, used_bytes=100 * MIB, current_bytes=800 * MIB, total_bytes=600 * MIB,
                 usable_bytes=500 * MIB)  # fmt: skip
    then = snapshot(torn, at_s=START_S + 1, available_bytes=2500 * MIB)

    assert numbers_of(play(by_state(), first, then)[1], "a")["used_bytes"] == 100 * MIB + KERNEL_BYTES


def test_it_acts_once_a_second_at_most() -> None:
    """Its own period is a second, whatever the daemon's."""
    air = {"used_bytes": 100 * MIB, "resident_bytes": 900 * MIB}
    first = snapshot(guest("a", **air), available_bytes=900 * MIB)
    soon = snapshot(guest("a", at_s=START_S + 0.5, **air), at_s=START_S + 0.5, available_bytes=900 * MIB)

    assert sizes(play(fixed(), first, soon)[1]) == {}


def test_qemus_own_memory_is_no_slack() -> None:
    """110 MiB instead of 64 of it are 46 MiB less to take."""
    air = {"used_bytes": 100 * MIB, "resident_bytes": 872 * MIB}
    seen = ticks(1, air, available_bytes=0)

    less = sizes(play(fixed(overhead_bytes=110 * MIB), *seen)[1])["a"] - sizes(play(fixed(), *seen)[1])["a"]

    assert less == 46 * MIB


def test_nominal_follows_demand() -> None:
    """Demand and 64 MiB, whatever the host has left."""
    _, decision = play(Nominal(), *ticks(1, {"used_bytes": 100 * MIB}, available_bytes=CALM_BYTES), limits=NO_FLOOR)

    assert sizes(decision) == {"a": 100 * MIB + KERNEL_BYTES + 64 * MIB}


def test_nominal_cuts_all_needs_by_the_same_part() -> None:
    """Two need 12 GiB each of a host of 16 GiB that is used up: free - soft line + what they have is their budget."""
    kinds = [{"name": n, "maximum_bytes": 12 * GIB, "used_bytes": 11 * GIB} for n in "ab"]

    _, decision = play(Nominal(), *ticks(1, *kinds, available_bytes=0), limits=NO_FLOOR)

    # the host itself uses nothing (all that is in use is the guests'); each QEMU takes 64 MiB besides
    budget_bytes = 16 * GIB - int(FIXED.soft_ratio * TOTAL_BYTES) - 2 * 64 * MIB
    assert sizes(decision) == {n: pytest.approx(budget_bytes / 2, abs=MIB) for n in "ab"}


@pytest.mark.parametrize("name", PROTOTYPES)
def test_answers_are_remembered(name: str) -> None:
    """What was accepted is the target, what was refused was never asked for."""
    law = PROTOTYPES[name]
    action = SetMemory(uuid="u", name="a", from_bytes=2, to_bytes=1, reason=Reason(code=ReasonCode.OPERATOR))

    sent = law.answered(law.initial(), action, Reply(result=Result.SENT))

    assert sent.books.targets == {"u": 1}
    assert law.answered(sent, action, Reply(result=Result.NOT_SENT)).books.targets == {}


def test_nominal_acts_once_a_second_at_most() -> None:
    """Like the others."""
    first = snapshot(guest("a", used_bytes=100 * MIB))
    soon = snapshot(guest("a", at_s=START_S + 0.5, used_bytes=500 * MIB), at_s=START_S + 0.5)

    assert sizes(play(Nominal(), first, soon)[1]) == {}


def test_names() -> None:
    """As a table of results calls them."""
    assert {name: law.name for name, law in PROTOTYPES.items()} == {n: n for n in ("fixed", "by-state", "nominal")}
