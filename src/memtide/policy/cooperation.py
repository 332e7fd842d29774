"""Does a guest follow its target? Each guest's course: asked, moving, settled, or stuck.

====================  ===========================================================================
moving                away from the target, nearer by a tenth of the asked step every ten seconds
settled               at the target, or never asked
stuck                 no such progress; left alone for 30 s, twice as long each time, at most 30 min
====================  ===========================================================================

A page every few seconds does not count as progress (squeezed's detector falls for that), and a stuck guest is
counted at what it has, not at what it was asked for. What the host gained from each shrink is learned as the
guest's yield, which the next shrink is divided by.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Guest
from memtide.policy.constants import YIELD_LEAST
from memtide.units import MIB

__all__ = ["Course", "asked", "follow", "given_up"]

PROGRESS_SHARE: Final = 0.1
PROGRESS_WITHIN_S: Final = 10.0
RETRY_FIRST_S: Final = 30.0
RETRY_MOST_S: Final = 1800.0
ARRIVED_BYTES: Final = 4 * MIB
LEARN_FROM_BYTES: Final = 16 * MIB
"""A smaller move says nothing about the yield: the guest's own breathing is as large."""


class Course(Model, frozen=True, kw_only=True):
    """Where a guest was asked to go and how it gets on."""

    target_bytes: int | None = None
    """``None``: never asked, or the target was withdrawn."""
    from_bytes: int = 0
    cost_bytes: int | None = None
    """Host cost when it was asked."""
    left_bytes: int = 0
    """Distance to the target when progress was last credited."""
    progress_at_s: float = 0.0
    settled: bool = True
    failures: int = 0
    retry_at_s: float = 0.0
    yield_ratio: float = 1.0
    """Host memory gained per byte taken, learned; 1 until proven otherwise."""

    def remaining_bytes(self, current_bytes: int) -> int:
        """Return how far the guest still has to go: negative when it shrinks, 0 when settled."""
        return 0 if self.settled or self.target_bytes is None else self.target_bytes - current_bytes

    def stuck(self, now_s: float) -> bool:
        """Say whether the guest is left alone for having stood still."""
        return now_s < self.retry_at_s


def asked(course: Course, guest: Guest, target_bytes: int, now_s: float) -> Course:
    """Return the course after the guest was given a new target."""
    current_bytes = guest.observed.current_bytes
    return msgspec.structs.replace(
        course,
        target_bytes=target_bytes,
        from_bytes=current_bytes,
        cost_bytes=guest.observed.host_cost_bytes,
        left_bytes=abs(target_bytes - current_bytes),
        progress_at_s=now_s,
        settled=False,
    )


def given_up(course: Course, now_s: float) -> Course:
    """Return the course of a guest that refused, did not answer, or stood still: left alone for a while."""
    pause_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2**course.failures)
    return msgspec.structs.replace(
        course, target_bytes=None, settled=True, failures=course.failures + 1, retry_at_s=now_s + pause_s
    )


def follow(course: Course, guest: Guest, now_s: float) -> Course:
    """Return the course after one more look at the guest's current memory."""
    if course.settled or course.target_bytes is None:
        return course
    current_bytes = guest.observed.current_bytes
    left_bytes = abs(course.target_bytes - current_bytes)
    if left_bytes <= ARRIVED_BYTES:
        return _learn(msgspec.structs.replace(course, settled=True, failures=0, left_bytes=0), guest)
    step_bytes = abs(course.target_bytes - course.from_bytes)
    if course.left_bytes - left_bytes >= PROGRESS_SHARE * step_bytes:
        return msgspec.structs.replace(course, left_bytes=left_bytes, progress_at_s=now_s)
    if now_s - course.progress_at_s < PROGRESS_WITHIN_S:
        return course
    return given_up(course, now_s)


def _learn(course: Course, guest: Guest) -> Course:
    taken_bytes = course.from_bytes - guest.observed.current_bytes
    cost_bytes = guest.observed.host_cost_bytes
    if taken_bytes < LEARN_FROM_BYTES or course.cost_bytes is None or cost_bytes is None:
        return course
    gained_ratio = min(1.0, max(YIELD_LEAST, (course.cost_bytes - cost_bytes) / taken_bytes))
    return msgspec.structs.replace(course, yield_ratio=(course.yield_ratio + gained_ratio) / 2)
