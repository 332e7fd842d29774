"""The two Varlink interfaces. Their signatures and docstrings are the API document (GetInterfaceDescription).

Views travel as Varlink's untyped ``object``; their schema is ``memtide.views.schema``. The library would convert and
check a typed reply field by field, 24 ms for 1000 guests at either end, in the one thread that also decides; an
``object`` goes through as it is. A text field with JSON in it would be a little faster still, and a nuisance for
every client but ours.
"""

# ruff: noqa: N802 - Varlink's methods are written like this

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final, TypedDict

import msgspec
from asyncvarlink import LastResult, TypedVarlinkErrorReply, VarlinkInterface, varlinkmethod

from memtide.errors import ControlError, MemtideError
from memtide.model.action import Outcome
from memtide.model.reason import ReasonCode
from memtide.model.record import LogEntry
from memtide.runtime.control.daemon import Daemon, LogQuery
from memtide.runtime.control.peer import Peer
from memtide.runtime.hold import check_hold
from memtide.runtime.unmerge import UnmergeRequest
from memtide.units import format_size
from memtide.views.ksm import ksm_report
from memtide.views.live import Live
from memtide.views.log import log_view
from memtide.views.schema import GuestView
from memtide.views.status import status
from memtide.views.unmerge import UNMERGE_ENDS
from memtide.views.why import find_guest, why

__all__ = ["MANAGER", "READER", "Manager", "Reader"]

ENTRIES_MOST: Final = 10_000
"""In one reply; who wants more asks for parts."""

READER: Final = "org.memtide.Reader"
MANAGER: Final = "org.memtide.Manager"


class Sentence(TypedDict):
    """What people are told."""

    message: str
    hint: str


class ReaderFailed(TypedVarlinkErrorReply, name=f"{READER}.Failed"):
    """It cannot be told; why, and what to do next."""

    parameters: Sentence


class ManagerFailed(TypedVarlinkErrorReply, name=f"{MANAGER}.Failed"):
    """It was not done; why, and what to do next."""

    parameters: Sentence


class Reader(VarlinkInterface, name=READER):
    """What memtide sees, decides and did. Nothing here changes anything."""

    errors = (ReaderFailed,)

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    @varlinkmethod(return_parameter="status", allow_foreign=True)
    async def GetStatus(self) -> Any:  # noqa: ANN401 - Varlink's object
        """Return a StatusView: the host, its guests, the daemon."""
        with _failing_as(ReaderFailed):
            return msgspec.to_builtins(status(_live(self._daemon)))

    @varlinkmethod(return_parameter="report", allow_foreign=True)
    async def Ksm(self) -> Any:  # noqa: ANN401 - Varlink's object
        """Return a KsmReport: what KSM saves and costs, whether it is worth it, and what would change it."""
        with _failing_as(ReaderFailed):
            scene = self._daemon.ksm()
            if scene is None:
                raise _too_early()
            return msgspec.to_builtins(ksm_report(scene))

    @varlinkmethod(return_parameter="answer", allow_foreign=True)
    async def Why(self, *, vm: str, limit: int) -> Any:  # noqa: ANN401 - Varlink's object
        """Return a WhyView of the guest with this name or UUID, with its latest actions, at most so many."""
        with _failing_as(ReaderFailed):
            live = _live(self._daemon)
            guest = find_guest(status(live), vm)
            entries = await self._daemon.log(_query(guest.uuid, None, limit))
            outcomes = [entry for entry in entries if isinstance(entry, Outcome)]
            return msgspec.to_builtins(why(live, vm, outcomes))

    @varlinkmethod(return_parameter="entries", allow_foreign=True)
    async def Log(self, *, vm: str | None, since_s: float | None, limit: int) -> list[Any]:
        """Return the latest LogViews, oldest first: of one guest or all (null), since a time or ever (null)."""
        with _failing_as(ReaderFailed):
            return _log_views(await self._daemon.log(_query(vm, since_s, limit)))

    @varlinkmethod(return_parameter="entries", allow_foreign=True, delay_generator=False)
    async def Follow(self, *, vm: str | None, since_s: float | None, limit: int) -> AsyncIterator[list[Any]]:
        """Return what Log returns, then (call it with "more") every new LogView as it comes, without end."""
        with _failing_as(ReaderFailed), self._daemon.entries.follow() as follower:
            yield _log_views(await self._daemon.log(_query(vm, since_s, limit)))
            while True:
                entry = await follower.next()
                view = log_view(entry)
                if vm is None or vm in {view.name, view.uuid}:
                    yield [msgspec.to_builtins(view)]


class Manager(VarlinkInterface, name=MANAGER):
    """What operators may do. Every call is written into the log with the name of who made it."""

    errors = (ManagerFailed,)

    def __init__(self, daemon: Daemon, peer: Peer) -> None:
        self._daemon = daemon
        self._peer = peer

    @varlinkmethod(return_parameter="outcome", allow_foreign=True)
    async def SetMemory(self, *, vm: str, size_bytes: int, for_s: float) -> Any:  # noqa: ANN401 - Varlink's object
        """Set the memory of a guest, by name or UUID, and leave it there for so long; return a LogView."""
        with _failing_as(ManagerFailed):
            guest = find_guest(status(_live(self._daemon)), vm)
            _check_size(guest, size_bytes)
            check_hold(for_s)
            reason = self._peer.reason(ReasonCode.OPERATOR, for_s=for_s)
            outcome = await self._daemon.set_memory(guest.uuid, size_bytes, for_s, reason)
            return msgspec.to_builtins(log_view(outcome))

    @varlinkmethod(return_parameter="outcomes", allow_foreign=True)
    async def Restore(self, *, vm: str | None) -> list[Any]:
        """Put back the original size of a guest, or everything that memtide changed (null); return LogViews."""
        with _failing_as(ManagerFailed):
            uuid = None if vm is None else find_guest(status(_live(self._daemon)), vm).uuid
            return _log_views(await self._daemon.restore(uuid, self._peer.reason(ReasonCode.RESTORE)))

    @varlinkmethod(return_parameter="progress", allow_foreign=True, delay_generator=False)
    async def UnmergeKsm(
        self, *, max_page_sharing: int | None, merge_across_nodes: bool | None, for_s: float, dry_run: bool
    ) -> AsyncIterator[Any]:
        """Undo KSM's merging in stages, write settings that need it (null: leave them), hold ksmd off for so long.

        Return (call it with "more") an UnmergeView for the plan, for every stage, and for the end.
        """
        with _failing_as(ManagerFailed):
            check_hold(for_s)
            request = UnmergeRequest(
                reason=self._peer.reason(ReasonCode.OPERATOR, for_s=for_s),
                for_s=for_s,
                max_page_sharing=max_page_sharing,
                merge_across_nodes=merge_across_nodes,
                dry_run=dry_run,
            )
            async with aclosing(self._daemon.unmerge(request)) as views:
                async for view in views:
                    if view.phase in UNMERGE_ENDS:
                        raise LastResult(msgspec.to_builtins(view))
                    yield msgspec.to_builtins(view)


@contextmanager
def _failing_as(reply: type[ReaderFailed | ManagerFailed]) -> Iterator[None]:
    try:
        yield
    except MemtideError as error:
        raise reply({"message": error.message, "hint": error.hint}) from error


def _live(daemon: Daemon) -> Live:
    live = daemon.live()
    if live is None:
        raise _too_early()
    return live


def _too_early() -> ControlError:
    return ControlError("memtide has only just started and has not seen the host yet", "ask again in a moment")


def _log_views(entries: Sequence[LogEntry]) -> list[Any]:
    return [msgspec.to_builtins(log_view(entry)) for entry in entries]


def _query(vm: str | None, since_s: float | None, limit: int) -> LogQuery:
    return LogQuery(vm=vm, since_s=since_s, limit=max(0, min(limit, ENTRIES_MOST)))


def _check_size(guest: GuestView, size_bytes: int) -> None:
    if guest.maximum_bytes is None:
        raise ControlError(f"{guest.name} {guest.why}, so its memory cannot be set now", "ask again when it answers")
    if size_bytes > guest.maximum_bytes:
        raise ControlError(
            f"{guest.name} cannot have more than its maximum of {format_size(guest.maximum_bytes)}",
            "a larger maximum needs a new definition of the guest",
        )
    if guest.floor_bytes is not None and size_bytes < guest.floor_bytes:
        raise ControlError(
            f"{guest.name} must not have less than its floor of {format_size(guest.floor_bytes)}",
            "the floor follows from the settings (`memtide config show`) and from what the guest's kernel needs",
        )
