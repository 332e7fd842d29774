"""One stream of entries, any number of followers; a slow follower is given up, the daemon never waits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from memtide.errors import ControlError
from memtide.model.record import LogEntry

__all__ = ["Fanout", "Follower"]

BEHIND_MOST: Final = 1000
"""Entries a follower may be behind. The busiest host writes some ten a second."""


class Follower:
    """What one follower has not read yet."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[LogEntry] = asyncio.Queue(BEHIND_MOST)
        self._given_up = False

    def put(self, entry: LogEntry) -> None:
        """Keep an entry for the follower, or give the follower up when it is too far behind."""
        self._given_up = self._given_up or self._queue.full()
        if not self._given_up:
            self._queue.put_nowait(entry)

    async def next(self) -> LogEntry:
        """Return the next entry, as soon as there is one.

        Raises:
            ControlError: the follower was too slow, and entries after those it has read are lost to it.
        """
        if self._given_up and self._queue.empty():
            raise ControlError("this follower of the log fell too far behind", "follow it again")
        return await self._queue.get()


class Fanout:
    """Hands every published entry to everyone who follows at that moment."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()

    def publish(self, entry: LogEntry) -> None:
        """Hand an entry to all followers; never waits, never fails."""
        for follower in self._followers:
            follower.put(entry)

    @contextmanager
    def follow(self) -> Iterator[Follower]:
        """Follow from now on, until the block ends."""
        follower = Follower()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
