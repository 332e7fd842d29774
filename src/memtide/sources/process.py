"""What one guest's QEMU costs the host: the facts of a process that libvirt does not tell, or not so cheaply.

All but one are cheap. ``pss`` reads smaps_rollup, which takes 16 ms per GiB of guest and the guest's own memory lock
meanwhile: see ``processes`` for who may ask for it and when.
"""

import os
import re
from pathlib import Path
from typing import Final

from memtide.model.base import Missing, Model
from memtide.sources.cgroup import guest_memory_file
from memtide.sources.files import KernelFiles
from memtide.sources.parse import parse_count, parse_number
from memtide.sources.parse_process import (
    ProcessKsm,
    parse_cgroup_paths,
    parse_process_ksm,
    parse_process_memory,
    parse_process_stat,
    parse_pss,
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
    ksm_zero_bytes: int | None = None
    ksm_profit_bytes: int | None = None
    missing: Missing = {}


_FACTS: Final = tuple(name for name in ProcessFacts.__struct_fields__ if name != "missing")


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
            return ProcessFacts(missing=dict.fromkeys(_FACTS, gone))
        missing: Missing = {}
        memory = self._files.parsed(f"{folder}/status", parse_process_memory, missing, "rss_bytes")
        if memory is None:
            missing["swapped_bytes"] = missing["rss_bytes"]
        return ProcessFacts(
            rss_bytes=None if memory is None else memory.rss_bytes,
            swapped_bytes=None if memory is None else memory.swapped_bytes,
            cgroup_bytes=self._cgroup_bytes(folder, missing),
            **self._ksm(folder, missing),
            missing=missing,
        )

    def pss_bytes(self, qemu: Qemu, missing: Missing) -> int | None:
        """Return the process's proportional set size; ``None`` with a reason in ``missing["pss_bytes"]``. Dear."""
        path = f"proc/{qemu.pid}/smaps_rollup"
        pss_bytes = self._files.parsed(path, parse_pss, missing, "pss_bytes")
        stat = self._files.value(f"proc/{qemu.pid}/stat", parse_process_stat)
        if stat is None or stat.started_ticks != qemu.started_ticks:
            missing["pss_bytes"] = f"process {qemu.pid}, the guest's QEMU, is gone"
            return None
        if pss_bytes is None:
            missing["pss_bytes"] += "; it takes root or CAP_SYS_PTRACE, and Linux 4.14"
        return pss_bytes

    def _cgroup_bytes(self, folder: str, missing: Missing) -> int | None:
        paths = self._files.parsed(f"{folder}/cgroup", parse_cgroup_paths, missing, "cgroup_bytes")
        if paths is None:
            return None
        file = guest_memory_file(paths)
        if file is None:
            missing["cgroup_bytes"] = f"the guest has no cgroup of its own: it is in {paths.v1_memory or paths.v2}"
            return None
        return self._files.parsed(file, parse_number, missing, "cgroup_bytes")

    def _ksm(self, folder: str, missing: Missing) -> dict[str, int | None]:
        """Return what KSM does with the process's memory, by field."""
        unread: Missing = {}
        ksm = self._files.parsed(f"{folder}/ksm_stat", parse_process_ksm, unread, "") or ProcessKsm()
        why = unread.get("", f"/{folder}/ksm_stat of this kernel does not say")
        merging_pages = ksm.merging_pages
        if merging_pages is None:  # until 6.3
            merging_pages = self._files.parsed(f"{folder}/ksm_merging_pages", parse_count, missing, "merged_bytes")
        if ksm.zero_pages is None:
            missing["ksm_zero_bytes"] = f"{why} (it came with Linux 6.6)"
        if ksm.profit_bytes is None:
            missing["ksm_profit_bytes"] = f"{why} (it came with Linux 6.4)"
        return {
            "merged_bytes": None if merging_pages is None else merging_pages * self._page_size_bytes,
            "ksm_zero_bytes": None if ksm.zero_pages is None else ksm.zero_pages * self._page_size_bytes,
            "ksm_profit_bytes": ksm.profit_bytes,
        }
