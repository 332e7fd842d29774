"""Why a guest was, or was not, acted upon: the law's verdict on each guest in each tick."""

from memtide.model.decision import HostState, Verdict
from memtide.model.guest import StatsState
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case, Track
from memtide.policy.plan import Move, Numbers, Room
from memtide.policy.relief import relief_numbers

__all__ = ["absent_verdict", "verdict"]


def verdict(case: Case, move: Move | None, track: Track, room: Room, now_s: float) -> Verdict:
    """Return the verdict on a guest that was sampled."""
    found = case.track.estimate
    known = found.reports > 0
    return Verdict(
        uuid=case.uuid,
        name=case.guest.name,
        reason=_reason(case, move, room, now_s),
        stats=case.stats,
        target_bytes=track.course.target_bytes,
        demand_bytes=found.demand_bytes if known else None,
        floor_bytes=case.floor_bytes,
        keep_bytes=case.keep_bytes if known else None,
        slack_bytes=case.slack_with(room.state) if known and case.guest.observed.host_cost_bytes is not None else None,
        growth_bps=found.growth_bps if known else None,
        starving=case.starving,
        weight=case.limits.weight,
    )


def _reason(case: Case, move: Move | None, room: Room, now_s: float) -> Reason:
    """Return why this guest was or was not acted upon."""
    if move is not None:
        return move.reason
    code = _code(case, room)
    return Reason(code=code, numbers=_numbers(code, case, room, now_s))


def _code(case: Case, room: Room) -> ReasonCode:
    """Return the first that holds of: hands off, distress, under way, spared, and what is left for a calm guest."""
    if case.hands_off is not None:
        return case.hands_off
    at_ceiling = case.guest.observed.current_bytes >= case.ceiling_bytes - case.dead_band_bytes
    if case.starving and (at_ceiling or case.moving_bytes <= 0):
        return ReasonCode.AT_MAXIMUM if at_ceiling else ReasonCode.NO_ROOM
    if case.moving_bytes != 0:
        return ReasonCode.MOVING
    if case.spared is not None:
        return case.spared
    slack_bytes = case.slack_with(room.state)
    if room.state is not HostState.HIGH and slack_bytes < case.dead_band_bytes:
        return ReasonCode.NOTHING_RESIDENT if slack_bytes == 0 else ReasonCode.DEAD_BAND
    return ReasonCode.AT_MAXIMUM if at_ceiling and slack_bytes == 0 else ReasonCode.CONTENT


def _numbers(code: ReasonCode, case: Case, room: Room, now_s: float) -> Numbers:
    """Return what such a reason rests on."""
    course, track = case.track.course, case.track
    waits_for = {
        ReasonCode.STUCK: course.retry_at_s,
        ReasonCode.FOREIGN: track.foreign_until_s,
        ReasonCode.COOLING: track.cool_until_s,
    }
    if code is ReasonCode.MOVING:
        return {"target_bytes": course.target_bytes or 0}
    if code in waits_for:
        return {"for_s": waits_for[code] - now_s}
    if case.starving:
        return relief_numbers(case, room)
    if case.spared is not None:
        return {}
    return {
        **room.numbers(),
        "slack_bytes": case.slack_with(room.state),
        "keep_bytes": case.keep_bytes,
        "dead_band_bytes": case.dead_band_bytes,
    }


def absent_verdict(uuid: str, name: str, why: str, track: Track | None) -> Verdict:
    """Return the verdict on a guest that did not answer."""
    return Verdict(
        uuid=uuid,
        name=name,
        reason=Reason(code=ReasonCode.ABSENT, numbers={"why": why}),
        stats=StatsState.NONE,
        target_bytes=None if track is None else track.course.target_bytes,
    )
