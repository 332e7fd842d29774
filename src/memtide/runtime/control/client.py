"""The other side: what the commands ask a daemon. Plain sockets: a command should not wait for asyncio to load.

Varlink is JSON objects that end in NUL, one request, one reply (or many, while they say ``continues``).
"""

import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from memtide.errors import ControlError, PermissionDeniedError
from memtide.runtime.paths import control_folders
from memtide.views.ksm_schema import KsmReport
from memtide.views.schema import LogView, StatusView, WhyView
from memtide.views.unmerge import UnmergeView

__all__ = ["Client", "NoDaemonError"]

READER: Final = "org.memtide.Reader"
MANAGER: Final = "org.memtide.Manager"
REPLY_WITHIN_S: Final = 10.0
CHANGE_WITHIN_S: Final = 120.0
"""Restoring many guests is throttled by what the host has free."""
CHUNK_BYTES: Final = 65536

View = TypeVar("View")


class NoDaemonError(ControlError):
    """Nobody listens there: commands that can do without a daemon go on without."""


class _Failure(msgspec.Struct, frozen=True):
    """What the daemon says when it did not do what it was asked."""

    message: str = ""
    hint: str = ""


class _Reply(msgspec.Struct, frozen=True):
    """One Varlink reply."""

    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    continues: bool = False
    error: str | None = None


class Client:
    """A running daemon, by its folder.

    Args:
        folder: where its sockets are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def find(cls, folder: Path | None = None) -> "Client":
        """Return a client for the daemon in this folder, or in the first of the usual ones that has one.

        Raises:
            NoDaemonError: no daemon runs there.
        """
        folders: Sequence[Path] = control_folders() if folder is None else (folder,)
        return next((cls(each) for each in folders if (each / READER).exists()), cls(folders[0]))

    def status(self) -> StatusView:
        """Return the host and its guests now."""
        return self._call(READER, "GetStatus", {}, "status", StatusView)

    def ksm(self) -> KsmReport:
        """Return what KSM saves and costs now."""
        return self._call(READER, "Ksm", {}, "report", KsmReport)

    def why(self, vm: str, limit: int) -> WhyView:
        """Return what there is to say about one guest, with its latest actions, at most so many."""
        return self._call(READER, "Why", {"vm": vm, "limit": limit}, "answer", WhyView)

    def log(self, *, vm: str | None, since_s: float | None, limit: int) -> list[LogView]:
        """Return the latest entries, oldest first."""
        parameters = {"vm": vm, "since_s": since_s, "limit": limit}
        return self._call(READER, "Log", parameters, "entries", list[LogView])

    def follow(self, *, vm: str | None, since_s: float | None, limit: int) -> Iterator[LogView]:
        """Yield the latest entries, then every new one as it comes, until the daemon ends."""
        parameters = {"vm": vm, "since_s": since_s, "limit": limit}
        with closing(self._ask(READER, "Follow", parameters, timeout_s=None, more=True)) as replies:
            for reply in replies:
                yield from self._value(reply, "entries", list[LogView])

    def set_memory(self, vm: str, size_bytes: int, for_s: float) -> LogView:
        """Set a guest's memory and hold it for so long; return what came of it so far."""
        parameters = {"vm": vm, "size_bytes": size_bytes, "for_s": for_s}
        return self._call(MANAGER, "SetMemory", parameters, "outcome", LogView)

    def restore(self, vm: str | None) -> list[LogView]:
        """Put back the original size of one guest, or all that memtide changed."""
        return self._call(MANAGER, "Restore", {"vm": vm}, "outcomes", list[LogView])

    def unmerge_ksm(
        self, *, max_page_sharing: int | None, merge_across_nodes: bool | None, for_s: float, dry_run: bool
    ) -> Iterator[UnmergeView]:
        """Undo KSM's merging in stages; yield the plan, every stage and the end."""
        parameters = {
            "max_page_sharing": max_page_sharing,
            "merge_across_nodes": merge_across_nodes,
            "for_s": for_s,
            "dry_run": dry_run,
        }
        with closing(self._ask(MANAGER, "UnmergeKsm", parameters, timeout_s=CHANGE_WITHIN_S, more=True)) as replies:
            for reply in replies:
                yield self._value(reply, "progress", UnmergeView)

    def _call(self, interface: str, method: str, parameters: dict[str, Any], key: str, view: type[View]) -> View:
        timeout_s = REPLY_WITHIN_S if interface == READER else CHANGE_WITHIN_S
        with closing(self._ask(interface, method, parameters, timeout_s=timeout_s, more=False)) as replies:
            return self._value(next(replies), key, view)

    def _ask(
        self, interface: str, method: str, parameters: dict[str, Any], *, timeout_s: float | None, more: bool
    ) -> Generator[_Reply, None, None]:
        request = {"method": f"{interface}.{method}", "parameters": parameters, "more": more}
        with self._connect(interface, timeout_s) as connection:
            try:
                connection.sendall(msgspec.json.encode(request) + b"\0")
                for message in _messages(connection):
                    reply = msgspec.json.decode(message, type=_Reply)
                    yield reply
                    if not reply.continues:
                        return
            except TimeoutError as error:
                raise ControlError(
                    f"the memtide daemon at {self._folder} did not answer within {timeout_s:.0f} s",
                    "its log may say why (journalctl -u memtide)",
                ) from error
            except OSError as error:
                raise self._gone() from error
        raise self._gone()

    def _connect(self, interface: str, timeout_s: float | None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(self._folder / interface))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            connection.close()
            raise NoDaemonError(
                f"no memtide daemon answers at {self._folder}", "start one with `memtide run`"
            ) from error
        except PermissionError as error:
            connection.close()
            raise PermissionDeniedError(
                f"this user may not talk to {self._folder / interface}",
                "root may, and the members of the group memtide where there is one",
            ) from error
        except OSError as error:
            connection.close()
            raise ControlError(f"cannot talk to the memtide daemon at {self._folder}: {error}") from error
        return connection

    def _gone(self) -> ControlError:
        return ControlError(f"the memtide daemon at {self._folder} hung up", "see whether it still runs")

    def _value(self, reply: _Reply, key: str, view: type[View]) -> View:
        if reply.error in {f"{READER}.Failed", f"{MANAGER}.Failed"}:
            failure = msgspec.json.decode(reply.parameters, type=_Failure)
            raise ControlError(failure.message, failure.hint)
        if reply.error is not None:
            raise ControlError(
                f"the memtide daemon at {self._folder} could not answer ({reply.error})",
                "daemon and command may be of different versions; the daemon's log may say more",
            )
        try:
            return msgspec.json.decode(reply.parameters, type=dict[str, view])[key]  # type: ignore[valid-type]
        except (msgspec.MsgspecError, KeyError) as error:
            raise ControlError(
                f"the memtide daemon at {self._folder} answers in a form that this command does not know",
                f"daemon and command are probably of different versions ({error})",
            ) from error


def _messages(connection: socket.socket) -> Iterator[bytes]:
    """Yield what arrives, message by message, until the other side hangs up."""
    buffer = bytearray()
    while chunk := connection.recv(CHUNK_BYTES):
        start = len(buffer)
        buffer += chunk
        while (end := buffer.find(b"\0", start)) >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
            start = 0
