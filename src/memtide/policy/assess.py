"""One guest in one tick: what it needs, what it holds, what may be taken from it, whether it starves."""

import msgspec

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.guest import Guest, StatsState
from memtide.model.limits import GuestLimits, Limits
from memtide.model.reason import ReasonCode
from memtide.policy.constants import (
    CUSHION_BYTES,
    DEAD_BAND_BYTES,
    DEAD_BAND_RATIO,
    DEMAND_MARGIN,
    FALL_AHEAD_S,
    FLOOR_OVER_KERNEL_BYTES,
    FOREIGN_HOLD_S,
    LOOK_AHEAD_S,
    REACTION_S,
    STARVING_SHARE,
    SWAP_NOISE_BYTES,
    TRUST_MOVE_S,
)
from memtide.policy.cooperation import Course, changed_by_others, follow
from memtide.policy.demand import Estimate, estimate, stats_state
from memtide.policy.eligibility import Standing, guest_limits, hands_off, spared
from memtide.policy.host_state import WORSE
from memtide.policy.peak import Peak, begin, look

__all__ = ["Case", "Track", "assess"]


class Track(Model, frozen=True, kw_only=True):
    """What the law remembers of one guest from tick to tick."""

    estimate: Estimate
    peak: Peak
    course: Course = Course()
    since_s: float | None = None
    """The guest's incarnation; a reboot starts a new track."""
    cool_until_s: float = 0.0
    foreign_until_s: float = 0.0
    """Somebody else changed its size: it is left alone so long, as if an operator held it."""
    taken_at_s: float = 0.0
    dwell_until_s: float = 0.0
    """What was taken stays taken until then, but for its room."""
    period_asked_at_s: float = 0.0
    seen_at_s: float = 0.0


class Case(Model, frozen=True, kw_only=True):
    """The law's view of one guest now. Sizes in bytes."""

    guest: Guest
    track: Track
    limits: GuestLimits
    stats: StatsState
    hands_off: ReasonCode | None
    spared: ReasonCode | None
    floor_bytes: int
    ceiling_bytes: int
    state: HostState
    """The host's, as of this tick."""
    keep_bytes: int
    """Nothing below this is taken, unless the needs of all are more than the host has."""
    room_bytes: int
    """What it gets back after its slack was taken: room for the most it needed lately."""
    stuck: bool
    """It did not follow its last target; neither asked nor given for a while."""
    moving_bytes: int
    """What it still has to move to reach its target: negative while it shrinks."""
    doubted: bool
    """It was asked to give and has not moved lately: neither counted on nor asked for more."""
    promised_bytes: int
    """The larger of what it has and what it is growing to."""
    bound_bytes: int
    """The smaller of what it has and what it is shrinking to."""
    resident_bytes: int | None
    """Its memory that costs the host something, QEMU's own and what is on its way back excluded."""
    idle_bytes: int
    """Resident and not needed, free or cold cache; 0 when unknown or spared."""
    idle_free_bytes: int
    """The part of it that is free memory of the guest: its driver hands that out first."""
    untouched_bytes: int
    """Free memory of the guest that costs the host nothing; it comes before the cache when more is taken."""
    dead_band_bytes: int
    """A change smaller than this is not worth it."""
    horizon_s: float
    """How far ahead growth is looked: the time until a later decision can help."""
    starving_line_bytes: int
    starving: bool

    @property
    def uuid(self) -> str:
        """Return the guest's identity."""
        return self.guest.uuid

    @property
    def touching_bytes(self) -> int:
        """Return what its growth will cost the host before the law can act again: what it finds free costs nothing."""
        if self.hands_off is not None or self.stats is not StatsState.FRESH:
            return 0  # how it grew once says nothing of now
        # memory freed last is used first, so a guest grows into what is resident already
        growth_bytes = int(self.track.estimate.growth_bps * REACTION_S) - self.idle_free_bytes
        return max(0, min(growth_bytes, self.untouched_bytes))

    def keep_with(self, state: HostState) -> int:
        """Return what the guest would keep if the host were in ``state``."""
        if state is self.state:
            return self.keep_bytes
        return _keep(self.track.estimate, state, self.horizon_s, self.floor_bytes, self.guest.observed.maximum_bytes)

    def slack_with(self, state: HostState) -> int:
        """Return what the host could gain from this guest if it were in ``state``: idle, and above what is kept."""
        if self.idle_bytes == 0:
            return 0
        return max(0, min(self.idle_bytes, self.bound_bytes - self.keep_with(state)))

    def easy_slack_with(self, state: HostState) -> int:
        """Return the part of the slack that is free memory: to give it costs the guest nothing but room."""
        return min(self.idle_free_bytes, self.slack_with(state))

    def ask_for(self, gain_bytes: int, state: HostState) -> int:
        """Return what to ask of the guest so that the host gains so much, never into what the guest keeps."""
        # free memory that was touched last is handed out first, then free memory never touched, then cache
        beyond = gain_bytes > self.idle_free_bytes
        ask_bytes = gain_bytes + (self.untouched_bytes if beyond else 0)
        return max(0, min(ask_bytes, self.bound_bytes - self.keep_with(state)))


def assess(before: Track | None, guest: Guest, state: HostState, limits: Limits, now_s: float) -> Case:
    """Return the case of one guest, its track brought up to date."""
    if before is not None and guest.since_s != before.since_s and guest.since_s is not None:
        before = None
    track = _update(before, guest, now_s)
    found, course = track.estimate, track.course
    mine = guest_limits(guest, limits)
    standing = _standing(guest, track, mine, limits, now_s)
    off = hands_off(standing)
    spare = off or spared(standing)
    maximum_bytes = guest.observed.maximum_bytes
    ceiling_bytes = min(maximum_bytes, mine.ceiling_bytes or maximum_bytes)
    floor_bytes = _floor(found, mine, maximum_bytes)
    current_bytes = guest.observed.current_bytes
    moving_bytes = course.remaining_bytes(current_bytes)
    doubted = moving_bytes < 0 and now_s - course.progress_at_s >= TRUST_MOVE_S
    horizon_s = max(LOOK_AHEAD_S, REACTION_S + min(now_s - found.updated_at_s, LOOK_AHEAD_S))
    line_bytes = int(STARVING_SHARE * CUSHION_BYTES[WORSE[state]] + horizon_s * found.growth_bps)
    resident_bytes, idle_bytes, idle_free_bytes, untouched_bytes = _holds(
        guest, track, 0 if doubted else max(0, -moving_bytes), now_s
    )
    return Case(
        guest=guest,
        track=track,
        limits=mine,
        stats=standing.stats,
        hands_off=off,
        spared=spare,
        floor_bytes=floor_bytes,
        ceiling_bytes=ceiling_bytes,
        state=state,
        keep_bytes=_keep(found, state, horizon_s, floor_bytes, maximum_bytes),
        room_bytes=min(ceiling_bytes, track.peak.most_bytes + CUSHION_BYTES[HostState.HIGH]),
        stuck=standing.stuck,
        moving_bytes=moving_bytes,
        doubted=doubted,
        promised_bytes=current_bytes + max(0, moving_bytes),
        bound_bytes=current_bytes + min(0, moving_bytes),
        resident_bytes=resident_bytes,
        idle_bytes=0 if spare else idle_bytes,
        idle_free_bytes=0 if spare else idle_free_bytes,
        untouched_bytes=untouched_bytes,
        dead_band_bytes=max(DEAD_BAND_BYTES[state], int(DEAD_BAND_RATIO * maximum_bytes)),
        horizon_s=horizon_s,
        starving_line_bytes=line_bytes,
        starving=off is None and standing.stats is StatsState.FRESH and _starving(found, line_bytes),
    )


def _standing(guest: Guest, track: Track, mine: GuestLimits, limits: Limits, now_s: float) -> Standing:
    hold = limits.holds.get(guest.uuid)
    return Standing(
        guest=guest,
        limits=mine,
        stats=stats_state(guest, now_s, limits.period_s),
        reports=track.estimate.reports,
        contradicts=track.estimate.contradicts,
        age_s=None if guest.since_s is None else now_s - guest.since_s,
        boot_grace_s=limits.boot_grace_s,
        stuck=track.course.stuck(now_s),
        held=hold is not None and now_s < hold.until_s,
        foreign=now_s < track.foreign_until_s,
        cooling=now_s < track.cool_until_s,
    )


def _update(before: Track | None, guest: Guest, now_s: float) -> Track:
    if before is None:
        room_bytes = guest.observed.current_bytes - CUSHION_BYTES[HostState.HIGH]
        return Track(
            estimate=estimate(None, guest, now_s),
            peak=begin(room_bytes, now_s),
            since_s=guest.since_s,
            seen_at_s=now_s,
        )
    if now_s < before.seen_at_s:
        before = _clock_set_back(before, now_s)
    found = estimate(before.estimate, guest, now_s)
    foreign = changed_by_others(before.course, before.estimate.current_bytes, guest.observed.current_bytes)
    return Track(
        estimate=found,
        peak=look(before.peak, found.demand_bytes, now_s),
        course=follow(before.course, guest, found, now_s),
        since_s=guest.since_s,
        cool_until_s=before.cool_until_s,
        foreign_until_s=now_s + FOREIGN_HOLD_S if foreign else before.foreign_until_s,
        taken_at_s=before.taken_at_s,
        dwell_until_s=before.dwell_until_s,
        period_asked_at_s=before.period_asked_at_s,
        seen_at_s=now_s,
    )


def _clock_set_back(before: Track, now_s: float) -> Track:
    """Return the track without moments that have not come yet: nobody waits for them for hours."""
    course = msgspec.structs.replace(
        before.course, progress_at_s=now_s, retry_at_s=min(before.course.retry_at_s, now_s)
    )
    found = msgspec.structs.replace(before.estimate, current_since_s=min(before.estimate.current_since_s, now_s))
    return msgspec.structs.replace(
        before,
        course=course,
        estimate=found,
        cool_until_s=0.0,
        foreign_until_s=0.0,
        taken_at_s=0.0,
        dwell_until_s=0.0,
        period_asked_at_s=0.0,
    )


def _floor(found: Estimate, limits: GuestLimits, maximum_bytes: int) -> int:
    beside_kernel_bytes = FLOOR_OVER_KERNEL_BYTES + (found.kernel_bytes or 0)
    return min(maximum_bytes, max(limits.floor_for(maximum_bytes), beside_kernel_bytes))


def _keep(found: Estimate, state: HostState, horizon_s: float, floor_bytes: int, maximum_bytes: int) -> int:
    need_bytes = DEMAND_MARGIN * found.demand_bytes + CUSHION_BYTES[state] + horizon_s * found.growth_bps
    return min(maximum_bytes, max(floor_bytes, int(need_bytes)))


def _holds(guest: Guest, track: Track, leaving_bytes: int, now_s: float) -> tuple[int | None, int, int, int]:
    """Return what of the guest's memory is resident, and of that idle, idle and free; and its free memory that is not.

    What is on its way back to the host is no part of them.
    """
    cost_bytes, found = guest.observed.host_cost_bytes, track.estimate
    if cost_bytes is None:
        return None, 0, 0, 0
    current_bytes = guest.observed.current_bytes
    # of what is leaving only a part was ever touched
    gained_bytes = max(0, min(leaving_bytes, track.course.expected_bytes))
    resident_bytes = min(cost_bytes - track.course.overhead_bytes, current_bytes) - gained_bytes
    # what a guest is freeing since its report is on its way already, and is the first that it will hand out
    freed_bytes = int(max(0.0, -found.slope_bps) * min(max(0.0, now_s - found.updated_at_s), FALL_AHEAD_S))
    demand_bytes = found.demand_bytes - freed_bytes
    not_free_bytes = demand_bytes if found.not_free_bytes is None else found.not_free_bytes - freed_bytes
    free_bytes = max(0, resident_bytes - not_free_bytes)
    return (
        max(0, resident_bytes),
        max(free_bytes, resident_bytes - demand_bytes),
        free_bytes,
        max(0, current_bytes - leaving_bytes - not_free_bytes - free_bytes),
    )


def _starving(found: Estimate, line_bytes: int) -> bool:
    if found.spare_bytes < line_bytes:
        return True
    # swapping alone may be the guest's housekeeping; when what it swapped out would not fit, it is distress
    swapping = max(found.swap.out_bytes, found.swap.in_bytes) > SWAP_NOISE_BYTES
    return swapping and found.spare_bytes < CUSHION_BYTES[HostState.HIGH] + found.swap.debt_bytes
