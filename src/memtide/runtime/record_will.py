"""What is wanted while a recording runs: the settings, guests' own metadata, and what a daemon was told by hand."""

import contextlib
from collections.abc import Callable

import msgspec

from memtide.model.guest import Guest
from memtide.model.limits import Hold, Limits
from memtide.runtime.service import HOLD
from memtide.runtime.will import Will

__all__ = ["WatchedWill"]


class WatchedWill(Will):
    """A will that follows the sizes set by hand in the daemon beside it.

    Args:
        limits: from the settings.
        facts: what that daemon keeps for itself, now.
    """

    def __init__(self, limits: Limits, facts: Callable[[], dict[str, str]]) -> None:
        super().__init__(limits)
        self._facts = facts
        self._held: set[str] = set()

    def at(self, now_s: float, guests: tuple[Guest, ...]) -> Limits:
        """Return the limits now."""
        holds = {}
        for key, value in self._facts().items():
            if key.startswith(HOLD):
                # another memtide may keep it in another way
                with contextlib.suppress(msgspec.DecodeError):
                    holds[key.removeprefix(HOLD)] = msgspec.json.decode(value, type=Hold)
        for uuid in self._held - holds.keys():
            self.release(uuid)
        for uuid, hold in holds.items():
            self.hold(uuid, hold)
        self._held = set(holds)
        return super().at(now_s, guests)
