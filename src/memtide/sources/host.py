"""The host, read from its own kernel: some forty small files, well under a millisecond.

KSM is read every time, because a sweep of ksmd may be over in seconds; what only people look at, less often.
"""

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from memtide.model.base import Missing
from memtide.model.host import Host, HostMemory, NumaNode
from memtide.sources.files import KernelFiles
from memtide.sources.ksm import KsmReader
from memtide.sources.ksm_writers import KsmWriters
from memtide.sources.memory import MemoryReader
from memtide.sources.parse import VMSTAT_FIELDS, parse_node_meminfo, parse_pressure, parse_vmstat

__all__ = ["HostReader"]

SLOW_EVERY_S: Final = 10.0
_PAGE_SIZE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_VMSTAT: Final = "proc/vmstat"
_PRESSURE: Final = "proc/pressure/memory"
_NODES: Final = "sys/devices/system/node"
_NODE: Final = re.compile(r"node\d{1,5}")


class HostReader:
    """Reads the host from /proc and /sys; the ``HostSource`` of a real machine, or of a captured tree.

    Args:
        root: ``/``, or a folder with a ``proc`` and a ``sys`` in it.
        page_size_bytes: the size of the host's pages, in which KSM counts.
    """

    def __init__(self, root: Path = Path("/"), *, page_size_bytes: int = _PAGE_SIZE_BYTES) -> None:
        self._slow: Host | None = None
        self._files = KernelFiles(root)
        self._memory = MemoryReader(self._files)
        self._ksm = KsmReader(self._files, page_size_bytes)
        self._ksm_writers = KsmWriters(root)

    def sample(self, now_s: float) -> Host:
        """Return what the host's kernel measures now; what it does not say is ``None`` with a reason.

        Raises:
            SourceError: /proc/meminfo itself cannot be read.
        """
        missing: Missing = {}
        ksm = self._ksm.sample(now_s, missing)
        memory = self._memory.sample(missing)
        pressure = self._files.parsed(_PRESSURE, parse_pressure, missing, "pressure")
        if self._slow is None or not 0 <= now_s - self._slow.taken_at_s < SLOW_EVERY_S:
            self._slow = self._read_slow(now_s, memory)
        return msgspec.structs.replace(
            self._slow,
            taken_at_s=now_s,
            memory=memory,
            pressure=pressure,
            ksm=ksm,
            ksm_writers=() if ksm is None else self._ksm_writers.sample(now_s),
            missing=self._slow.missing | missing,
        )

    def _read_slow(self, now_s: float, memory: HostMemory) -> Host:
        """Read what is shown to people more than decided upon: most of the files, every ten seconds."""
        missing: Missing = {}
        counters = self._counters(missing)
        return Host(
            taken_at_s=now_s,
            memory=memory,
            numa=self._numa(missing),
            counters_at_s=now_s,
            swap_in_pages_total=counters.get("swap_in_pages_total"),
            swap_out_pages_total=counters.get("swap_out_pages_total"),
            major_faults_total=counters.get("major_faults_total"),
            oom_kills_total=counters.get("oom_kills_total"),
            refaults_total=counters.get("refaults_total"),
            missing=missing,
        )

    def close(self) -> None:
        """Close the files that are kept open; a later sample opens them again."""
        self._files.close()

    def _counters(self, missing: Missing) -> dict[str, int]:
        unread: Missing = {}
        counters = self._files.parsed(_VMSTAT, parse_vmstat, unread, _VMSTAT) or {}
        for field in VMSTAT_FIELDS:
            if field not in counters:
                missing[field] = unread.get(_VMSTAT, f"/{_VMSTAT} of this kernel does not count it")
        return counters

    def _numa(self, missing: Missing) -> tuple[NumaNode, ...]:
        nodes = []
        for number in sorted(int(name.removeprefix("node")) for name in self._files.names(_NODES, _NODE)):
            size = self._files.parsed(f"{_NODES}/node{number}/meminfo", parse_node_meminfo, missing, "numa")
            if size is not None:
                total_bytes, free_bytes = size
                nodes.append(NumaNode(node=number, total_bytes=total_bytes, free_bytes=free_bytes))
        if not nodes:
            missing.setdefault("numa", f"there is no /{_NODES}")
        return tuple(nodes)
