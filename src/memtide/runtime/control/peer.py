"""Who is at the other end of a socket, as the kernel says (SO_PEERCRED, unix(7)): nothing a client could claim."""

import pwd
import socket
import struct
from typing import Final

from memtide.model.base import Model
from memtide.model.reason import Reason, ReasonCode

__all__ = ["Peer", "peer_of"]

UCRED: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


class Peer(Model, frozen=True, kw_only=True):
    """The process that connected."""

    pid: int
    uid: int
    gid: int
    user: str
    """Its login name, or the uid in digits where the host knows no name for it."""

    def reason(self, code: ReasonCode, **numbers: float) -> Reason:
        """Return a reason that names who asked."""
        return Reason(code=code, numbers={"who": self.user, "uid": self.uid, **numbers})


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected."""
    pid, uid, gid = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Peer(pid=pid, uid=uid, gid=gid, user=user)
