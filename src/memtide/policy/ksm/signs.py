"""What can be seen from outside of memory that may have become mergeable since ksmd last went through all of it.

Three signs, none of which costs anything to read: guests that are new (started or rebooted), guests whose resident
memory grew, and writes that parted merged pages from their copies (``cow_ksm``). Memory that became alike without any
of them is found by looking again now and then.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.derived import ksm_tracked_pages
from memtide.model.guest import Guest, GuestState
from memtide.model.ksm import Ksm
from memtide.model.snapshot import Snapshot

__all__ = ["Known", "Signs", "can_merge", "look", "swept"]

GONE_MOST: Final = 8
GONE_STATES: Final = frozenset({GuestState.SHUTTING_DOWN, GuestState.CRASHED})


class Known(Model, frozen=True, kw_only=True):
    """What is remembered of one guest that can be merged."""

    name: str
    first_seen_s: float
    """When this start or boot of it was first seen."""
    born_s: float | None
    """Its ``since_s``: another one means that it rebooted."""
    resident_bytes: int
    swept_bytes: int | None = None
    """Resident when ksmd last set out to go through all of it; less if it was smaller since. ``None``: never."""

    @property
    def new_bytes(self) -> int:
        """Return what of it ksmd has not seen twice yet."""
        return self.resident_bytes - min(self.swept_bytes or 0, self.resident_bytes)


class Signs(Model, frozen=True, kw_only=True):
    """All of them."""

    guests: dict[str, Known] = {}
    """By UUID; only those that can be merged."""
    gone: tuple[str, ...] = ()
    """Names of guests that ended since ksmd was last woken for that, the latest few."""
    breaks_at: int | None = None
    """``cow_breaks_total`` when the last sweep began."""
    broken_bytes: int = 0
    """What guests wrote to since then, and so parted from its copies; 0 also where the kernel does not count it."""

    @property
    def grown_bytes(self) -> int:
        """Return the guests' memory that ksmd has not gone through yet."""
        return sum(known.new_bytes for known in self.guests.values())

    @property
    def unseen_bytes(self) -> int:
        """Return what of that is of guests that ksmd has never gone through."""
        return sum(known.new_bytes for known in self.guests.values() if known.swept_bytes is None)

    @property
    def new_bytes(self) -> int:
        """Return all memory that may be merged and is not, in bytes."""
        return self.broken_bytes + self.grown_bytes

    def newcomers(self, now_s: float, after_s: float) -> tuple[Known, ...]:
        """Return the guests never gone through that have been here for so long."""
        return tuple(
            known
            for known in self.guests.values()
            if known.swept_bytes is None and not 0 <= now_s - known.first_seen_s < after_s
        )


def can_merge(guest: Guest) -> bool:
    """Say whether the kernel can merge anything of it (mm/ksm.c: not shared, no huge pages, not pinned)."""
    traits = guest.traits
    return traits.mergeable and not (traits.huge_pages or traits.shared_memory or traits.passthrough)


def look(signs: Signs, snapshot: Snapshot, ksm: Ksm) -> Signs:
    """Return the signs after one more snapshot."""
    now_s = snapshot.taken_at_s
    here = [guest for guest in snapshot.guests if can_merge(guest) and guest.state not in GONE_STATES]
    known = {guest.uuid: _known(signs.guests.get(guest.uuid), guest, now_s) for guest in here}
    # a guest that did not answer is unknown, not gone
    absent = {a.uuid: signs.guests[a.uuid] for a in snapshot.absent if a.uuid in signs.guests}
    gone = [old.name for uuid, old in signs.guests.items() if uuid not in known and uuid not in absent]
    # without books there is nothing to take off them
    names = (*signs.gone, *gone)[-GONE_MOST:] if ksm_tracked_pages(ksm) else ()
    breaks_at = ksm.cow_breaks_total if signs.breaks_at is None else signs.breaks_at
    return Signs(
        guests=known | absent,
        gone=names,
        breaks_at=breaks_at,
        broken_bytes=_broken_bytes(breaks_at, ksm),
    )


def swept(signs: Signs, before: dict[str, Known], breaks_at: int | None, ksm: Ksm) -> Signs:
    """Return the signs after a sweep that began with these guests and this count of breaks."""
    guests = {uuid: _swept(known, before.get(uuid)) for uuid, known in signs.guests.items()}
    return Signs(guests=guests, gone=signs.gone, breaks_at=breaks_at, broken_bytes=_broken_bytes(breaks_at, ksm))


def _swept(known: Known, before: Known | None) -> Known:
    # what came or rebooted in the middle of it was not seen twice
    same = before is not None and before.born_s == known.born_s and before.first_seen_s == known.first_seen_s
    return msgspec.structs.replace(known, swept_bytes=before.resident_bytes if before is not None and same else None)


def _known(old: Known | None, guest: Guest, now_s: float) -> Known:
    rss_bytes = guest.observed.rss_bytes
    if old is None or old.born_s != guest.since_s:
        return Known(name=guest.name, first_seen_s=now_s, born_s=guest.since_s, resident_bytes=rss_bytes or 0)
    resident_bytes = old.resident_bytes if rss_bytes is None else rss_bytes
    swept_bytes = None if old.swept_bytes is None else min(old.swept_bytes, resident_bytes)
    return msgspec.structs.replace(old, resident_bytes=resident_bytes, swept_bytes=swept_bytes)


def _broken_bytes(breaks_at: int | None, ksm: Ksm) -> int:
    if breaks_at is None or ksm.cow_breaks_total is None:
        return 0
    return max(0, ksm.cow_breaks_total - breaks_at) * ksm.page_size_bytes
