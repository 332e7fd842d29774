"""One socket: bound with its mode from the first moment, and safe against whoever connects to it.

Anybody on the host may talk to the reader's socket of a daemon that runs as root, so one connection can neither
hold up the loop nor make it remember much: requests are small, the next one waits until the last reply was read,
and there are only so many connections. (The library's own server has none of these limits.)
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asyncvarlink import (
    FileDescriptorArray,
    VarlinkErrorReply,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    VarlinkInterfaceServerProtocol,
    VarlinkMethodCall,
    VarlinkMethodReply,
    VarlinkTransport,
)
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from memtide import __version__
from memtide.runtime.control.peer import Peer, peer_of

__all__ = ["Listener", "bind"]

log: Final = logging.getLogger(__name__)
# the library logs an error for every client that leaves before its reply is out; our own bugs we log ourselves
logging.getLogger("asyncvarlink").setLevel(logging.CRITICAL)

CONNECTIONS_MOST: Final = 64
REQUEST_MOST_BYTES: Final = 16 * 1024
ACCEPT_AGAIN_S: Final = 1.0
"""After a failed accept (no more file descriptors): a level-triggered socket would spin."""


def bind(path: Path, mode: int, group_id: int | None) -> socket.socket:
    """Return a listening socket whose file has this mode, and this group if given, before anybody can connect.

    The path must be free, and the caller alone in its process with the umask.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o777)
        try:
            server.bind(os.fspath(path))
        finally:
            os.umask(before)
        if group_id is not None:
            os.chown(path, -1, group_id)
        path.chmod(mode)
        server.listen(CONNECTIONS_MOST)
    except OSError:
        server.close()
        raise
    return server


class Listener:
    """Answers everyone who connects to one socket.

    Args:
        server: the listening socket; closed with the listener.
        interface: makes the interface that one peer gets.
    """

    def __init__(self, server: socket.socket, interface: Callable[[Peer], VarlinkInterface]) -> None:
        self._server = server
        self._interface = interface
        self._connections: set[_Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(server, self._accept)

    async def close(self) -> None:
        """Hang up on everyone."""
        self._loop.remove_reader(self._server)
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        # a closed transport gives up its socket in the loop's next round
        await asyncio.sleep(0)

    def _accept(self) -> None:
        try:
            client, _ = self._server.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("cannot accept a connection: %s", error)
            self._loop.remove_reader(self._server)
            self._loop.call_later(ACCEPT_AGAIN_S, self._accept_again)
            return
        if len(self._connections) >= CONNECTIONS_MOST:
            client.close()
            return
        connection = _Connection(self._interface(peer_of(client)), self._connections.discard)
        self._connections.add(connection)
        # no prediction of message boundaries: it reads as long as there is something to read, and file
        # descriptors, for whose sake it is there, are not used here
        VarlinkTransport(self._loop, client, client, connection, boundary_predictor=None)

    def _accept_again(self) -> None:
        if self._server.fileno() >= 0:
            self._loop.add_reader(self._server, self._accept)


class _Connection(VarlinkInterfaceServerProtocol):
    """One peer's connection: one request at a time, and only while its replies are read."""

    def __init__(self, interface: VarlinkInterface, gone: "Callable[[_Connection], None]") -> None:
        registry = VarlinkInterfaceRegistry()
        registry.register_interface(
            VarlinkServiceInterface("The memtide developers", "memtide", __version__, "", registry)
        )
        registry.register_interface(interface)
        super().__init__(registry)
        self._gone = gone
        self._unfinished_bytes = 0
        self._unread: asyncio.Future[None] | None = None
        self._stream: asyncio.Task[None] | None = None

    def message_received(self, data: bytes, fds: FileDescriptorArray | None) -> None:
        """Take some bytes; hang up on a request that does not end."""
        end = data.rfind(b"\0")
        self._unfinished_bytes = len(data) - end - 1 if end >= 0 else self._unfinished_bytes + len(data)
        if self._unfinished_bytes > REQUEST_MOST_BYTES:
            self.close()
        else:
            super().message_received(data, fds)

    def call_received(self, call: VarlinkMethodCall, fds: FileDescriptorArray | None) -> asyncio.Future[None] | None:
        """Answer a call. The transport reads no further until that is done, but for a stream: it may last for ever."""
        if self._stream is not None:
            self.close()
            return None
        if not call.more:
            return asyncio.ensure_future(self._answer(call, fds))
        self._stream = asyncio.ensure_future(self._stream_answers(call, fds))
        return None

    async def _answer(self, call: VarlinkMethodCall, fds: FileDescriptorArray | None) -> None:
        if self._unread is not None:
            await asyncio.wait([self._unread])
        answered = super().call_received(call, fds)
        if answered is not None:
            await answered

    async def _stream_answers(self, call: VarlinkMethodCall, fds: FileDescriptorArray | None) -> None:
        try:
            await self._answer(call, fds)
        except VarlinkErrorReply as error:
            self.send_error(error)
        except Exception:
            log.exception("bug: %s failed", call.method)
            self.close()

    def send_reply(
        self,
        reply: VarlinkMethodReply,
        fds: list[int] | None = None,
        autoclose: bool = True,  # noqa: FBT001, FBT002 - the library's signature
    ) -> asyncio.Future[None]:
        """Send a reply, and remember until when it is unread."""
        self._unread = super().send_reply(reply, fds, autoclose)
        return self._unread

    def handle_call_exception(self, exc: BaseException, oneway: bool) -> None:  # noqa: FBT001 - the library's signature
        """Log a bug and tell the peer that there is one."""
        log.error("bug: a call failed", exc_info=exc)
        super().handle_call_exception(exc, oneway)

    def eof_received(self) -> None:
        """End a stream: its peer may be gone for good, and nothing else would tell."""
        self._end_stream()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer."""
        self._end_stream()
        self._gone(self)
        super().connection_lost(exc)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
