"""Kernel samepage merging: the files below /sys/kernel/mm/ksm, the writes that part pages, and ksmd's CPU time."""

import os
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from memtide.model.base import Missing
from memtide.model.ksm import Ksm
from memtide.sources.files import KernelFiles, reason
from memtide.sources.parse import (
    parse_choice,
    parse_count,
    parse_cow_breaks,
    parse_number,
    parse_percent,
    parse_run,
    parse_switch,
)
from memtide.sources.parse_process import ProcessStat, parse_process_stat

__all__ = ["KsmReader"]

_FOLDER: Final = "sys/kernel/mm/ksm"
_VMSTAT: Final = "proc/vmstat"
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PID: Final = re.compile(r"\d{1,10}")
_KTHREADD: Final = 2
"""Every kernel thread's parent: a user's process that calls itself ksmd is none."""


class _File(NamedTuple):
    """One file of KSM's folder and the field of ``Ksm`` that it fills."""

    name: str
    parse: Callable[[bytes], object]
    since: str = ""
    """The Linux that brought it (the kernel's log of mm/ksm.c); empty: every one that memtide runs on has it."""
    own_field: str = ""
    """The field, where it is called otherwise than the file."""

    @property
    def field(self) -> str:
        return self.own_field or self.name


_NEEDED: Final = (
    _File("run", parse_run),
    _File("pages_shared", parse_count),
    _File("pages_sharing", parse_count),
)
_FILES: Final = (
    _File("pages_unshared", parse_count),
    _File("pages_volatile", parse_count),
    _File("pages_scanned", parse_count, "6.6"),
    _File("pages_skipped", parse_count, "6.7"),
    _File("pages_to_scan", parse_count),
    _File("sleep_millisecs", parse_count),
    _File("full_scans", parse_count),
    _File("ksm_zero_pages", parse_count, "6.6", "zero_pages"),
    _File("general_profit", parse_number, "6.4", "general_profit_bytes"),
    _File("merge_across_nodes", parse_switch),
    _File("max_page_sharing", parse_count),
    _File("smart_scan", parse_switch, "6.7"),
    _File("use_zero_pages", parse_switch),
    _File("advisor_mode", parse_choice, "6.8"),
    _File("advisor_target_scan_time", parse_count, "6.8", "advisor_target_scan_time_s"),
    _File("advisor_max_cpu", parse_percent, "6.8", "advisor_max_cpu_ratio"),
)


class KsmReader:
    """Reads KSM. What this kernel does not tell is ``None`` with a reason.

    Args:
        files: where to read.
        page_size_bytes: the size of the pages that KSM counts.
    """

    def __init__(self, files: KernelFiles, page_size_bytes: int) -> None:
        self._files = files
        self._page_size_bytes = page_size_bytes
        self._ksmd = _Ksmd(files)

    def sample(self, now_s: float, host_missing: Missing) -> Ksm | None:
        """Return KSM's figures of now; ``None``, with ``host_missing["ksm"]``, on a kernel without KSM."""
        missing: Missing = {}
        # first, so that ``taken_at_s`` is the time of what a rate is made of
        cpu_s_total = self._ksmd.cpu_s_total(missing)
        needed = {file.field: self._read(file, missing) for file in _NEEDED}
        if None in needed.values():
            host_missing["ksm"] = next(missing[field] for field, value in needed.items() if value is None)
            return None
        values: dict[str, Any] = needed | {file.field: self._read(file, missing) for file in _FILES}
        return Ksm(
            page_size_bytes=self._page_size_bytes,
            taken_at_s=now_s,
            cow_breaks_total=self._cow_breaks_total(missing),
            ksmd_cpu_s_total=cpu_s_total,
            missing=missing,
            **values,
        )

    def _read(self, file: _File, missing: Missing) -> object:
        value = self._files.parsed(f"{_FOLDER}/{file.name}", file.parse, missing, file.field)
        if value is None and file.since:
            missing[file.field] += f" (it came with Linux {file.since})"
        return value

    def _cow_breaks_total(self, missing: Missing) -> int | None:
        try:
            count = parse_cow_breaks(self._files.read(_VMSTAT))
            why = f"/{_VMSTAT} of this kernel does not count it (it came with Linux 5.18)"
        except OSError as error:
            count, why = None, reason(_VMSTAT, error)
        if count is None:
            missing["cow_breaks_total"] = why
        return count


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
