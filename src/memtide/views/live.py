"""All that the daemon holds at one moment, as values: what every view is made of."""

from memtide.model.action import Outcome
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot

__all__ = ["Live", "Totals"]


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
