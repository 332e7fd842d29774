"""Every formula over readings, once, with its source. What cannot be computed is ``None``, never 0."""

from collections.abc import Iterable
from typing import Final

from memtide.model.base import Model
from memtide.model.guest import Guest
from memtide.model.host import Host, HostMemory
from memtide.model.ksm import Ksm

__all__ = [
    "RMAP_ITEM_BYTES",
    "GuestsCost",
    "guest_saving_bytes",
    "guests_cost",
    "guests_owners",
    "ksm_merged_bytes",
    "ksm_parted_bytes",
    "ksm_profit_bytes",
    "ksm_saved_bytes",
    "ksm_saved_pages",
    "ksm_tracked_pages",
    "ksmd_cpu_ratio",
    "ksmd_cpu_since_boot_ratio",
    "merged_once_bytes",
    "overcommit_ratio",
    "rate_per_s",
    "total_or_none",
    "used_bytes",
]

RMAP_ITEM_BYTES: Final = 64
"""Size of the kernel's ``struct ksm_rmap_item`` on 64-bit machines; with it the computed profit equals
``general_profit`` to the byte (style.md 5.3)."""
UNKNOWN_OWNER: Final = "unknown"


def ksm_saved_pages(ksm: Ksm) -> int:
    """Return how many pages of host memory KSM saves.

    Source: Documentation/admin-guide/mm/ksm.rst: saved pages = ``pages_sharing`` + ``ksm_zero_pages``.
    ``pages_shared`` (the copies that remain) is already excluded: subtracting it again is a common error.
    """
    return ksm.pages_sharing + (ksm.zero_pages or 0)


def ksm_saved_bytes(ksm: Ksm) -> int:
    """Return the host memory that KSM saves."""
    return ksm_saved_pages(ksm) * ksm.page_size_bytes


def ksm_tracked_pages(ksm: Ksm) -> int:
    """Return on how many pages ksmd keeps books, one round of it; what this kernel does not tell is left out."""
    return ksm.pages_shared + ksm.pages_sharing + (ksm.pages_unshared or 0) + (ksm.pages_volatile or 0)


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
    return ksm_saved_bytes(ksm) - ksm_tracked_pages(ksm) * RMAP_ITEM_BYTES


def rate_per_s(before: float | None, now: float | None, elapsed_s: float) -> float | None:
    """Return how fast a counter rises per second; ``None`` when unknown, or when it fell (a reboot, an overflow)."""
    if before is None or now is None or elapsed_s <= 0 or now < before:
        return None
    return (now - before) / elapsed_s


def ksmd_cpu_ratio(before: Host | None, now: Host) -> float | None:
    """Return the share of one CPU that ksmd used between two readings of KSM (0 to 1)."""
    if before is None or before.ksm is None or now.ksm is None:
        return None
    elapsed_s = now.ksm.taken_at_s - before.ksm.taken_at_s
    return rate_per_s(before.ksm.ksmd_cpu_s_total, now.ksm.ksmd_cpu_s_total, elapsed_s)


def ksmd_cpu_since_boot_ratio(ksm: Ksm, uptime_s: float | None) -> float | None:
    """Return the share of one CPU that ksmd has had on average since boot (0 to 1)."""
    return rate_per_s(0.0, ksm.ksmd_cpu_s_total, uptime_s or 0.0)


def ksm_parted_bytes(breaks_before: int | None, ksm: Ksm) -> int | None:
    """Return what was written to, and so parted from its copies, since an earlier count of such writes.

    ksmd takes such a page off ``pages_sharing`` only when it comes by again (mm/ksm.c), so while it rests up to this
    much of the saving is gone already. Pages that guests gave back are not in it: nobody counts those.
    """
    if breaks_before is None or ksm.cow_breaks_total is None or ksm.cow_breaks_total < breaks_before:
        return None
    return min(ksm_saved_bytes(ksm), (ksm.cow_breaks_total - breaks_before) * ksm.page_size_bytes)


def guest_saving_bytes(guest: Guest) -> int | None:
    """Return the guest's part in what is saved: RSS less PSS, which splits every shared page among its sharers.

    Program files that QEMUs share are in it too, a few MiB. Added up over guests this comes near the whole saving;
    ``merged_bytes`` never does, for it counts each sharer in full.
    """
    observed = guest.observed
    if observed.rss_bytes is None or observed.pss_bytes is None:
        return None
    return max(0, observed.rss_bytes - observed.pss_bytes)


def merged_once_bytes(ksm: Ksm | None, parted_bytes: int) -> int:
    """Return what guests hold several times over and KSM keeps once; pages of zeros are held by nobody.

    Args:
        ksm: the last reading; ``None``: this kernel has no KSM, so nothing is merged.
        parted_bytes: what of it is gone although the kernel has not noticed yet (``ksm_parted_bytes``).
    """
    return 0 if ksm is None else max(0, ksm.pages_sharing * ksm.page_size_bytes - parted_bytes)


class GuestsCost(Model, frozen=True, kw_only=True):
    """What all guests hold, and what they cost the host, in bytes."""

    held_bytes: int
    """Their memory with merged pages counted for everyone who has them."""
    saved_bytes: int
    """What of that KSM keeps once only."""
    basis: str
    """``resident``: by RSS. ``cgroup``: by what their cgroups are charged. ``mixed``: some one, some the other."""

    @property
    def cost_bytes(self) -> int:
        """What they cost the host."""
        return self.held_bytes - self.saved_bytes


def guests_cost(guests: Iterable[Guest], ksm: Ksm | None, parted_bytes: int = 0) -> GuestsCost | None:
    """Return what guests hold, less what KSM saves; ``None`` when some guest's part is unknown.

    RSS counts a merged page in full for every sharer, so the saving comes off; a page that became the kernel's zero
    page is in nobody's RSS (mm/ksm.c takes it off the counter), so that part of the saving does not. A cgroup is
    charged for a page only when it touched it first, so its figure is net; the saving is put on top to say what the
    guests hold. Where both kinds are, the saving is split by how much each kind has merged.

    Args:
        guests: all of them.
        ksm: the last reading; ``None``: this kernel has no KSM. Of a KSM that could not be read nobody can say this.
        parted_bytes: what of the saving is gone although the kernel has not noticed yet (``ksm_parted_bytes``).
    """
    everyone = tuple(guests)
    merged_bytes = merged_once_bytes(ksm, parted_bytes)
    by_cgroup = [guest for guest in everyone if guest.observed.cgroup_bytes is not None]
    cost_bytes = total_or_none(guest.observed.host_cost_bytes for guest in everyone)
    if cost_bytes is None:
        return None
    if not by_cgroup:
        return GuestsCost(held_bytes=cost_bytes, saved_bytes=merged_bytes, basis="resident")
    if len(by_cgroup) == len(everyone):
        return GuestsCost(held_bytes=cost_bytes + merged_bytes, saved_bytes=merged_bytes, basis="cgroup")
    all_merged = total_or_none(guest.observed.merged_bytes for guest in everyone)
    net_merged = total_or_none(guest.observed.merged_bytes for guest in by_cgroup)
    if all_merged is None or net_merged is None:
        return None
    net_bytes = merged_bytes * net_merged // max(1, all_merged)
    return GuestsCost(held_bytes=cost_bytes + net_bytes, saved_bytes=merged_bytes, basis="mixed")


def guests_owners(guests: Iterable[Guest]) -> tuple[str, ...]:
    """Return who owns these guests, sorted; of unknown owners, where others are known, as another one: ``unknown``."""
    whose = {guest.traits.owner for guest in guests}
    known = sorted(owner for owner in whose if owner is not None)
    return (*known, UNKNOWN_OWNER) if known and None in whose else tuple(known)


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
