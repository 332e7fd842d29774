"""What the governor remembers from tick to tick, and what follows from it."""

from memtide.model.base import Model
from memtide.model.derived import ksm_tracked_pages
from memtide.model.ksm import Ksm
from memtide.model.reason import ReasonCode
from memtide.policy.constants import KSM_HIT_DEFAULT, KSM_LOOK_COST_CPU_S, KSM_LOOK_FIRST_S, KSM_LOOK_RATIO
from memtide.policy.ksm.rights import Books
from memtide.policy.ksm.signs import Signs
from memtide.policy.ksm.speed import Account
from memtide.policy.ksm.sweep import LOOKS, Sweep

__all__ = [
    "KsmTrack",
    "cost_cpu_s",
    "expected_bytes",
    "kind_of",
    "look_after_s",
    "look_cost_cpu_s",
    "planned_looks",
]


class KsmTrack(Model, frozen=True, kw_only=True):
    """What the governor remembers from tick to tick."""

    read_at_s: float = 0.0
    """When KSM was last read."""
    at_s: float = 0.0
    """When it was last considered to begin a sweep; a sweep's own time costs nothing."""
    since_s: float = 0.0
    """Since when ksmd is to scan, or to rest."""
    sweep: Sweep | None = None
    rests: ReasonCode = ReasonCode.KSM_WATCHING
    """Why, when there is no sweep."""
    signs: Signs = Signs()
    books: Books = Books()
    account: Account = Account()
    stirred_bytes: int = 0
    """New memory when more of it last appeared."""
    stirred_at_s: float = 0.0
    owed_cpu_s: float = 0.0
    """What waiting has cost since the last sweep."""
    swept_at_s: float | None = None
    found_bytes: int | None = None
    found_cpu_s: float | None = None
    grown_hit_ratio: float = KSM_HIT_DEFAULT
    """The share of memory that guests grew by, or came with, that sweeps merged."""
    broken_hit_ratio: float = KSM_HIT_DEFAULT
    """The share of memory parted from its copies that sweeps merged again: much where a service restarts, none where
    a guest uses for something new what had only been free."""
    look_costs_cpu_s: dict[ReasonCode, float] = {}
    """What a look at one page cost, by what the sweep was for: new guests' pages are searched for in vain or merged,
    of a converged host most are merged already or passed over."""
    look_after_s: float = KSM_LOOK_FIRST_S
    closer: bool = False
    """The last sweep found less than it should have, and passed over pages: look at those too."""


def expected_bytes(track: KsmTrack) -> int:
    """Return what a sweep would probably merge now, in bytes."""
    found = track.signs
    return int(track.grown_hit_ratio * found.grown_bytes + track.broken_hit_ratio * found.broken_bytes)


def look_cost_cpu_s(track: KsmTrack, cause: ReasonCode) -> float:
    """Return what a look at one page costs in a sweep for that, CPU seconds; unmeasured: no more than others do."""
    measured = track.look_costs_cpu_s
    dearest = max(measured.values(), default=KSM_LOOK_COST_CPU_S)
    return measured.get(kind_of(cause), min(KSM_LOOK_COST_CPU_S, dearest))


def kind_of(cause: ReasonCode) -> ReasonCode:
    """Return by which name a sweep's cost is remembered: a host that is short looks at the same pages, only faster."""
    return ReasonCode.KSM_WORTH if cause is ReasonCode.KSM_HOST_SHORT else cause


def look_after_s(track: KsmTrack, ksm: Ksm) -> float:
    """Return after how long ksmd looks again without a sign: the more a look costs, the later."""
    return max(track.look_after_s, cost_cpu_s(track, ksm, ReasonCode.KSM_LOOK_AGAIN) / KSM_LOOK_RATIO)


def planned_looks(track: KsmTrack, ksm: Ksm) -> float:
    """Return how often ksmd would look at a page in a sweep that began now."""
    unseen_pages = track.signs.unseen_bytes // ksm.page_size_bytes
    return LOOKS * (ksm_tracked_pages(ksm) + unseen_pages)


def cost_cpu_s(track: KsmTrack, ksm: Ksm, cause: ReasonCode = ReasonCode.KSM_WORTH) -> float:
    """Return what a sweep for that would cost now, in CPU seconds of ksmd."""
    return planned_looks(track, ksm) * look_cost_cpu_s(track, cause)
