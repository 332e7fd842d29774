"""The QEMU processes of many guests: found once, looked at as often as it is worth.

Most facts change slowly and cost about 50 us a guest, so they are read every ten seconds; only a guest with a cgroup
of its own is read every tick, because the cgroup's figure is then what the guest costs the host. What is dear has a
thread of its own (``pss``).
"""

import os
import time
from pathlib import Path
from typing import Final

from memtide.model.base import Model
from memtide.sources.process import ProcessFacts, ProcessReader, Qemu
from memtide.sources.pss import Pss, PssReadings

__all__ = ["GuestProcess", "GuestProcesses", "started_at_s"]

FACTS_EVERY_S: Final = 10.0
SEARCH_EVERY_S: Final = 10.0
"""A guest whose process is not found (another user's view of /proc) is not searched for at every tick."""
NOT_READ: Final = (float("-inf"), ProcessFacts())
NO_PSS: Final = Pss.unknown("it is not read here")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class GuestProcess(Model, frozen=True, kw_only=True):
    """A guest's process and what is known of it."""

    qemu: Qemu
    facts: ProcessFacts
    pss: Pss


class GuestProcesses:
    """What the host's kernel knows of guests' processes, by UUID.

    Args:
        root: ``/``, or a captured tree.
        pss: read proportional set sizes too, in a thread; without, they are unknown.
    """

    def __init__(self, root: Path = Path("/"), *, pss: bool = True) -> None:
        self._reader = ProcessReader(root)
        self._pss = PssReadings(root) if pss else None
        self._processes: dict[str, Qemu] = {}
        self._facts: dict[str, tuple[float, ProcessFacts]] = {}
        self._searched_at_s = float("-inf")

    def of(self, uuids: set[str], now_s: float) -> dict[str, GuestProcess]:
        """Return process and facts of those guests whose process is known."""
        if not uuids <= self._processes.keys() and now_s - self._searched_at_s >= SEARCH_EVERY_S:
            self._searched_at_s = now_s
            self._processes = self._reader.find_all()
        self._facts = {uuid: facts for uuid, facts in self._facts.items() if uuid in uuids}
        for uuid in uuids & self._processes.keys():
            self._refresh(uuid, now_s)
        found = {uuid: self._processes[uuid] for uuid in uuids & self._processes.keys()}
        pss = {} if self._pss is None else self._pss.of(found, now_s)
        return {
            uuid: GuestProcess(qemu=qemu, facts=self._facts[uuid][1], pss=pss.get(uuid, NO_PSS))
            for uuid, qemu in found.items()
        }

    def forget(self, uuid: str) -> None:
        """Search for a guest's process again: it stopped, or started anew."""
        self._processes.pop(uuid, None)
        self._facts.pop(uuid, None)
        self._searched_at_s = float("-inf")

    def _refresh(self, uuid: str, now_s: float) -> None:
        """Read the facts again when it is time; a process that is gone is not the guest's any more."""
        read_at_s, facts = self._facts.get(uuid, NOT_READ)
        if now_s - read_at_s < FACTS_EVERY_S and facts.cgroup_bytes is None:
            return
        facts = self._reader.facts(self._processes[uuid])
        self._facts[uuid] = (now_s, facts)
        if facts.rss_bytes is None:
            del self._processes[uuid]


def started_at_s(qemu: Qemu) -> float:
    """Return when a process started, in seconds since 1970; its stat counts clock ticks since boot."""
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot_s + qemu.started_ticks / TICKS_PER_S
