"""The simulated host's memory: who holds it, what is swapped out, and what happens when it runs out."""

import math
from collections.abc import Collection
from typing import Final, Protocol

from memtide.sim.spec import HostSpec
from memtide.units import MIB

__all__ = ["PAGE_BYTES", "HostMemory", "Victim"]

PAGE_BYTES: Final = 4096
WATERMARK_BYTES: Final = 64 * MIB
WATERMARK_SHARE: Final = 64
"""Under its watermark the kernel reclaims: 64 MiB, on small hosts a 64th (min_free_kbytes has that limit too)."""


class Victim(Protocol):
    """A guest as the host's reclaim sees it."""

    host_swapped_bytes: int

    @property
    def unused_bytes(self) -> int:
        """Return its touched memory that it does not use: freed, cold cache, cold programs."""
        ...

    @property
    def touched_bytes(self) -> int:
        """Return all memory that it ever touched and still has."""
        ...


class HostMemory:
    """The host's pages. Guests take them by ``grant`` and give them back by ``release``.

    What is free follows from what is held, to the byte, so nothing can leak.
    """

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec
        self.huge_pages_bytes = 0
        self.resident_bytes = 0
        """Resident memory of all guests, QEMU's own included."""
        self.swapped_bytes = 0
        """Memory of guests in the host's swap, before compression."""
        self.swap_in_bytes_total = 0
        self.swap_out_bytes_total = 0
        self.unmet_bytes = 0
        """Pages asked for in this step that were not there."""
        self._swap_left_bytes = 0
        self._watermark_bytes = min(WATERMARK_BYTES, spec.total_bytes // WATERMARK_SHARE)

    @property
    def free_bytes(self) -> int:
        """Return MemFree."""
        in_zram_bytes = int(self.swapped_bytes / self.spec.swap_compression)
        held_bytes = self.spec.base_bytes + self.huge_pages_bytes + self.resident_bytes + in_zram_bytes
        return self.spec.total_bytes - held_bytes

    @property
    def available_bytes(self) -> int:
        """Return MemAvailable: what is free above the watermark (this host has no page cache of its own)."""
        return max(0, self.free_bytes - self._watermark_bytes)

    @property
    def swap_free_bytes(self) -> int:
        """Return SwapFree."""
        return self.spec.swap_bytes - self.swapped_bytes

    def set_huge_pages(self, size_bytes: int) -> int:
        """Reserve huge pages in place of those there were; return what the kernel could get, in bytes."""
        self.huge_pages_bytes = min(size_bytes, self.huge_pages_bytes + self.available_bytes)
        return self.huge_pages_bytes

    def begin_step(self, step_s: float) -> None:
        """Forget the last step's shortage; swap has a new step's worth of bandwidth."""
        self.unmet_bytes = 0
        self._swap_left_bytes = int(min(self.spec.swap_bytes, self.spec.swap_bps * step_s))

    def grant(self, wanted_bytes: int) -> int:
        """Make so many new pages resident; return how many there were."""
        granted_bytes = max(0, min(wanted_bytes, self.free_bytes))
        self.resident_bytes += granted_bytes
        self.unmet_bytes += wanted_bytes - granted_bytes
        return granted_bytes

    def release(self, resident_bytes: int, swapped_bytes: int = 0) -> None:
        """Take back pages that a guest gave up, resident ones and ones in swap."""
        self.resident_bytes -= resident_bytes
        self.swapped_bytes -= swapped_bytes

    def swap_in(self, wanted_bytes: int) -> int:
        """Read a guest's pages back from swap; return how many there was time and room for."""
        moved_bytes = self.grant(min(wanted_bytes, self._swap_left_bytes))
        self.swapped_bytes -= moved_bytes
        self._swap_left_bytes -= moved_bytes
        self.swap_in_bytes_total += moved_bytes
        return moved_bytes

    def make_way(self, size_bytes: int, guests: Collection[Victim]) -> bool:
        """Free so much for a new process, by swapping if need be, however long it takes; say whether there is room."""
        self.begin_step(math.inf)
        self.unmet_bytes = size_bytes
        self.reclaim(guests)
        return self.free_bytes >= size_bytes

    def reclaim(self, guests: Collection[Victim]) -> bool:
        """Swap out until the watermark is kept and what was asked for is there, cold pages first.

        Returns:
            Whether the host is out of memory: pages were asked for in vain, and swap takes no more.
        """
        short_bytes = self._watermark_bytes + self.unmet_bytes - self.free_bytes
        if short_bytes <= 0:
            return False
        # a swapped page still costs its compressed self
        wanted_bytes = int(short_bytes / (1 - 1 / self.spec.swap_compression))
        left_bytes = min(wanted_bytes, self._swap_left_bytes, self.swap_free_bytes)
        cold = [(guest, guest.unused_bytes - guest.host_swapped_bytes) for guest in guests]
        left_bytes -= self._swap_out(left_bytes, cold)
        rest = [(guest, guest.touched_bytes - guest.host_swapped_bytes) for guest in guests]
        self._swap_out(left_bytes, rest)
        return self.unmet_bytes > 0 and self.swap_free_bytes < PAGE_BYTES

    def _swap_out(self, wanted_bytes: int, stock: list[tuple[Victim, int]]) -> int:
        """Swap out in proportion to what each guest has; return how much it came to."""
        stock = [(guest, have_bytes) for guest, have_bytes in stock if have_bytes > 0]
        total_bytes = sum(have_bytes for _, have_bytes in stock)
        moved_bytes = 0
        for guest, have_bytes in stock if wanted_bytes > 0 else ():
            share_bytes = min(have_bytes, wanted_bytes * have_bytes // total_bytes)
            guest.host_swapped_bytes += share_bytes
            moved_bytes += share_bytes
        self.release(moved_bytes)
        self.swapped_bytes += moved_bytes
        self._swap_left_bytes -= moved_bytes
        self.swap_out_bytes_total += moved_bytes
        return moved_bytes
