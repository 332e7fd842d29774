"""Takes part of what KSM merged apart: one stage at a time, each in a process that ends itself.

``run=2`` in one go needs the memory of everything merged at once and may bring the OOM killer (ksm.rst). See
``unmerge_stage.py`` for how a write to it can be stopped half way.
"""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Final

from memtide.actuators.ksm import NOT_ALLOWED
from memtide.model.unmerge import Stage, StageEnd

__all__ = ["KsmUnmerger"]

_SCRIPT: Final = Path(__file__).with_name("unmerge_stage.py")
_START_S: Final = 5.0
"""For the process to start, and to end after its time is over."""
_WHY: Final = NOT_ALLOWED | {
    errno.ENOMEM: "the kernel had not enough memory",
    errno.ENOENT: "this kernel has no KSM",
}


class KsmUnmerger:
    """Takes merged pages apart.

    Args:
        root: ``/``, or a folder with such a tree in it.
        deadline_s: how long one stage may take; before it reaches what is still merged, the kernel walks over
            all that it took apart before.
    """

    def __init__(self, root: Path = Path("/"), *, deadline_s: float = 60.0) -> None:
        self._root = root
        self._deadline_s = deadline_s

    async def stage(self, copied_bytes: int, fall_bytes: int) -> Stage:
        """Take so much apart, or less if the host's available memory falls by ``fall_bytes`` before.

        However it ends, also when the caller is cancelled: no process is left, and ``run`` is 0. Never raises.
        """
        before = self._copied_pages()
        arguments = (self._root, os.getpid(), copied_bytes, max(0, fall_bytes), self._deadline_s)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", _SCRIPT, *map(str, arguments), stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            detail = f"no process could be started: {error.strerror or error}"
            return Stage(end=StageEnd.REFUSED, copied_bytes=0, detail=detail)
        try:
            async with asyncio.timeout(self._deadline_s + _START_S):
                said = (await process.communicate())[0].decode()
        except TimeoutError:
            said = StageEnd.LATE.value
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        end, detail = _meaning(said)
        after = self._copied_pages()
        copied = None if before is None or after is None else (after - before) * os.sysconf("SC_PAGE_SIZE")
        return Stage(end=end, copied_bytes=copied, detail=detail)

    def _copied_pages(self) -> int | None:
        """Return how many merged places got pages of their own since boot (``cow_ksm``, Linux 5.18)."""
        try:
            lines = (self._root / "proc/vmstat").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("cow_ksm ")), None)


def _meaning(said: str) -> tuple[StageEnd, str]:
    """Return how a stage ended, by its last word; without one somebody killed it."""
    if said in set(StageEnd):
        return StageEnd(said), ""
    if said.isdecimal():
        return StageEnd.REFUSED, _WHY.get(int(said)) or os.strerror(int(said))
    return StageEnd.REFUSED, "its process was killed by somebody else (the OOM killer ends it first)"
