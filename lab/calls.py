"""Calls to the private libvirtd that cannot hang us."""

import queue
import threading
from collections.abc import Callable
from typing import Final

import libvirt

from lab.errors import LabError
from lab.libvirtd import URI

_LIMIT_S: Final = 60.0


def create(xml: str) -> None:
    """Start a transient domain.

    Raises:
        LabError: libvirt refused, or did not answer.
    """
    _call("creating a guest", lambda connection: connection.createXML(xml, 0))


def reset(name: str, limit_s: float = _LIMIT_S) -> None:
    """Reset a domain, as its reset button would.

    Raises:
        LabError: libvirt refused, or did not answer within `limit_s` (a stopped QEMU).
    """
    _call(f"resetting {name}", lambda connection: connection.lookupByName(name).reset(0), limit_s)


def _call(what: str, call: Callable[[libvirt.virConnect], object], limit_s: float = _LIMIT_S) -> None:
    """Run a call in a thread of its own: a Ctrl-C reaches us, and a call that hangs is left behind."""
    outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            connection = libvirt.open(URI)
            try:
                call(connection)
            finally:
                connection.close()
        except libvirt.libvirtError as problem:
            outcome.put(problem)
        else:
            outcome.put(None)

    threading.Thread(target=run, name=what, daemon=True).start()
    try:
        problem = outcome.get(timeout=limit_s)
    except queue.Empty:
        raise LabError(f"{what}: no answer from libvirtd within {limit_s:.0f} s") from None
    if problem:
        raise LabError(f"{what}: {problem}") from problem
