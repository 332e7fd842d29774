"""KSM on a host without a daemon, or in a captured tree: read once, or twice for what ksmd takes now."""

import socket
import time
from pathlib import Path
from typing import Final

from memtide.model.limits import Limits
from memtide.policy.host_state import reserve_for
from memtide.runtime import wiring
from memtide.views.live import KsmScene

__all__ = ["HERE", "look"]

HERE: Final = Path("/")
APART_S: Final = 1.0
"""Between the two readings of a living host; ksmd's time is counted in hundredths."""


def look(root: Path = HERE) -> KsmScene:
    """Return what can be seen of KSM below ``root``; on this machine itself it takes a second.

    Raises:
        SourceError: there is no host's /proc there.
    """
    reader = wiring.host_reader(root)
    try:
        host = before = reader.sample(time.time())
        if root == HERE:
            time.sleep(APART_S)
            host = reader.sample(time.time())
    finally:
        reader.close()
    return KsmScene(
        host_name=socket.gethostname() if root == HERE else str(root),
        daemon=False,
        host=host,
        guests=wiring.guests_of_tree(root, pss=root != HERE),
        reserve_bytes=reserve_for(host, Limits()),
        previous_host=before if host is not before else None,
        uptime_s=wiring.uptime_s(root),
    )
