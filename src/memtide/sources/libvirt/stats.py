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

__all__ = ["BUSY_REASONS", "STATES", "has_stopped", "parse_observed", "parse_reported", "parse_state"]

STATES: Final = {
    1: GuestState.RUNNING,
    2: GuestState.BLOCKED,
    3: GuestState.PAUSED,
    4: GuestState.SHUTTING_DOWN,
    6: GuestState.CRASHED,
    7: GuestState.SUSPENDED,
}
"""virDomainState; ``SHUT_OFF`` is no state of a guest that runs."""
SHUT_OFF: Final = 5
BUSY_REASONS: Final = {
    (1, 10): "post-copy migration",
    (3, 2): "migration",
    (3, 3): "save",
    (3, 4): "dump",
    (3, 9): "snapshot",
    (3, 11): "starting up",
    (3, 12): "post-copy migration",
}
"""(virDomainState, its own reason) -> why hands are off."""
UNSAID_BYTES: Final = 2**53
"""No guest has 8 PiB; -1 and its kin are far above, in bytes as in KiB."""


def has_stopped(stats: Stats) -> bool:
    """Say whether the guest is there only as a definition: it ended, and we did not hear of it."""
    return _whole(stats.get("state.state")) == SHUT_OFF


def parse_state(stats: Stats) -> tuple[GuestState, str | None]:
    """Return the guest's state and, when libvirt itself is at work on it, with what."""
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
    updated_at_s = _count(stats, "last-update")
    total_bytes, usable_bytes = _size(stats, "available"), _size(stats, "usable")
    if not updated_at_s:
        missing["reported"] = "the guest never reported: no driver, or no stats period"
    elif total_bytes is None or usable_bytes is None:
        missing["reported"] = "the guest's driver does not say how much memory is usable"
    elif not 0 < total_bytes <= observed.maximum_bytes or usable_bytes > total_bytes:
        missing["reported"] = (
            f"the guest contradicts itself: {usable_bytes} of {total_bytes} bytes usable, "
            f"{observed.maximum_bytes} at most"
        )
    else:
        optional = {field: read(stats, name) for field, (name, read) in OPTIONAL.items()}
        if (optional["unused_bytes"] or 0) > total_bytes:
            optional["unused_bytes"] = None
        missing |= {field: "the guest's driver does not say, or not credibly" for field, value in optional.items() if value is None}
        return Reported(
            updated_at_s=float(updated_at_s), total_bytes=total_bytes, usable_bytes=usable_bytes, **optional
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


OPTIONAL: Final = {
    "unused_bytes": ("unused", _size),
    "disk_caches_bytes": ("disk_caches", _size),
    "swap_in_bytes_total": ("swap_in", _size),
    "swap_out_bytes_total": ("swap_out", _size),
    "major_faults_total": ("major_fault", _count),
    "minor_faults_total": ("minor_fault", _count),
}
"""Field of ``Reported`` -> the name in libvirt's ``balloon`` group, and how it is read: not every driver has all."""
