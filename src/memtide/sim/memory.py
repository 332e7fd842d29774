"""Where each page of a simulated guest is, and how pages move.

A guest's current memory is kernel + anonymous + hot cache + cold cache + compressed swap + free, and free is *freed*
(touched once, so still resident on the host) or *untouched* (costs the host nothing). What is freed last is taken
first. Memory that does not fit is reclaimed in the kernel's order: cold cache, cold anonymous memory to swap, hot
cache, hot anonymous memory to swap.
"""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from memtide.sim.host import HostMemory
from memtide.sim.spec import GuestSpec
from memtide.units import MIB

__all__ = ["ALL", "GENTLE", "MIN_FREE_BYTES", "GuestMemory"]

MIN_FREE_BYTES: Final = 8 * MIB
"""What a guest's kernel keeps free for itself, and leaves out of its MemAvailable."""
REPORTING_S: Final = 2.0
"""How long free page reporting takes (mm/page_reporting.c: a pass every 2 s over what is free)."""
CRUMB_BYTES: Final = MIB
"""Less than this is not worth another pass."""


class GuestMemory:
    """One guest's pages. Sizes are bytes; every change keeps the guest's and the host's sums."""

    __slots__ = (
        "_cold_ratio",
        "_compressed_ratio",
        "_idle_bytes",
        "_kernel_bytes",
        "anonymous_bytes",
        "boots",
        "cold_cache_bytes",
        "current_bytes",
        "freed_bytes",
        "host",
        "host_swapped_bytes",
        "hot_cache_bytes",
        "kept_bytes",
        "lost_bytes",
        "merged_bytes",
        "quiet_until_s",
        "spec",
        "swap_in_bytes_total",
        "swap_left_bytes",
        "swap_out_bytes_total",
        "swapped_bytes",
    )  # fmt: skip

    def __init__(self, spec: GuestSpec, host: HostMemory) -> None:
        self.spec = spec
        self.host = host
        self.current_bytes = spec.maximum_bytes if spec.current_bytes is None else spec.current_bytes
        self.anonymous_bytes = 0
        self.hot_cache_bytes = 0
        self.cold_cache_bytes = 0
        self.freed_bytes = 0
        self.swapped_bytes = 0
        """In the guest's own swap, before compression."""
        self.host_swapped_bytes = 0
        """Part of what it touched that the host has swapped out: what it does not use, but for ``lost_bytes``."""
        self.lost_bytes = 0
        """Part of that which it does use: the host's kernel guessed wrong, or had nothing else."""
        self.kept_bytes = 0
        """Taken by the balloon and resident all the same: a device pins it."""
        self.merged_bytes = 0
        """Part of it that KSM has merged, with other guests' pages or with each other."""
        self.boots = 0
        """How often it booted since its QEMU started."""
        self.swap_in_bytes_total = 0
        self.swap_out_bytes_total = 0
        self.swap_left_bytes = 0
        """What its swap has time for in this step, in and out together."""
        self.quiet_until_s = 0.0
        """Until this moment of the world nothing moves here by itself; whoever moves something sets it to 0."""
        self._kernel_bytes = spec.kernel_bytes
        self._idle_bytes = spec.idle_bytes
        self._cold_ratio = 1 - spec.hot_ratio
        self._compressed_ratio = 1 / spec.swap_compression if spec.swap_compression else 0.0
        host.grant(spec.kernel_bytes + spec.overhead_bytes)
        if not spec.pinned:
            host.guests.append(self)

    # --- sizes ----------------------------------------------------------------------------------------------

    @property
    def free_bytes(self) -> int:
        """Return its MemFree."""
        return (
            self.current_bytes
            - self._kernel_bytes
            - self.anonymous_bytes
            - self.hot_cache_bytes
            - self.cold_cache_bytes
            - self.compressed_bytes
        )

    @property
    def compressed_bytes(self) -> int:
        """Return what its swap takes of its own memory."""
        return int(self.swapped_bytes * self._compressed_ratio)

    @property
    def touched_bytes(self) -> int:
        """Return all memory that it ever touched and still has, in the host's memory or swap."""
        return self.current_bytes - self.free_bytes + self.freed_bytes

    @property
    def unused_bytes(self) -> int:
        """Return its touched memory that it does not use: idle, freed, cold cache, cold anonymous."""
        return self._idle_bytes + self.freed_bytes + self.cold_cache_bytes + self.cold_bytes

    @property
    def rss_bytes(self) -> int:
        """Return the resident memory of its QEMU; merged pages count in full."""
        return self.spec.overhead_bytes + self.touched_bytes + self.kept_bytes - self.host_swapped_bytes

    @property
    def cold_bytes(self) -> int:
        """Return the cold anonymous part that is in memory: cold memory is swapped out first."""
        if not self._cold_ratio:
            return 0
        return max(0, self._held_cold_bytes - self.swapped_bytes)

    @property
    def hot_swapped_bytes(self) -> int:
        """Return the part of its own swap that it uses."""
        return max(0, self.swapped_bytes - self._held_cold_bytes)

    @property
    def hot_host_swapped_bytes(self) -> int:
        """Return the part of it in the host's swap that it uses."""
        return max(self.lost_bytes, self.host_swapped_bytes - self.unused_bytes)

    @property
    def is_exhausted(self) -> bool:
        """Say whether it has nothing left to swap, or no swap that takes it."""
        return self.swapped_bytes >= self.spec.swap_bytes or self.anonymous_bytes <= 0

    @property
    def _held_cold_bytes(self) -> int:
        return int((self.anonymous_bytes + self.swapped_bytes) * self._cold_ratio)

    # --- programs take and free -----------------------------------------------------------------------------

    def make_room(self, wanted_bytes: int, steps: "tuple[Reclaim, ...]") -> int:
        """Reclaim until so much is free; return how much of it is."""
        room_bytes = self.free_bytes - MIN_FREE_BYTES
        for reclaim in steps:
            if room_bytes >= wanted_bytes:
                break
            reclaim(self, wanted_bytes - room_bytes)
            room_bytes = self.free_bytes - MIN_FREE_BYTES
        return max(0, min(wanted_bytes, room_bytes))

    def touch(self, free_bytes: int) -> int:
        """Use so many free pages; return how many the host had memory for. The caller says what they are now."""
        recent_bytes = self._recent(free_bytes)
        granted_bytes = self.host.grant(free_bytes - recent_bytes)
        self.freed_bytes -= recent_bytes
        return recent_bytes + granted_bytes

    def free(self, held_bytes: int) -> None:
        """Let programs free so much of what they hold, in memory and in swap alike."""
        if self.lost_bytes:
            self.lost_bytes -= self.lost_bytes * held_bytes // (self.touched_bytes - self.unused_bytes + held_bytes)
        from_swap_bytes = 0
        if self.swapped_bytes:
            whole_bytes = self.anonymous_bytes + self.swapped_bytes
            from_swap_bytes = self.swapped_bytes * held_bytes // max(1, whole_bytes)
            self._change_swapped(-from_swap_bytes)
        self.anonymous_bytes -= held_bytes - from_swap_bytes
        self.freed_bytes += held_bytes - from_swap_bytes

    def swap_in_hot(self) -> None:
        """Read back what it uses from its swap; when memory is full, as much has to go out, and so on."""
        wanted_bytes = min(self.hot_swapped_bytes, self.swap_left_bytes // 2)
        moved_bytes = self.touch(self.make_room(wanted_bytes, ALL))
        self.anonymous_bytes += moved_bytes
        self._change_swapped(-moved_bytes)
        self.swap_left_bytes -= moved_bytes
        self.swap_in_bytes_total += moved_bytes
        if moved_bytes and self.hot_swapped_bytes:
            # it will not fit: page for page, what is read drives out what is read next, for the rest of the step
            again_bytes = self.swap_left_bytes // 2
            self.swap_in_bytes_total += again_bytes
            self.swap_out_bytes_total += again_bytes
            self.swap_left_bytes = 0

    def drop_hot_cache(self, size_bytes: int) -> None:
        """Forget hot file data; its pages are free now."""
        dropped_bytes = min(size_bytes, self.hot_cache_bytes)
        self.hot_cache_bytes -= dropped_bytes
        self.freed_bytes += dropped_bytes

    def drop_cold_cache(self, size_bytes: int) -> None:
        """Forget cold file data; its pages are free now."""
        dropped_bytes = min(size_bytes, self.cold_cache_bytes)
        self.cold_cache_bytes -= dropped_bytes
        self.freed_bytes += dropped_bytes

    def swap_out_cold(self, size_bytes: int) -> None:
        """Write cold anonymous memory to its swap, to gain so much."""
        self._swap_out(size_bytes, self.cold_bytes)

    def swap_out_hot(self, size_bytes: int) -> None:
        """Write anonymous memory to its swap although it is used, to gain so much."""
        self._swap_out(size_bytes, self.anonymous_bytes)

    def _swap_out(self, gain_bytes: int, most_bytes: int) -> None:
        # a page in compressed swap still costs its compressed self
        size_bytes = math.ceil(gain_bytes / (1 - self._compressed_ratio))
        room_bytes = self.spec.swap_bytes - self.swapped_bytes
        moved_bytes = max(0, min(size_bytes, most_bytes, self.swap_left_bytes, room_bytes))
        self.anonymous_bytes -= moved_bytes
        self.freed_bytes += moved_bytes
        self._change_swapped(moved_bytes)
        self.swap_left_bytes -= moved_bytes
        self.swap_out_bytes_total += moved_bytes

    def _change_swapped(self, change_bytes: int) -> None:
        """Keep more or less in its swap; where that is compressed, in pages that were free or are free now."""
        compressed_bytes = self.compressed_bytes
        self.swapped_bytes += change_bytes
        self.freed_bytes -= self.compressed_bytes - compressed_bytes

    def _recent(self, free_bytes: int) -> int:
        """Return how many of the next so many free pages were freed recently, and so are resident."""
        freed_bytes = self.freed_bytes
        untouched_bytes = self.free_bytes - freed_bytes
        return min(freed_bytes, max(int(free_bytes * self.spec.recent_ratio), free_bytes - untouched_bytes))

    # --- the balloon takes and gives, and the driver reports ------------------------------------------------

    def take(self, size_bytes: int) -> int:
        """Take memory from the guest for the host, reclaiming what it must; return how much it came to."""
        taken_bytes = self.make_room(size_bytes, ALL)
        recent_bytes = self._recent(taken_bytes)
        self._discard(recent_bytes)
        self.current_bytes -= taken_bytes
        return taken_bytes

    def give(self, size_bytes: int) -> int:
        """Give memory to the guest, up to its maximum; it costs the host nothing until it is touched."""
        given_bytes = min(size_bytes, self.spec.maximum_bytes - self.current_bytes)
        self.current_bytes += given_bytes
        back_bytes = min(given_bytes, self.kept_bytes)
        self.kept_bytes -= back_bytes
        self.freed_bytes += back_bytes
        return given_bytes

    def report_free_pages(self, step_s: float) -> bool:
        """Give the host free memory that is in whole page blocks; say whether there is more to come."""
        whole_bytes = self.freed_bytes - int(self.free_bytes * (1 - self.spec.free_page_ratio))
        if whole_bytes <= 0:
            return False
        if whole_bytes > CRUMB_BYTES:
            whole_bytes = int(whole_bytes * (1 - math.exp(-step_s / REPORTING_S)))
        self._discard(whole_bytes)
        return True

    def _discard(self, freed_bytes: int) -> None:
        """Let the host have freed pages back. Of those in its swap it gains swap, not memory."""
        if self.spec.pinned:
            self.kept_bytes += freed_bytes
            self.freed_bytes -= freed_bytes
            return
        swapped_bytes = 0
        if self.host_swapped_bytes:
            # what is idle was swapped out first, what is in use was lost; the rest is spread over what is unused
            unused_bytes = self.unused_bytes - self._idle_bytes
            spread_bytes = min(unused_bytes, self.host_swapped_bytes - self.lost_bytes - self._idle_bytes)
            swapped_bytes = max(0, spread_bytes) * freed_bytes // max(1, unused_bytes)
            self.host_swapped_bytes -= swapped_bytes
        self.freed_bytes -= freed_bytes
        self.host.release(freed_bytes - swapped_bytes, swapped_bytes)

    # --- the host and the end -------------------------------------------------------------------------------

    def touch_host_swapped(self) -> int:
        """Use what the host swapped out, as far as it comes back in time; return how much was waited for."""
        self.lost_bytes = wanted_bytes = self.hot_host_swapped_bytes
        if wanted_bytes:
            moved_bytes = self.host.swap_in(wanted_bytes)
            self.host_swapped_bytes -= moved_bytes
            self.lost_bytes -= moved_bytes
        return wanted_bytes

    def reset(self) -> None:
        """Boot anew: nothing is used, nothing is taken, and what was touched stays resident on the host."""
        self.boots += 1
        self.freed_bytes = self.touched_bytes + self.kept_bytes - self._kernel_bytes
        self.kept_bytes = self.lost_bytes = 0
        self.anonymous_bytes = self.hot_cache_bytes = self.cold_cache_bytes = self.swapped_bytes = 0
        self.swap_in_bytes_total = self.swap_out_bytes_total = 0
        self.current_bytes = self.spec.maximum_bytes

    def leave(self) -> None:
        """Give everything back to the host: its QEMU ended."""
        self.host.release(self.rss_bytes, self.host_swapped_bytes)
        if not self.spec.pinned:
            self.host.guests.remove(self)


Reclaim: TypeAlias = Callable[[GuestMemory, int], None]

GENTLE: Final[tuple[Reclaim, ...]] = (GuestMemory.drop_cold_cache, GuestMemory.swap_out_cold)
"""What makes room without harm."""
ALL: Final[tuple[Reclaim, ...]] = (*GENTLE, GuestMemory.drop_hot_cache, GuestMemory.swap_out_hot)
"""What a program that needs memory, or the balloon, makes room with."""
