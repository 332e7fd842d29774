"""A law that knows the demand in advance: what could be reached if nothing had to be found out.

    need  = kernel + programs + files in use, the most of the next few seconds     (of the world's own curves)
    slack = resident - need

Every guest has its need before it comes. While the host will have less than its reserve, slack is taken, from all in
proportion. When the host would get under its emergency line all the same, guests go below their need: first the
memory that is not in use goes to their own swaps, then, most of it from the least weight, what is. It sees no
statistics, so their lag does not touch it.

It is no law to run, and not the best possible one: it does not plan beyond its horizon, and never counts on the
host's swap.
"""

from collections.abc import Iterable
from typing import Final

from memtide.model.action import Action, Reply, SetMemory
from memtide.model.base import Model
from memtide.model.decision import Budget, Decision, HostState
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.eligibility import guest_limits
from memtide.policy.host_state import reserve_for
from memtide.policy.share import Claim, fill
from memtide.sim.curve import Course
from memtide.sim.guest import SimGuest
from memtide.sim.memory import MIN_FREE_BYTES
from memtide.sim.world import World
from memtide.units import GIB, MIB

__all__ = ["Oracle"]

AHEAD_S: Final = 6.0
LOOK_EVERY_S: Final = 0.5
MOST_AHEAD_S: Final = 60.0
USUAL_MOVE_BYTES: Final = 2 * GIB
"""A balloon so slow that it needs longer than ``AHEAD_S`` for this is looked ahead for longer."""
MARGIN_BYTES: Final = 8 * MIB
SPARE_BYTES: Final = 128 * MIB
"""So much more than the reserve it aims at: not all that a balloon takes was resident."""
LEAST_MOVE_BYTES: Final = 16 * MIB
SOON_S: Final = (1.0, 3.0, AHEAD_S)
"""Moments at which the needs of all are added up: the most of each does not come together."""
LINE_SPARE_BYTES: Final = 32 * MIB
EMERGENCY_SHARE: Final = 4


class Need(Model, frozen=True, kw_only=True):
    """What a guest will need, and what it has."""

    uuid: str
    guest: SimGuest
    can_move: bool
    """Its balloon works now."""
    need_bytes: int
    """The most of the time looked ahead."""
    soon_bytes: tuple[int, ...]
    """What it needs at each of the moments ``SOON_S``."""
    weight: float
    floor_bytes: int

    @property
    def growth_bytes(self) -> int:
        """New memory of the host that it will touch."""
        return max(0, self.need_bytes - self.guest.memory.touched_bytes)

    @property
    def slack_bytes(self) -> int:
        """Resident memory that it will not need."""
        memory = self.guest.memory
        if not self.can_move:
            return 0
        least_bytes = max(self.need_bytes, self.floor_bytes)
        return max(0, min(memory.touched_bytes - self.need_bytes, memory.current_bytes - least_bytes))


class Oracle:
    """The law as a ``ports.Policy``, for one world.

    Args:
        world: the one it is asked about; its curves are the future.
    """

    name = "oracle"

    def __init__(self, world: World) -> None:
        self._world = world
        self._courses: dict[str, tuple[Course, ...]] = {}
        """By UUID: what the guest's programs hold, and the files they use."""
        base = world.memory.spec.base
        self._base = None if base is None else Course(base)

    def initial(self) -> None:
        """Return nothing: who knows the future needs no memory."""

    def decide(self, state: None, snapshot: Snapshot, limits: Limits) -> tuple[None, Decision]:
        """Return the sizes of the next moments."""
        reserve_bytes = reserve_for(snapshot.host, limits)
        needs = list(self._needs(snapshot, limits))
        growth_bytes = sum(need.growth_bytes for need in needs) + self._base_growth_bytes()
        left_bytes = snapshot.host.memory.available_bytes - growth_bytes
        sizes = {need.guest.spec.name: max(need.need_bytes, need.guest.memory.current_bytes) for need in needs}
        slack_bytes = sum(need.slack_bytes for need in needs)
        part = min(1.0, max(0, reserve_bytes + SPARE_BYTES - left_bytes) / max(1, slack_bytes))
        for need in needs:
            sizes[need.guest.spec.name] -= int(need.slack_bytes * part)
        line_bytes = reserve_bytes // EMERGENCY_SHARE + LINE_SPARE_BYTES
        cost_bytes = max(sum(costs) for costs in zip(*map(_costs_bytes, needs), strict=True)) if needs else 0
        lacking_bytes = max(0, line_bytes + cost_bytes - snapshot.host.memory.available_bytes)
        for name, less_bytes in _squeezed(needs, lacking_bytes).items():
            sizes[name] -= less_bytes
        return state, _decision(snapshot, limits, reserve_bytes, _moves(needs, sizes))

    def answered(self, state: None, action: Action, reply: Reply) -> None:  # noqa: ARG002 - the port's signature
        """Remember nothing."""
        return state

    def _needs(self, snapshot: Snapshot, limits: Limits) -> Iterable[Need]:
        elapsed_s = self._world.elapsed_s
        for seen in snapshot.guests:
            guest, own = self._world.guests[seen.uuid], guest_limits(seen, limits)
            yield Need(
                uuid=seen.uuid,
                guest=guest,
                can_move=guest.spec.has_balloon and guest.spec.behaviour.follows_target(elapsed_s),
                need_bytes=min(guest.spec.maximum_bytes, self._need_bytes(seen.uuid, guest, elapsed_s)),
                soon_bytes=tuple(
                    min(guest.spec.maximum_bytes, self._need_bytes(seen.uuid, guest, elapsed_s + soon_s, 0.0))
                    for soon_s in SOON_S
                ),
                weight=own.weight,
                floor_bytes=own.floor_for(guest.spec.maximum_bytes),
            )

    def _base_growth_bytes(self) -> int:
        if self._base is None:
            return 0
        return max(0, _most(self._base, self._world.elapsed_s, AHEAD_S) - self._world.memory.base_bytes)

    def _need_bytes(self, uuid: str, guest: SimGuest, from_s: float, ahead_s: float | None = None) -> int:
        """Return the most that a guest needs from a moment on; ``None``: for as long as its balloon needs to know."""
        spec = guest.spec
        if uuid not in self._courses:
            self._courses[uuid] = Course(spec.anonymous), Course(spec.hot_cache)
        if ahead_s is None:
            ahead_s = min(MOST_AHEAD_S, max(AHEAD_S, USUAL_MOVE_BYTES / spec.shrink_bps))
        used_bytes = sum(_most(course, from_s, ahead_s) for course in self._courses[uuid])
        return spec.kernel_bytes + used_bytes + guest.memory.compressed_bytes + MIN_FREE_BYTES + MARGIN_BYTES


def _most(course: Course, elapsed_s: float, ahead_s: float) -> int:
    """Return the most of a curve from now on for a while."""
    until_s = elapsed_s + ahead_s
    most_bytes = course.at(elapsed_s)
    while elapsed_s < until_s:
        # over level ground in one stride
        elapsed_s = max(elapsed_s + LOOK_EVERY_S, course.flat_until_s(elapsed_s))
        most_bytes = max(most_bytes, course.at(min(elapsed_s, until_s)))
    return most_bytes


def _costs_bytes(need: Need) -> list[int]:
    """Return what a guest will have taken from the host at each moment, or left to it (negative), slack and all."""
    changes_bytes = [soon_bytes - need.guest.memory.touched_bytes for soon_bytes in need.soon_bytes]
    return changes_bytes if need.can_move else [max(0, change_bytes) for change_bytes in changes_bytes]


def _squeezed(needs: list[Need], lacking_bytes: int) -> dict[str, int]:
    """Return by how much each guest goes below its need: what is not in use from all alike, the rest by weight."""
    room = {need.uuid: _room_bytes(need) for need in needs}
    cold = {need.uuid: min(room[need.uuid], _cold_bytes(need)) for need in needs}
    first = fill(
        lacking_bytes, {uuid: Claim(cap_bytes=cap_bytes, weight=cap_bytes) for uuid, cap_bytes in cold.items()}
    )
    hot = {need.uuid: Claim(cap_bytes=room[need.uuid] - first[need.uuid], weight=1 / need.weight) for need in needs}
    then = fill(lacking_bytes - sum(first.values()), hot)
    return {need.guest.spec.name: first[need.uuid] + then[need.uuid] for need in needs}


def _room_bytes(need: Need) -> int:
    """Return how far it can go below its need without being killed."""
    spec = need.guest.spec
    return max(0, min(spec.swap_bytes, need.need_bytes - need.floor_bytes)) if need.can_move else 0


def _cold_bytes(need: Need) -> int:
    memory = need.guest.memory
    return int((memory.anonymous_bytes + memory.swapped_bytes) * (1 - need.guest.spec.hot_ratio))


def _moves(needs: list[Need], sizes: dict[str, int]) -> Iterable[SetMemory]:
    """Return the changes worth making, what frees memory first; nothing is asked of a balloon that does not work."""
    changes = []
    for need in needs:
        guest, to_bytes = need.guest, sizes[need.guest.spec.name]
        change_bytes = to_bytes - guest.memory.current_bytes
        if need.can_move and (change_bytes > 0 or -change_bytes >= LEAST_MOVE_BYTES):
            changes.append((change_bytes, need, to_bytes))
    for change_bytes, need, to_bytes in sorted(changes, key=lambda change: change[0]):
        yield SetMemory(
            uuid=need.uuid,
            name=need.guest.spec.name,
            from_bytes=need.guest.memory.current_bytes,
            to_bytes=to_bytes,
            reason=Reason(code=ReasonCode.PEER, numbers={"law": Oracle.name}),
            expected_gain_bytes=-change_bytes,
        )


def _decision(snapshot: Snapshot, limits: Limits, reserve_bytes: int, moves: Iterable[SetMemory]) -> Decision:
    available_bytes = snapshot.host.memory.available_bytes
    return Decision(
        decided_at_s=snapshot.taken_at_s,
        policy=Oracle.name,
        mode=limits.mode.value,
        # asked as often as any law can be
        state=HostState.LOW,
        state_since_s=snapshot.taken_at_s,
        budget=Budget(
            reserve_bytes=reserve_bytes,
            available_bytes=available_bytes,
            headroom_bytes=available_bytes - reserve_bytes,
            missing_bytes=0,
            pending_bytes=0,
        ),
        verdicts=(),
        actions=tuple(moves),
    )
