"""The host's side of the plan, and the moves that the law's steps put into it."""

from collections.abc import Collection

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.reason import Reason
from memtide.model.snapshot import Snapshot
from memtide.policy.assess import Case
from memtide.policy.host_state import HostTrack, line_bytes
from memtide.policy.stalls import swap_worth_bytes

__all__ = ["Move", "Numbers", "Room", "room_of"]

Numbers = dict[str, int | float | str]


class Move(Model, frozen=True, kw_only=True):
    """A change of one guest's memory that one of the steps wants."""

    to_bytes: int
    reason: Reason
    gain_bytes: int
    """What the host gains (positive) or may have to spend (negative)."""


class Room(Model, frozen=True, kw_only=True):
    """What the host has, all bytes."""

    state: HostState
    available_bytes: int
    reserve_bytes: int
    growing_bytes: int
    """Granted and about to be used."""
    shrinking_bytes: int
    """Asked for and not yet back."""
    swap_bytes: int
    """What of the host's free swap counts as memory: cold pages may go there rather than a guest starve."""

    @property
    def emergency_bytes(self) -> int:
        """Return the emergency line: a quarter of the reserve."""
        return line_bytes(HostState.HARD, self.reserve_bytes)

    @property
    def above_emergency_bytes(self) -> int:
        """Return what the host has above its emergency line once all moves under way are done; negative: under it."""
        then_bytes = self.available_bytes - self.growing_bytes + self.shrinking_bytes
        return then_bytes - self.emergency_bytes

    @property
    def for_relief_bytes(self) -> int:
        """Return what starving guests may be given now: down to the emergency line, swap included."""
        return max(0, self.available_bytes - self.growing_bytes - self.emergency_bytes + self.swap_bytes)

    @property
    def lends_room(self) -> bool:
        """Say whether guests may have room that the host could not fill at once: not when it is nearly empty itself."""
        enough = self.available_bytes >= line_bytes(HostState.SOFT, self.reserve_bytes)
        by_swap = self.swap_bytes >= self.reserve_bytes
        return self.state is not HostState.LOW and (enough or by_swap)

    def missing_bytes(self, granted_bytes: int) -> int:
        """Return what the host will lack of its reserve once this tick's grants are used."""
        then_bytes = self.available_bytes - self.growing_bytes + self.shrinking_bytes - granted_bytes
        return max(0, self.reserve_bytes - then_bytes)

    def numbers(self) -> Numbers:
        """Return what every decision about the host's shortage rests on."""
        return {
            "available_bytes": self.available_bytes,
            "reserve_bytes": self.reserve_bytes,
            "state": self.state.value,
        }


def room_of(snapshot: Snapshot, host: HostTrack, reserve_bytes: int, cases: Collection[Case]) -> Room:
    """Return the host's side of the plan."""
    memory = snapshot.host.memory
    growing_bytes = shrinking_bytes = 0
    for case in cases:
        moving_bytes = case.moving_bytes
        if moving_bytes > 0:
            # memory that is given costs nothing until it is touched
            growing_bytes += max(0, min(moving_bytes, -case.track.course.expected_bytes))
        elif moving_bytes < 0 and not case.doubted:
            shrinking_bytes += max(0, min(-moving_bytes, case.track.course.expected_bytes))
    return Room(
        state=host.state,
        available_bytes=memory.available_bytes,
        reserve_bytes=reserve_bytes,
        growing_bytes=growing_bytes,
        shrinking_bytes=shrinking_bytes,
        swap_bytes=swap_worth_bytes(host.stalls, snapshot.host),
    )
