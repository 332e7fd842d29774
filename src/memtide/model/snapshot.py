"""All that one tick knows. It is not atomic: readings are some milliseconds apart, reports up to a period old."""

from memtide.model.base import Model
from memtide.model.guest import Guest
from memtide.model.host import Host

__all__ = ["Absent", "GuestSample", "Snapshot"]


class Absent(Model, frozen=True, kw_only=True):
    """A guest that exists but did not answer this time. Absent is unknown, not gone."""

    uuid: str
    name: str
    reason: str
    last_seen_s: float | None = None


class GuestSample(Model, frozen=True, kw_only=True):
    """What a guest source could read at one moment: those that answered and those that did not."""

    guests: tuple[Guest, ...]
    absent: tuple[Absent, ...] = ()


class Snapshot(Model, frozen=True, kw_only=True):
    """One tick's view of the world, the only input of a policy."""

    taken_at_s: float
    host: Host
    guests: tuple[Guest, ...]
    absent: tuple[Absent, ...] = ()
    took_s: float = 0.0
    """From the first reading to the last: how far the snapshot is from atomic."""
