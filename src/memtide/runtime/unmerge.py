"""Undoing KSM's merging stage by stage, the host looked at again after each."""

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import msgspec

from memtide.model.host import Host
from memtide.model.reason import Reason
from memtide.model.unmerge import Stage, StageEnd
from memtide.policy.unmerge import Next, UnmergePlan, left_bytes, next_step, plan_unmerge, stage_size
from memtide.views.unmerge import UnmergePhase, UnmergeView

__all__ = ["UnmergeRequest", "Unmerger", "planned", "take_apart"]

_STOP: Final = "the rest would take the host under its reserve; merged pages that stay merged cost nothing"
_ENDS: Final = {
    StageEnd.SHORT: _STOP,
    StageEnd.LATE: "the kernel took nothing apart within the stage's time; ask again",
}


class Unmerger(Protocol):
    """Takes merged pages apart."""

    async def stage(self, copied_bytes: int, fall_bytes: int) -> Stage:
        """Take so much apart, or less if available memory falls by ``fall_bytes`` before; never raises."""
        ...


class UnmergeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for."""

    reason: Reason
    for_s: float
    """How long ksmd is held off afterwards."""
    max_page_sharing: int | None = None
    """What to write when nothing is merged any more; ``None``: leave it."""
    merge_across_nodes: bool | None = None
    dry_run: bool = False

    @property
    def files(self) -> dict[str, str]:
        """Return the settings that the kernel takes only while nothing is merged."""
        files = {}
        if self.max_page_sharing is not None:
            files["max_page_sharing"] = str(self.max_page_sharing)
        if self.merge_across_nodes is not None:
            files["merge_across_nodes"] = str(int(self.merge_across_nodes))
        return files


def planned(host: Host, reserve_bytes: int) -> tuple[UnmergeView, UnmergeView]:
    """Return the plan, and whether it can be carried out: ``PLANNED`` or ``REFUSED``."""
    plan = plan_unmerge(host, reserve_bytes)
    end = UnmergePhase.REFUSED if plan.why_not else UnmergePhase.PLANNED
    return _view(plan, host, UnmergePhase.PLAN), _view(plan, host, end)


async def take_apart(look: Callable[[], Host], reserve_bytes: int, unmerger: Unmerger) -> AsyncIterator[UnmergeView]:
    """Take everything apart that fits; yield where it stands after each stage, at the end ``STOPPED`` or ``DONE``.

    Args:
        look: reads the host; may raise SourceError.
        reserve_bytes: what must stay available.
        unmerger: does it.
    """
    host = look()
    plan = plan_unmerge(host, reserve_bytes)
    copied_bytes: int | None = 0
    stages = 0
    while True:
        available_bytes = host.memory.available_bytes
        size_bytes = stage_size(available_bytes, reserve_bytes)
        stage = await unmerger.stage(size_bytes, available_bytes - reserve_bytes)
        stages += 1
        host = look()
        copied_bytes = None if None in {copied_bytes, stage.copied_bytes} else copied_bytes + stage.copied_bytes  # type: ignore[operator]
        still_bytes = left_bytes(host, plan, copied_bytes)
        view = _view(plan, host, UnmergePhase.STAGE, stages=stages, left_bytes=still_bytes)
        yield view
        follows = next_step(host, reserve_bytes, still_bytes)
        if follows is Next.DONE:
            yield msgspec.structs.replace(view, phase=UnmergePhase.DONE)
            return
        why = stage.detail or _ENDS.get(stage.end, "") or (_STOP if follows is Next.STOP else "")
        if stage.end is StageEnd.LATE and stage.copied_bytes:
            why = _STOP if follows is Next.STOP else ""
        if stage.end is StageEnd.ALL:
            why = "the kernel was through, but pages are merged still; ask again"
        if why:
            yield msgspec.structs.replace(view, phase=UnmergePhase.STOPPED, detail=why)
            return


def _view(
    plan: UnmergePlan, host: Host, phase: UnmergePhase, *, stages: int = 0, left_bytes: int | None = None
) -> UnmergeView:
    """Return where it stands."""
    return UnmergeView(
        phase=phase,
        stages=stages,
        saved_bytes=plan.saved_bytes,
        needed_bytes=plan.needed_bytes,
        missing_bytes=plan.missing_bytes,
        left_bytes=left_bytes if stages else plan.saved_bytes,
        available_bytes=host.memory.available_bytes,
        reserve_bytes=plan.reserve_bytes,
        stage_bytes=plan.stage_bytes,
        other_writers=host.ksm_writers,
        detail=plan.why_not if phase is UnmergePhase.REFUSED else "",
        hint=plan.hint if phase is UnmergePhase.REFUSED else "",
    )
