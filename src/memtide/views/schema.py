"""The schema of every JSON that memtide prints, and of what the daemon answers: one Struct each.

Fields are added, never renamed or given another meaning. Sizes are bytes, times seconds (since 1970 where the name
ends in ``at_s``), ratios 0 to 1. What is unknown is null, with its reason in ``missing``.
"""

from typing import Final

from memtide.model.base import Missing, Model

__all__ = [
    "DaemonView",
    "GuestView",
    "HostView",
    "KsmAccount",
    "KsmAdvice",
    "KsmCpu",
    "KsmGuest",
    "KsmPoint",
    "KsmReport",
    "KsmSetting",
    "KsmSteering",
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


class KsmPoint(Model, frozen=True, kw_only=True):
    """KSM at one moment of the past."""

    at_s: float
    saved_bytes: int
    profit_bytes: int | None
    ksmd_cpu_ratio: float | None
    """Share of one CPU since the point before."""


class KsmCpu(Model, frozen=True, kw_only=True):
    """What the scanning takes: shares of one CPU."""

    now_ratio: float | None
    """Over the last seconds."""
    watched_ratio: float | None
    """Since memtide began to look, at most a day."""
    watched_s: float
    """How long that is."""
    since_boot_ratio: float | None
    total_s: float | None
    """CPU seconds since boot."""


class KsmAccount(Model, frozen=True, kw_only=True):
    """guests_held - saved + other = used: where the host's memory is."""

    basis: str | None
    """resident, cgroup or mixed: what the guests' figures are; null: some guest's is unknown."""
    guests: int
    guests_held_bytes: int | None
    """With merged pages counted for everyone who has them."""
    saved_bytes: int
    """What of that KSM keeps once only; pages that became the kernel's zero page are held by nobody."""
    guests_cost_bytes: int | None
    other_bytes: int | None
    """The host itself and whatever else runs there. Negative: the figures contradict each other by so much."""
    used_bytes: int
    """The host's memory on normal pages that is not available."""
    guests_pss_bytes: int | None
    """The guests' cost measured another way: the sum of their PSS; null: not of all guests sampled."""


class KsmGuest(Model, frozen=True, kw_only=True):
    """One guest and KSM."""

    name: str
    uuid: str
    resident_bytes: int | None
    merged_bytes: int | None
    """Its pages that are merged, each sharer counted in full: never add these up."""
    saving_bytes: int | None
    """Its part in the saving (RSS - PSS)."""
    saving_age_s: float | None
    zero_bytes: int | None
    profit_bytes: int | None
    """What it saves less KSM's bookkeeping for it; negative when it does not pay."""
    why_not: str | None
    """Why it cannot share; null: it can."""
    unmergeable_bytes: int | None
    """What cannot be merged for that reason."""
    owner: str | None
    missing: Missing


class KsmSteering(Model, frozen=True, kw_only=True):
    """What ksmd should do now, and why."""

    doing: str
    """In a word or two."""
    reason: str
    """The reason's code, for programs."""
    why: str
    next: str
    """What would change it."""
    scanning: bool
    for_s: float
    new_bytes: int | None
    expected_bytes: int | None
    cost_cpu_s: float | None
    found_bytes: int | None
    found_cpu_s: float | None
    look_again_in_s: float | None
    max_cpu_ratio: float | None


class KsmSetting(Model, frozen=True, kw_only=True):
    """A file below /sys/kernel/mm/ksm."""

    name: str
    value: str
    original: str | None = None
    """What it was before memtide changed it; null: memtide did not."""


class KsmAdvice(Model, frozen=True, kw_only=True):
    """Something that would change the picture."""

    code: str
    text: str


class KsmReport(Model, frozen=True, kw_only=True):
    """``memtide ksm --json``."""

    schema: int = SCHEMA_VERSION
    host: str
    daemon: bool
    """Whether a daemon told it; without one there is no steering and no history."""
    taken_at_s: float
    verdict: str
    """worth-it, dear, costs-more, nothing, too-early, off, unmerging, no-ksm or unknown."""
    headline: str
    """The verdict in a sentence."""
    do: str
    """What to do about it; empty: nothing."""
    run: int | None
    saved_bytes: int | None
    """By the kernel's formula: pages_sharing + ksm_zero_pages."""
    parted_bytes: int | None
    """Up to so much of it is gone already: written to since ksmd's last full scan, and not taken off yet."""
    merged_bytes: int | None
    zero_bytes: int | None
    shared_bytes: int | None
    """The copies that remain."""
    unshared_bytes: int | None
    """Looked at, and alike to nothing."""
    volatile_bytes: int | None
    """Changing too fast to be merged."""
    bookkeeping_bytes: int | None
    """The kernel's own memory for it."""
    profit_bytes: int | None
    """saved - bookkeeping; negative when KSM takes more than it gives."""
    full_scans: int | None
    ksmd_cpu_ratio: float | None
    """The share of one CPU the verdict is made with: watched for ten minutes or more, else now, else since boot."""
    worth_cpu_ratio: float | None
    """The most that the profit is worth."""
    profit_per_cpu_s_bytes: int | None
    """profit over ksmd's CPU seconds since boot."""
    gained_per_cpu_s_bytes: int | None
    """How far profit rose over ksmd's CPU seconds since memtide began to look."""
    cpu: KsmCpu
    cost_of_stopping_bytes: int | None
    """What undoing all merging (run=2) needs. Only stopping the scan (run=0) needs nothing."""
    available_bytes: int
    reserve_bytes: int
    room_bytes: int
    """available - reserve, at least 0: what undoing could have."""
    steering: KsmSteering | None
    other_writers: tuple[str, ...]
    owners: tuple[str, ...]
    """Of the guests that can share."""
    account: KsmAccount | None
    guests: tuple[KsmGuest, ...]
    """By name."""
    advice: tuple[KsmAdvice, ...]
    settings: tuple[KsmSetting, ...]
    history: tuple[KsmPoint, ...]
    """Oldest first, a point a minute, at most a day."""
    missing: Missing
