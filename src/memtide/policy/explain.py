"""Why a guest was, or was not, acted upon: the law's verdict on each guest in each tick."""

from memtide.model.decision import HostState, Verdict
from memtide.model.guest import StatsState
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case, Track
from memtide.policy.steps import Move, Numbers, Room, relief_numbers

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
    """Return why this guest was or was not acted upon: the first of these that holds."""
    if move is not None:
        return move.reason
    slack_bytes = case.slack_with(room.state)
    host: Numbers = {
        "available_bytes": room.available_bytes,
        "reserve_bytes": room.reserve_bytes,
        "state": room.state.value,
        "slack_bytes": slack_bytes,
        "keep_bytes": case.keep_bytes,
        "dead_band_bytes": case.dead_band_bytes,
    }
    at_ceiling = case.guest.observed.current_bytes >= case.ceiling_bytes - case.dead_band_bytes
    rows: tuple[tuple[bool, ReasonCode | None, Numbers], ...] = (
        (case.hands_off is not None, case.hands_off, {}),
        (case.starving and at_ceiling, ReasonCode.AT_MAXIMUM, relief_numbers(case, room)),
        (case.starving and case.moving_bytes <= 0, ReasonCode.NO_ROOM, relief_numbers(case, room)),
        (case.moving_bytes != 0, ReasonCode.MOVING, {"target_bytes": case.track.course.target_bytes or 0}),
        (case.spared is ReasonCode.STUCK, case.spared, {"for_s": case.track.course.retry_at_s - now_s}),
        (case.spared is ReasonCode.COOLING, case.spared, {"for_s": case.track.cool_until_s - now_s}),
        (case.spared is not None, case.spared, {}),
        (room.state is not HostState.HIGH and slack_bytes <= 0, ReasonCode.NOTHING_RESIDENT, host),
        (room.state is not HostState.HIGH and slack_bytes < case.dead_band_bytes, ReasonCode.DEAD_BAND, host),
        (at_ceiling and slack_bytes <= 0, ReasonCode.AT_MAXIMUM, host),
    )
    code, numbers = next(((code, n) for holds, code, n in rows if holds and code), (ReasonCode.CONTENT, host))
    return Reason(code=code, numbers=dict(numbers))


def absent_verdict(uuid: str, name: str, why: str, track: Track | None) -> Verdict:
    """Return the verdict on a guest that did not answer."""
    return Verdict(
        uuid=uuid,
        name=name,
        reason=Reason(code=ReasonCode.ABSENT, numbers={"why": why}),
        stats=StatsState.NONE,
        target_bytes=None if track is None else track.course.target_bytes,
    )
