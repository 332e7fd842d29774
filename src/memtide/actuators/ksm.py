"""Writes the files below /sys/kernel/mm/ksm, one after the other, and reads each of them back.

A file that holds the wanted value already is not written. One that fails does not stop the others: a setting that
this kernel lacks (the advisor, before 6.8) must not keep KSM from being switched on or off.
"""

import asyncio
import errno
import time
from pathlib import Path
from typing import Final

from memtide.model.action import Action, Reply, Result, SetKsm

__all__ = ["NOT_ALLOWED", "KsmActuator"]

_FOLDER: Final = "sys/kernel/mm/ksm"
_SETTINGS: Final = frozenset(
    {
        "advisor_max_cpu",
        "advisor_max_pages_to_scan",
        "advisor_min_pages_to_scan",
        "advisor_mode",
        "advisor_target_scan_time",
        "max_page_sharing",
        "merge_across_nodes",
        "pages_to_scan",
        "run",
        "sleep_millisecs",
        "smart_scan",
        "stable_node_chains_prune_millisecs",
        "use_zero_pages",
    }
)
"""Everything that can be set there (mm/ksm.c, 6.18); a name from a database or a rule is checked against it."""

_STILL_SHARED: Final = "pages are merged now; `memtide ksm unmerge --{}` takes them apart in stages and then writes it"
_UNMERGE: Final = "2"
_WHY_THIS_FILE: Final = {
    ("merge_across_nodes", errno.EBUSY): _STILL_SHARED.format("merge-across-nodes yes|no"),
    ("max_page_sharing", errno.EBUSY): _STILL_SHARED.format("max-page-sharing N"),
    ("pages_to_scan", errno.EINVAL): "the kernel's own advisor sets it (advisor_mode)",
}
NOT_ALLOWED: Final = {
    errno.EACCES: "not permitted; only root may steer KSM",
    errno.EPERM: "not permitted; only root may steer KSM",
    errno.EROFS: "/sys is read-only here (a container, or ProtectKernelTunables= in the unit)",
}
"""What a write below KSM's folder may be refused with, whatever is written."""
_WHY: Final = NOT_ALLOWED | {
    errno.ENOENT: "this kernel does not have it",
    errno.EINVAL: "the kernel does not accept that value",
    errno.EBUSY: "the kernel is busy with it",
}


class KsmActuator:
    """Carries out ``SetKsm``. The kernel can take its time, so it is asked in a thread and with a deadline.

    Args:
        root: ``/``, or a folder with such a tree in it.
        deadline_s: how long to wait for all the files. A write that takes longer goes on in its thread, and nothing
            else is written until it ends.
    """

    def __init__(self, root: Path = Path("/"), *, deadline_s: float = 10.0) -> None:
        self._folder = root / _FOLDER
        self._deadline_s = deadline_s
        self._writing: asyncio.Task[Reply] | None = None
        self._turn = asyncio.Lock()

    async def apply(self, action: Action) -> Reply:
        """Write the files and return what came of it: ``DONE``, ``PARTIAL``, ``REFUSED`` or ``NO_ANSWER``.

        Raises:
            TypeError: the action is not a ``SetKsm``.
        """
        if not isinstance(action, SetKsm):
            raise TypeError(f"KsmActuator cannot carry out {type(action).__name__}")
        async with self._turn:  # changes that are asked for at the same time are made one after the other
            return await self._apply(action)

    async def _apply(self, action: SetKsm) -> Reply:
        if self._writing is not None and not self._writing.done():
            return Reply(result=Result.REFUSED, detail="the kernel still works on the previous change of KSM")
        started_s = time.monotonic()
        self._writing = asyncio.create_task(asyncio.to_thread(_write_all, self._folder, dict(action.files)))
        await asyncio.wait({self._writing}, timeout=self._deadline_s)
        took_s = time.monotonic() - started_s
        if not self._writing.done():
            detail = f"the kernel still works on it after {self._deadline_s:.0f} s"
            return Reply(result=Result.NO_ANSWER, detail=detail, took_s=took_s)
        reply = self._writing.result()
        return Reply(result=reply.result, detail=reply.detail, took_s=took_s)


def _write_all(folder: Path, files: dict[str, str]) -> Reply:
    if not folder.is_dir():
        return Reply(result=Result.REFUSED, detail=f"this kernel has no KSM: there is no {folder}")
    texts, failed = [], 0
    for name, wanted in files.items():
        try:
            texts.append(_write(folder, name, wanted))
        except OSError as error:
            failed += 1
            texts.append(f"{name}={wanted} failed: {_why(name, error)}")
    result = Result.DONE if not failed else Result.REFUSED if failed == len(files) else Result.PARTIAL
    return Reply(result=result, detail="; ".join(texts))


def _write(folder: Path, name: str, wanted: str) -> str:
    """Make one file hold a value; return what was done, for people.

    Raises:
        OSError: the file does not hold it, and this is why.
    """
    if name not in _SETTINGS:
        raise OSError("there is no such setting of KSM")
    if name == "run" and wanted == _UNMERGE:
        # everything at once may bring the OOM killer (ksm.rst)
        raise OSError("everything merged would need its memory at once; `memtide ksm unmerge` does it in stages")
    file = folder / name
    before = _chosen(file.read_text())
    if before == wanted:
        return f"{name} is {wanted} already"
    file.write_text(f"{wanted}\n")
    after = _chosen(file.read_text())
    if after != wanted:
        raise OSError(f"the kernel took it, but the file says {after!r}")
    return f"{name} {before} -> {wanted}"


def _chosen(content: str) -> str:
    """Return the value a file holds; a list marks it with brackets: ``[none] scan-time``."""
    marked = [word for word in content.split() if word.startswith("[") and word.endswith("]")]
    return marked[0][1:-1] if marked else content.strip()


def _why(name: str, error: OSError) -> str:
    code = error.errno or 0
    return _WHY_THIS_FILE.get((name, code)) or _WHY.get(code) or error.strerror or str(error)
