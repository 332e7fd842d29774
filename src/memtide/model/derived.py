"""Every formula over readings, once, with its source. What cannot be computed is ``None``, never 0."""

from collections.abc import Iterable
from typing import Final

from memtide.model.guest import Guest
from memtide.model.host import Host, HostMemory
from memtide.model.ksm import Ksm

__all__ = [
    "RMAP_ITEM_BYTES",
    "ksm_merged_bytes",
    "ksm_profit_bytes",
    "ksm_saved_bytes",
    "ksmd_cpu_ratio",
    "overcommit_ratio",
    "rate_per_s",
    "total_or_none",
    "used_bytes",
]

RMAP_ITEM_BYTES: Final = 64
"""Size of the kernel's ``struct ksm_rmap_item`` on 64-bit machines; with it the computed profit equals
``general_profit`` to the byte (style.md 5.3)."""


def ksm_saved_bytes(ksm: Ksm) -> int:
    """Return the host memory that KSM saves.

    Source: Documentation/admin-guide/mm/ksm.rst: saved pages = ``pages_sharing`` + ``ksm_zero_pages``.
    ``pages_shared`` (the copies that remain) is already excluded: subtracting it again is a common error.
    """
    return (ksm.pages_sharing + (ksm.zero_pages or 0)) * ksm.page_size_bytes


def ksm_merged_bytes(ksm: Ksm) -> int:
    """Return the memory of all places that now point at a shared page, the remaining copies included."""
    return (ksm.pages_sharing + ksm.pages_shared) * ksm.page_size_bytes


def ksm_profit_bytes(ksm: Ksm) -> int | None:
    """Return what KSM saves minus its own bookkeeping; negative when it costs more than it saves.

    Source: ``general_profit`` (Linux 6.4) where the kernel has it; else the same sum, after ksm.rst:
    saved pages x page size - (sharing + shared + unshared + volatile) x one rmap item.
    """
    if ksm.general_profit_bytes is not None:
        return ksm.general_profit_bytes
    if ksm.pages_unshared is None or ksm.pages_volatile is None:
        return None
    items = ksm.pages_sharing + ksm.pages_shared + ksm.pages_unshared + ksm.pages_volatile
    return ksm_saved_bytes(ksm) - items * RMAP_ITEM_BYTES


def rate_per_s(before: float | None, now: float | None, elapsed_s: float) -> float | None:
    """Return how fast a counter rises per second; ``None`` when unknown, or when it fell (a reboot, an overflow)."""
    if before is None or now is None or elapsed_s <= 0 or now < before:
        return None
    return (now - before) / elapsed_s


def ksmd_cpu_ratio(before: Host | None, now: Host) -> float | None:
    """Return the share of one CPU that ksmd used between two readings of the host (0 to 1)."""
    if before is None or before.ksm is None or now.ksm is None:
        return None
    elapsed_s = now.counters_at_s - before.counters_at_s
    return rate_per_s(before.ksm.ksmd_cpu_s_total, now.ksm.ksmd_cpu_s_total, elapsed_s)


def overcommit_ratio(guests_bytes: int | None, memory: HostMemory, reserve_bytes: int) -> float | None:
    """Return what guests have, or cost, as a share of what the host can give them; above 1 is overcommitted.

    The divisor is the host's memory without huge pages and without the reserve: what guests on normal pages can
    ever have. Guests on huge pages belong on neither side.
    """
    for_guests_bytes = memory.usable_total_bytes - reserve_bytes
    if guests_bytes is None or for_guests_bytes <= 0:
        return None
    return guests_bytes / for_guests_bytes


def total_or_none(parts: Iterable[int | None]) -> int | None:
    """Return the sum, or ``None`` when one part is unknown: a sum of what happens to be known is a wrong sum."""
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def used_bytes(guest: Guest) -> int | None:
    """Return what the guest could not give away without swapping, by its own figures of one update.

    total - usable, both of the same moment. A driver that gives memory back when the guest runs out leaves
    MemTotal as it is (drivers/virtio/virtio_balloon.c: ``adjust_managed_page_count`` only without
    ``DEFLATE_ON_OOM``), so there the memory that was taken away still counts in it and is subtracted.
    """
    if guest.reported is None:
        return None
    taken_bytes = guest.observed.maximum_bytes - guest.observed.current_bytes if guest.traits.deflates_on_oom else 0
    return max(0, guest.reported.used_bytes - taken_bytes)
