"""What a simulated host and its guests are made of: values, so that a world can be written down."""

import enum

from memtide.model.base import Model
from memtide.sim.behaviours import Behaviour
from memtide.sim.curve import Curve, flat
from memtide.units import GIB, MIB

__all__ = ["GuestSpec", "HostSpec", "KsmKernel"]

NOTHING = flat(0)


class KsmKernel(enum.StrEnum):
    """Which kernel's files of KSM a host has."""

    NEW = "6.18"
    OLD = "5.10"
    """Without advisor, smart scan, profit, zero page count, count of writes that part pages and figures per process."""
    NONE = "none"


class HostSpec(Model, frozen=True, kw_only=True):
    """A host. The defaults are a small machine like the lab's."""

    total_bytes: int
    base_bytes: int = 512 * MIB
    """What the host itself uses; never reclaimed, never swapped."""
    base: Curve | None = None
    """The same over time, in place of ``base_bytes``; ``None``: it never changes."""
    cache_bytes: int = 0
    """File data that its kernel holds on to, though it swaps by then; MemAvailable counts it all the same."""
    swap_bytes: int = 0
    """Compressed swap (zram); 0: none, so the host's OOM killer is next."""
    swap_compression: float = 3.0
    """How many swapped bytes one byte of memory holds; the lab's mixed content has 3."""
    swap_bps: int = 500 * MIB
    """How fast pages go in and out of swap, both together, bytes per second."""
    release_bps: int = GIB
    """How fast guests can give memory back, all together: 1 GiB/s on the lab's two cores (lab-notes)."""
    guests_swap_bps: int | None = None
    """How fast guests can use their own swap, all together, in and out: what the host's cores have time for;
    ``None``: every guest as fast as itself."""
    lru_error_ratio: float = 0.05
    """Of what is swapped out, the share that is in use although something unused is left: the kernel guesses."""
    ksm_run: int = 0
    """What the files below /sys/kernel/mm/ksm begin with: this one and the next two."""
    ksm_pages_to_scan: int = 100
    ksm_sleep_millisecs: int = 20
    ksm_kernel: KsmKernel = KsmKernel.NEW
    """Whose KSM it has."""
    ksm_scan_pps: int = 270_000
    """How many pages without a partner ksmd looks at in one second of CPU; others cost in proportion: merged ones a
    sixth, a first look a third, merging twice as much."""


class GuestSpec(Model, frozen=True, kw_only=True):
    """A guest. Only the name must be given: 1 GiB that idles and does as it is told."""

    name: str
    maximum_bytes: int = GIB
    current_bytes: int | None = None
    """What it starts with; ``None``: the maximum."""

    # what runs in it
    anonymous: Curve = NOTHING
    """Memory its programs hold, beside the kernel's."""
    hot_ratio: float = 1.0
    """Share of it that is touched again and again; the rest can be swapped out without harm."""
    hot_cache: Curve = NOTHING
    """File data read again and again: read anew when it was dropped."""
    cold_cache: Curve = NOTHING
    """File data read once: each rise reads so much, each fall deletes so much."""
    freed_bytes: int = 0
    """Touched and freed before the world began, still resident on the host."""

    # how it is built
    kernel_bytes: int = 40 * MIB
    """The part of its memory that is not in its MemTotal."""
    overhead_bytes: int = 64 * MIB
    """QEMU's own memory."""
    idle_bytes: int = 0
    """Part of those two that nobody touches after the start: the host can swap it out and never hears of it again."""
    swap_bytes: int = 0
    """Its own swap, on a disk; 0: none, so its OOM killer is next."""
    swap_bps: int = 300 * MIB
    """How fast its pages go in and out of its swap, both together."""
    swap_compression: float | None = None
    """Its swap is in its own memory (zram), this many swapped bytes in one byte of it; ``None``: on a disk."""
    has_balloon: bool = True
    deflates_on_oom: bool = False
    """Its driver gives memory back before its OOM killer acts, and keeps MemTotal as it is."""
    stats_period_s: int | None = 1
    stats_lag_s: float = 0.0
    """How much later a report can be seen than it was taken."""
    stats_jitter_s: float = 0.0
    """And by chance up to so much later still."""
    stats_loss_ratio: float = 0.0
    """Share of the reports that never arrive, by chance."""
    reports_free_pages: bool = False
    """Its driver tells the host of free pages by itself (free page reporting), and the host has them back."""
    free_page_ratio: float = 0.9
    """Share of its free memory that is in whole page blocks, which are all that is reported."""
    pinned: bool = False
    """A device is passed through: all its memory is resident for ever, and what the balloon takes stays so."""
    start_at_s: float = 0.0
    """When it starts, in the world's seconds; 0: it has been running for an hour when the world begins."""

    # what KSM finds in it
    image: str | None = None
    """Guests of one image hold the same pages; ``None``: it is like no other."""
    identical_bytes: int = 0
    """How much of what it uses is the same in all guests of its image."""
    zero_bytes: int = 0
    """How much of what it uses beside that is full of zeros, and so the same in itself."""
    rewritten_bps: int = 0
    """How fast it writes to merged pages, which parts them; what it writes is what was there, bytes per second."""
    converging_bps: int = 0
    """How fast more of it becomes the same as in its twins since its boot, while nothing grows and nothing parts."""
    mergeable: bool = True
    """Whether KSM may merge its pages (not with `<nosharepages/>`)."""
    huge_pages: bool = False
    """Built on huge pages, which KSM leaves alone; here their memory is the host's as any other."""
    shared_memory: bool = False
    """Backed by memory shared with other processes (memfd), which KSM leaves alone."""
    owner: str | None = None
    """Whose it is, by what the management layer says."""

    # how fast it is: measured on KVM (HyperAlloc, EuroSys 2025, artefact); a guest under TCG has a tenth
    shrink_bps: int = int(0.86 * GIB)
    grow_bps: int = int(2.1 * GIB)
    touch_bps: int = GIB
    """How fast its programs fill memory, and read files."""
    recent_ratio: float = 0.95
    """Of the free pages that are taken, by programs or by the balloon, the share that was freed recently and so is
    resident: the kernel's free lists are last in, first out."""

    behaviour: Behaviour = Behaviour()
