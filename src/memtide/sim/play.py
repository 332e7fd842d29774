"""Run a law on a simulated world without the daemon, and keep what came of it.

Example::

    trace = play(World(HostSpec(total_bytes=8 * GIB), guests), Tide(), Limits(), duration_s=300)
    assert trace.oom_kills == 0 and trace["web"].shortage_gib_s < 1

The law is asked as the daemon's loop asks it: every period, and oftener while the host is short.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from memtide.model.action import Action, Reply, SetMemory
from memtide.model.decision import PERIOD_SHARE, Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.ports import Policy
from memtide.sim.act import apply
from memtide.sim.events import Event, Outage
from memtide.sim.guest import SimGuest
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.world import World
from memtide.units import GIB, MIB

__all__ = ["GuestTrace", "Tick", "Trace", "play"]

NOTABLE_BYTES: Final = MIB
"""A guest that lacks less than this is not counted as waiting for relief."""
EMERGENCY_SHARE: Final = 4
"""The emergency line is this part of the reserve (design §4)."""
TELL_EVERY_S: Final = 10.0
"""How often, in simulated seconds, whoever watches a run is told how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One round: what was seen, what was decided, what each action was answered."""

    snapshot: Snapshot
    decision: Decision
    replies: tuple[tuple[Action, Reply], ...]


class GuestTrace:
    """What one guest went through; sums are of its whole life in the world, those before the run included."""

    def __init__(self, guest: SimGuest) -> None:
        self.guest = guest
        self.reversals = 0
        """How often its memory began to move the other way."""
        self.reliefs_s: list[float] = []
        """How long each time was in which it lacked memory, seconds; the last may not have ended."""
        self.killed_shortage_byte_s = 0.0
        """What it would have used since the host killed it."""
        self._current_bytes = guest.memory.current_bytes
        self._direction = 0
        self._short = False

    def look(self, step_s: float) -> None:
        """Take note of where its memory is now, and of what it lacks."""
        moved_bytes = self.guest.memory.current_bytes - self._current_bytes
        if moved_bytes:
            direction = 1 if moved_bytes > 0 else -1
            self.reversals += direction == -self._direction
            self._direction = direction
            self._current_bytes += moved_bytes
        was_short, self._short = self._short, self.guest.shortage_bytes >= NOTABLE_BYTES
        if self._short:
            if not was_short:
                self.reliefs_s.append(0.0)
            self.reliefs_s[-1] += step_s

    def mourn(self, elapsed_s: float, step_s: float) -> None:
        """Count what it would use now: a law must not look kind because its guest is dead."""
        spec = self.guest.spec
        self.killed_shortage_byte_s += (spec.anonymous.at(elapsed_s) + spec.hot_cache.at(elapsed_s)) * step_s

    @property
    def shortage_gib_s(self) -> float:
        """Integral of the memory it used, or wanted to use, and did not have."""
        return (self.guest.shortage_byte_s_total + self.killed_shortage_byte_s) / GIB

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
    reserve_bytes: int
    """The line that time is counted under, one for all laws."""
    ticks: list[Tick] = field(default_factory=list)
    """Empty when they were not kept."""
    guests: dict[str, GuestTrace] = field(default_factory=dict)
    action_count: int = 0
    cpu_s: float = 0.0
    """CPU time the law itself took, seconds."""
    under_reserve_s: float = 0.0
    """How long the host's available memory was under the reserve."""
    under_line_s: float = 0.0
    """How long it was under a quarter of it, the emergency line."""
    least_available_bytes: int

    def __getitem__(self, name: str) -> GuestTrace:
        return self.guests[name]

    @property
    def actions(self) -> list[Action]:
        """All that was asked for, in order; of kept ticks."""
        return [action for tick in self.ticks for action, _ in tick.replies]

    @property
    def moves(self) -> list[SetMemory]:
        """The changes of guests' memory that were asked for, in order; of kept ticks."""
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
    def moved_bytes(self) -> int:
        """How far the memory of all guests moved, both directions."""
        return sum(guest.moved_bytes for guest in self.guests.values())

    @property
    def reversals(self) -> int:
        """How often the memory of any guest began to move the other way."""
        return sum(guest.reversals for guest in self.guests.values())

    @property
    def reliefs_s(self) -> list[float]:
        """How long each time was in which a guest lacked memory, seconds, rising."""
        return sorted(relief_s for guest in self.guests.values() for relief_s in guest.reliefs_s)

    @property
    def major_faults(self) -> int:
        """Pages that guests waited for from their own disks."""
        return sum(guest.major_faults for guest in self.guests.values())

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
        step_s = self.world.step_s
        for guest in self.world.guests.values():
            name = guest.spec.name
            if name not in self.guests:
                self.guests[name] = GuestTrace(guest)
            self.guests[name].look(step_s)
        for name in self.world.killed & self.guests.keys():
            self.guests[name].mourn(self.world.elapsed_s, step_s)
        available_bytes = self.world.memory.available_bytes
        self.least_available_bytes = min(self.least_available_bytes, available_bytes)
        if available_bytes < self.reserve_bytes:
            self.under_reserve_s += step_s
        if available_bytes * EMERGENCY_SHARE < self.reserve_bytes:
            self.under_line_s += step_s


class _Daemon:
    """Asks the law when it is due, and lets the world answer."""

    def __init__(self, trace: Trace, policy: Policy[Any], limits: Limits, *, keep_ticks: bool) -> None:
        self._trace = trace
        self._policy = policy
        self._limits = limits
        self._keep_ticks = keep_ticks
        self._due_s = trace.world.elapsed_s
        self._state: Any = policy.initial()

    def restart(self) -> None:
        """Forget everything, as a daemon that was killed."""
        self._state = self._policy.initial()

    def live(self) -> None:
        """Tick if it is time to."""
        now_s = self._trace.world.elapsed_s
        # half a step: times are sums of floats
        if now_s < self._due_s - self._trace.world.step_s / 2:
            return
        decision = self._tick()
        period_s = self._limits.period_s
        self._due_s = now_s + period_s * PERIOD_SHARE[decision.state]

    def _tick(self) -> Decision:
        trace, policy = self._trace, self._policy
        sample = observe_guests(trace.world)
        snapshot = Snapshot(
            taken_at_s=trace.world.now_s, host=observe_host(trace.world), guests=sample.guests, absent=sample.absent
        )
        began_s = time.process_time()
        self._state, decision = policy.decide(self._state, snapshot, self._limits)
        trace.cpu_s += time.process_time() - began_s
        replies = []
        for action in decision.actions:
            reply = apply(trace.world, action)
            self._state = policy.answered(self._state, action, reply)
            replies.append((action, reply))
        trace.action_count += len(replies)
        if self._keep_ticks:
            trace.ticks.append(Tick(snapshot=snapshot, decision=decision, replies=tuple(replies)))
        return decision


def _nobody(_share: float) -> None:
    """Watch nothing."""


def play(  # noqa: PLR0913 - all but the three that every run has by keyword
    world: World,
    policy: Policy[Any] | None,
    limits: Limits,
    *,
    duration_s: float,
    reserve_bytes: int = 0,
    events: Sequence[Event] = (),
    outages: Sequence[Outage] = (),
    keep_ticks: bool = True,
    tell: Callable[[float], None] = _nobody,
) -> Trace:
    """Let the law act on the world for a while.

    Args:
        world: changed in place; play it again to go on (with a law that has forgotten).
        policy: the law; ``None``: nobody acts, and the host's kernel is alone.
        limits: what the operator allows; the law's period too.
        duration_s: how long, in simulated seconds.
        reserve_bytes: the line that the host's time is counted under; 0: it is not counted.
        events: what others than the law do to the world.
        outages: when the daemon is dead; it starts with an empty memory.
        keep_ticks: keep each snapshot and decision; a long run of many guests has no room for them.
        tell: is told now and then which share of the run is over, 0 to 1.
    """
    trace = Trace(world=world, reserve_bytes=reserve_bytes, least_available_bytes=world.memory.available_bytes)
    daemon = None if policy is None else _Daemon(trace, policy, limits, keep_ticks=keep_ticks)
    steps = world.steps_in(duration_s)
    tell_every = world.steps_in(TELL_EVERY_S)
    was_dead = False
    for step in range(steps):
        elapsed_s = world.elapsed_s
        for event in events:
            if event.is_due(elapsed_s, world.step_s):
                event.happen(world)
        is_dead = any(outage.from_s <= elapsed_s < outage.to_s for outage in outages)
        if daemon is not None and not is_dead:
            if was_dead:
                daemon.restart()
            daemon.live()
        was_dead = is_dead
        world.advance(world.step_s)
        trace.look()
        if step % tell_every == 0:
            tell(step / steps)
    return trace
