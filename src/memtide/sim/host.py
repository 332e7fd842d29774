"""The simulated host's memory: who holds it, what is swapped out, and what happens when it runs out."""

import math
from typing import Final, Protocol

from memtide.sim.curve import Course
from memtide.sim.spec import HostSpec
from memtide.units import MIB

__all__ = ["PAGE_BYTES", "HostMemory", "Victim"]

PAGE_BYTES: Final = 4096
WATERMARK_BYTES: Final = 64 * MIB
WATERMARK_SHARE: Final = 64
WATERMARK_SCALE: Final = 1000
"""Under its watermark the kernel reclaims: 64 MiB, on small hosts a 64th (min_free_kbytes has that limit too), on
large ones a thousandth (watermark_scale_factor)."""


class Victim(Protocol):
    """A guest as the host's reclaim sees it."""

    host_swapped_bytes: int
    lost_bytes: int
    quiet_until_s: float

    @property
    def unused_bytes(self) -> int:
        """Return its touched memory that it does not use: idle, freed, cold cache, cold programs."""
        ...

    @property
    def touched_bytes(self) -> int:
        """Return all memory that it ever touched and still has."""
        ...

    @property
    def hot_host_swapped_bytes(self) -> int:
        """Return what of its swapped memory it uses."""
        ...


class HostMemory:
    """The host's pages. Guests take them by ``grant`` and give them back by ``release``.

    What is free follows from what is held, to the byte, so nothing can leak.
    """

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec
        self.guests: list[Victim] = []
        """Whose pages can be swapped out."""
        self.base_bytes = spec.base_bytes if spec.base is None else spec.base.at(0.0)
        """What the host itself uses now."""
        self.huge_pages_bytes = 0
        self.resident_bytes = 0
        """Resident memory of all guests, QEMU's own included; pages merged by KSM count in full."""
        self.merged_bytes = 0
        """How much less than that they take, because KSM merged pages."""
        self.swapped_bytes = 0
        """Memory of guests in the host's swap, before compression."""
        self.swap_in_bytes_total = 0
        self.swap_out_bytes_total = 0
        self.unmet_bytes = 0
        """Pages asked for in this step that were not there."""
        self._base = None if spec.base is None else Course(spec.base)
        self._swap_left_bytes = 0
        usual_bytes = min(WATERMARK_BYTES, spec.total_bytes // WATERMARK_SHARE)
        self._watermark_bytes = max(usual_bytes, spec.total_bytes // WATERMARK_SCALE)

    @property
    def free_bytes(self) -> int:
        """Return MemFree."""
        in_zram_bytes = int(self.swapped_bytes / self.spec.swap_compression)
        own_bytes = self.base_bytes + self.spec.cache_bytes + self.huge_pages_bytes
        return self.spec.total_bytes - own_bytes - (self.resident_bytes - self.merged_bytes) - in_zram_bytes

    @property
    def available_bytes(self) -> int:
        """Return MemAvailable: what is free above the watermark, and the page cache."""
        return max(0, self.free_bytes - self._watermark_bytes + self.spec.cache_bytes)

    @property
    def swap_free_bytes(self) -> int:
        """Return SwapFree."""
        return self.spec.swap_bytes - self.swapped_bytes

    def set_huge_pages(self, size_bytes: int) -> int:
        """Reserve huge pages in place of those there were; return what the kernel could get, in bytes."""
        room_bytes = max(0, self.free_bytes - self._watermark_bytes)
        self.huge_pages_bytes = min(size_bytes, self.huge_pages_bytes + room_bytes)
        return self.huge_pages_bytes

    def begin_step(self, elapsed_s: float, step_s: float) -> None:
        """Forget the last step's shortage; swap has a new step's bandwidth, and the host itself uses what it wants."""
        self.unmet_bytes = 0
        self._swap_left_bytes = int(min(self.spec.swap_bytes, self.spec.swap_bps * step_s))
        if self._base is not None:
            more_bytes = self._base.at(elapsed_s) - self.base_bytes
            self.base_bytes += self._find(more_bytes) if more_bytes > 0 else more_bytes

    def grant(self, wanted_bytes: int) -> int:
        """Make so many new pages resident; return how many there were."""
        granted_bytes = self._find(wanted_bytes)
        self.resident_bytes += granted_bytes
        return granted_bytes

    def release(self, resident_bytes: int, swapped_bytes: int = 0) -> None:
        """Take back pages that a guest gave up, resident ones and ones in swap."""
        self.resident_bytes -= resident_bytes
        self.swapped_bytes -= swapped_bytes

    def set_merged(self, merged_bytes: int) -> None:
        """Let KSM merge more pages, or part some: those need memory, and wait where there is none."""
        parted_bytes = self.merged_bytes - merged_bytes
        self.merged_bytes -= self._find(parted_bytes) if parted_bytes > 0 else parted_bytes

    def swap_in(self, wanted_bytes: int) -> int:
        """Read a guest's pages back from swap; return how many there was time and room for."""
        moved_bytes = self.grant(min(wanted_bytes, self._swap_left_bytes))
        self.swapped_bytes -= moved_bytes
        self._swap_left_bytes -= min(moved_bytes, self._swap_left_bytes)
        self.swap_in_bytes_total += moved_bytes
        return moved_bytes

    def make_way(self, size_bytes: int) -> bool:
        """Free so much for a new process, by swapping if need be, however long it takes; say whether there is room."""
        left_bytes, self._swap_left_bytes = self._swap_left_bytes, self.spec.swap_bytes
        self._reclaim(size_bytes + self._watermark_bytes - self.free_bytes)
        self._swap_left_bytes = left_bytes
        return self.free_bytes >= size_bytes

    def end_step(self) -> bool:
        """Reclaim what is missing to the watermark; say whether the host is out of memory.

        It is when pages were asked for in vain, and swap takes no more.
        """
        self._reclaim(self._watermark_bytes - self.free_bytes)
        return self.unmet_bytes > 0 and self.swap_free_bytes < PAGE_BYTES

    def _find(self, wanted_bytes: int) -> int:
        """Return how much of this there is, after reclaiming if need be."""
        free_bytes = self.free_bytes
        if wanted_bytes > free_bytes:
            self._reclaim(wanted_bytes + self._watermark_bytes - free_bytes)
            free_bytes = self.free_bytes
        found_bytes = max(0, min(wanted_bytes, free_bytes))
        self.unmet_bytes += wanted_bytes - found_bytes
        return found_bytes

    def _reclaim(self, short_bytes: int) -> None:
        """Swap out, to gain so much: what is not used first, but for the kernel's errors."""
        # a swapped page still costs its compressed self
        wanted_bytes = math.ceil(short_bytes / (1 - 1 / self.spec.swap_compression))
        left_bytes = min(wanted_bytes, self._swap_left_bytes, self.swap_free_bytes)
        if left_bytes < PAGE_BYTES:
            return
        guessed_bytes = int(left_bytes * (1 - self.spec.lru_error_ratio))
        stock = [
            (guest, guest.unused_bytes - guest.host_swapped_bytes + guest.hot_host_swapped_bytes)
            for guest in self.guests
        ]
        left_bytes -= sum(moved_bytes for _, moved_bytes in self._swap_out(guessed_bytes, stock))
        stock = [
            (guest, guest.touched_bytes - guest.unused_bytes - guest.hot_host_swapped_bytes) for guest in self.guests
        ]
        for guest, moved_bytes in self._swap_out(left_bytes, stock):
            guest.lost_bytes += moved_bytes
            guest.quiet_until_s = 0.0

    def _swap_out(self, wanted_bytes: int, stock: list[tuple[Victim, int]]) -> list[tuple[Victim, int]]:
        """Swap out in proportion to what each guest has; return how much of each it was."""
        stock = [(guest, have_bytes) for guest, have_bytes in stock if have_bytes > 0]
        total_bytes = sum(have_bytes for _, have_bytes in stock)
        if wanted_bytes <= 0 or not stock:
            return []
        moved = [(guest, min(have_bytes, wanted_bytes * have_bytes // total_bytes)) for guest, have_bytes in stock]
        for guest, share_bytes in moved:
            guest.host_swapped_bytes += share_bytes
        moved_bytes = sum(share_bytes for _, share_bytes in moved)
        self.release(moved_bytes)
        self.swapped_bytes += moved_bytes
        self._swap_left_bytes -= moved_bytes
        self.swap_out_bytes_total += moved_bytes
        return moved
