"""The guests, from libvirt: one bulk call a tick, NOWAIT, in a worker, with a deadline.

A guest whose QEMU hangs blocks the first bulk call, NOWAIT or not, because that call waits for its monitor; while it
is stuck, further NOWAIT calls skip that guest and answer at once (lab-notes, "One bad guest"). So a call that is late
is left behind and made once more in the same tick: the others are never more than a deadline late. Who is missing
from a reply is unknown, not gone; gone is who libvirt no longer lists, or says has stopped.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from memtide.errors import ActuatorError, NoAnswerError, SourceError
from memtide.model.record import Event, Severity
from memtide.model.snapshot import Absent, GuestSample
from memtide.ports import Notify
from memtide.sources.libvirt.api import Connection, Domain, Stats, binding
from memtide.sources.libvirt.events import Happening, subscriber
from memtide.sources.libvirt.known import Known, guest_of
from memtide.sources.libvirt.link import Link
from memtide.sources.libvirt.traits import parse_traits
from memtide.sources.libvirt.workers import Workers
from memtide.sources.processes import GuestProcesses, started_at_s

__all__ = ["LibvirtGuests"]

Result = TypeVar("Result")
Reply = list[tuple[Domain, Stats]]

BATCH: Final = 50
"""Guests per bulk call: libvirtd asks one QEMU after the other, about a millisecond each."""
BULK_S: Final = 1.5
LIST_S: Final = 2.0
XML_S: Final = 1.0
LATE_MOST: Final = 3
"""So many ticks in a row without any answer, and the connection itself is taken to hang."""
RELIST_EVERY_S: Final = 10.0
"""How often libvirt is asked who runs, while somebody is absent."""

SENTENCES: Final = {
    Happening.STARTED: "{name} started",
    Happening.STOPPED: "{name} stopped",
    Happening.REBOOTED: "{name} rebooted",
    Happening.MIGRATING: "{name} is being migrated; memtide keeps its hands off",
}
"""Worth an event in the log; the others are not."""


class LibvirtGuests:
    """The ``GuestSource`` of a real host, and the ``GuestCalls`` of its actuators.

    Args:
        uri: for example ``qemu:///system``.
        readonly: for observe mode: libvirt itself then refuses every change.
        processes: what the host's kernel knows of guests' processes; ``None`` for a hypervisor elsewhere.
    """

    def __init__(self, uri: str, *, readonly: bool, processes: GuestProcesses | None) -> None:
        self._workers = Workers()
        self._link = Link(uri, readonly=readonly, workers=self._workers, subscribe=subscriber(self._happened))
        self._processes = processes
        self._known: dict[str, Known] = {}
        self._notify: Notify = lambda _event: None
        self._late_ticks = 0
        self._listed_at_s = float("-inf")
        self._sampling = asyncio.Lock()

    async def start(self, notify: Notify) -> None:
        """Connect and begin to watch for events.

        Raises:
            SourceError: nobody answers there.
            PermissionDeniedError: somebody does, but not to this user.
        """
        self._notify = notify
        await self._link.open()

    async def stop(self) -> None:
        """Let the connection go; one that hangs is left to the end of the process."""
        connection = self._link.connection
        self._link.lose("memtide stopped")
        if connection is not None:
            try:
                await self._workers.call(connection.close, deadline_s=LIST_S)
            except Exception:  # noqa: BLE001 - it is over either way
                return

    async def sample(self, now_s: float) -> GuestSample:
        """Return the guests that answered in time, and those known to exist that did not.

        Raises:
            SourceError: libvirt is away.
        """
        # never two polls of one guest at once: the second would only wait for the first
        async with self._sampling:
            connection = await self._link.open()
            reply = await self._poll(connection)
            answered = {domain.UUIDString(): (domain, stats) for domain, stats in reply}
            for uuid, (domain, _) in answered.items():
                if uuid not in self._known:
                    self._known[uuid] = Known(domain, domain.name(), now_s)
            absent = self._known.keys() - answered.keys()
            if absent and now_s - self._listed_at_s >= RELIST_EVERY_S:
                self._listed_at_s = now_s
                await self._drop_stopped(connection, now_s)
            await self._read_traits(answered.keys())
            return self._assemble(answered, now_s)

    # --- one poll -------------------------------------------------------------------------------------------

    async def _poll(self, connection: Connection) -> Reply:
        """Return everybody's statistics; made twice when the first call hangs on somebody.

        Raises:
            SourceError: libvirt is away, or the second call hung as well.
        """
        for _attempt in range(2):
            try:
                parts = await asyncio.gather(*(self._bulk(call) for call in self._calls(connection)))
            except NoAnswerError:
                continue
            self._late_ticks = 0
            return [row for part in parts for row in part]
        self._late_ticks += 1
        if self._late_ticks >= LATE_MOST:
            self._late_ticks = 0
            self._link.lose(f"it did not answer {LATE_MOST} times in a row")
        raise SourceError(f"libvirt at {self._link.uri} did not answer within {2 * BULK_S:g} s")

    def _calls(self, connection: Connection) -> list[Callable[[], Reply]]:
        """Return the bulk calls of one poll: one for all, or batches of those known when they are many."""
        libvirt = binding()
        groups = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON
        nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        active = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
        if len(self._known) <= BATCH:
            return [lambda: connection.getAllDomainStats(groups, active | nowait)]
        domains = [known.domain for known in self._known.values()]
        batches = [domains[i : i + BATCH] for i in range(0, len(domains), BATCH)]
        return [functools.partial(connection.domainListGetStats, some, groups, nowait) for some in batches]

    async def _bulk(self, call: Callable[[], Reply]) -> Reply:
        try:
            return await self._workers.call(call, deadline_s=BULK_S)
        except binding().libvirtError as error:
            connection = self._link.connection
            if connection is None or not connection.isAlive():
                self._link.lose(str(error))
            raise SourceError(f"libvirt at {self._link.uri} is away: {error}") from error

    async def _drop_stopped(self, connection: Connection, now_s: float) -> None:
        """Drop guests that libvirt no longer lists; what cannot be asked now stays as it is."""
        try:
            domains = await self._workers.call(lambda: connection.listAllDomains(1), deadline_s=LIST_S)
        except (NoAnswerError, binding().libvirtError):
            return
        running = {domain.UUIDString(): domain for domain in domains}
        for uuid in self._known.keys() - running.keys():
            self._happened(Happening.STOPPED, uuid, self._known[uuid].name)
        for uuid, domain in running.items():
            self._known.setdefault(uuid, Known(domain, domain.name(), now_s))

    async def _read_traits(self, uuids: Collection[str]) -> None:
        """Read how guests are built, for those not read yet; who does not tell is absent this time."""
        unread = [known for uuid in uuids if (known := self._known[uuid]).traits is None]
        if unread:
            await asyncio.gather(*(self._read(known) for known in unread))

    async def _read(self, known: Known) -> None:
        try:
            known.traits = parse_traits(await self._workers.call(known.domain.XMLDesc, deadline_s=XML_S))
        except (NoAnswerError, binding().libvirtError) as error:
            known.why_absent = f"its configuration cannot be read: {error}"

    def _assemble(self, answered: dict[str, tuple[Domain, Stats]], now_s: float) -> GuestSample:
        facts = self._processes.of(set(answered), now_s) if self._processes else {}
        guests, absent = [], []
        for uuid, known in self._known.items():
            qemu = facts.get(uuid)
            if known.since_s is None and qemu is not None:
                known.since_s = started_at_s(qemu[0])
            guest = guest_of(uuid, known, answered[uuid][1], qemu, now_s) if uuid in answered else None
            if guest is None:
                absent.append(Absent(uuid=uuid, name=known.name, reason=known.why_absent, last_seen_s=known.seen_at_s))
            else:
                known.seen_at_s = now_s
                guests.append(guest)
        return GuestSample(guests=tuple(guests), absent=tuple(absent))

    # --- events ---------------------------------------------------------------------------------------------

    def _happened(self, what: Happening, uuid: str, name: str) -> None:
        """Take note of an event, in asyncio's thread."""
        known = self._known.get(uuid)
        if what is Happening.STOPPED:
            self._known.pop(uuid, None)
        if what in {Happening.STOPPED, Happening.STARTED} and self._processes is not None:
            self._processes.forget(uuid)
        if known is not None:
            known.take_note(what, time.time())
        if what in SENTENCES and not (what is Happening.MIGRATING and known is not None and known.told):
            if known is not None:
                known.told = what is Happening.MIGRATING
            text = SENTENCES[what].format(name=name)
            self._notify(Event(at_s=time.time(), severity=Severity.INFO, code=what.value, text=text, guest=name))

    # --- for the actuators ------------------------------------------------------------------------------------

    async def on_guest(self, uuid: str, call: Callable[[Any], Result], *, deadline_s: float) -> Result:
        """Return what ``call`` returns for the guest's virDomain.

        Raises:
            ActuatorError: there is no such guest, or libvirt refused.
            NoAnswerError: nothing came back in time.
        """
        known = self._known.get(uuid)
        if known is None or self._link.connection is None:
            raise ActuatorError("libvirt does not know this guest now")
        try:
            return await self._workers.call(lambda: call(known.domain), deadline_s=deadline_s)
        except binding().libvirtError as error:
            raise ActuatorError(str(error)) from error

    def forget_traits(self, uuid: str) -> None:
        """Read how the guest is built again at the next sample."""
        if uuid in self._known:
            self._known[uuid].traits = None
