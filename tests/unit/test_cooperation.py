"""Which guests follow their targets, and what each shrink really brought."""

from make import GIB, MIB, START_S, guest

from memtide.policy.cooperation import Course, asked, follow


def sent(target_bytes: int = 500 * MIB) -> Course:
    """Return the course of a resident guest of 1 GiB that was just asked to shrink."""
    return asked(Course(), guest(resident_bytes=GIB), target_bytes, START_S)


def test_a_guest_that_arrives_is_settled_and_its_yield_learned() -> None:
    """Half of what was taken came back, so the yield falls half way from 1 to that half."""
    there = guest(current_bytes=500 * MIB, resident_bytes=GIB - 262 * MIB)
    course = follow(sent(), there, START_S + 2)

    assert course.settled
    assert course.yield_ratio == 0.75


def test_a_tenth_in_ten_seconds_is_progress_a_page_is_not() -> None:
    """A guest that moves a page every few seconds is stuck all the same."""
    page = guest(current_bytes=GIB - 4096, resident_bytes=GIB)
    tenth = guest(current_bytes=GIB - 60 * MIB, resident_bytes=GIB)

    assert follow(sent(), page, START_S + 11).stuck(START_S + 11)
    assert not follow(sent(), tenth, START_S + 11).stuck(START_S + 11)


def test_each_failure_doubles_the_pause() -> None:
    """Thirty seconds, a minute, two, and half an hour at most."""
    course, pauses = Course(), []
    for _ in range(8):
        course = follow(asked(course, guest(), 500 * MIB, START_S), guest(), START_S + 11)
        pauses.append(course.retry_at_s - START_S - 11)

    assert pauses[:3] == [30, 60, 120]
    assert pauses[-1] == 1800
