"""One guest's bulk statistics -> what is observed, what is reported, and why something is unknown.

Source: virConnectGetAllDomainStats, groups STATE and BALLOON; sizes in KiB, QEMU's -1 ("the guest does not say")
arrives as 2**64 - 1. ``balloon.available`` is the guest's MemTotal, ``usable`` its MemAvailable, ``unused`` its
MemFree. A guest that somebody else is talking to, or that hangs, is listed with ``current`` and ``maximum`` as libvirt
last knew them, and without whatever takes the guest's job: even ``rss``.
"""

from typing import Final

from memtide.model.base import Missing
from memtide.model.guest import GuestState, Observed, Reported
from memtide.sources.libvirt.api import Stats
from memtide.units import KIB

__all__ = ["BUSY_REASONS", "STATES", "has_stopped", "parse_observed", "parse_reported", "parse_state", "was_asked"]

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
NOT_SAID: Final = "the guest's driver does not say, or not credibly"
UNSAID_BYTES: Final = 2**53
"""No guest has 8 PiB; -1 and its kin are far above, in bytes as in KiB."""


def was_asked(stats: Stats) -> bool:
    """Say whether libvirt could ask the guest's QEMU; otherwise this is only what libvirt knew before."""
    return "balloon.rss" in stats or "balloon.last-update" in stats


def has_stopped(stats: Stats) -> bool:
    """Say whether the guest is there only as a definition: it ended, and we did not hear of it."""
    return stats.get("state.state") == SHUT_OFF


def parse_state(stats: Stats) -> tuple[GuestState, str | None]:
    """Return the guest's state and, when libvirt itself is at work on it, with what."""
    state, reason = _number(stats, "state.state"), _number(stats, "state.reason")
    return STATES.get(state or 0, GuestState.UNKNOWN), BUSY_REASONS.get((state or 0, reason or 0))


def parse_observed(stats: Stats) -> Observed | None:
    """Return what the host measures; ``None`` when libvirt could not ask this time."""
    maximum_bytes, current_bytes = _number(stats, "balloon.maximum", KIB), _number(stats, "balloon.current", KIB)
    if not maximum_bytes or not current_bytes or not was_asked(stats):
        return None
    return Observed(
        maximum_bytes=max(maximum_bytes, current_bytes),
        current_bytes=current_bytes,
        rss_bytes=_number(stats, "balloon.rss", KIB),
    )


def parse_reported(stats: Stats, observed: Observed, missing: Missing) -> Reported | None:
    """Return the guest's own report; ``None``, with the reason in ``missing``, when there is none to believe."""
    updated_at_s = _number(stats, "balloon.last-update")
    total_bytes, usable_bytes = _number(stats, "balloon.available", KIB), _number(stats, "balloon.usable", KIB)
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
        optional = {field: _number(stats, name, unit) for field, (name, unit) in OPTIONAL.items()}
        if (optional["unused_bytes"] or 0) > total_bytes:
            optional["unused_bytes"] = None
        missing |= {field: NOT_SAID for field, value in optional.items() if value is None}
        return Reported(
            updated_at_s=float(updated_at_s), total_bytes=total_bytes, usable_bytes=usable_bytes, **optional
        )
    return None


def _number(stats: Stats, name: str, unit: int = 1) -> int | None:
    """Return a number that can be true; ``None`` for what is absent, negative, no number, or -1 in disguise."""
    value = stats.get(name)
    return value * unit if isinstance(value, int) and 0 <= value * unit < UNSAID_BYTES else None


OPTIONAL: Final = {
    "unused_bytes": ("balloon.unused", KIB),
    "disk_caches_bytes": ("balloon.disk_caches", KIB),
    "swap_in_bytes_total": ("balloon.swap_in", KIB),
    "swap_out_bytes_total": ("balloon.swap_out", KIB),
    "major_faults_total": ("balloon.major_fault", 1),
    "minor_faults_total": ("balloon.minor_fault", 1),
}
"""Field of ``Reported`` -> libvirt's name, and its unit in ours: not every driver has all."""
