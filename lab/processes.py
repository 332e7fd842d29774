"""The lab's processes, found by what they are and not by a remembered number.

Everything the lab starts has an argv[0] inside `paths.BIN`, so the process table itself is the record: nothing is
missed between a start and its note in a file, and a reused pid is never taken for ours.
"""

import os
import signal
import time
from pathlib import Path

from lab.errors import LabError
from lab.paths import BIN


def ours() -> list[int]:
    """The pids of all processes of a lab on this machine, this one's or a crashed one's."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_ours(int(entry.name))]


def is_ours(pid: int) -> bool:
    """Whether that process runs and the lab started it."""
    try:
        argv0 = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:  # gone meanwhile
        return False
    return argv0.startswith(bytes(BIN) + b"/")


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal if the process is ours; False when it is gone.  The pidfd closes the gap between look and act."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_ours(pid):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def kill_all(limit_s: float = 20.0) -> None:
    """SIGKILL every process of the lab and wait until they are gone (a big guest takes a while to unmap).

    Raises:
        LabError: one is still there after `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    while pids := ours():
        for pid in pids:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"processes {pids} of the lab do not die; see /proc/PID/stack")
        time.sleep(0.02)
