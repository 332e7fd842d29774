"""Values for tests: a host, a guest, a snapshot, with what the test does not care about filled in."""

from typing import Any

from memtide.model.guest import Guest, GuestState, GuestTraits, Observed, Reported
from memtide.model.host import Host, HostMemory
from memtide.model.ksm import Ksm
from memtide.model.pressure import Pressure, Stall
from memtide.model.snapshot import Snapshot
from memtide.units import GIB, MIB

START_S = 1_000_000.0
KERNEL_BYTES = 40 * MIB
OVERHEAD_BYTES = 64 * MIB


def host(*, at_s: float = START_S, available_bytes: int = 8 * GIB, some: float = 0.0, **memory: Any) -> Host:
    """Return a host of 16 GiB without swap, KSM there but off."""
    values = {
        "total_bytes": 16 * GIB,
        "available_bytes": available_bytes,
        "free_bytes": available_bytes,
        "cached_bytes": 0,
        "shmem_bytes": 0,
        "huge_pages_total_bytes": 0,
        "huge_pages_free_bytes": 0,
        "swap_total_bytes": 0,
        "swap_free_bytes": 0,
    }
    stall = Stall(avg10_ratio=some, avg60_ratio=some, avg300_ratio=some, total_us=0)
    return Host(
        taken_at_s=at_s,
        memory=HostMemory(**values | memory),
        pressure=Pressure(some=stall, full=stall),
        ksm=Ksm(page_size_bytes=4096, taken_at_s=at_s, run=0, pages_shared=0, pages_sharing=0),
    )


def guest(  # noqa: PLR0913 - a builder: everything by keyword, everything with a default
    name: str = "a",
    *,
    at_s: float = START_S,
    maximum_bytes: int = GIB,
    current_bytes: int | None = None,
    used_bytes: int = 100 * MIB,
    resident_bytes: int | None = None,
    state: GuestState = GuestState.RUNNING,
    reported: bool = True,
    traits: GuestTraits | None = None,
    **report: Any,
) -> Guest:
    """Return a running guest whose report of ``at_s`` says that it uses ``used_bytes`` beside its kernel."""
    current = maximum_bytes if current_bytes is None else current_bytes
    total = max(0, current - KERNEL_BYTES)
    resident = min(current, used_bytes + KERNEL_BYTES) if resident_bytes is None else resident_bytes
    said = {"updated_at_s": at_s, "total_bytes": total, "usable_bytes": max(0, total - used_bytes)}
    said |= {"unused_bytes": max(0, total - used_bytes)} | report
    return Guest(
        uuid=f"uuid-{name}",
        name=name,
        state=state,
        observed=Observed(maximum_bytes=maximum_bytes, current_bytes=current, rss_bytes=resident + OVERHEAD_BYTES),
        reported=Reported(**said) if reported else None,
        traits=traits or GuestTraits(has_balloon=True, stats_period_s=1),
    )


def snapshot(*guests: Guest, at_s: float = START_S, **world: Any) -> Snapshot:
    """Return a snapshot of these guests on a host made of the rest."""
    return Snapshot(taken_at_s=at_s, host=host(at_s=at_s, **world), guests=guests)
