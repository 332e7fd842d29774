"""What one run of the KSM comparison measured, and what is computed from it. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Final

import msgspec

from bench.ksm_limit import Truth
from lab.report import Report

__all__ = ["Check", "GuestSample", "Life", "Run", "Sample", "disturbance", "lives", "merged_after_s"]

MERGED_SHARE: Final = 0.95
AGES_BACK_S: Final = 2.0
"""A guest's clock that went back by more was booted anew."""


class GuestSample(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel says of one QEMU."""

    rss_bytes: int
    merged_bytes: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The host at one moment; counters are since its boot."""

    at_s: float
    """From the first boot of a guest."""
    saved_bytes: int
    """The kernel's figure: `pages_sharing` and zero pages; stale while ksmd rests."""
    profit_bytes: int | None
    run: int
    pages_scanned: int
    full_scans: int
    ksmd_cpu_s: float
    cow_breaks: int
    available_bytes: int
    guests: dict[str, GuestSample]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the truth."""

    at_s: float
    kernel_saved_bytes: int
    """The kernel's figure when the pass began."""
    truth: Truth


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """A guest from a boot on."""

    guest: str
    up_s: float
    """When its first report came, from the first boot of a guest."""
    reset: bool = False
    """It began with a reset: the QEMU is older, and its merged pages are counted from before."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One manager in one setting."""

    manager: str
    setting: str
    minutes: float
    """As asked; the samples end there."""
    began_at: str
    """Local time, ISO 8601."""
    commit: str
    calm_from_s: float
    reserve_bytes: int
    """What memtide would keep free here: below it the host is short."""
    samples: list[Sample]
    checks: list[Check]
    """Meanwhile."""
    ends: list[Check]
    """Several in a row after the end: where ksmd changes nothing, what they differ by is how exact they are."""
    lives: list[Life]

    @property
    def ksmd_cpu_s(self) -> float:
        """Return ksmd's CPU seconds."""
        return self.samples[-1].ksmd_cpu_s - self.samples[0].ksmd_cpu_s

    @property
    def calm_cpu_ratio(self) -> float:
        """Return ksmd's share of a CPU in the calm at the end."""
        calm = [sample for sample in self.samples if sample.at_s >= self.calm_from_s]
        return (calm[-1].ksmd_cpu_s - calm[0].ksmd_cpu_s) / (calm[-1].at_s - calm[0].at_s)

    @property
    def saved_bytes(self) -> int:
        """Return what is truly saved at the end, by the first pass: in the later ones ksmd has had more time."""
        return self.ends[0].truth.saved_bytes

    @property
    def limit_bytes(self) -> int:
        """Return the limit at the end, by the same pass."""
        return self.ends[0].truth.limit_bytes

    @property
    def share(self) -> float | None:
        """Return the true saving at the end as a share of the limit; ``None`` where nothing could be saved."""
        return self.saved_bytes / self.limit_bytes if self.limit_bytes else None

    @property
    def spread(self) -> float:
        """Return by how much the passes at the end differ, as a share of the limit."""
        shares = [end.truth.share or 0.0 for end in self.ends]
        return max(shares) - min(shares)

    @property
    def mean_saved_bytes(self) -> float:
        """Return the kernel's figure, averaged over time."""
        over_time = sum(after.saved_bytes * (after.at_s - before.at_s) for before, after in pairwise(self.samples))
        return over_time / (self.samples[-1].at_s - self.samples[0].at_s)

    @property
    def cow_breaks(self) -> int:
        """Return how many merged pages were written to."""
        return self.samples[-1].cow_breaks - self.samples[0].cow_breaks

    @property
    def merged_after_s(self) -> dict[str, float | None]:
        """Return for each newly booted guest how long its merging took, by its name."""
        ends = {life.guest: life.up_s for life in reversed(self.lives) if life.reset}
        return {
            life.guest: merged_after_s([s for s in self.samples if s.at_s < ends.get(life.guest, inf)], life)
            for life in self.lives
            if not life.reset
        }

    @property
    def short_s(self) -> float | None:
        """Return when the host first had less than its reserve; ``None``: never."""
        return next((sample.at_s for sample in self.samples if sample.available_bytes < self.reserve_bytes), None)

    @property
    def first_merge_s(self) -> float | None:
        """Return how long after the host got short the first page was merged; 0.0: before; ``None``: never."""
        merged_s = next((sample.at_s for sample in self.samples if sample.saved_bytes), None)
        return None if self.short_s is None or merged_s is None else max(0.0, merged_s - self.short_s)

    def scan_rates(self, begin_s: float, end_s: float) -> list[float]:
        """Return how many pages a second ksmd looked at, from each sample of that time to the next."""
        looked = [sample for sample in self.samples if begin_s <= sample.at_s <= end_s]
        return [(b.pages_scanned - a.pages_scanned) / (b.at_s - a.at_s) for a, b in pairwise(looked)]


def merged_after_s(samples: Sequence[Sample], life: Life) -> float | None:
    """Return how long after its first report 95 % of what a guest will ever merge was merged.

    ``None``: it never merged anything.
    """
    known = [(s.at_s, s.guests[life.guest].merged_bytes) for s in samples if life.guest in s.guests]
    most = max((merged for _, merged in known), default=0)
    if not most:
        return None
    return next(max(0.0, at_s - life.up_s) for at_s, merged in known if merged >= MERGED_SHARE * most)


def lives(name: str, reports: Sequence[Report], began_s: float) -> list[Life]:
    """Return a guest's lives from its reports; ``began_s``: the first boot of a guest, by the monotonic clock."""
    found = [Life(guest=name, up_s=report.received_s - began_s) for report in reports[:1]]
    for before, after in pairwise(reports):
        if after.uptime_s < before.uptime_s - AGES_BACK_S:
            found.append(Life(guest=name, up_s=after.received_s - began_s, reset=True))
    return found


def disturbance(samples: Sequence[Sample], *, steady: bool) -> str | None:
    """Return that somebody else wrote KSM's settings meanwhile; ``None``: nothing tells so.

    Args:
        samples: so far.
        steady: the manager sets `run` once, before the first sample, and never again.
    """
    for before, after in pairwise(samples):
        if after.full_scans < before.full_scans:  # the kernel counts anew after run=2, and only then
            return f"somebody undid all merging (run=2) at {after.at_s:.0f} s"
        if steady and after.run != before.run:
            return f"somebody set run from {before.run} to {after.run} at {after.at_s:.0f} s"
    return None
