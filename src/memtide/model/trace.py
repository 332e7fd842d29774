"""A trace: everything a law may know, tick by tick, written down so that any law can be asked again.

It is JSON lines, usually gzipped: a :class:`TraceHeader`, then one :class:`Frame` a tick.
"""

from typing import Final

from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot

__all__ = ["FORMAT", "SCHEMA_VERSION", "Frame", "TraceHeader"]

FORMAT: Final = "memtide trace"
SCHEMA_VERSION: Final = 1
"""Of the lines. Fields with a default may be added without a new number; whatever an older memtide would
misunderstand needs one."""


class TraceHeader(Model, frozen=True, kw_only=True):
    """The first line: what wrote this, where, and how."""

    format: str = FORMAT
    schema: int = SCHEMA_VERSION
    memtide: str
    """The version that wrote it."""
    host_name: str
    uri: str
    """Where the guests were: a libvirt URI, or ``simulation``."""
    began_at_s: float
    period_s: float
    """From tick to tick while the host has what it needs; a part of it while it is short."""
    anonymous: bool = False
    """Names, UUIDs, titles and owners are made up, each the same all through."""


class Frame(Model, frozen=True, kw_only=True, omit_defaults=True):
    """One tick."""

    snapshot: Snapshot
    limits: Limits | None = None
    """What the operator and the guests' owners wanted then; ``None``: as in the frame before, if there is one."""
    decision: Decision | None = None
    """What the law concluded then; ``None``: it is not on record."""
