# ruff: noqa: N802, N803, D102, ANN401 - the names, arguments and meanings are libvirt's own
"""The dozen libvirt calls that memtide uses, typed; the seam for fakes, and the only import of the binding.

libvirt.py has annotations but no ``py.typed``; what is not in these Protocols is not called.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from memtide.errors import SourceError

__all__ = ["Connection", "Domain", "Stats", "binding"]

Stats = dict[str, Any]
"""One guest's ``virDomainStatsRecord`` parameters, for example ``{"balloon.current": 1048576}`` (KiB)."""


class Domain(Protocol):
    """virDomain. Every call blocks, some of them for as long as a guest hangs."""

    def UUIDString(self) -> str: ...
    def name(self) -> str: ...
    def XMLDesc(self, flags: int = 0) -> str: ...
    def jobStats(self, flags: int = 0) -> dict[str, Any]: ...
    def setMemoryFlags(self, memory: int, flags: int = 0) -> int: ...
    def setMemoryStatsPeriod(self, period: int, flags: int = 0) -> int: ...


class Connection(Protocol):
    """virConnect."""

    def domainListGetStats(self, doms: list[Domain], stats: int = 0, flags: int = 0) -> list[tuple[Domain, Stats]]: ...
    def listAllDomains(self, flags: int = 0) -> list[Domain]: ...
    def domainEventRegisterAny(self, dom: None, eventID: int, cb: Callable[..., None], opaque: Any) -> int: ...
    def domainEventDeregisterAny(self, callbackID: int) -> int: ...
    def registerCloseCallback(self, cb: Callable[..., None], opaque: Any) -> int: ...
    def unregisterCloseCallback(self) -> None: ...


@functools.cache
def binding() -> ModuleType:
    """Return the libvirt module, quiet on stderr.

    Raises:
        SourceError: it is not installed.
    """
    try:
        import libvirt  # noqa: PLC0415 - an extra: the simulator and `memtide status` do without
    except ImportError as error:
        raise SourceError(
            "Python's libvirt binding is not installed",
            "Debian: apt install python3-libvirt; in a virtual environment: pip install 'memtide[libvirt]'",
        ) from error
    # libvirt prints every error to stderr by default, also those that we handle
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    module: ModuleType = libvirt
    return module
