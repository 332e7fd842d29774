"""One stage of undoing KSM's merging, and what came of it."""

import enum

from memtide.model.base import Model

__all__ = ["Stage", "StageEnd"]


class StageEnd(enum.StrEnum):
    """Why a stage ended."""

    ALL = "all"
    """The kernel came to the end of its list: everything is apart."""
    ENOUGH = "enough"
    """As much as the stage was to take apart."""
    SHORT = "short"
    """Available memory fell by as much as it may."""
    LATE = "late"
    """Its time was over."""
    REFUSED = "refused"
    """The kernel did not do it; the detail says why."""


class Stage(Model, frozen=True, kw_only=True):
    """What one stage did."""

    end: StageEnd
    copied_bytes: int | None
    """Memory of merged places that got copies of their own; ``None``: this kernel does not count them (before 5.18)."""
    detail: str = ""
