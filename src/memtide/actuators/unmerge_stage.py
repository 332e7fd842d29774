"""Takes merged pages apart until enough is: a process of its own, for the kernel knows no other way to stop half way.

The kernel undoes all merging in one write of "2" (mm/ksm.c: ``unmerge_and_remove_all_rmap_items``). It looks after
every page whether the writer has to die; then it stops, sets ``run`` to 0, and what is merged still stays merged. So
this process writes, and a second thread of it watches and ends it. It needs nobody to watch it: if memtide dies, is
stopped or hangs, the stage ends all the same. Only the standard library: it has to start fast.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

LOOK_EVERY_S = 0.02
KIB = 1024


def main(root: str, parent: str, copied_bytes: str, fall_bytes: str, deadline_s: str) -> None:
    """Write the file; say on stdout how it ended: ``all``, ``enough``, ``short``, ``late`` or an errno."""
    proc = Path(root, "proc")
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    copied_at_start = value(proc / "vmstat", "cow_ksm")
    available_at_start = value(proc / "meminfo", "MemAvailable:") or 0
    ends_s = time.monotonic() + float(deadline_s)

    def why_end() -> str:
        if os.getppid() != int(parent):
            return "orphan"
        fell_bytes = (available_at_start - (value(proc / "meminfo", "MemAvailable:") or 0)) * KIB
        if fell_bytes >= int(fall_bytes):
            return "short"
        copied = value(proc / "vmstat", "cow_ksm")
        # before Linux 5.18 nobody counts the copies, and what the host lost has to do
        apart_bytes = fell_bytes if None in {copied, copied_at_start} else (copied - copied_at_start) * page_bytes  # type: ignore[operator]
        if apart_bytes >= int(copied_bytes):
            return "enough"
        return "late" if time.monotonic() >= ends_s else ""

    def watch() -> None:
        while not (why := why_end()):
            time.sleep(LOOK_EVERY_S)
        end(why)

    threading.Thread(target=watch, daemon=True).start()
    run = Path(root, "sys/kernel/mm/ksm/run")
    try:
        write(run, b"2")
        # nothing is merged now; at 2 a reader would think that it still goes on
        write(run, b"0")
    except OSError as error:
        end(str(error.errno or 0))
    end("all")


def write(file: Path, content: bytes) -> None:
    """Write in one system call, as a file of sysfs has to be written."""
    descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def value(file: Path, name: str) -> int | None:
    """Return the number behind a name in a file of such lines; ``None`` where there is none."""
    for line in file.read_text().splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    return None


SAID = threading.Lock()


def end(why: str) -> None:
    """Say why and die, by a signal: it also ends a thread that is in the kernel."""
    with SAID:  # never released: whoever comes second has nothing to say
        os.write(sys.stdout.fileno(), why.encode())
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
