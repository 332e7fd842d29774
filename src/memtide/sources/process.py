"""What one guest's QEMU costs the host: the facts of a process that libvirt does not tell, or not so cheaply.

No smaps: reading them takes 16 ms per GiB of guest and holds the guest's own memory lock meanwhile.
"""

import os
import re
from pathlib import Path
from typing import Final

from memtide.model.base import Missing, Model
from memtide.sources.cgroup import guest_memory_file
from memtide.sources.files import KernelFiles
from memtide.sources.parse import parse_number
from memtide.sources.parse_process import (
    parse_cgroup_paths,
    parse_process_memory,
    parse_process_stat,
    parse_qemu_uuid,
)

__all__ = ["ProcessFacts", "ProcessReader", "Qemu"]

_PAGE_SIZE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PID: Final = re.compile(r"\d{1,10}")


class Qemu(Model, frozen=True, kw_only=True):
    """The process of one guest, told apart from a later process with the same number by its start."""

    uuid: str
    pid: int
    started_ticks: int


class ProcessFacts(Model, frozen=True, kw_only=True):
    """What the host's kernel says of one QEMU, in the words of ``Observed``."""

    rss_bytes: int | None = None
    swapped_bytes: int | None = None
    cgroup_bytes: int | None = None
    """What the guest's own machine scope is charged with; ``None`` when it has none."""
    merged_bytes: int | None = None
    missing: Missing = {}


class ProcessReader:
    """Finds QEMU processes and reads their facts, under 100 us each. Keeps no file open: guests may be many.

    Args:
        root: ``/``, or a captured tree.
        page_size_bytes: the size of the host's pages, in which KSM counts.
    """

    def __init__(self, root: Path = Path("/"), *, page_size_bytes: int = _PAGE_SIZE_BYTES) -> None:
        self._files = KernelFiles(root, keep_open=False)
        self._page_size_bytes = page_size_bytes

    def find_all(self) -> dict[str, Qemu]:
        """Return the QEMU process of every guest by UUID.

        Reads the command line of every process once: call it for new guests, not on every tick.
        """
        found: dict[str, Qemu] = {}
        for pid in map(int, self._files.names("proc", _PID)):
            uuid = self._files.value(f"proc/{pid}/cmdline", parse_qemu_uuid)
            stat = None if uuid is None else self._files.value(f"proc/{pid}/stat", parse_process_stat)
            if uuid is None or stat is None:
                continue
            qemu = Qemu(uuid=uuid, pid=pid, started_ticks=stat.started_ticks)
            # a QEMU that forks shows the same command line twice for a moment: the guest is the older one
            found[uuid] = min(qemu, found.get(uuid, qemu), key=lambda one: (one.started_ticks, one.pid))
        return found

    def facts(self, qemu: Qemu) -> ProcessFacts:
        """Return the process's facts of now; all ``None`` when it is gone, even if another has its number now."""
        folder = f"proc/{qemu.pid}"
        stat = self._files.value(f"{folder}/stat", parse_process_stat)
        if stat is None or stat.started_ticks != qemu.started_ticks:
            gone = f"process {qemu.pid}, the guest's QEMU, is gone"
            return ProcessFacts(
                missing=dict.fromkeys(("rss_bytes", "swapped_bytes", "cgroup_bytes", "merged_bytes"), gone)
            )
        missing: Missing = {}
        memory = self._files.parsed(f"{folder}/status", parse_process_memory, missing, "rss_bytes")
        if memory is None:
            missing["swapped_bytes"] = missing["rss_bytes"]
        return ProcessFacts(
            rss_bytes=None if memory is None else memory.rss_bytes,
            swapped_bytes=None if memory is None else memory.swapped_bytes,
            cgroup_bytes=self._cgroup_bytes(folder, missing),
            merged_bytes=self._merged_bytes(folder, missing),
            missing=missing,
        )

    def _cgroup_bytes(self, folder: str, missing: Missing) -> int | None:
        paths = self._files.parsed(f"{folder}/cgroup", parse_cgroup_paths, missing, "cgroup_bytes")
        if paths is None:
            return None
        file = guest_memory_file(paths)
        if file is None:
            missing["cgroup_bytes"] = f"the guest has no cgroup of its own: it is in {paths.v1_memory or paths.v2}"
            return None
        return self._files.parsed(file, parse_number, missing, "cgroup_bytes")

    def _merged_bytes(self, folder: str, missing: Missing) -> int | None:
        # since 5.19; ksm_stat says the same, but only since 6.1
        pages = self._files.parsed(f"{folder}/ksm_merging_pages", parse_number, missing, "merged_bytes")
        return None if pages is None else pages * self._page_size_bytes
