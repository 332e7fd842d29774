"""A simulated host with its guests, in fixed steps of time: the same start always takes the same course."""

import math
import uuid
from collections.abc import Iterable
from typing import Final

from memtide.errors import MemtideError
from memtide.model.record import Event, Severity
from memtide.ports import Notify
from memtide.sim.guest import SimGuest
from memtide.sim.host import HostMemory
from memtide.sim.ksm import Ksmd
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.stalls import StallMeter

__all__ = ["World"]

START_S: Final = 1_000_000_000.0
"""Wall time at which worlds begin unless told otherwise: a round number in logs and traces."""
STARTED_AGO_S: Final = 3600.0
"""The guests of the beginning started so long before it: out of everybody's boot grace."""
SPREAD: Final = 0.618
"""Guests report out of step; multiples of this share of the period are spread evenly."""
ROUNDING: Final = 0.01
"""Share of a step that a duration may be too long by: wall times are floats of a thousand million."""


class World:
    """The simulated world.

    Args:
        host: what the host is made of.
        guests: the guests there are from the beginning, as if they had run for an hour.
        start_s: wall time of the beginning, seconds since 1970.
        step_s: the world's step; no two things happen closer together. From 0.1 s, which is exact, to 2 s.
        seed: for all chance in it (reports that are lost or late).
        skips_quiet: do not step guests in which nothing moves; to step them changes nothing but the time it takes.
    """

    def __init__(  # noqa: PLR0913 - all but what it is made of by keyword
        self,
        host: HostSpec,
        guests: Iterable[GuestSpec] = (),
        *,
        start_s: float = START_S,
        step_s: float = 0.1,
        seed: int = 0,
        skips_quiet: bool = True,
    ) -> None:
        self.step_s = step_s
        self.start_s = start_s
        self.memory = HostMemory(host)
        self.guests: dict[str, SimGuest] = {}
        """By UUID."""
        self.ksm = Ksmd(self.memory)
        self.oom_kills_total = 0
        self.killed: set[str] = set()
        """The guests that the host's OOM killer ended."""
        self.some, self.full = StallMeter(step_s), StallMeter(step_s)
        self.notify: Notify = lambda _event: None
        self._steps = 0
        self._seed = seed
        self._skips_quiet = skips_quiet
        self._swapping = 0
        """How many guests used their own swap in the last step."""
        self._resting = 0
        """How many guests were not stepped in the last step."""
        self._stalled: list[float] = []
        """Which share of it each of the others waited for the host's memory."""
        self._in_turn: list[SimGuest] = []
        self._to_come: list[GuestSpec] = []
        for spec in guests:
            if spec.start_at_s > 0:
                self._to_come.append(spec)
            else:
                self.add(spec, started_ago_s=STARTED_AGO_S)

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the world began."""
        return self._steps * self.step_s

    @property
    def now_s(self) -> float:
        """Return the wall time."""
        return self.start_s + self.elapsed_s

    def guest(self, name: str) -> SimGuest:
        """Return the guest of this name.

        Raises:
            MemtideError: there is none (any more).
        """
        for guest in self.guests.values():
            if guest.spec.name == name:
                return guest
        raise MemtideError(f"the simulated host has no guest {name!r}")

    def add(self, spec: GuestSpec, *, started_ago_s: float = 0.0) -> SimGuest:
        """Start a guest.

        Raises:
            MemtideError: there is one of that name already, or the host has no memory left for its kernel and QEMU.
        """
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"memtide-sim/{spec.name}"))
        if identity in self.guests:
            raise MemtideError(f"the simulated host has a guest {spec.name!r} already")
        if not self.memory.make_way(spec.kernel_bytes + spec.overhead_bytes):
            raise MemtideError(f"the simulated host has no memory left to start guest {spec.name!r}")
        guest = self.guests[identity] = SimGuest(
            spec,
            self.memory,
            now_s=self.now_s,
            elapsed_s=self.elapsed_s,
            since_s=self.now_s - started_ago_s,
            first_report_s=self.now_s + (spec.stats_period_s or 0) * (len(self.guests) * SPREAD % 1),
            seed=self._seed,
        )
        self._in_turn.append(guest)
        self.ksm.enter(guest.memory)
        self._tell("guest-started", spec.name, f"{spec.name} started")
        return guest

    def remove(self, name: str, why: str = "stopped") -> None:
        """End a guest's QEMU; the host has all its memory back.

        Raises:
            MemtideError: there is no such guest.
        """
        guest = self.guest(name)
        guest.memory.leave()
        self._in_turn.remove(guest)
        self.ksm.leave(guest.memory)
        self.guests = {identity: other for identity, other in self.guests.items() if other is not guest}
        self._tell("guest-stopped", name, f"{name} {why}")

    def set_huge_pages(self, size_bytes: int) -> int:
        """Reserve host memory as huge pages, which these guests cannot use; return what there was room for."""
        return self.memory.set_huge_pages(size_bytes)

    def advance(self, duration_s: float) -> None:
        """Let time pass, rounded up to whole steps."""
        for _ in range(self.steps_in(duration_s)):
            self._step()

    def steps_in(self, duration_s: float) -> int:
        """Return how many steps cover a duration; any time at all is at least one, or a waiting loop would spin."""
        return max(1, math.ceil(duration_s / self.step_s - ROUNDING)) if duration_s > 0 else 0

    def _step(self) -> None:
        self._steps += 1
        now_s, elapsed_s, step_s = self.now_s, self.elapsed_s, self.step_s
        self.memory.begin_step(elapsed_s, step_s)
        self._start_those_due(elapsed_s)
        # whoever comes first finds the host's memory first: each its turn
        turn = self._steps % max(1, len(self._in_turn))
        in_turn = self._in_turn[turn:] + self._in_turn[:turn]
        shares = self._shares(in_turn, elapsed_s, step_s)
        self._stalled = []
        self._resting = 0
        swapping = 0
        for guest in in_turn:
            if elapsed_s < guest.memory.quiet_until_s and self._skips_quiet:
                self._resting += 1
                if now_s >= guest.reports.due_s:
                    guest.reports.step(now_s, guest)
            else:
                swapping += self._step_guest(guest, now_s, elapsed_s, shares)
        self._swapping = swapping
        self.ksm.step(step_s)
        if self.memory.end_step():
            self._kill_largest()
        # quiet guests wait for nothing
        self.some.add(max(self._stalled, default=0.0))
        self.full.add(0.0 if self._resting else min(self._stalled, default=0.0))

    def _shares(self, in_turn: list[SimGuest], elapsed_s: float, step_s: float) -> tuple[int, int | None]:
        """Return what each guest may give back, and move in and out of its own swap, in this step."""
        spec = self.memory.spec
        # a guest that rests is not at it, and asking is cheaper than ``is_shrinking``
        shrinking = sum(g.is_shrinking(elapsed_s) for g in in_turn if elapsed_s >= g.memory.quiet_until_s)
        shrink_bytes = int(spec.release_bps * step_s / max(1, shrinking))
        swap_bps = spec.guests_swap_bps
        return shrink_bytes, None if swap_bps is None else int(swap_bps * step_s / max(1, self._swapping))

    def _step_guest(self, guest: SimGuest, now_s: float, elapsed_s: float, shares: tuple[int, int | None]) -> bool:
        """Let one guest live for a step, if it is there and answers; say whether it used its own swap."""
        behaviour = guest.spec.behaviour
        if not behaviour.exists(elapsed_s):
            self.remove(guest.spec.name, "is gone")
            return False
        if not behaviour.answers(elapsed_s):
            return False
        was_up = guest.is_up
        guest.step(now_s, elapsed_s, self.step_s, *shares)
        self._stalled.append(guest.stalled_ratio)
        if was_up and not guest.is_up:
            self._tell("guest-rebooted", guest.spec.name, f"{guest.spec.name} rebooted")
        return guest.swaps

    def _start_those_due(self, elapsed_s: float) -> None:
        """Start the guests whose time has come; one that the host has no room for waits until it has."""
        for spec in [spec for spec in self._to_come if spec.start_at_s <= elapsed_s]:
            if self.memory.make_way(spec.kernel_bytes + spec.overhead_bytes):
                self._to_come.remove(spec)
                self.add(spec)

    def _kill_largest(self) -> None:
        largest = max(self.guests.values(), key=lambda guest: guest.memory.rss_bytes)
        self.oom_kills_total += 1
        self.killed.add(largest.spec.name)
        self.remove(largest.spec.name, "was killed: the host ran out of memory")

    def _tell(self, code: str, name: str, text: str) -> None:
        severity = Severity.WARNING if code == "guest-stopped" else Severity.INFO
        self.notify(Event(at_s=self.now_s, severity=severity, code=code, text=text, guest=name))
