"""Second step: what the host misses is taken from guests that hold resident memory they do not need.

Free memory before page cache, because it costs a guest nothing but room. Free memory is taken from as few guests as
will do, the largest holders first and all they hold: a driver hands out the memory freed last, so a guest whose
slack is gone as a whole can be given its room back untouched, and the others are not disturbed. In a hurry it is taken
from all at once. Cache is taken from
all in proportion, because nobody knows beforehand which of it is in use.
"""

from memtide.model.decision import HostState
from memtide.model.limits import Limits, Mode
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.assess import Case
from memtide.policy.constants import (
    FOLLOW_BURST_BYTES,
    FOLLOW_STEP_BYTES,
    FOLLOW_STEP_RATIO,
    GROWING_BPS,
    GROWING_KEEPS_S,
    MOST_AT_ONCE_BYTES,
    OVERSHOOT,
    PROBATION_BYTES,
)
from memtide.policy.host_state import WORSE
from memtide.policy.plan import Move, Numbers, Room
from memtide.policy.returning import want_bytes
from memtide.policy.share import Claim, fill

__all__ = ["take"]

HURRY = {HostState.HARD, HostState.LOW}
"""In these states all guests are asked at once: many drivers are quicker than one, and one may stand still."""


def take(cases: dict[str, Case], room: Room, missing_bytes: int, unmet_bytes: int, limits: Limits) -> dict[str, Move]:
    """Return what is taken from guests with slack: for the host's reserve, or for guests that starve."""
    if missing_bytes + unmet_bytes == 0:
        return _follow(cases, room) if limits.mode is Mode.FOLLOW else {}
    # for a starving guest the others go down one rung more; two, and they would starve themselves on the next tick
    state = WORSE[room.state] if unmet_bytes else room.state
    short = room.available_bytes < room.reserve_bytes
    code = ReasonCode.HOST_SHORT if short and not unmet_bytes else ReasonCode.FOR_OTHERS
    wanted_bytes = int(OVERSHOOT * missing_bytes) + unmet_bytes
    shares = _shares({uuid: case for uuid, case in cases.items() if _gives(case)}, wanted_bytes, state)
    numbers = room.numbers() | {"missing_bytes": missing_bytes + unmet_bytes}
    return _shrinks(cases, shares, state, code, numbers)


def _gives(case: Case) -> bool:
    """Say whether a guest may be asked at all."""
    on_trial = case.track.course.on_probation and case.moving_bytes < 0
    return case.idle_bytes > 0 and not case.starving and not case.doubted and not on_trial


def _spare(case: Case, slack_bytes: int, state: HostState) -> int:
    """Return what of its slack a guest can give: a growing one keeps what it is about to grow into."""
    growth_bps = case.track.estimate.growth_bps
    if growth_bps < GROWING_BPS or state is HostState.LOW:
        return slack_bytes
    return max(0, slack_bytes - int(growth_bps * GROWING_KEEPS_S))


def _shares(donors: dict[str, Case], wanted_bytes: int, state: HostState) -> dict[str, int]:
    """Return what the host is to gain from each."""
    proven = {uuid: case for uuid, case in donors.items() if not case.track.course.on_probation}
    # who stood still before gives on top, so that nobody waits for it
    shares = {
        uuid: min(PROBATION_BYTES, _spare(case, case.slack_with(state), state))
        for uuid, case in donors.items()
        if uuid not in proven
    }
    shares |= _of_free(proven, wanted_bytes, state)
    left_bytes = wanted_bytes - sum(shares[uuid] for uuid in proven)
    if left_bytes > 0:
        rest = {
            uuid: max(0, _spare(case, case.slack_with(state), state) - shares[uuid]) for uuid, case in proven.items()
        }
        for uuid, cache_bytes in _in_proportion(proven, rest, left_bytes).items():
            shares[uuid] += cache_bytes
    return shares


def _of_free(cases: dict[str, Case], wanted_bytes: int, state: HostState) -> dict[str, int]:
    """Return what of it is free memory of the guests: from few, or in a hurry from all at once."""
    easy = {uuid: _spare(case, case.easy_slack_with(state), state) for uuid, case in cases.items()}
    easy = {uuid: slack if slack >= cases[uuid].dead_band_bytes else 0 for uuid, slack in easy.items()}
    if state in HURRY:
        return _in_proportion(cases, easy, wanted_bytes)
    shares, left_bytes = {}, wanted_bytes
    for uuid in sorted(easy, key=lambda uuid: (-easy[uuid] / cases[uuid].limits.weight, uuid)):
        shares[uuid] = min(easy[uuid], max(left_bytes, MOST_AT_ONCE_BYTES)) if left_bytes > 0 else 0
        left_bytes -= shares[uuid]
    return shares


def _in_proportion(cases: dict[str, Case], slack: dict[str, int], wanted_bytes: int) -> dict[str, int]:
    """Return shares in proportion to slack over weight."""
    claims = {uuid: Claim(cap_bytes=s, weight=s / cases[uuid].limits.weight) for uuid, s in slack.items()}
    return fill(wanted_bytes, claims)


def _follow(cases: dict[str, Case], room: Room) -> dict[str, Move]:
    """Return follow mode's slow taking of what guests hold beyond their want."""
    shares = {}
    for uuid, case in cases.items():
        # only free memory: for cache the guest's whole room would have to go first
        beyond_bytes = min(case.idle_free_bytes, case.bound_bytes - want_bytes(case))
        step_bytes = max(FOLLOW_STEP_BYTES, int(FOLLOW_STEP_RATIO * case.guest.observed.current_bytes))
        # a band between what is taken and what is given, or noise would move memory to and fro
        shares[uuid] = min(beyond_bytes, step_bytes) if beyond_bytes >= FOLLOW_BURST_BYTES // 2 else 0
    return _shrinks(cases, shares, room.state, ReasonCode.FOLLOW, room.numbers())


def _shrinks(
    cases: dict[str, Case], shares: dict[str, int], state: HostState, code: ReasonCode, numbers: Numbers
) -> dict[str, Move]:
    moves = {}
    for uuid, gain_bytes in sorted(shares.items(), key=lambda item: (-item[1], item[0])):
        if gain_bytes <= 0:
            break
        case = cases[uuid]
        ask_bytes = case.ask_for(gain_bytes, state)
        if ask_bytes < case.dead_band_bytes:
            continue
        own = {
            "slack_bytes": case.slack_with(state),
            "keep_bytes": case.keep_with(state),
            "demand_bytes": case.track.estimate.demand_bytes,
            "usable_bytes": case.track.estimate.usable_bytes,
            "dead_band_bytes": case.dead_band_bytes,
        }
        moves[uuid] = Move(
            to_bytes=case.bound_bytes - ask_bytes,
            reason=Reason(code=code, numbers=numbers | own),
            gain_bytes=min(gain_bytes, ask_bytes),
        )
    return moves
