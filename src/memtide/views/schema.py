"""The schema of every JSON that memtide prints, and of what the daemon answers: one Struct each.

Fields are added, never renamed or given another meaning. Sizes are bytes, times seconds (since 1970 where the name
ends in ``at_s``), ratios 0 to 1. What is unknown is null, with its reason in ``missing``.
"""

from typing import Final

from memtide.model.base import Missing, Model

__all__ = [
    "SCHEMA_VERSION",
    "DaemonView",
    "GuestView",
    "HostView",
    "KsmView",
    "LogView",
    "OvercommitView",
    "PressureView",
    "StatusView",
    "SwapView",
    "TotalsView",
    "WhyView",
]

SCHEMA_VERSION: Final = 1


class PressureView(Model, frozen=True, kw_only=True):
    """Share of the last 10, 60 and 300 seconds in which tasks waited for memory."""

    some_avg10_ratio: float
    some_avg60_ratio: float
    some_avg300_ratio: float
    full_avg10_ratio: float | None
    full_avg60_ratio: float | None
    full_avg300_ratio: float | None


class OvercommitView(Model, frozen=True, kw_only=True):
    """Guest memory over what the host can give to guests; above 1 more is promised than there is."""

    configured_ratio: float | None
    """All guests at their maximum."""
    granted_ratio: float | None
    """All guests as large as they are now."""
    resident_ratio: float | None
    """What the guests cost the host now."""


class KsmView(Model, frozen=True, kw_only=True):
    """Kernel samepage merging."""

    run: int
    """0: at rest, merged pages stay merged. 1: scanning. 2: everything is being unmerged."""
    saved_bytes: int
    merged_bytes: int
    profit_bytes: int | None
    """Saved minus KSM's own bookkeeping; negative when it does not pay."""
    ksmd_cpu_ratio: float | None
    """Share of one CPU that the scanning takes."""
    full_scans: int | None
    other_writers: tuple[str, ...] = ()
    """Programs on this host that steer KSM too; memtide leaves it to them."""
    doing: str | None = None
    """In a word or two what ksmd does by memtide's law, or would do; null: the law has no opinion on KSM."""
    reason: str | None = None
    """The reason's code, for programs."""
    why: str | None = None
    """The same in a sentence."""


class SwapView(Model, frozen=True, kw_only=True):
    """The host's swap."""

    total_bytes: int
    used_bytes: int
    in_bps: float | None
    """Bytes per second read back."""
    out_bps: float | None


class HostView(Model, frozen=True, kw_only=True):
    """The host."""

    name: str
    total_bytes: int
    usable_total_bytes: int
    """Without huge pages: what guests on normal pages can ever have."""
    available_bytes: int
    reserve_bytes: int
    headroom_bytes: int
    """available - reserve; negative when the host is short."""
    missing_bytes: int
    """What memtide tries to bring back now."""
    pending_bytes: int
    """On its way: back to the host (positive) or to guests (negative)."""
    huge_pages_bytes: int
    state: str
    """high, soft, hard or low."""
    state_for_s: float
    means: str
    """What that state means and what memtide does in it."""
    pressure: PressureView | None
    overcommit: OvercommitView
    ksm: KsmView | None
    swap: SwapView
    oom_kills_total: int | None
    missing: Missing


class GuestView(Model, frozen=True, kw_only=True):
    """One guest. ``maximum`` and what follows is null for a guest that did not answer."""

    name: str
    uuid: str
    state: str
    maximum_bytes: int | None
    """With nothing taken."""
    current_bytes: int | None
    """What it has now."""
    target_bytes: int | None
    """What memtide last asked for; null: it never asked."""
    used_bytes: int | None
    """By the guest's own figures; its caches are not part of it."""
    usable_bytes: int | None
    """What the guest could still use without swapping, by its own figures."""
    host_cost_bytes: int | None
    """What it costs the host now, QEMU included."""
    stats: str
    """fresh, stale or none: how far the guest's own figures can be trusted."""
    stats_age_s: float | None
    demand_bytes: int | None
    floor_bytes: int | None
    keep_bytes: int | None
    """Nothing below this is taken."""
    slack_bytes: int | None
    """Resident and not needed: what the host would gain."""
    growth_bps: float | None
    weight: float
    starving: bool
    doing: str
    """In a word or two."""
    reason: str
    """The reason's code, for programs."""
    why: str
    """The same in a sentence."""
    tier: str | None
    """The step of the law that acts on it now: relief, slack, need, room, surplus, want; null: none does."""
    threshold: str
    """What was compared with what."""
    held_for_s: float | None
    """How long an operator's size still holds."""
    owner: str | None
    missing: Missing


class TotalsView(Model, frozen=True, kw_only=True):
    """Since the daemon started."""

    actions: int
    failures: int
    taken_bytes: int
    given_bytes: int
    host_gained_bytes: int
    reliefs: int
    kills: int | None


class DaemonView(Model, frozen=True, kw_only=True):
    """The daemon that says all this."""

    version: str
    policy: str
    mode: str
    acting: bool
    uri: str
    started_at_s: float
    taken_at_s: float
    """When the figures were read."""
    age_s: float
    """How old they were when they were asked for."""
    period_s: float
    paused_for_s: float | None
    troubles: tuple[str, ...]
    totals: TotalsView


class StatusView(Model, frozen=True, kw_only=True):
    """``memtide status --json``."""

    schema: int = SCHEMA_VERSION
    host: HostView
    guests: tuple[GuestView, ...]
    """By name."""
    daemon: DaemonView


class LogView(Model, frozen=True, kw_only=True):
    """One line of ``memtide log --json``: an action with what came of it, or an event."""

    at_s: float
    kind: str
    """memory, stats-period, ksm or event."""
    name: str
    """The guest, or ``host``."""
    uuid: str | None = None
    what: str = ""
    """The change in words, where it is not one of memory."""
    from_bytes: int | None = None
    to_bytes: int | None = None
    moved_bytes: int | None = None
    """How far the guest's memory moved in the end (signed)."""
    host_gained_bytes: int | None = None
    """What the host gained (positive) or spent since, by what the guest costs it."""
    reason: str | None = None
    """The reason's code; for an event its own."""
    why: str
    """The same in a sentence."""
    tier: str | None = None
    """The step of the law it comes from: relief, slack, need, room, surplus, want; null: none of the law's."""
    threshold: str = ""
    """What was compared with what."""
    numbers: dict[str, int | float | str] = {}
    """What was decided on, unit in each name."""
    result: str | None = None
    """sent, done, partial, refused, no answer, observed only; null for an event."""
    detail: str = ""
    closed_at_s: float | None = None
    """Null while the guest is still moving."""
    severity: str | None = None
    """info, warning or error; null for an action."""

    @property
    def change_bytes(self) -> int | None:
        """What was asked of the guest (signed); ``None`` where no memory was to move."""
        return None if self.from_bytes is None or self.to_bytes is None else self.to_bytes - self.from_bytes


class WhyView(Model, frozen=True, kw_only=True):
    """``memtide why VM --json``."""

    schema: int = SCHEMA_VERSION
    guest: GuestView
    host: HostView
    daemon: DaemonView
    next: str
    """What would change the verdict."""
    actions: tuple[LogView, ...]
    """What was done to the guest, oldest first."""
