"""Undoing KSM's merging in words: the plan, every stage, and the end."""

import enum
from typing import Final

from memtide.model.base import Model
from memtide.units import format_size

__all__ = ["SHARERS", "UNMERGE_ENDS", "UnmergePhase", "UnmergeView", "unmerge_line"]


SHARERS: Final = range(2, 1 << 31)
"""What the kernel takes as max_page_sharing (mm/ksm.c: a C int of at least 2)."""


class UnmergePhase(enum.StrEnum):
    """How far it is."""

    PLAN = "plan"
    PLANNED = "planned"
    """It would fit; only the plan was asked for."""
    REFUSED = "refused"
    """Nothing was changed."""
    STAGE = "stage"
    STOPPED = "stopped"
    """Part of it is apart, the rest stays merged."""
    DONE = "done"


UNMERGE_ENDS: Final = frozenset(set(UnmergePhase) - {UnmergePhase.PLAN, UnmergePhase.STAGE})
"""Nothing follows these."""


class UnmergeView(Model, frozen=True, kw_only=True):
    """Where it stands (schema of `memtide ksm unmerge --json`: the last one)."""

    phase: UnmergePhase
    stages: int = 0
    """How many were done."""
    saved_bytes: int | None
    """What KSM saved before."""
    needed_bytes: int | None
    """What undoing it needs above the reserve."""
    missing_bytes: int | None
    left_bytes: int | None
    """At most so much is merged still."""
    available_bytes: int
    reserve_bytes: int
    stage_bytes: int
    other_writers: tuple[str, ...] = ()
    """Programs on this host that steer KSM too: memtide's hold does not keep them from merging all again."""
    held_until_s: float | None = None
    """ksmd is held off until then."""
    detail: str = ""
    hint: str = ""

    @property
    def apart_bytes(self) -> int | None:
        """What came apart so far."""
        if self.saved_bytes is None or self.left_bytes is None:
            return None
        return max(0, self.saved_bytes - self.left_bytes)


def unmerge_line(view: UnmergeView) -> str:
    """Return the line that people read."""
    host = f"host has {format_size(view.available_bytes)}"
    if view.phase is UnmergePhase.PLAN:
        who = ", ".join(view.other_writers)
        again = f"; others that steer KSM here may merge all again, stop them first: {who}" if who else ""
        return (
            f"plan: {_size(view.saved_bytes)} come apart, in stages of {format_size(view.stage_bytes)}; needs "
            f"{_size(view.needed_bytes)} above the reserve of {format_size(view.reserve_bytes)}; {host}{again}"
        )
    if view.phase is UnmergePhase.PLANNED:
        return "it fits; nothing was changed"
    if view.phase is UnmergePhase.REFUSED:
        return f"refused, nothing was changed: {view.detail}"
    apart = f"{_size(view.apart_bytes)} of {_size(view.saved_bytes)} apart, {host}"
    if view.phase is UnmergePhase.STAGE:
        return f"stage {view.stages}: {apart}"
    rest = f"; {view.detail}" if view.detail else ""
    if view.phase is UnmergePhase.STOPPED:
        return f"stopped after stage {view.stages}: {apart}; at most {_size(view.left_bytes)} stay merged{rest}"
    what = f" after stage {view.stages}: {apart}" if view.stages else f": nothing is merged, {host}"
    return f"done{what}{rest}"


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else format_size(size_bytes)
