"""Kernel samepage merging: the files below /sys/kernel/mm/ksm, and the CPU time of the thread that does it."""

import os
import re
from collections.abc import Callable
from typing import Final, TypeVar

from memtide.model.base import Missing
from memtide.model.ksm import Ksm
from memtide.sources.files import KernelFiles
from memtide.sources.parse import parse_choice, parse_number, parse_switch
from memtide.sources.parse_process import ProcessStat, parse_process_stat

__all__ = ["KsmReader"]

T = TypeVar("T")

_FOLDER: Final = "sys/kernel/mm/ksm"
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PID: Final = re.compile(r"\d{1,10}")
_KTHREADD: Final = 2
"""Every kernel thread's parent: a user's process that calls itself ksmd is none."""


class KsmReader:
    """Reads KSM. Files that this kernel does not have are ``None`` with a reason.

    Args:
        files: where to read.
        page_size_bytes: the size of the pages that KSM counts.
    """

    def __init__(self, files: KernelFiles, page_size_bytes: int) -> None:
        self._files = files
        self._page_size_bytes = page_size_bytes
        self._ksmd = _Ksmd(files)

    def sample(self, host_missing: Missing) -> Ksm | None:
        """Return KSM's figures of now; ``None``, with ``host_missing["ksm"]``, on a kernel without KSM."""
        missing: Missing = {}

        def read(name: str, parse: Callable[[bytes], T | None], field: str = "") -> T | None:
            return self._files.parsed(f"{_FOLDER}/{name}", parse, missing, field or name)

        run = read("run", parse_number)
        pages_shared = read("pages_shared", parse_number)
        pages_sharing = read("pages_sharing", parse_number)
        if run is None or pages_shared is None or pages_sharing is None:
            host_missing["ksm"] = next(iter(missing.values()))
            return None
        return Ksm(
            page_size_bytes=self._page_size_bytes,
            run=run,
            pages_shared=pages_shared,
            pages_sharing=pages_sharing,
            pages_unshared=read("pages_unshared", parse_number),
            pages_volatile=read("pages_volatile", parse_number),
            pages_to_scan=read("pages_to_scan", parse_number),
            sleep_millisecs=read("sleep_millisecs", parse_number),
            full_scans=read("full_scans", parse_number),
            zero_pages=read("ksm_zero_pages", parse_number, "zero_pages"),
            general_profit_bytes=read("general_profit", parse_number, "general_profit_bytes"),
            merge_across_nodes=read("merge_across_nodes", parse_switch),
            advisor_mode=read("advisor_mode", parse_choice),
            ksmd_cpu_s_total=self._ksmd.cpu_s_total(missing),
            missing=missing,
        )


class _Ksmd:
    """The kernel thread that merges: looked for once, and again when it is no longer where it was."""

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self._path: str | None = None
        self._searched = False

    def cpu_s_total(self, missing: Missing) -> float | None:
        stat = self._read(self._files, self._path)
        if stat is None and (self._path is not None or not self._searched):
            self._path = self._search()
            self._searched = True
            stat = self._read(self._files, self._path)
        if stat is None:
            missing["ksmd_cpu_s_total"] = "there is no ksmd among the processes that can be seen here"
            return None
        return stat.cpu_ticks / _CLOCK_TICKS

    def _search(self) -> str | None:
        # kernel threads have low numbers: counting upwards finds it within a few dozen files
        passing = KernelFiles(self._files.root, keep_open=False)
        paths = (f"proc/{pid}/stat" for pid in sorted(map(int, passing.names("proc", _PID))))
        return next((path for path in paths if self._read(passing, path) is not None), None)

    def _read(self, files: KernelFiles, path: str | None) -> ProcessStat | None:
        stat = None if path is None else files.value(path, parse_process_stat)
        return stat if stat is not None and stat.name == "ksmd" and stat.parent == _KTHREADD else None
