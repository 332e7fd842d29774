"""Which guests follow their targets, and what a shrink that brought too little teaches."""

from make import GIB, MIB, START_S, guest

from memtide.policy.cooperation import Course, asked, follow
from memtide.policy.demand import Estimate

COURSE = Course()


NOTHING = Estimate(not_free_bytes=200 * MIB)


def sent(course: Course = COURSE, target_bytes: int = 500 * MIB) -> Course:
    """Return the course of a resident guest of 1 GiB that was just asked for all above the target."""
    whole = guest(resident_bytes=GIB)
    return asked(course, whole, NOTHING, target_bytes=target_bytes, gain_bytes=GIB - target_bytes, now_s=START_S)


def test_what_did_not_come_back_is_not_asked_for_again() -> None:
    """A shrink that brought 40 MiB less than expected raises the guest's overhead by that."""
    there = guest(current_bytes=500 * MIB, resident_bytes=540 * MIB)
    course = follow(sent(), there, NOTHING, START_S + 2)

    assert course.settled
    assert course.overhead_bytes == COURSE.overhead_bytes + 40 * MIB


def test_a_guest_that_grew_meanwhile_teaches_nothing() -> None:
    """What it brought and what it took since cannot be told apart."""
    there = guest(current_bytes=500 * MIB, resident_bytes=540 * MIB)
    course = follow(sent(), there, Estimate(not_free_bytes=300 * MIB), START_S + 2)

    assert course.overhead_bytes == COURSE.overhead_bytes


def test_a_tenth_in_ten_seconds_is_progress_a_page_is_not() -> None:
    """A guest that moves a page every few seconds is stuck all the same."""
    page = guest(current_bytes=GIB - 4096, resident_bytes=GIB)
    tenth = guest(current_bytes=GIB - 60 * MIB, resident_bytes=GIB)

    assert follow(sent(), page, NOTHING, START_S + 11).stuck(START_S + 11)
    assert not follow(sent(), tenth, NOTHING, START_S + 11).stuck(START_S + 11)


def test_each_failure_doubles_the_pause() -> None:
    """Thirty seconds, a minute, two, and half an hour at most."""
    course, pauses = Course(), []
    for _ in range(8):
        course = follow(sent(course), guest(resident_bytes=GIB), NOTHING, START_S + 11)
        pauses.append(course.retry_at_s - START_S - 11)

    assert pauses[:3] == [30, 60, 120]
    assert pauses[-1] == 1800
