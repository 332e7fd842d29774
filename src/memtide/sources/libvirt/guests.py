"""The guests, from libvirt: who runs is kept up by events and looked up again now and then; how they are, by one poll.

Who is missing from a reply is unknown, not gone; gone is who libvirt no longer lists, or says has stopped.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from memtide.errors import ActuatorError, NoAnswerError, SourceError
from memtide.model.guest import Guest
from memtide.model.record import Event, Severity
from memtide.model.snapshot import Absent, GuestSample
from memtide.ports import Notify
from memtide.sources.libvirt.api import Connection, Domain, Stats, binding
from memtide.sources.libvirt.events import STOPPED, Happening, subscriber
from memtide.sources.libvirt.known import LEFT_OUT, Known, guest_of
from memtide.sources.libvirt.link import OPEN_S, Link
from memtide.sources.libvirt.poll import in_lanes, poll
from memtide.sources.libvirt.stats import has_stopped, was_asked
from memtide.sources.libvirt.traits import parse_job, parse_traits
from memtide.sources.libvirt.workers import Workers
from memtide.sources.processes import GuestProcesses

__all__ = ["LibvirtGuests"]

Result = TypeVar("Result")

REOPEN_S: Final = 1.0
"""How long a sample waits for a lost connection to come back."""
LIST_S: Final = 1.0
READ_S: Final = 1.0
LATE_MOST: Final = 3
"""So many ticks in a row without any answer, and the connection itself is taken to hang."""
SAME_REBOOT_S: Final = 3.0
LIST_EVERY_S: Final = 10.0
"""An event can be missed; who runs is asked so often at least."""


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
        self._silent: set[str] = set()
        """Those that libvirt left out last time."""
        self._notify: Notify = lambda _event: None
        self._late_ticks = 0
        self._listed: Connection | None = None
        """The connection that ``_known`` belongs to."""
        self._list_at_s = float("-inf")
        self._sampling = asyncio.Lock()

    async def start(self, notify: Notify) -> None:
        """Connect and begin to watch for events.

        Raises:
            SourceError: nobody answers there.
            PermissionDeniedError: somebody does, but not to this user.
        """
        self._notify = notify
        await self._link.open(OPEN_S)

    async def stop(self) -> None:
        """Let the connection go; one that hangs is left to the end of the process."""
        self._known.clear()
        self._listed = None
        await self._link.close()

    async def sample(self, now_s: float) -> GuestSample:
        """Return the guests that answered in time, and those known to exist that did not.

        Raises:
            SourceError: libvirt is away.
            PermissionDeniedError: it is back, but not for this user.
        """
        async with self._sampling:  # a second poll at the same time would find every guest busy with the first
            return await self._sample(now_s)

    async def _sample(self, now_s: float) -> GuestSample:
        connection = await self._link.open(REOPEN_S)
        if connection is not self._listed or now_s >= self._list_at_s:
            await self._list(connection, now_s)
        stats = await self._poll(connection)
        if connection is self._link.connection:  # neither broken meanwhile nor worn out
            # not of a guest that hangs: to ask what job libvirt has with it waits for its QEMU
            asked = {uuid for uuid, own in stats.items() if was_asked(own)}
            await self._read([known for uuid, known in self._known.items() if known.unread and uuid in asked])
        return self._assemble(stats, now_s)

    # --- who runs ---------------------------------------------------------------------------------------------

    async def _list(self, connection: Connection, now_s: float) -> None:
        """Bring ``_known`` up to date: with a new connection all of it, since each virDomain belongs to one.

        Raises:
            SourceError: the connection is new, and libvirt does not tell who runs.
        """
        active = binding().VIR_CONNECT_LIST_DOMAINS_ACTIVE
        try:
            domains = await self._link.call(lambda: connection.listAllDomains(active), deadline_s=LIST_S)
        except (NoAnswerError, binding().libvirtError) as error:
            if connection is self._listed:
                return
            self._link.lose(f"it does not tell who runs: {error}")
            raise SourceError(f"libvirt at {self._link.uri} does not tell who runs: {error}") from error
        running = {domain.UUIDString(): domain for domain in domains}
        for uuid in self._known.keys() - running.keys():
            self._stopped(uuid, STOPPED)
        for uuid, domain in running.items():
            known = self._known.setdefault(uuid, Known(domain, domain.name(), now_s))
            known.domain = domain
            # an end of a migration, or a change of how it is built, may have been missed with the connection
            known.unread |= known.job is not None or connection is not self._listed
        self._listed = connection
        self._list_at_s = now_s + LIST_EVERY_S

    # --- how they are -----------------------------------------------------------------------------------------

    async def _poll(self, connection: Connection) -> dict[str, Stats]:
        """Return the statistics of those that answered.

        Raises:
            SourceError: nobody did, or libvirt is away.
        """
        domains = [known.domain for known in self._known.values()]
        try:
            stats = await poll(connection, domains, self._link)
        except binding().libvirtError as error:
            self._link.lose(str(error))
            raise SourceError(f"libvirt at {self._link.uri} is away: {error}") from error
        except NoAnswerError as error:
            self._late_ticks += 1
            if self._late_ticks >= LATE_MOST or self._link.worn_out:
                self._late_ticks = 0
                self._link.lose("it did not answer in time")
            raise SourceError(f"libvirt at {self._link.uri}: {error.message}") from error
        self._late_ticks = 0
        if self._link.worn_out:
            self._link.renew()
        return stats

    async def _read(self, unread: list[Known]) -> None:
        """Read how guests are built and what libvirt does with them; whoever does not tell stays as last read."""
        failure = binding().libvirtError

        def ask(domain: Domain) -> tuple[str, Mapping[str, Any]]:
            xml = domain.XMLDesc()
            try:
                return xml, domain.jobStats()
            except failure:  # a driver without jobs
                return xml, {}

        async def read(known: Known) -> None:
            known.unread = False  # an event during the call sets it again
            try:
                xml, job = await self._link.call(lambda: ask(known.domain), deadline_s=READ_S)
            except (NoAnswerError, failure) as error:
                known.unread, known.unreadable = True, f"its configuration cannot be read: {error}"
            else:
                known.traits, known.job = parse_traits(xml), parse_job(job)

        await in_lanes(unread, read)

    def _assemble(self, stats: dict[str, Stats], now_s: float) -> GuestSample:
        facts = self._processes.of(set(stats), now_s) if self._processes else {}
        guests: list[Guest] = []
        absent: list[Absent] = []
        silent: set[str] = set()
        for uuid, known in list(self._known.items()):
            own = stats.get(uuid)
            if own is not None and has_stopped(own):
                self._stopped(uuid, STOPPED)
                continue
            process = facts.get(uuid)
            if process is not None:
                known.runs_as(process.qemu)
            guest = None if own is None else guest_of(uuid, known, own, process)
            if guest is not None:
                known.seen_at_s = now_s
                guests.append(guest)
                continue
            unreadable = own is not None and was_asked(own) and known.traits is None
            if not unreadable:
                silent.add(uuid)
            reason = known.unreadable if unreadable else LEFT_OUT
            absent.append(Absent(uuid=uuid, name=known.name, reason=reason, last_seen_s=known.seen_at_s))
        if not silent <= self._silent:
            self._list_at_s = now_s  # they hang, or have stopped: the next sample asks
        self._silent = silent
        return GuestSample(guests=tuple(guests), absent=tuple(absent))

    # --- events ---------------------------------------------------------------------------------------------

    def _happened(self, what: Happening, domain: Domain, text: str) -> None:
        """Take note of an event, in asyncio's thread."""
        uuid, name, now_s = domain.UUIDString(), domain.name(), time.time()
        if what is Happening.STOPPED:
            self._stopped(uuid, text)
            return
        if what is Happening.STARTED:
            self._known.setdefault(uuid, Known(domain, name, now_s))
            self._forget_process(uuid)
        known = self._known.get(uuid)
        if known is None:
            return
        # a migration is heard of again and again, and QEMU tells of one reset more than once
        told = known.job if what is Happening.MIGRATING else now_s - known.since_s < SAME_REBOOT_S
        news = text and not (told and what in {Happening.MIGRATING, Happening.REBOOTED})
        known.take_note(what, now_s)
        if news:
            self._tell(what, name, text)

    def _stopped(self, uuid: str, text: str) -> None:
        """Drop a guest and say so; only once, however often it is heard."""
        known = self._known.pop(uuid, None)
        if known is not None:
            self._forget_process(uuid)
            self._tell(Happening.STOPPED, known.name, text)

    def _forget_process(self, uuid: str) -> None:
        if self._processes is not None:
            self._processes.forget(uuid)

    def _tell(self, what: Happening, name: str, text: str) -> None:
        event = Event(
            at_s=time.time(), severity=Severity.INFO, code=what.value, text=text.format(name=name), guest=name
        )
        self._notify(event)

    # --- for the actuators ------------------------------------------------------------------------------------

    async def on_guest(self, uuid: str, call: Callable[[Any], Result], *, deadline_s: float) -> Result:
        """Return what ``call`` returns for the guest's virDomain.

        Raises:
            ActuatorError: there is no such guest, or libvirt refused.
            NoAnswerError: nothing came back in time, or the connection broke meanwhile.
        """
        known = self._known.get(uuid)
        if known is None or self._link.connection is not self._listed:
            raise ActuatorError("libvirt does not know this guest now")
        try:
            return await self._link.call(lambda: call(known.domain), deadline_s=deadline_s)
        except binding().libvirtError as error:
            if error.get_error_domain() == binding().VIR_FROM_RPC:
                raise NoAnswerError(f"the connection broke: {error}") from error
            raise ActuatorError(str(error)) from error

    def forget_traits(self, uuid: str) -> None:
        """Read how the guest is built again at the next sample; until then the old holds."""
        if uuid in self._known:
            self._known[uuid].unread = True
