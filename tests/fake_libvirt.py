"""A libvirt that does what a test says: it answers, hangs, refuses, breaks and comes back; no guest is behind it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

DOMAIN_XML = """
<domain type='kvm'><name>{name}</name><memory>1048576</memory>
<devices><memballoon model='virtio'>{stats}</memballoon></devices></domain>
"""
EVENTS = ("LIFECYCLE", "REBOOT", "DEVICE_ADDED", "DEVICE_REMOVED", "METADATA_CHANGE", "MIGRATION_ITERATION",
          "JOB_COMPLETED")  # fmt: skip
RPC = 7
QEMU = 10
CLIENT_REQUESTS = 5
"""libvirtd's ``max_client_requests``: with so many calls of a client unanswered it does not read the next one."""
HANG_MOST_S = 20.0
"""A hung call is let go then, so that a failing test leaves no thread for ever."""


class libvirtError(Exception):  # noqa: N801 - libvirt's name
    """What the binding raises."""

    def __init__(self, text: str, *, code: int = 1, domain: int = QEMU) -> None:
        super().__init__(text)
        self._code, self._domain = code, domain

    def get_error_code(self) -> int:
        return self._code

    def get_error_domain(self) -> int:
        return self._domain


class FakeGuest:
    """A guest of the host, whoever is connected."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.uuid = str(UUID(int=number))
        self.xml = DOMAIN_XML.format(name=name, stats="<stats period='2'/>")
        self.stats: dict[str, Any] = answer()
        self.job: dict[str, Any] = {"type": 0}
        self.hung = False
        """Whoever asks its monitor waits."""
        self.held = threading.Event()
        """Somebody waits already: NOWAIT does not ask it."""
        self.refuses: libvirtError | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.released = threading.Event()

    def wait(self) -> None:
        """Hang until released."""
        self.held.set()
        self.released.wait(HANG_MOST_S)
        self.held.clear()

    def release(self) -> None:
        """Let it answer again."""
        self.hung = False
        self.released.set()


def answer(**balloon: Any) -> dict[str, Any]:
    """Return the bulk statistics of a healthy guest of 1 GiB that has 600 MiB usable."""
    figures = {
        "current": 1 << 20, "maximum": 1 << 20, "rss": 500 << 10, "last-update": int(time.time()), "available": 1000000,
        "usable": 600000, "unused": 500000, "disk_caches": 90000, "swap_in": 0, "swap_out": 0, "major_fault": 12,
        "minor_fault": 3456,
    } | {name.replace("last_update", "last-update"): value for name, value in balloon.items()}  # fmt: skip
    return {"state.state": 1, "state.reason": 1} | {f"balloon.{k}": v for k, v in figures.items() if v is not None}


def without_job(stats: dict[str, Any]) -> dict[str, Any]:
    """Return what libvirt says of a guest that somebody else waits for (seen with libvirt 9.0)."""
    known = {"state.state", "state.reason", "balloon.current", "balloon.maximum"}
    return {name: value for name, value in stats.items() if name in known}


class FakeDomain:
    """virDomain: belongs to the connection that it came from."""

    def __init__(self, connection: "FakeConnection", guest: FakeGuest) -> None:
        self._connection, self.guest = connection, guest

    def UUIDString(self) -> str:  # noqa: N802
        return self.guest.uuid

    def name(self) -> str:
        return self.guest.name

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        with self._connection.served():
            return self._asked().xml

    def jobStats(self, _flags: int = 0) -> dict[str, Any]:  # noqa: N802
        with self._connection.served():
            return self._asked().job

    def setMemoryFlags(self, memory: int, flags: int = 0) -> int:  # noqa: N802
        with self._connection.served():
            self._asked().calls.append(("memory", memory, flags))
        return 0

    def setMemoryStatsPeriod(self, period: int, flags: int = 0) -> int:  # noqa: N802
        with self._connection.served():
            self._asked().calls.append(("period", period, flags))
        stats = f"<stats period='{period}'/>" if period else ""
        self.guest.xml = DOMAIN_XML.format(name=self.guest.name, stats=stats)
        return 0

    def _asked(self) -> FakeGuest:
        if self.guest.hung:
            self.guest.wait()
        if self.guest.refuses is not None:
            raise self.guest.refuses
        return self.guest


class FakeConnection:
    """virConnect."""

    def __init__(self, host: "FakeLibvirt") -> None:
        self.host = host
        self.dead = False
        self.registered: dict[int, tuple[int, Callable[..., None], Any]] = {}
        self.on_close: Callable[..., None] | None = None
        self._places = threading.Semaphore(CLIENT_REQUESTS)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Fail as a dead connection does; wait as with a hung libvirtd, and while too many calls of ours hang."""
        self._places.acquire(timeout=HANG_MOST_S)
        try:
            if self.host.hung:
                self.host.released.wait(HANG_MOST_S)
            if self.dead:
                raise libvirtError("client socket is closed", domain=RPC)
            yield
        finally:
            self._places.release()

    def listAllDomains(self, _flags: int = 0) -> list[FakeDomain]:  # noqa: N802
        with self.served():
            self.host.lists += 1
        return [FakeDomain(self, guest) for guest in list(self.host.guests.values()) if not guest.job.get("starting")]

    def domainListGetStats(  # noqa: N802
        self, domains: list[FakeDomain], _groups: int, flags: int
    ) -> list[tuple[FakeDomain, dict[str, Any]]]:
        with self.served():
            return self._stats(domains, flags)

    def _stats(self, domains: list[FakeDomain], flags: int) -> list[tuple[FakeDomain, dict[str, Any]]]:
        self.host.polls.append(len(domains))
        assert flags == FakeLibvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        rows = []
        for domain in domains:
            assert domain._connection is self, "a virDomain of another connection"
            guest = domain.guest
            if guest.uuid not in self.host.guests:
                continue
            if guest.held.is_set():
                rows.append((FakeDomain(self, guest), without_job(guest.stats)))
                continue
            if guest.hung:
                guest.wait()
            if self.host.poll_error is not None:
                raise self.host.poll_error
            rows.append((FakeDomain(self, guest), guest.stats))
        return rows

    def domainEventRegisterAny(  # noqa: N802
        self, _domain: None, number: int, callback: Callable[..., None], opaque: Any
    ) -> int:
        self.registered[number] = (number, callback, opaque)
        return number

    def domainEventDeregisterAny(self, number: int) -> int:  # noqa: N802
        del self.registered[number]
        if self.dead:
            raise libvirtError("client socket is closed", domain=RPC)
        return 0

    def registerCloseCallback(self, callback: Callable[..., None], _opaque: Any) -> int:  # noqa: N802
        self.on_close = callback
        return 0

    def unregisterCloseCallback(self) -> None:  # noqa: N802
        self.on_close = None

    def happen(self, event: str, guest: FakeGuest, *rest: Any) -> None:
        """Call back as libvirt's event thread would."""
        found = self.registered.get(EVENTS.index(event))
        if found is not None:
            _, callback, opaque = found
            callback(self, FakeDomain(self, guest), *rest, opaque)

    def stopped(self, guest: FakeGuest, detail: int = 0) -> None:
        """End a guest, and say so."""
        self.host.guests.pop(guest.uuid, None)
        self.happen("LIFECYCLE", guest, 5, detail)


class FakeLibvirt:
    """The module ``libvirt`` and the host behind it, as one."""

    VIR_DOMAIN_STATS_STATE = 1
    VIR_DOMAIN_STATS_BALLOON = 4
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT = 1 << 29
    VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1
    VIR_FROM_RPC = RPC
    VIR_ERR_OPERATION_DENIED = 29
    VIR_ERR_AUTH_FAILED = 45
    VIR_ERR_AUTH_CANCELLED = 79
    VIR_ERR_AUTH_UNAVAILABLE = 94
    VIR_ERR_ACCESS_DENIED = 88
    libvirtError = libvirtError  # noqa: N815 - libvirt's name

    def __init__(self, *names: str) -> None:
        self.guests: dict[str, FakeGuest] = {}
        for number, name in enumerate(names, 1):
            self.add(name, number)
        self.connections: list[FakeConnection] = []
        self.readonly: list[bool] = []
        self.refuses: libvirtError | None = None
        self.hung = False
        self.released = threading.Event()
        self.polls: list[int] = []
        self.lists = 0
        self.poll_error: libvirtError | None = None
        for number, event in enumerate(EVENTS):
            setattr(self, f"VIR_DOMAIN_EVENT_ID_{event}", number)

    def add(self, name: str, number: int) -> FakeGuest:
        """Start one more guest, without a word."""
        guest = FakeGuest(name, number)
        self.guests[guest.uuid] = guest
        return guest

    def guest(self, name: str) -> FakeGuest:
        """Return a guest by its name."""
        return next(guest for guest in self.guests.values() if guest.name == name)

    @property
    def connection(self) -> FakeConnection:
        """Return the last connection made."""
        return self.connections[-1]

    def crash(self, *, silent: bool = False) -> None:
        """Die as libvirtd does: its connections break, guests go on."""
        for connection in self.connections:
            connection.dead = True
            if connection.on_close is not None and not silent:
                connection.on_close(connection, 1, None)
        self.refuses = libvirtError("Failed to connect socket", code=38, domain=RPC)

    def open(self, _uri: str) -> FakeConnection:
        return self._open(readonly=False)

    def openReadOnly(self, _uri: str) -> FakeConnection:  # noqa: N802
        return self._open(readonly=True)

    def _open(self, *, readonly: bool) -> FakeConnection:
        if self.hung:
            self.released.wait(HANG_MOST_S)
        if self.refuses is not None:
            raise self.refuses
        self.connections.append(FakeConnection(self))
        self.readonly.append(readonly)
        return self.connections[-1]

    def registerErrorHandler(self, _function: Callable[..., None], _context: Any) -> None:  # noqa: N802
        pass

    def virEventRegisterDefaultImpl(self) -> None:  # noqa: N802
        pass
