"""Does a guest follow its target? Each guest's course: asked, moving, settled, or stuck.

====================  ===========================================================================
moving                away from the target, nearer by a tenth of the step, or 64 MiB, every ten seconds
settled               at the target, or never asked
stuck                 no such progress; left alone for 30 s, twice as long each time, at most 30 min
====================  ===========================================================================

A page every few seconds does not count as progress (squeezed's detector falls for that), and a stuck guest is
counted at what it has, not at what it was asked for.

What the host gained less than expected from a shrink was not the guest's free memory but QEMU's own, shared, or
pinned: it is learned as the guest's overhead, so that nothing is asked for in vain a second time.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.guest import Guest
from memtide.policy.constants import QEMU_OVERHEAD_BYTES
from memtide.policy.demand import Estimate
from memtide.units import MIB

__all__ = ["Course", "asked", "changed_by_others", "follow", "given_up", "sent_by_hand"]

PROGRESS_SHARE: Final = 0.1
PROGRESS_ENOUGH_BYTES: Final = 64 * MIB
"""However large the step: a guest that must swap to give moves some ten MiB a second, and is not stuck."""
PROGRESS_WITHIN_S: Final = 10.0
RETRY_FIRST_S: Final = 30.0
RETRY_MOST_S: Final = 1800.0
DOUBLINGS_MOST: Final = 10
ARRIVED_BYTES: Final = 4 * MIB
FOREIGN_BYTES: Final = 16 * MIB
"""A driver may overshoot by a few pages; this is somebody's will."""
BREATHING_BYTES: Final = 4 * MIB
"""A guest that grew by more than this meanwhile hides what its shrink brought."""


class Course(Model, frozen=True, kw_only=True):
    """Where a guest was asked to go and how it gets on."""

    target_bytes: int | None = None
    """``None``: never asked, or the target was withdrawn."""
    from_bytes: int = 0
    cost_bytes: int | None = None
    """Host cost when it was asked."""
    swapped_bytes: int = 0
    """What of it was in the host's swap when it was asked."""
    expected_bytes: int = 0
    """What the host was to gain (positive), or to spend before long (negative)."""
    not_free_bytes: int | None = None
    """What the guest held when it was asked."""
    left_bytes: int = 0
    """Distance to the target when progress was last credited."""
    progress_at_s: float = 0.0
    settled: bool = True
    failures: int = 0
    retry_at_s: float = 0.0
    overhead_bytes: int = QEMU_OVERHEAD_BYTES
    """Resident memory that no shrink brings back, learned; the usual until proven otherwise."""

    def remaining_bytes(self, current_bytes: int) -> int:
        """Return how far the guest still has to go: negative when it shrinks, 0 when settled."""
        return 0 if self.settled or self.target_bytes is None else self.target_bytes - current_bytes

    def stuck(self, now_s: float) -> bool:
        """Say whether the guest is left alone for having stood still."""
        return now_s < self.retry_at_s

    @property
    def on_probation(self) -> bool:
        """Say whether the guest stood still the last time it was asked: nothing is counted on until it has moved."""
        return self.failures > 0


def changed_by_others(course: Course, before_bytes: int, now_bytes: int) -> bool:
    """Say whether a guest that had nothing to move has moved: somebody else set its size, or it took memory back.

    One that stood still before may only be late.
    """
    return course.settled and course.failures == 0 and abs(now_bytes - before_bytes) > FOREIGN_BYTES


def asked(course: Course, guest: Guest, found: Estimate, *, target_bytes: int, gain_bytes: int, now_s: float) -> Course:  # noqa: PLR0913 - by keyword
    """Return the course after the guest was given a new target, from which the host is to gain so much."""
    current_bytes = guest.observed.current_bytes
    # asked for more of the same while it stands still, it stands still all the longer
    remaining_bytes = course.remaining_bytes(current_bytes)
    onward = remaining_bytes * (target_bytes - current_bytes) > 0
    # what was asked for before and is still to come is not forgotten
    coming_bytes = min(abs(course.expected_bytes), abs(remaining_bytes)) if onward else 0
    return msgspec.structs.replace(
        course,
        target_bytes=target_bytes,
        from_bytes=current_bytes,
        cost_bytes=guest.observed.host_cost_bytes,
        swapped_bytes=guest.observed.swapped_bytes or 0,
        expected_bytes=gain_bytes + (coming_bytes if remaining_bytes < 0 else -coming_bytes),
        not_free_bytes=found.not_free_bytes,
        left_bytes=abs(target_bytes - current_bytes),
        progress_at_s=course.progress_at_s if onward else now_s,
        settled=False,
    )


def sent_by_hand(course: Course, from_bytes: int, target_bytes: int, now_s: float) -> Course:
    """Return the course of a guest that an operator gave a size: followed like any other, but nothing is learned."""
    return msgspec.structs.replace(
        course,
        target_bytes=target_bytes,
        from_bytes=from_bytes,
        expected_bytes=min(0, from_bytes - target_bytes),
        left_bytes=abs(target_bytes - from_bytes),
        progress_at_s=now_s,
        settled=False,
    )


def given_up(course: Course, now_s: float) -> Course:
    """Return the course of a guest that refused, did not answer, or stood still: left alone for a while."""
    pause_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** min(course.failures, DOUBLINGS_MOST))
    return msgspec.structs.replace(
        course, target_bytes=None, settled=True, failures=course.failures + 1, retry_at_s=now_s + pause_s
    )


def follow(course: Course, guest: Guest, found: Estimate, now_s: float) -> Course:
    """Return the course after one more look at the guest's current memory."""
    course = _unlearn(course, guest, found)
    if course.settled or course.target_bytes is None:
        return course
    current_bytes = guest.observed.current_bytes
    left_bytes = abs(course.target_bytes - current_bytes)
    if left_bytes <= ARRIVED_BYTES:
        return _learn(msgspec.structs.replace(course, settled=True, failures=0, left_bytes=0), guest, found)
    step_bytes = abs(course.target_bytes - course.from_bytes)
    if course.left_bytes - left_bytes >= min(PROGRESS_SHARE * step_bytes, PROGRESS_ENOUGH_BYTES):
        return msgspec.structs.replace(course, left_bytes=left_bytes, progress_at_s=now_s)
    if now_s - course.progress_at_s < PROGRESS_WITHIN_S:
        return course
    return given_up(course, now_s)


def _unlearn(course: Course, guest: Guest, found: Estimate) -> Course:
    """Return the course with no more overhead than can still be: what was believed to be QEMU's own came back."""
    most_bytes = _most_overhead(guest, found)
    if most_bytes is None or course.overhead_bytes <= most_bytes:
        return course
    return msgspec.structs.replace(course, overhead_bytes=most_bytes)


def _most_overhead(guest: Guest, found: Estimate) -> int | None:
    """Return the most that can be overhead: all that the guest holds is resident, so no more than the rest."""
    cost_bytes = guest.observed.host_cost_bytes
    if cost_bytes is None or found.not_free_bytes is None:
        return None
    return max(QEMU_OVERHEAD_BYTES, cost_bytes - found.not_free_bytes)


def _learn(course: Course, guest: Guest, found: Estimate) -> Course:
    cost_bytes, most_bytes = guest.observed.host_cost_bytes, _most_overhead(guest, found)
    if course.expected_bytes <= 0 or course.cost_bytes is None or cost_bytes is None:
        return course
    if course.not_free_bytes is None or found.not_free_bytes is None or most_bytes is None:
        return course
    if found.not_free_bytes > course.not_free_bytes + BREATHING_BYTES:
        return course
    # what came back as the host's swap did not come back as memory, and what was swapped out meanwhile did
    if abs((guest.observed.swapped_bytes or 0) - course.swapped_bytes) > BREATHING_BYTES:
        return course
    short_bytes = course.expected_bytes - (course.cost_bytes - cost_bytes)
    overhead_bytes = min(most_bytes, max(QEMU_OVERHEAD_BYTES, course.overhead_bytes + short_bytes))
    return msgspec.structs.replace(course, overhead_bytes=overhead_bytes)
