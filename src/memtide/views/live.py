"""All that the daemon holds at one moment, as values: what every view is made of."""

from memtide.model.action import Outcome
from memtide.model.base import Model
from memtide.model.decision import Decision, KsmVerdict
from memtide.model.guest import Guest
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot

__all__ = ["KsmPast", "KsmScene", "Live", "Totals", "ksm_scene"]


class Totals(Model, frozen=True, kw_only=True):
    """What memtide did since it started; sizes in bytes."""

    actions: int = 0
    failures: int = 0
    """Refused, no answer, or moved only part of the way."""
    taken_bytes: int = 0
    given_bytes: int = 0
    host_gained_bytes: int = 0
    """What the host really gained from what was taken."""
    reliefs: int = 0
    """Times a starving guest was given memory."""
    relieved_guests: frozenset[str] = frozenset()
    donor_guests: frozenset[str] = frozenset()
    kills: int | None = None
    """Processes the host's kernel killed for want of memory; ``None``: this kernel does not say."""


class Live(Model, frozen=True, kw_only=True):
    """One moment of a running daemon."""

    version: str
    host_name: str
    uri: str
    """Where the guests are: a libvirt URI, or ``simulation``."""
    acting: bool
    """``False``: observe mode; everything is done but the last write."""
    started_at_s: float
    now_s: float
    """The daemon's clock when this was made."""
    limits: Limits
    snapshot: Snapshot
    decision: Decision
    previous_host: Host | None = None
    """An earlier reading, for rates."""
    open_outcomes: tuple[Outcome, ...] = ()
    totals: Totals = Totals()
    troubles: tuple[str, ...] = ()
    """What is wrong now, one sentence each."""
    paused_until_s: float | None = None
    """While paused nothing is sent; ``None``: not paused."""


class KsmPast(Model, frozen=True, kw_only=True):
    """What a daemon remembers of KSM."""

    readings: tuple[Ksm, ...] = ()
    """Oldest first, one a minute, at most a day."""
    breaks_at_scan: int | None = None
    """``cow_breaks_total`` when ksmd had last been through everything; ``None``: nobody saw that yet."""


class KsmScene(Model, frozen=True, kw_only=True):
    """All that is known of KSM on a host at one moment: from a daemon, or read from a host that has none."""

    host_name: str
    daemon: bool
    acting: bool = False
    """Whether that daemon steers, or only watches."""
    host: Host
    guests: tuple[Guest, ...]
    absent: int = 0
    """Guests that did not answer."""
    reserve_bytes: int
    previous_host: Host | None = None
    verdict: KsmVerdict | None = None
    """``None``: no daemon, or its law has no opinion."""
    uptime_s: float | None = None
    """How long the host has been up."""
    past: KsmPast = KsmPast()
    originals: dict[str, str] = {}
    """Settings that memtide changed, and what they were before."""


def ksm_scene(live: Live, past: KsmPast, *, uptime_s: float | None, originals: dict[str, str]) -> KsmScene:
    """Return what a daemon knows of KSM."""
    return KsmScene(
        host_name=live.host_name,
        daemon=True,
        acting=live.acting,
        host=live.snapshot.host,
        guests=live.snapshot.guests,
        absent=len(live.snapshot.absent),
        reserve_bytes=live.decision.budget.reserve_bytes,
        previous_host=live.previous_host,
        verdict=live.decision.ksm,
        uptime_s=uptime_s,
        past=past,
        originals=originals,
    )
