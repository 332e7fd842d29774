"""Where each page of a simulated guest is, and how pages move.

A guest's current memory is kernel + anonymous + hot cache + cold cache + free, and free is *freed* (touched once, so
still resident on the host) or *untouched* (costs the host nothing). What is freed last is taken first. Memory that
does not fit is reclaimed in the kernel's order: cold cache, cold anonymous memory to swap, hot cache, hot anonymous
memory to swap.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from memtide.sim.host import HostMemory
from memtide.sim.spec import GuestSpec
from memtide.units import MIB

__all__ = ["ALL", "GENTLE", "MIN_FREE_BYTES", "GuestMemory"]

MIN_FREE_BYTES: Final = 8 * MIB
"""What a guest's kernel keeps free for itself, and leaves out of its MemAvailable."""


class GuestMemory:
    """One guest's pages. Sizes are bytes; every change keeps the guest's and the host's sums."""

    def __init__(self, spec: GuestSpec, host: HostMemory) -> None:
        self.spec = spec
        self.host = host
        self.current_bytes = spec.maximum_bytes if spec.current_bytes is None else spec.current_bytes
        self.anonymous_bytes = 0
        self.hot_cache_bytes = 0
        self.cold_cache_bytes = 0
        self.freed_bytes = 0
        self.swapped_bytes = 0
        """In the guest's own swap, not in its memory."""
        self.host_swapped_bytes = 0
        """Part of what it touched that the host has swapped out."""
        self.swap_in_bytes_total = 0
        self.swap_out_bytes_total = 0
        self._swap_left_bytes = 0
        host.grant(spec.kernel_bytes + spec.overhead_bytes)

    # --- sizes ----------------------------------------------------------------------------------------------

    @property
    def free_bytes(self) -> int:
        """Return its MemFree."""
        used_bytes = self.spec.kernel_bytes + self.anonymous_bytes + self.hot_cache_bytes + self.cold_cache_bytes
        return self.current_bytes - used_bytes

    @property
    def touched_bytes(self) -> int:
        """Return all memory that it ever touched and still has, in the host's memory or swap."""
        return self.current_bytes - self.free_bytes + self.freed_bytes

    @property
    def unused_bytes(self) -> int:
        """Return its touched memory that it does not use: freed, cold cache, cold anonymous."""
        return self.freed_bytes + self.cold_cache_bytes + self.cold_bytes

    @property
    def rss_bytes(self) -> int:
        """Return the resident memory of its QEMU."""
        return self.spec.overhead_bytes + self.touched_bytes - self.host_swapped_bytes

    @property
    def cold_bytes(self) -> int:
        """Return the cold anonymous part that is in memory: cold memory is swapped out first."""
        return max(0, self._held_cold_bytes - self.swapped_bytes)

    @property
    def hot_swapped_bytes(self) -> int:
        """Return the part of its own swap that it uses."""
        return max(0, self.swapped_bytes - self._held_cold_bytes)

    @property
    def hot_host_swapped_bytes(self) -> int:
        """Return the part of it in the host's swap that it uses."""
        return max(0, self.host_swapped_bytes - self.unused_bytes)

    @property
    def swap_is_full(self) -> bool:
        """Say whether its own swap, if it has any, takes no more."""
        return self.swapped_bytes >= self.spec.swap_bytes

    @property
    def _held_cold_bytes(self) -> int:
        return int((self.anonymous_bytes + self.swapped_bytes) * (1 - self.spec.hot_ratio))

    # --- programs take and free -----------------------------------------------------------------------------

    def begin_step(self, step_s: float) -> None:
        """Give its swap a new step's worth of bandwidth."""
        self._swap_left_bytes = int(self.spec.swap_bps * step_s)

    def make_room(self, wanted_bytes: int, steps: "tuple[Reclaim, ...]") -> int:
        """Reclaim until so much is free; return how much of it is."""
        for reclaim in steps:
            short_bytes = wanted_bytes + MIN_FREE_BYTES - self.free_bytes
            if short_bytes <= 0:
                break
            reclaim(self, short_bytes)
        return max(0, min(wanted_bytes, self.free_bytes - MIN_FREE_BYTES))

    def touch(self, free_bytes: int) -> int:
        """Use so many free pages; return how many the host had memory for. The caller says what they are now."""
        recent_bytes = self._recent(free_bytes)
        granted_bytes = self.host.grant(free_bytes - recent_bytes)
        self.freed_bytes -= recent_bytes
        return recent_bytes + granted_bytes

    def free(self, held_bytes: int) -> None:
        """Let programs free so much of what they hold, in memory and in swap alike."""
        whole_bytes = self.anonymous_bytes + self.swapped_bytes
        from_swap_bytes = self.swapped_bytes * held_bytes // max(1, whole_bytes)
        self.swapped_bytes -= from_swap_bytes
        self.anonymous_bytes -= held_bytes - from_swap_bytes
        self.freed_bytes += held_bytes - from_swap_bytes

    def swap_in_hot(self) -> None:
        """Read back what it uses from its swap; when memory is full, as much has to go out, and so on."""
        wanted_bytes = min(self.hot_swapped_bytes, self._swap_left_bytes // 2)
        moved_bytes = self.touch(self.make_room(wanted_bytes, ALL))
        self.anonymous_bytes += moved_bytes
        self.swapped_bytes -= moved_bytes
        self._swap_left_bytes -= moved_bytes
        self.swap_in_bytes_total += moved_bytes

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
        """Write cold anonymous memory to its swap."""
        self._swap_out(min(size_bytes, self.cold_bytes))

    def swap_out_hot(self, size_bytes: int) -> None:
        """Write anonymous memory to its swap although it is used."""
        self._swap_out(min(size_bytes, self.anonymous_bytes))

    def _swap_out(self, size_bytes: int) -> None:
        moved_bytes = max(0, min(size_bytes, self._swap_left_bytes, self.spec.swap_bytes - self.swapped_bytes))
        self.anonymous_bytes -= moved_bytes
        self.freed_bytes += moved_bytes
        self.swapped_bytes += moved_bytes
        self._swap_left_bytes -= moved_bytes
        self.swap_out_bytes_total += moved_bytes

    def _recent(self, free_bytes: int) -> int:
        """Return how many of the next so many free pages were freed recently, and so are resident."""
        untouched_bytes = self.free_bytes - self.freed_bytes
        return min(self.freed_bytes, max(int(free_bytes * self.spec.recent_ratio), free_bytes - untouched_bytes))

    # --- the balloon takes and gives ------------------------------------------------------------------------

    def take(self, size_bytes: int) -> int:
        """Take memory from the guest for the host, reclaiming what it must; return how much it came to."""
        taken_bytes = self.make_room(size_bytes, ALL)
        recent_bytes = self._recent(taken_bytes)
        # of the resident pages some may be in the host's swap: those give swap back, not memory
        swapped_bytes = min(recent_bytes, self.host_swapped_bytes * recent_bytes // max(1, self.unused_bytes))
        self.host_swapped_bytes -= swapped_bytes
        self.freed_bytes -= recent_bytes
        self.current_bytes -= taken_bytes
        self.host.release(recent_bytes - swapped_bytes, swapped_bytes)
        return taken_bytes

    def give(self, size_bytes: int) -> int:
        """Give memory to the guest, up to its maximum; it costs the host nothing until it is touched."""
        given_bytes = min(size_bytes, self.spec.maximum_bytes - self.current_bytes)
        self.current_bytes += given_bytes
        return given_bytes

    # --- the host and the end -------------------------------------------------------------------------------

    def touch_host_swapped(self) -> int:
        """Use what the host swapped out, as far as it comes back in time; return how much was waited for."""
        wanted_bytes = self.hot_host_swapped_bytes
        self.host_swapped_bytes -= self.host.swap_in(wanted_bytes)
        return wanted_bytes

    def reset(self) -> None:
        """Boot anew: nothing is used, nothing is taken, and what was touched stays resident on the host."""
        self.freed_bytes += self.anonymous_bytes + self.hot_cache_bytes + self.cold_cache_bytes
        self.anonymous_bytes = self.hot_cache_bytes = self.cold_cache_bytes = self.swapped_bytes = 0
        self.swap_in_bytes_total = self.swap_out_bytes_total = 0
        self.current_bytes = self.spec.maximum_bytes

    def leave(self) -> None:
        """Give everything back to the host: its QEMU ended."""
        self.host.release(self.rss_bytes, self.host_swapped_bytes)


Reclaim: TypeAlias = Callable[[GuestMemory, int], None]

GENTLE: Final[tuple[Reclaim, ...]] = (GuestMemory.drop_cold_cache, GuestMemory.swap_out_cold)
"""What makes room without harm."""
ALL: Final[tuple[Reclaim, ...]] = (*GENTLE, GuestMemory.drop_hot_cache, GuestMemory.swap_out_hot)
"""What a program that needs memory, or the balloon, makes room with."""
