"""The simulated world behind the same ports as the real one."""

import asyncio
import contextlib
import time

from memtide.model.action import Action, Reply
from memtide.model.host import Host
from memtide.model.snapshot import GuestSample
from memtide.ports import Notify
from memtide.sim.act import apply
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.world import World

__all__ = ["SimActuator", "SimClock", "SimGuestSource", "SimHostSource"]


class SimHostSource:
    """Reads the simulated host."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sample(self, now_s: float) -> Host:  # noqa: ARG002 - the world has its own clock
        """Return what the host's kernel measures now."""
        return observe_host(self._world)


class SimGuestSource:
    """Reads the simulated guests and tells of those that start, stop and reboot."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self, notify: Notify) -> None:
        """Begin to tell of events."""
        self._world.notify = notify

    async def sample(self, now_s: float) -> GuestSample:  # noqa: ARG002 - the world has its own clock
        """Return the guests that answer, and those that do not."""
        return observe_guests(self._world)

    async def stop(self) -> None:
        """Tell of events no more."""
        self._world.notify = lambda _event: None


class SimActuator:
    """Makes every kind of change: one for all three, since the world knows what it was asked."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def apply(self, action: Action) -> Reply:
        """Ask for the change and return what was answered."""
        return apply(self._world, action)


class SimClock:
    """The world's time. It passes only in ``sleep``: what memtide itself takes costs the world nothing.

    Args:
        world: whose time it is.
        speed: how many simulated seconds pass in a real one; ``None``: as many as the machine can.
    """

    def __init__(self, world: World, speed: float | None = None) -> None:
        self._world = world
        self._speed = speed
        self._began_s = world.now_s
        self._began_real_s = time.monotonic()

    def now_s(self) -> float:
        """Return the simulated wall time."""
        return self._world.now_s

    async def sleep(self, duration_s: float, wake: asyncio.Event) -> None:
        """Let the world live for so long, or until ``wake`` is set; everybody else in the process gets their turn."""
        world = self._world
        left = world.steps_in(duration_s)
        await asyncio.sleep(0)
        while left > 0 and not wake.is_set():
            late = int((self._due_s() - world.now_s) / world.step_s)
            steps = max(1, min(left, late))
            world.advance(steps * world.step_s)
            left -= steps
            await self._pause(wake)

    def _due_s(self) -> float:
        """Return the simulated wall time that it should be by now."""
        if self._speed is None:
            return self._world.now_s
        return self._began_s + self._speed * (time.monotonic() - self._began_real_s)

    async def _pause(self, wake: asyncio.Event) -> None:
        """Wait for the next step to be due, or just let others run."""
        if self._speed is None:
            await asyncio.sleep(0)
            return
        early_s = (self._world.now_s - self._due_s()) / self._speed
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), max(0.0, early_s))
