"""The simulated ksmd (mm/ksm.c of Linux 6.18): goes round through the guests, and finds what they have in common.

It takes two visits to merge a page (first its checksum has to stay), and a process that starts is put behind the
cursor, so its first visit is in the round after the one under way. What a visit costs depends on what it finds. What
guests part, give back or leave behind is the host's at once, but ksmd takes it off its books only when it comes by.
"""

from typing import Any, Final, NamedTuple

from memtide.model.ksm import Ksm
from memtide.sim.host import PAGE_BYTES, HostMemory
from memtide.sim.ksm_advisor import Advisor
from memtide.sim.ksm_files import MISSING_IN_OLD, SCAN_TIME, KsmFiles
from memtide.sim.ksm_pages import Image, Pages
from memtide.sim.memory import GuestMemory
from memtide.sim.spec import KsmKernel

__all__ = ["Ksmd", "Process"]

RUN, UNMERGE = "1", "2"
RMAP_ITEM_BYTES: Final = 64
"""What the kernel keeps for every page it looks at (style.md 5.3)."""
ROUND_S: Final = 0.001
"""What a round takes besides its pages: all CPUs hand in their page lists (``lru_add_drain_all``)."""


class Process(NamedTuple):
    """What /proc says of one process's share in KSM."""

    merged_bytes: int
    zero_bytes: int
    profit_bytes: int
    """Signed; every site counts as saved, as the kernel has it (``ksm_process_profit``)."""
    saved_bytes: int
    """RSS less PSS: shared pages are split evenly."""


NOTHING: Final = Process(merged_bytes=0, zero_bytes=0, profit_bytes=0, saved_bytes=0)


class Ksmd:
    """KSM of one host."""

    def __init__(self, host: HostMemory) -> None:
        self.files = KsmFiles(host.spec)
        """Content of the files below /sys/kernel/mm/ksm that can be written; empty: there is no KSM."""
        self.writers: list[str] = []
        """Programs that steer it besides memtide, by name."""
        self._host = host
        self._processes: list[Pages] = []
        """In the order in which ksmd comes by."""
        self._by_memory: dict[int, Pages] = {}
        self._images: dict[str | None, Image] = {}
        self._cursor: int | None = None
        """Which of them it is at; ``None``: between two rounds."""
        self._advisor: Advisor | None = None
        self._elapsed_s = 0.0
        self._late_s = 0.0
        """What it took in the last step beyond its end."""
        self._round_began_s = self._round_cpu_s = 0.0
        self._dead_items = 0.0
        """Pages of processes that ended, on its books until it runs again."""
        self._full_scans = 0
        self._looks = self._skips = self._breaks = 0.0
        self._cpu_s_total = 0.0
        self._zeros_saved_ratio = 0.0
        """Which share of the zero pages that are merged with each other the host does not need."""

    # --- guests come and go ---------------------------------------------------------------------------------

    def enter(self, memory: GuestMemory) -> None:
        """Begin to look at a guest's memory, if its pages can be merged."""
        spec = memory.spec
        if not self.files or not spec.mergeable or spec.huge_pages or spec.shared_memory:
            return
        pages = Pages(memory, self._images.setdefault(spec.image, Image()), self._elapsed_s)
        self._by_memory[id(memory)] = pages
        if self._cursor is None:
            self._processes.append(pages)
        else:
            self._processes.insert(self._cursor, pages)
            self._cursor += 1

    def leave(self, memory: GuestMemory) -> None:
        """Keep the books of a guest that ended, until ksmd runs again; its memory is the host's at once."""
        pages = self._by_memory.pop(id(memory), None)
        if pages is None:
            return
        place = self._processes.index(pages)
        self._processes.pop(place)
        if self._cursor is not None and place < self._cursor:
            self._cursor -= 1
        pages.image.dead += pages.counted
        self._dead_items += pages.items + pages.zero_merged + pages.zero_pages
        if pages.image.finder is pages:
            pages.image.end_round()
        self._settle(0.0)

    # --- time passes ----------------------------------------------------------------------------------------

    def step(self, step_s: float) -> None:
        """Scan for one step, and let guests write to what was merged."""
        self._elapsed_s += step_s
        if not self.files:
            return
        if self.files["run"] == UNMERGE:
            self._unmerge()
        elif self.files["run"] == RUN:
            self._scan(step_s)
        elif not self._host.merged_bytes and not any(image.copies for image in self._images.values()):
            return
        self._settle(step_s)

    def _scan(self, step_s: float) -> None:
        """Come by as many pages as there is time for."""
        batch, sleep_s = int(self.files["pages_to_scan"]), int(self.files["sleep_millisecs"]) / 1000
        if not batch:
            return
        self._bury()
        smart, zeros = self.files.get("smart_scan") == "1", self.files["use_zero_pages"] == "1"
        left_s = step_s - self._late_s
        while left_s > 0 and self._processes:
            if self._cursor is None:
                self._begin_round()
            if self._cursor == len(self._processes):
                self._end_round()
                left_s -= ROUND_S + sleep_s
                continue
            pages = self._processes[self._cursor or 0]
            if pages.left == 1:
                pages.arrive(self._elapsed_s)
            price = pages.price(smart=smart)
            cpu_s = price.work / self._host.spec.ksm_scan_pps
            needed_s = cpu_s + price.looks * sleep_s / batch
            share = 1.0 if needed_s <= left_s else left_s / needed_s
            pages.visit(share, smart=smart, use_zero_pages=zeros)
            left_s = left_s - needed_s if share == 1 else 0.0
            self._cpu_s_total += cpu_s * share
            self._looks += price.looks * share
            self._skips += price.skips * share
            if share == 1:
                self._cursor = (self._cursor or 0) + 1
        self._late_s = max(0.0, -left_s)

    def _begin_round(self) -> None:
        self._cursor = 0
        self._round_began_s, self._round_cpu_s = self._elapsed_s, self._cpu_s_total

    def _end_round(self) -> None:
        self._cursor = None
        self._full_scans += 1
        for pages in self._processes:
            pages.end_round()
        for image in self._images.values():
            image.end_round()
        if self.files.get("advisor_mode") == SCAN_TIME:
            self._advisor = self._advisor or Advisor()
            took_s, cpu_s = self._elapsed_s - self._round_began_s, self._cpu_s_total - self._round_cpu_s
            self.files["pages_to_scan"] = str(self._advisor.pages(self.files, took_s, cpu_s))
        else:
            self._advisor = None

    def _bury(self) -> None:
        """Take those that ended off the books."""
        self._dead_items = 0.0
        for image in self._images.values():
            image.dead = 0.0

    def _unmerge(self) -> None:
        self._bury()
        self._cursor = None
        self._breaks += sum(pages.forget() for pages in self._processes)
        for image in self._images.values():
            image.end_round()
            image.copies = 0.0

    def _settle(self, step_s: float) -> None:
        """Tell the host what is merged now."""
        merged = dict.fromkeys(self._images.values(), 0.0)
        counted = dict.fromkeys(self._images.values(), 0.0)
        zeros = zero_pages = 0.0
        for pages in self._processes:
            if pages.is_merged:
                self._breaks += pages.live(self._elapsed_s, step_s)
                merged[pages.image] += pages.merged
                counted[pages.image] += pages.counted
                zeros += pages.zero_merged
                zero_pages += pages.zero_pages
        self._zeros_saved_ratio = 1 - self._copies(1.0, zeros) / zeros if zeros else 0.0
        saved = zeros * self._zeros_saved_ratio + zero_pages
        for image, sites in merged.items():
            image.copies = min(image.copies, counted[image] + image.dead)
            image.saved_ratio = 1 - self._copies(image.copies, sites) / sites if sites else 0.0
            saved += sites * image.saved_ratio
        self._host.set_merged(int(saved) * PAGE_BYTES)

    def _copies(self, different: float, sites: float) -> float:
        """Return how many copies remain of so many different pages: one shares at most ``max_page_sharing`` sites."""
        if not different:
            return 0.0
        return min(sites, different * max(1.0, -(-sites // (different * int(self.files["max_page_sharing"])))))

    # --- what can be read -----------------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Say whether it has books on anything."""
        return bool(self._full_scans or self._looks)

    @property
    def pages_shared(self) -> int:
        """Return how many merged pages ksmd counts."""
        return self._shared_sharing()[0]

    def read(self, now_s: float) -> Ksm | None:
        """Return what the files say now; ``None``: there is no KSM."""
        if not self.files:
            return None
        is_old = self._host.spec.ksm_kernel is KsmKernel.OLD
        shared, sharing = self._shared_sharing()
        known = self._known
        unshared, items = sum(p.unshared for p in known), sum(p.items for p in known)
        zero_pages = int(sum(p.zero_pages for p in known))
        rmap_items = shared + sharing + zero_pages + int(items + self._dead_items)
        settings: dict[str, Any] = dict(self.files.figures())
        settings |= (
            {}
            if is_old
            else {
                "cow_breaks_total": int(self._breaks),
                "pages_scanned": int(self._looks),
                "pages_skipped": int(self._skips),
                "zero_pages": zero_pages,
                "general_profit_bytes": (sharing + zero_pages) * PAGE_BYTES - rmap_items * RMAP_ITEM_BYTES,
            }
        )
        return Ksm(
            page_size_bytes=PAGE_BYTES,
            taken_at_s=now_s,
            pages_shared=shared,
            pages_sharing=sharing,
            pages_unshared=int(unshared),
            pages_volatile=int(items + self._dead_items - unshared),
            full_scans=self._full_scans,
            ksmd_cpu_s_total=self._cpu_s_total,
            missing=MISSING_IN_OLD if is_old else {},
            **settings,
        )

    def of(self, memory: GuestMemory) -> Process:
        """Return what /proc says of a guest's process."""
        pages = self._by_memory.get(id(memory))
        if pages is None or not self.is_active:
            return NOTHING
        zero_bytes = int(pages.zero_pages) * PAGE_BYTES
        saved = pages.merged * pages.image.saved_ratio + pages.zero_merged * self._zeros_saved_ratio + pages.zero_pages
        return Process(
            merged_bytes=memory.merged_bytes,
            zero_bytes=zero_bytes,
            profit_bytes=memory.merged_bytes + zero_bytes - int(pages.rmap_items) * RMAP_ITEM_BYTES,
            saved_bytes=int(saved) * PAGE_BYTES,
        )

    @property
    def _known(self) -> list[Pages]:
        """Return the processes that it may have books on; it never ran on most hosts."""
        return self._processes if self.is_active else []

    def _shared_sharing(self) -> tuple[int, int]:
        counted: dict[Image, float] = {image: image.dead for image in self._images.values()}
        zeros = 0.0
        for pages in self._known:
            counted[pages.image] += pages.counted
            zeros += pages.zero_merged
        shared = self._copies(1.0, zeros) if zeros else 0.0
        shared += sum(self._copies(image.copies, sites) for image, sites in counted.items())
        return int(shared), int(sum(counted.values()) + zeros - shared)
