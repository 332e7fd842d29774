"""Run a law on a simulated world without the daemon, and keep what came of it.

Example::

    trace = run(World(HostSpec(total_bytes=8 * GIB), guests), Tide(), Limits(), duration_s=300)
    assert trace.oom_kills == 0 and trace["web"].shortage_gib_s < 1
"""

from dataclasses import dataclass, field
from typing import Any

from memtide.model.action import Action, Reply, SetMemory
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.ports import Policy
from memtide.sim.act import apply
from memtide.sim.guest import SimGuest
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.world import World
from memtide.units import GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One round: what was seen, what was decided, what each action was answered."""

    snapshot: Snapshot
    decision: Decision
    replies: tuple[tuple[Action, Reply], ...]


class GuestTrace:
    """What one guest went through; figures of its whole life in the world, those before the run included."""

    def __init__(self, guest: SimGuest) -> None:
        self.guest = guest
        self.reversals = 0
        """How often its memory began to move the other way."""
        self._current_bytes = guest.memory.current_bytes
        self._direction = 0

    def look(self) -> None:
        """Take note of where its memory is now."""
        moved_bytes = self.guest.memory.current_bytes - self._current_bytes
        if moved_bytes:
            direction = 1 if moved_bytes > 0 else -1
            self.reversals += direction == -self._direction
            self._direction = direction
            self._current_bytes += moved_bytes

    @property
    def shortage_gib_s(self) -> float:
        """Integral of the memory it used, or wanted to use, and did not have."""
        return self.guest.shortage_byte_s_total / GIB

    @property
    def swap_in_bytes(self) -> int:
        """What it read from its own swap."""
        return self.guest.memory.swap_in_bytes_total

    @property
    def swap_out_bytes(self) -> int:
        """What it wrote to its own swap."""
        return self.guest.memory.swap_out_bytes_total

    @property
    def major_faults(self) -> int:
        """Pages it waited for from its own disk."""
        return self.guest.major_faults_total

    @property
    def oom_kills(self) -> int:
        """How often its own kernel killed its workload."""
        return self.guest.oom_kills_total

    @property
    def moved_bytes(self) -> int:
        """How far its current memory moved, both directions."""
        return self.guest.moved_bytes_total


@dataclass(slots=True, kw_only=True)
class Trace:
    """A whole run. ``trace["web"]`` is the guest of that name, also when it is gone by now."""

    world: World
    ticks: list[Tick] = field(default_factory=list)
    guests: dict[str, GuestTrace] = field(default_factory=dict)
    under_reserve_s: float = 0.0
    """How long the host's available memory was under the law's reserve."""
    least_available_bytes: int

    def __getitem__(self, name: str) -> GuestTrace:
        return self.guests[name]

    @property
    def actions(self) -> list[Action]:
        """All that was asked for, in order."""
        return [action for tick in self.ticks for action, _ in tick.replies]

    @property
    def moves(self) -> list[SetMemory]:
        """The changes of guests' memory that were asked for, in order."""
        return [action for action in self.actions if isinstance(action, SetMemory)]

    @property
    def shortage_gib_s(self) -> float:
        """The shortage of all guests together."""
        return sum(guest.shortage_gib_s for guest in self.guests.values())

    @property
    def oom_kills(self) -> int:
        """Kills inside guests and, by the host, of guests."""
        return self.world.oom_kills_total + sum(guest.oom_kills for guest in self.guests.values())

    @property
    def guest_swap_bytes(self) -> int:
        """What all guests wrote to and read from their own swap."""
        return sum(guest.swap_in_bytes + guest.swap_out_bytes for guest in self.guests.values())

    @property
    def host_swap_bytes(self) -> int:
        """What the host wrote to and read from its swap."""
        return self.world.memory.swap_in_bytes_total + self.world.memory.swap_out_bytes_total

    def look(self) -> None:
        """Take note of the world as it is after one of its steps."""
        for guest in self.world.guests.values():
            self.guests.setdefault(guest.spec.name, GuestTrace(guest)).look()
        available_bytes = self.world.memory.available_bytes
        self.least_available_bytes = min(self.least_available_bytes, available_bytes)
        if self.ticks and available_bytes < self.ticks[-1].decision.budget.reserve_bytes:
            self.under_reserve_s += self.world.step_s


def run(world: World, policy: Policy[Any] | None, limits: Limits, *, duration_s: float, period_s: float = 2.0) -> Trace:
    """Let the law act on the world every period.

    Args:
        world: changed in place; run it again to go on (with a law that has forgotten).
        policy: the law; ``None``: nobody acts, and the host's kernel is alone.
        limits: what the operator allows.
        duration_s: how long, in simulated seconds.
        period_s: from tick to tick.
    """
    trace = Trace(world=world, least_available_bytes=world.memory.available_bytes)
    state = policy.initial() if policy else None
    steps_a_tick = world.steps_in(period_s)
    for step in range(world.steps_in(duration_s)):
        if policy is not None and step % steps_a_tick == 0:
            state = _tick(trace, policy, state, limits)
        world.advance(world.step_s)
        trace.look()
    return trace


def _tick(trace: Trace, policy: Policy[Any], state: Any, limits: Limits) -> Any:
    sample = observe_guests(trace.world)
    snapshot = Snapshot(
        taken_at_s=trace.world.now_s, host=observe_host(trace.world), guests=sample.guests, absent=sample.absent
    )
    state, decision = policy.decide(state, snapshot, limits)
    replies = []
    for action in decision.actions:
        reply = apply(trace.world, action)
        state = policy.answered(state, action, reply)
        replies.append((action, reply))
    trace.ticks.append(Tick(snapshot=snapshot, decision=decision, replies=tuple(replies)))
    return state
