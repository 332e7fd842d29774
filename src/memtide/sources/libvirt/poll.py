"""One poll of many guests: bulk calls in batches, NOWAIT, each in a worker with a deadline.

A guest whose QEMU hangs blocks the first bulk call, NOWAIT or not, because that call waits for its monitor; while it
is stuck, further NOWAIT calls skip that guest and answer at once (lab-notes, "One bad guest"). So a batch that is late
is left behind and its guests are asked one by one in the same tick: the others are little later than one deadline, and
the ticks after that are as quick as ever. A guest that hangs keeps one of the few calls that libvirtd serves of a
connection at a time; when many hang at once they wear it out, and the next tick finds the others by a new one.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from memtide.errors import NoAnswerError
from memtide.sources.libvirt.api import Connection, Domain, Stats, binding
from memtide.sources.libvirt.link import Link

__all__ = ["in_lanes", "poll"]

BATCH: Final = 50
"""Guests per bulk call: libvirtd asks one QEMU after the other, about a millisecond each."""
BULK_S: Final = 1.0
ONE_S: Final = 0.25
ALL_ONES_S: Final = 0.8
"""Time for all the single calls of a batch: with ``BULK_S`` less than a tick of 2 s."""
LANES: Final = 4
"""libvirtd serves 5 calls of a client at a time."""

Item = TypeVar("Item")
Reply = list[tuple[Domain, Stats]]


async def poll(connection: Connection, domains: Sequence[Domain], link: Link) -> dict[str, Stats]:
    """Return the statistics by UUID of those that answered.

    Raises:
        NoAnswerError: nothing at all came back in time, from any batch.
        libvirt.libvirtError: the calls failed, all of them.
    """
    libvirt = binding()
    groups = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

    async def ask(some: Sequence[Domain], deadline_s: float) -> Reply:
        call = functools.partial(connection.domainListGetStats, list(some), groups, nowait)
        return await link.call(call, deadline_s=deadline_s)

    async def batch(some: Sequence[Domain]) -> Reply:
        try:
            return await ask(some, BULK_S)
        except NoAnswerError:
            replies = await _one_by_one(some, ask, link)
            if not replies:  # it is libvirt itself that hangs
                raise
            return [row for reply in replies for row in reply]

    failures: list[Exception] = []
    replies: list[Reply] = []

    async def one_batch(some: Sequence[Domain]) -> None:
        try:
            replies.append(await batch(some))
        except (NoAnswerError, libvirt.libvirtError) as error:
            failures.append(error)

    await in_lanes([domains[first : first + BATCH] for first in range(0, len(domains), BATCH)], one_batch)
    if failures and not replies:
        raise failures[0]
    return {domain.UUIDString(): stats for reply in replies for domain, stats in reply}


async def _one_by_one(
    domains: Sequence[Domain], ask: Callable[[Sequence[Domain], float], Awaitable[Reply]], link: Link
) -> list[Reply]:
    """Ask each guest alone, as long as there is time and the connection serves us."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + ALL_ONES_S
    replies: list[Reply] = []

    async def one(domain: Domain) -> None:
        if loop.time() >= end_s or link.worn_out:
            return
        try:
            replies.append(await ask([domain], ONE_S))
        except NoAnswerError:
            return

    await in_lanes(domains, one)
    return replies


async def in_lanes(items: Sequence[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """Do some work for each item, for a few of them at a time."""
    waiting = iter(items)

    async def lane() -> None:
        for item in waiting:
            await work(item)

    if len(items) > 1:
        await asyncio.gather(*(lane() for _ in range(min(LANES, len(items)))))
    else:  # nearly always: a task would cost more than it saves
        await lane()
