"""The simulated ksmd: finds pages that guests of one image have in common, at the rate its files say.

Per guest only the sum is kept. Guests of one image hold the same pages, so one copy of the largest share remains, and
the rest is saved. A page is merged no sooner than the second time ksmd comes by (mm/ksm.c: first its checksum has to
stay). What is saved is the host's; every guest's RSS counts its merged pages in full.
"""

import math
from collections.abc import Iterable
from typing import Final

from memtide.model.ksm import Ksm
from memtide.sim.host import PAGE_BYTES, HostMemory
from memtide.sim.memory import GuestMemory

__all__ = ["Ksmd"]

STOP, RUN, UNMERGE = "0", "1", "2"
RMAP_ITEM_BYTES: Final = 64
"""What the kernel keeps for every page it looks at (style.md 5.3)."""
NOT_SIMULATED: Final = "the simulator has none"


class Ksmd:
    """KSM of one host."""

    def __init__(self, host: HostMemory) -> None:
        spec = host.spec
        self.files = {
            "run": str(spec.ksm_run),
            "pages_to_scan": str(spec.ksm_pages_to_scan),
            "sleep_millisecs": str(spec.ksm_sleep_millisecs),
        }
        """Content of the files below /sys/kernel/mm/ksm that can be written."""
        self.guests: list[GuestMemory] = []
        """Those that have an image."""
        self._host = host
        self._full_scans = 0
        self._scanned_pages = 0.0
        """In the scan that is under way."""
        self._cpu_s_total = 0.0
        self._shared_bytes = 0

    def step(self, step_s: float) -> None:
        """Scan for one step, and let guests write to what was merged."""
        run = self.files["run"]
        if run == STOP and not self._host.merged_bytes:
            return
        seen_ratio = self._scan(step_s) if run == RUN else 0.0
        merged_bytes = self._shared_bytes = 0
        for guests in self._images():
            shares_bytes = []
            for memory in guests:
                if run == UNMERGE or len(guests) == 1:
                    memory.merged_bytes = 0
                else:
                    self._merge(memory, seen_ratio, step_s)
                shares_bytes.append(memory.merged_bytes)
            self._shared_bytes += max(shares_bytes)
            merged_bytes += sum(shares_bytes) - max(shares_bytes)
        self._host.set_merged(merged_bytes)

    def read(self) -> Ksm:
        """Return what the files say now."""
        sharing, shared = self._host.merged_bytes // PAGE_BYTES, self._shared_bytes // PAGE_BYTES
        whole = self._host.resident_bytes // PAGE_BYTES if self._full_scans else int(self._scanned_pages)
        known = max(sharing + shared, whole) if self.files["run"] != UNMERGE else 0
        return Ksm(
            page_size_bytes=PAGE_BYTES,
            run=int(self.files["run"]),
            pages_shared=shared,
            pages_sharing=sharing,
            pages_unshared=max(0, known - sharing - shared),
            pages_volatile=0,
            pages_to_scan=int(self.files["pages_to_scan"]),
            sleep_millisecs=int(self.files["sleep_millisecs"]),
            full_scans=self._full_scans,
            general_profit_bytes=sharing * PAGE_BYTES - known * RMAP_ITEM_BYTES,
            ksmd_cpu_s_total=self._cpu_s_total,
            missing=dict.fromkeys(("zero_pages", "merge_across_nodes", "advisor_mode"), NOT_SIMULATED),
        )

    def _scan(self, step_s: float) -> float:
        """Look at as many pages as there is time for; return which share of all that is."""
        pages, sleep_s = int(self.files["pages_to_scan"]), int(self.files["sleep_millisecs"]) / 1000
        busy_s = pages / self._host.spec.ksm_scan_pps
        if not busy_s:
            return 0.0
        self._cpu_s_total += step_s * busy_s / (busy_s + sleep_s)
        seen_pages = step_s * pages / (busy_s + sleep_s)
        whole_pages = max(1, self._host.resident_bytes // PAGE_BYTES)
        self._scanned_pages += seen_pages
        scans, self._scanned_pages = divmod(self._scanned_pages, whole_pages)
        was_seen = self._full_scans > 0
        self._full_scans += int(scans)
        return min(1.0, seen_pages / whole_pages) if was_seen else 0.0

    def _images(self) -> Iterable[list[GuestMemory]]:
        images: dict[str | None, list[GuestMemory]] = {}
        for memory in self.guests:
            images.setdefault(memory.spec.image, []).append(memory)
        return images.values()

    @staticmethod
    def _merge(memory: GuestMemory, seen_ratio: float, step_s: float) -> None:
        spec = memory.spec
        used_bytes = memory.touched_bytes - memory.freed_bytes - memory.host_swapped_bytes
        most_bytes = max(0, min(spec.identical_bytes, used_bytes))
        kept_bytes = max(0, min(memory.merged_bytes, most_bytes) - int(spec.rewritten_bps * step_s))
        memory.merged_bytes = kept_bytes + math.ceil((most_bytes - kept_bytes) * seen_ratio)
