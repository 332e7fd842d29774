"""The parts of the law that are functions of little: peak, hot cache, stalls, KSM, answers."""

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, host, snapshot

from memtide.model.action import Reply, Result, SetMemory
from memtide.model.guest import Reported
from memtide.model.limits import Limits
from memtide.model.pressure import Pressure, Stall
from memtide.model.reason import Reason, ReasonCode
from memtide.policy import hot_cache, peak, stalls
from memtide.policy.constants import SWAP_HURTS_RATIO
from memtide.policy.cooperation import Course, asked, follow
from memtide.policy.demand import Estimate
from memtide.policy.hot_cache import HotCache
from memtide.policy.peak import Peak
from memtide.policy.stalls import Stalls
from memtide.policy.tide import Tide

WINDOW_S = 900.0


# --- peak -------------------------------------------------------------------------------------------------------


def test_a_new_guest_has_the_benefit_of_the_doubt() -> None:
    """Nobody knows how much of its room it has been using, so all of it counts."""
    assert peak.begin(700 * MIB, START_S).most_bytes == 700 * MIB


def test_a_peak_is_forgotten_after_two_windows() -> None:
    """What was needed in the window before still counts; what was needed before that does not."""
    seen = Peak(earlier_bytes=0, lately_bytes=500 * MIB, since_s=START_S)
    one = peak.look(seen, 100 * MIB, START_S + WINDOW_S)
    two = peak.look(one, 100 * MIB, START_S + 2 * WINDOW_S)

    assert one.most_bytes == 500 * MIB
    assert two.most_bytes == 100 * MIB


def test_within_its_window_only_a_larger_demand_moves_the_peak() -> None:
    """It rises at once and does not fall."""
    seen = Peak(earlier_bytes=0, lately_bytes=300 * MIB, since_s=START_S)

    assert peak.look(seen, 200 * MIB, START_S + 1) == seen
    assert peak.look(seen, 400 * MIB, START_S + 1) == msgspec.structs.replace(seen, lately_bytes=400 * MIB)


def test_a_clock_set_back_begins_a_new_window() -> None:
    """Otherwise the old one would last for hours."""
    seen = Peak(earlier_bytes=0, lately_bytes=300 * MIB, since_s=START_S)

    assert peak.look(seen, MIB, START_S - 3600).since_s == START_S - 3600


def test_a_guest_that_fills_its_room_with_cache_loses_the_benefit_of_the_doubt() -> None:
    """Its proven peak is what it needed, not what it was found with."""
    assert peak.proven(Peak(earlier_bytes=GIB, lately_bytes=MIB, since_s=START_S)).most_bytes == MIB


# --- hot cache --------------------------------------------------------------------------------------------------


def reported(faults: int | None, cache_mib: int = 500) -> Reported:
    """Return a report with so many major faults since boot."""
    return Reported(
        updated_at_s=START_S, total_bytes=GIB, usable_bytes=GIB, disk_caches_bytes=cache_mib * MIB,
        major_faults_total=faults,
    )  # fmt: skip


def learned(
    faults: int, *, cache_mib: int = 500, swap_in_bytes: int = 0, reports: int = 1, interval_s: float = 1.0
) -> int:
    """Return the MiB believed hot after some reports with so many new major faults each."""
    belief = HotCache(faults_total=0)
    for report in range(1, reports + 1):
        said = reported(report * faults, cache_mib)
        belief = hot_cache.learn(belief, said, swap_in_bytes, interval_s, GIB)
    return int(belief.hot_bytes) // MIB


def test_files_read_again_are_charged_in_steps() -> None:
    """A report in which more than noise was read adds the larger of 32 MiB and 3 %."""
    assert learned(257) == 32
    assert learned(257, reports=3) == 95


def test_a_program_that_starts_is_no_hot_cache() -> None:
    """Up to 256 faults a second are noise, for as long as the report covers."""
    assert learned(256) == 0
    assert learned(500, interval_s=2.0) == 0


def test_swap_ins_are_no_file_reads() -> None:
    """Major faults that were reads from swap are taken off."""
    assert learned(1000, swap_in_bytes=1000 * 4096) == 0


def test_no_more_is_hot_than_there_ever_was() -> None:
    """The largest cache seen is the limit, also when it has been dropped since."""
    assert learned(1000, cache_mib=40, reports=5) == 40
    dropped = hot_cache.learn(HotCache(most_bytes=40 * MIB, faults_total=0), reported(1000, 0), 0, 1.0, GIB)
    assert dropped.hot_bytes == 32 * MIB


def test_hot_cache_is_half_forgotten_in_half_an_hour() -> None:
    """A guest that no longer reads its files has them counted as spare again."""
    hot = HotCache(hot_bytes=400.0 * MIB, most_bytes=400 * MIB, faults_total=5)

    assert hot_cache.learn(hot, reported(5), 0, 1800.0, GIB).hot_bytes == pytest.approx(200 * MIB)


# --- stalls -----------------------------------------------------------------------------------------------------


def stalled(total_us: int, at_s: float) -> object:
    """Return a host that has been stalled for so long in all."""
    stall = Stall(avg10_ratio=0, avg60_ratio=0, avg300_ratio=0, total_us=total_us)
    return msgspec.structs.replace(host(at_s=at_s), pressure=Pressure(some=stall, full=stall))


def test_stalls_are_averaged_over_three_seconds() -> None:
    """After three seconds of nothing but waiting the average is 63 %, and after as many of calm it is 23 %."""
    waiting = stalls.look(Stalls(total_us=0, at_s=START_S), stalled(3_000_000, START_S + 3))
    calm = stalls.look(waiting, stalled(3_000_000, START_S + 6))

    assert waiting.ratio == pytest.approx(0.632, abs=0.001)
    assert calm.ratio == pytest.approx(0.233, abs=0.001)


def test_stalls_that_cannot_be_are_not_believed() -> None:
    """The first reading, a counter that fell, a clock that stands still, a kernel that says nothing: no average."""
    seen = Stalls(total_us=5_000_000, at_s=START_S, ratio=0.5)

    assert stalls.look(Stalls(), stalled(5_000_000, START_S)).ratio == 0
    assert stalls.look(seen, stalled(1, START_S + 1)).ratio == 0
    assert stalls.look(seen, stalled(6_000_000, START_S)).ratio == 0
    assert stalls.look(seen, msgspec.structs.replace(host(), pressure=None)) == Stalls()


@pytest.mark.parametrize(
    ("hurts", "free_mib", "worth_mib"),
    [
        (0.0, 1024, 384),
        (0.5, 1024, 192),
        (1.0, 1024, 0),
        (2.0, 1024, 0),
        (0.0, 256, 0),
        (0.0, 100, 0),
        (0.0, 512, 128),
    ],
)
def test_swap_is_worth_half_of_what_is_free_until_it_hurts(hurts: float, free_mib: int, worth_mib: int) -> None:
    """Half of what is free above the last quarter, less while tasks wait, nothing once it hurts."""
    seen = host(swap_total_bytes=1024 * MIB, swap_free_bytes=free_mib * MIB)

    assert stalls.swap_worth_bytes(Stalls(ratio=hurts * SWAP_HURTS_RATIO), seen) // MIB == worth_mib


# --- answers ----------------------------------------------------------------------------------------------------


def answered(result: Result, code: ReasonCode = ReasonCode.RELIEF) -> Course:
    """Return a guest's course after an action of this reason was answered so."""
    law = Tide()
    state, _ = law.decide(law.initial(), snapshot(guest("g")), Limits())
    action = SetMemory(uuid="uuid-g", name="g", from_bytes=GIB, to_bytes=GIB // 2, reason=Reason(code=code))
    return law.answered(state, action, Reply(result=result)).tracks["uuid-g"].course


@pytest.mark.parametrize("result", [Result.REFUSED, Result.NO_ANSWER])
def test_a_guest_that_refuses_is_left_alone(result: Result) -> None:
    """A refusal and no answer are failures like standing still."""
    course = answered(result)

    assert course.failures == 1
    assert course.stuck(START_S + 29)
    assert not course.stuck(START_S + 30)


def test_what_an_operator_sent_is_followed_and_teaches_nothing() -> None:
    """The law's own target is known already; an operator's is learned of by its answer."""
    by_hand = answered(Result.SENT, ReasonCode.OPERATOR)

    assert (by_hand.target_bytes, by_hand.settled) == (GIB // 2, False)
    assert answered(Result.SENT).target_bytes is None
    assert by_hand.expected_bytes == 0


def test_an_answer_for_a_guest_that_is_gone_changes_nothing() -> None:
    """Nor does one to another kind of action."""
    law = Tide()
    state = law.initial()
    action = SetMemory(uuid="gone", name="gone", from_bytes=0, to_bytes=1, reason=Reason(code=ReasonCode.RELIEF))

    assert law.answered(state, action, Reply(result=Result.REFUSED)) == state


# --- what a shrink teaches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", ["cost", "held", "swapped"])
def test_a_shrink_whose_gain_cannot_be_known_teaches_nothing(unknown: str) -> None:
    """Neither without the host's figure, nor without the guest's, nor when the host swapped meanwhile."""
    whole, there = guest(resident_bytes=GIB), guest(current_bytes=500 * MIB, resident_bytes=540 * MIB)
    found = Estimate(not_free_bytes=None if unknown == "held" else 200 * MIB)
    course = asked(Course(), whole, found, target_bytes=500 * MIB, gain_bytes=524 * MIB, now_s=START_S)
    change = {"cost": {"rss_bytes": None}, "swapped": {"swapped_bytes": 100 * MIB}}.get(unknown, {})
    there = msgspec.structs.replace(there, observed=msgspec.structs.replace(there.observed, **change))

    assert follow(course, there, found, START_S + 2).overhead_bytes == Course().overhead_bytes
