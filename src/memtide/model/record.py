"""What is kept of a tick in which something happened, enough to replay and to explain it."""

import enum
from typing import Final, TypeAlias

from memtide.model.action import Outcome
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.snapshot import Snapshot

__all__ = ["Change", "ChangeKind", "Event", "LogEntry", "Record", "Severity"]

SCHEMA_VERSION: Final = 1


class Record(Model, frozen=True, kw_only=True):
    """One tick: what was known, what was decided. Outcomes arrive later and are stored by action."""

    schema: int = SCHEMA_VERSION
    snapshot: Snapshot
    decision: Decision
    outcomes: tuple[Outcome, ...] = ()


class Severity(enum.StrEnum):
    """How loudly an event is told."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(Model, frozen=True, kw_only=True):
    """Something that happened to memtide or to the world and is no action of ours."""

    at_s: float
    severity: Severity
    code: str
    """Stable word for programs: ``libvirt-lost``, ``guest-started``, ``settings-rejected``."""
    text: str
    """One sentence for people."""
    guest: str | None = None
    """Name of the guest it is about."""
    id: int | None = None
    """The store's number; actions and events are numbered together."""


LogEntry: TypeAlias = Outcome | Event
"""One line of the log: something memtide did, or something that happened to it."""


class ChangeKind(enum.StrEnum):
    """What of the world we changed and may have to put back."""

    MEMORY = "memory"
    STATS_PERIOD = "stats-period"
    KSM = "ksm"


class Change(Model, frozen=True, kw_only=True):
    """The value something had before our first change of it: what ``restore`` puts back."""

    kind: ChangeKind
    key: str
    """Guest UUID, or the KSM file's name."""
    name: str
    """Guest name, or the KSM file's name: for people."""
    original: str
    """As text: bytes, seconds, or the file's content. Empty: it was not set."""
    at_s: float
