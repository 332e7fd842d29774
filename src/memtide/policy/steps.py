"""The three steps of the law: relieve who starves, take what is slack, give back what the host can spare."""

from collections.abc import Collection

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.limits import Limits, Mode
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.assess import Case
from memtide.policy.constants import (
    CUSHION_BYTES,
    DEAD_BAND_BYTES,
    DWELL_BEFORE_RETURN_S,
    FOLLOW_BURST_BYTES,
    FOLLOW_STEP_BYTES,
    FOLLOW_STEP_RATIO,
    FOLLOW_WANT_RATIO,
    GROWING_BPS,
    OVERSHOOT,
    RETURN_SHARE,
    USED_SOON_S,
)
from memtide.policy.host_state import BETTER_BY, line_bytes, worse
from memtide.policy.share import Claim, fill

Numbers = dict[str, int | float | str]

__all__ = ["Move", "Room", "give_back", "relief_numbers", "relieve", "room_of", "take"]


class Move(Model, frozen=True, kw_only=True):
    """A change of one guest's memory that one of the three steps wants."""

    to_bytes: int
    reason: Reason
    gain_bytes: int
    """What the host gains (positive) or may have to spend (negative)."""


class Room(Model, frozen=True, kw_only=True):
    """The host's side of the plan, all bytes."""

    state: HostState
    available_bytes: int
    reserve_bytes: int
    growing_bytes: int
    """Granted and not yet there."""
    shrinking_bytes: int
    """Asked for and not yet back."""
    swap_free_bytes: int

    @property
    def for_relief_bytes(self) -> int:
        """Return what starving guests may be given: down to the emergency line, half the free swap included."""
        emergency_bytes = line_bytes(HostState.HARD, self.reserve_bytes)
        return max(0, self.available_bytes - self.growing_bytes - emergency_bytes + self.swap_free_bytes // 2)

    def missing_bytes(self, granted_bytes: int) -> int:
        """Return what the host will lack of its reserve once this tick's grants are used."""
        then_bytes = self.available_bytes - self.growing_bytes + self.shrinking_bytes - granted_bytes
        return max(0, self.reserve_bytes - then_bytes)


def room_of(snapshot: Snapshot, state: HostState, reserve_bytes: int, cases: Collection[Case]) -> Room:
    """Return the host's side of the plan."""
    memory = snapshot.host.memory
    return Room(
        state=state,
        available_bytes=memory.available_bytes,
        reserve_bytes=reserve_bytes,
        growing_bytes=sum(max(0, case.moving_bytes) for case in cases),
        shrinking_bytes=sum(min(max(0, -case.moving_bytes), case.track.course.expected_bytes) for case in cases),
        swap_free_bytes=memory.swap_free_bytes,
    )


def relieve(cases: dict[str, Case], room: Room) -> tuple[dict[str, Move], int]:
    """Return what starving guests get at once, and what they will soon need and the host does not have.

    A guest is given all it lacks, but the host pays only for what the guest will soon touch: that is shared by
    weight when it is too much, and each gets the same part of what it lacks as of what it will touch.
    """
    lacks = {uuid: lack for uuid, case in cases.items() if (lack := _lacks(case)) > 0}
    soon = {uuid: _used_soon(cases[uuid], lack) for uuid, lack in lacks.items()}
    claims = {uuid: Claim(cap_bytes=used, weight=cases[uuid].limits.weight) for uuid, used in soon.items()}
    shares = fill(room.for_relief_bytes, claims)
    moves = {}
    for uuid, lack_bytes in lacks.items():
        case = cases[uuid]
        granted_bytes = lack_bytes if shares[uuid] == soon[uuid] else lack_bytes * shares[uuid] // soon[uuid]
        # a crumb would not help; a whole small want would
        if granted_bytes < min(lack_bytes, DEAD_BAND_BYTES):
            continue
        numbers = relief_numbers(case, room) | {"share_bytes": granted_bytes, "wanted_bytes": lack_bytes}
        moves[uuid] = Move(
            to_bytes=case.promised_bytes + granted_bytes,
            reason=Reason(code=ReasonCode.RELIEF, numbers=numbers),
            gain_bytes=-shares[uuid],
        )
    return moves, sum(soon.values()) - sum(-move.gain_bytes for move in moves.values())


def take(cases: dict[str, Case], room: Room, missing_bytes: int, unmet_bytes: int, limits: Limits) -> dict[str, Move]:
    """Return what is taken from guests with slack: for the host's reserve, or for guests that starve."""
    if missing_bytes + unmet_bytes == 0:
        return _follow(cases, room) if limits.mode is Mode.FOLLOW else {}
    # for a starving guest the others go down one rung more; two, and they would starve themselves on the next tick
    state = worse(room.state) if unmet_bytes else room.state
    short = room.available_bytes < room.reserve_bytes
    code = ReasonCode.HOST_SHORT if short and not unmet_bytes else ReasonCode.FOR_OTHERS
    # a growing guest's slack is of a moment ago; the next tick would give it back
    growing = GROWING_BPS if room.state is not HostState.LOW else float("inf")
    donors = {u: c for u, c in cases.items() if not c.starving and c.track.estimate.growth_bps < growing}
    wanted_bytes = int(OVERSHOOT * missing_bytes) + unmet_bytes
    easy = _share(wanted_bytes, donors, {uuid: case.easy_slack_with(state) for uuid, case in donors.items()})
    # only what free memory cannot cover is taken from page cache
    rest = {uuid: case.slack_with(state) - case.easy_slack_with(state) for uuid, case in donors.items()}
    cache = _share(wanted_bytes - sum(easy.values()), donors, rest)
    shares = {uuid: easy[uuid] + cache[uuid] for uuid in donors}
    numbers: Numbers = {
        "available_bytes": room.available_bytes,
        "reserve_bytes": room.reserve_bytes,
        "missing_bytes": missing_bytes + unmet_bytes,
        "state": room.state.value,
    }
    return _shrinks(cases, shares, state, code, numbers)


def _share(amount_bytes: int, cases: dict[str, Case], slack: dict[str, int]) -> dict[str, int]:
    """Share an amount in proportion to slack over weight."""
    claims = {uuid: Claim(cap_bytes=s, weight=s / cases[uuid].limits.weight) for uuid, s in slack.items()}
    return fill(amount_bytes, claims)


def give_back(cases: dict[str, Case], room: Room, limits: Limits, now_s: float) -> dict[str, Move]:
    """Return what is handed back while the host has more than it needs."""
    spare_bytes = room.available_bytes - room.growing_bytes - int(BETTER_BY * room.reserve_bytes)
    claims = {}
    for uuid, case in cases.items():
        blocked = case.hands_off or case.stuck or case.spared is ReasonCode.HELD
        recent = now_s - case.track.taken_at_s < DWELL_BEFORE_RETURN_S
        goal_bytes = min(case.ceiling_bytes, _want(case)) if limits.mode is Mode.FOLLOW else case.ceiling_bytes
        short_bytes = goal_bytes - case.promised_bytes
        if not blocked and not recent and case.moving_bytes == 0 and short_bytes > 0:
            claims[uuid] = Claim(cap_bytes=short_bytes, weight=case.limits.weight)
    shares = fill(int(RETURN_SHARE * spare_bytes), claims)
    return {
        uuid: Move(
            to_bytes=cases[uuid].promised_bytes + share_bytes,
            reason=Reason(
                code=ReasonCode.RETURN,
                numbers={
                    "available_bytes": room.available_bytes,
                    "reserve_bytes": room.reserve_bytes,
                    "share_bytes": share_bytes,
                },
            ),
            gain_bytes=-share_bytes,
        )
        for uuid, share_bytes in shares.items()
        # the last crumbs to the ceiling are given too, or a guest would stay just short of it for ever
        if share_bytes >= min(cases[uuid].dead_band_bytes, claims[uuid].cap_bytes)
    }


def _follow(cases: dict[str, Case], room: Room) -> dict[str, Move]:
    """Return follow mode's slow taking of what guests hold beyond their want."""
    shares = {}
    for uuid, case in cases.items():
        # only free memory: for cache the guest's whole room would have to go first
        beyond_bytes = min(case.idle_free_bytes, case.bound_bytes - _want(case))
        step_bytes = max(FOLLOW_STEP_BYTES, int(FOLLOW_STEP_RATIO * case.guest.observed.current_bytes))
        shares[uuid] = 0 if case.spared else max(0, min(beyond_bytes, step_bytes))
    numbers: Numbers = {"available_bytes": room.available_bytes, "reserve_bytes": room.reserve_bytes}
    return _shrinks(cases, shares, room.state, ReasonCode.FOLLOW, numbers)


def _shrinks(
    cases: dict[str, Case], shares: dict[str, int], state: HostState, code: ReasonCode, numbers: Numbers
) -> dict[str, Move]:
    moves = {}
    for uuid, gain_bytes in sorted(shares.items(), key=lambda item: (-item[1], item[0])):
        case = cases[uuid]
        ask_bytes = case.ask_for(gain_bytes, state)
        if ask_bytes < case.dead_band_bytes or gain_bytes <= 0:
            continue
        own = {
            "slack_bytes": case.slack_with(state),
            "keep_bytes": case.keep_with(state),
            "demand_bytes": case.track.estimate.demand_bytes,
            "usable_bytes": case.track.estimate.usable_bytes,
        }
        moves[uuid] = Move(
            to_bytes=case.bound_bytes - ask_bytes,
            reason=Reason(code=code, numbers={**numbers, **own}),
            gain_bytes=min(gain_bytes, ask_bytes),
        )
    return moves


def _lacks(case: Case) -> int:
    """Return what a starving guest needs on top of what it has been promised; 0 for all others."""
    if not case.starving or case.stuck:
        return 0
    short_bytes = case.keep_bytes - case.promised_bytes
    found = case.track.estimate
    # before the last growth shows in a report, "little usable" is old news: only a larger need counts
    seen_since = case.moving_bytes == 0 and found.updated_at_s > found.current_since_s
    least_bytes = CUSHION_BYTES[HostState.LOW] if seen_since else 0
    return min(max(short_bytes, least_bytes), case.ceiling_bytes - case.promised_bytes)


def _used_soon(case: Case, lack_bytes: int) -> int:
    """Return how much of what it lacks a guest will have touched before the law can look again."""
    found = case.track.estimate
    used_bytes = int(found.growth_bps * USED_SOON_S + found.swap.debt_bytes)
    return min(lack_bytes, max(used_bytes, CUSHION_BYTES[HostState.LOW]))


def _want(case: Case) -> int:
    """Return what a guest wants in follow mode: its need, 15 % and room for a burst."""
    return min(
        case.ceiling_bytes,
        case.keep_bytes + int(FOLLOW_WANT_RATIO * case.track.estimate.demand_bytes) + FOLLOW_BURST_BYTES,
    )


def relief_numbers(case: Case, room: Room) -> Numbers:
    """Return what a decision about a starving guest rests on."""
    found = case.track.estimate
    return {
        "usable_bytes": found.usable_bytes,
        "line_bytes": case.starving_line_bytes,
        "demand_bytes": found.demand_bytes,
        "growth_bps": found.growth_bps,
        "swap_out_bytes": found.swap.out_bytes,
        "available_bytes": room.available_bytes,
        "reserve_bytes": room.reserve_bytes,
        "state": room.state.value,
    }
