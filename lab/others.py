"""What everything that is not the lab holds of the machine's memory, so that a measurement can make up for it."""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from lab import processes

_FIELDS: Final = ("RssAnon:", "VmSwap:")


def others_bytes(but: Collection[int] = ()) -> int:
    """Anonymous memory, swapped out or not, of all processes that no lab started, without those of the pids `but`.

    What they swapped out counts: they would have it in memory on a host that is not short.
    """
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sum(_anonymous_bytes(pid) for pid in pids if pid not in but and not processes.is_ours(pid))


def _anonymous_bytes(pid: int) -> int:
    found = 0
    with contextlib.suppress(OSError):  # gone meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(_FIELDS):
                found += int(line.split()[1]) * 1024
    return found
