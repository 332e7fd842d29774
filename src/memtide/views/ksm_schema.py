"""The schema of ``memtide ksm --json``, by the rules of ``views.schema``."""

from memtide.model.base import Missing, Model
from memtide.model.reason import KSM_HANDS_OFF as HANDS_OFF
from memtide.views.schema import SCHEMA_VERSION

__all__ = [
    "HANDS_OFF",
    "KsmAccount",
    "KsmAdvice",
    "KsmCpu",
    "KsmGuest",
    "KsmPoint",
    "KsmReport",
    "KsmSetting",
    "KsmSteering",
]


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
    saved_bytes: int | None
    """What of that KSM keeps once only, without what is known to be gone already (``parted_bytes``); pages that became
    the kernel's zero page are held by nobody. 0 on a kernel without KSM; null: it could not be read."""
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
    """Looked at, and without a twin."""
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
