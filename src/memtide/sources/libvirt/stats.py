"""One guest's bulk statistics -> what is observed, what is reported, and why something is unknown.

Source: virConnectGetAllDomainStats, groups STATE and BALLOON; sizes in KiB, QEMU's -1 ("the guest does not say")
arrives as 2**64 - 1. ``balloon.available`` is the guest's MemTotal, ``usable`` its MemAvailable, ``unused`` its
MemFree. A guest that somebody else is talking to is listed without what would need its monitor.
"""

from typing import Final

from memtide.model.base import Missing
from memtide.model.guest import GuestState, Observed, Reported
from memtide.sources.libvirt.api import Stats
from memtide.units import KIB

__all__ = ["BUSY_REASONS", "STATES", "parse_observed", "parse_reported", "parse_state"]

STATES: Final = {
    1: GuestState.RUNNING,
    2: GuestState.BLOCKED,
    3: GuestState.PAUSED,
    4: GuestState.SHUTTING_DOWN,
    5: GuestState.UNKNOWN,  # shut off: it will be gone in a moment
    6: GuestState.CRASHED,
    7: GuestState.SUSPENDED,
}
"""virDomainState."""
BUSY_REASONS: Final = {
    (3, 2): "migration",
    (3, 3): "save",
    (3, 4): "dump",
    (3, 9): "snapshot",
    (3, 11): "starting up",
    (3, 12): "post-copy migration",
}
"""(virDomainState, virDomainPausedReason) -> why hands are off."""
UNSAID_BYTES: Final = 2**53
"""No guest has 8 PiB; -1 and its kin are far above, in bytes as in KiB."""


def parse_state(stats: Stats) -> tuple[GuestState, str | None]:
    """Return the guest's state and, when a job of libvirt's keeps it paused, which."""
    state, reason = stats.get("state.state"), stats.get("state.reason")
    return STATES.get(_whole(state), GuestState.UNKNOWN), BUSY_REASONS.get((_whole(state), _whole(reason)))


def parse_observed(stats: Stats) -> Observed | None:
    """Return what the host measures; ``None`` when libvirt could not ask this time."""
    maximum_bytes, current_bytes = _size(stats, "maximum"), _size(stats, "current")
    if not maximum_bytes or not current_bytes:
        return None
    return Observed(
        maximum_bytes=max(maximum_bytes, current_bytes), current_bytes=current_bytes, rss_bytes=_size(stats, "rss")
    )


def parse_reported(stats: Stats, observed: Observed, missing: Missing) -> Reported | None:
    """Return the guest's own report; ``None``, with the reason in ``missing``, when there is none to believe."""
    updated_at_s = _whole(stats.get("balloon.last-update"))
    total_bytes, usable_bytes = _size(stats, "available"), _size(stats, "usable")
    if updated_at_s <= 0:
        missing["reported"] = "the guest never reported: no driver, or no stats period"
    elif total_bytes is None or usable_bytes is None:
        missing["reported"] = "the guest's driver does not say how much memory is usable"
    elif not 0 < total_bytes <= observed.maximum_bytes or usable_bytes > total_bytes:
        missing["reported"] = (
            f"the guest contradicts itself: {usable_bytes} of {total_bytes} bytes usable, "
            f"{observed.maximum_bytes} at most"
        )
    else:
        unused_bytes = _size(stats, "unused")
        return Reported(
            updated_at_s=float(updated_at_s),
            total_bytes=total_bytes,
            usable_bytes=usable_bytes,
            unused_bytes=None if unused_bytes is None else min(unused_bytes, total_bytes),
            disk_caches_bytes=_size(stats, "disk_caches"),
            swap_in_bytes_total=_size(stats, "swap_in"),
            swap_out_bytes_total=_size(stats, "swap_out"),
            major_faults_total=_count(stats, "major_fault"),
            minor_faults_total=_count(stats, "minor_fault"),
        )
    return None


def _whole(value: object) -> int:
    """Return an integer as it is, and -1 for anything else."""
    return value if isinstance(value, int) else -1


def _size(stats: Stats, name: str) -> int | None:
    value = _whole(stats.get(f"balloon.{name}"))
    return value * KIB if 0 <= value * KIB < UNSAID_BYTES else None


def _count(stats: Stats, name: str) -> int | None:
    value = _whole(stats.get(f"balloon.{name}"))
    return value if 0 <= value < UNSAID_BYTES else None
