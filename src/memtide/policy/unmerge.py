"""Undoing KSM's merging: may it begin, how much at a time, and may it go on.

Merged pages that come apart need memory at once: ``saved = (pages_sharing + zero pages) x page size``. What is left
of the reserve R afterwards decides: allowed if ``available - R >= 1.2 x saved`` (peers.md 15.10); the fifth is for what
guests write and ask for meanwhile. KSM's bookkeeping needs nothing: it is given back as the pages come apart.

Stages are a quarter of what the host has above its reserve, between 64 MiB and 1 GiB, so that a host that becomes
short in the middle can stop with most of its room still there. After each stage: everything apart, done; available
under reserve + what is left, stop; else go on. Counters may be stale (places of guests that ended still count until
ksmd comes by), never too low, so the sum errs on the safe side.
"""

import enum
from typing import Final

from memtide.model.base import Model
from memtide.model.derived import ksm_merged_bytes, ksm_saved_bytes
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.units import GIB, MIB, format_size

__all__ = ["Next", "UnmergePlan", "left_bytes", "next_step", "nothing_is_merged", "plan_unmerge", "stage_size"]

MARGIN_RATIO: Final = 1.2
STAGE_SHARE: Final = 4
STAGE_LEAST_BYTES: Final = 64 * MIB
STAGE_MOST_BYTES: Final = GIB


class Next(enum.StrEnum):
    """What follows a stage."""

    GO_ON = "go on"
    STOP = "stop"
    """Too little memory for the rest."""
    DONE = "done"


class UnmergePlan(Model, frozen=True, kw_only=True):
    """What undoing the merging takes, and whether this host can."""

    available_bytes: int
    reserve_bytes: int
    saved_bytes: int | None
    """What comes back into use; ``None``: unknown, and ``why_not`` says why."""
    places_bytes: int | None
    """All places that get a page of their own; the last one of a page takes over the memory of the copy it had."""
    needed_bytes: int | None
    """``saved_bytes`` and a fifth."""
    missing_bytes: int | None
    """0: it fits."""
    stage_bytes: int
    why_not: str = ""
    """Why it must not be done now, a sentence with its numbers; empty: it may."""
    hint: str = ""
    """What to do next."""


def plan_unmerge(host: Host, reserve_bytes: int) -> UnmergePlan:
    """Return whether the host can take its merged pages apart and keep its reserve (bytes)."""
    available_bytes = host.memory.available_bytes
    stage_bytes = stage_size(available_bytes, reserve_bytes)
    if host.ksm is None:
        return UnmergePlan(
            available_bytes=available_bytes,
            reserve_bytes=reserve_bytes,
            saved_bytes=None,
            places_bytes=None,
            needed_bytes=None,
            missing_bytes=None,
            stage_bytes=stage_bytes,
            why_not=f"what is merged is unknown: {host.missing.get('ksm', 'KSM was not read')}",
            hint="without knowing it the merging is not undone; see `memtide status`",
        )
    saved_bytes = ksm_saved_bytes(host.ksm)
    needed_bytes = int(saved_bytes * MARGIN_RATIO)
    missing_bytes = max(0, needed_bytes - (available_bytes - reserve_bytes)) if saved_bytes else 0
    return UnmergePlan(
        available_bytes=available_bytes,
        reserve_bytes=reserve_bytes,
        saved_bytes=saved_bytes,
        # a kernel that does not count zero pages (before 6.6) does not take them apart either
        places_bytes=ksm_merged_bytes(host.ksm) + (host.ksm.zero_pages or 0) * host.ksm.page_size_bytes,
        needed_bytes=needed_bytes,
        missing_bytes=missing_bytes,
        stage_bytes=stage_bytes,
        why_not="" if not missing_bytes else _too_little(host, reserve_bytes, needed_bytes, missing_bytes),
        hint=""
        if not missing_bytes
        else "stop or move a guest, or give the host memory; until then leave run at 0: "
        "that ends the scanning, and merged pages stay merged at no cost (guests that ended since ksmd last scanned "
        "still count)",
    )


def _too_little(host: Host, reserve_bytes: int, needed_bytes: int, missing_bytes: int) -> str:
    return (
        f"undoing the merging needs {format_size(needed_bytes)} (a fifth of it in case guests ask for more meanwhile); "
        f"the host has {format_size(host.memory.available_bytes)} available, {format_size(reserve_bytes)} of it is its "
        f"reserve: {format_size(missing_bytes)} are missing"
    )


def stage_size(available_bytes: int, reserve_bytes: int) -> int:
    """Return how much one stage takes apart, in bytes."""
    return max(STAGE_LEAST_BYTES, min(STAGE_MOST_BYTES, (available_bytes - reserve_bytes) // STAGE_SHARE))


def left_bytes(host: Host, plan: UnmergePlan, copied_bytes: int | None) -> int | None:
    """Return at most how much memory the rest still needs; ``None``: unknown.

    ``pages_sharing`` falls only when the kernel is through with a whole process, the count of copies at every page:
    both are upper bounds, the smaller one holds.

    Args:
        host: after the stages so far.
        plan: from before the first one.
        copied_bytes: what got copies of its own since then; ``None``: this kernel does not count it.
    """
    if host.ksm is None or plan.places_bytes is None:
        return None
    counted_bytes = ksm_saved_bytes(host.ksm)
    return counted_bytes if copied_bytes is None else max(0, min(counted_bytes, plan.places_bytes - copied_bytes))


def nothing_is_merged(ksm: Ksm) -> bool:
    """Return whether every page has one owner: then the kernel takes settings that it refuses else."""
    return ksm.pages_sharing + ksm.pages_shared + (ksm.zero_pages or 0) == 0


def next_step(host: Host, reserve_bytes: int, still_bytes: int | None) -> Next:
    """Return what to do when the rest needs ``still_bytes``; ``None``, unknown, stops."""
    if still_bytes is None:
        return Next.STOP
    if host.ksm is not None and nothing_is_merged(host.ksm):
        return Next.DONE
    return Next.GO_ON if host.memory.available_bytes >= reserve_bytes + still_bytes else Next.STOP
