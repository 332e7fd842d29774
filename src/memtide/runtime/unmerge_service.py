"""What the daemon does when an operator wants nothing merged: plan, hold ksmd off, stages, settings, log."""

from collections.abc import AsyncIterator

import msgspec

from memtide.errors import ControlError, UsageError
from memtide.model.action import Outcome, Result, SetKsm
from memtide.model.ksm import Ksm, settings_of
from memtide.model.record import Event, Severity
from memtide.policy.host_state import reserve_for
from memtide.policy.unmerge import nothing_is_merged
from memtide.runtime.loop import Loop
from memtide.runtime.parts import Parts
from memtide.runtime.unmerge import UnmergeRequest, planned, take_apart
from memtide.runtime.will import Will
from memtide.views.unmerge import SHARERS, UnmergePhase, UnmergeView, unmerge_line

__all__ = ["KSM_HOLD", "unmerge"]

KSM_HOLD = "ksm-held-until"
"""Key, among the daemon's own facts, of the moment until which ksmd is held off (seconds since 1970)."""


async def unmerge(parts: Parts, loop: Loop, will: Will, request: UnmergeRequest) -> AsyncIterator[UnmergeView]:
    """Undo KSM's merging; yield the plan, every stage and the end.

    Raises:
        ControlError: the host is a simulated one.
        UsageError: the kernel would refuse the new max_page_sharing when all is apart already.
        SourceError: the host cannot be read.
        StoreError: the originals cannot be kept; nothing was changed then.
    """
    if parts.unmerger is None:
        raise ControlError("a simulated host's merging cannot be undone in stages", "try it on a real one")
    if request.max_page_sharing is not None and request.max_page_sharing not in SHARERS:
        raise UsageError(f"max_page_sharing is {SHARERS.start} to {SHARERS.stop - 1}", "256 is the kernel's own")
    now_s = parts.clock.now_s()
    host = parts.host.sample(now_s)
    reserve_bytes = reserve_for(host, will.at(now_s, ()))
    plan, end = planned(host, reserve_bytes)
    yield plan
    if request.dry_run or end.phase is UnmergePhase.REFUSED or host.ksm is None:
        if not request.dry_run:
            await _tell(parts, loop, request, end)
        yield end
        return
    settings = _settings(request, host.ksm)
    only_hold = not request.files and host.ksm.run == 0 and nothing_is_merged(host.ksm)
    if not only_hold:
        await parts.ledger.note(settings, now_s)
    until_s = now_s + request.for_s
    # before the first stage: the law must not start ksmd again in the middle
    will.hold_ksm(until_s)
    await parts.store.keep(KSM_HOLD, str(until_s))
    if only_hold:
        # nothing is written, so nothing was set by hand that the law would leave alone for longer than asked
        done = msgspec.structs.replace(end, phase=UnmergePhase.DONE, left_bytes=0, held_until_s=until_s)
        await _tell(parts, loop, request, done)
        yield done
        return
    async for view in take_apart(lambda: parts.host.sample(parts.clock.now_s()), reserve_bytes, parts.unmerger):
        held = msgspec.structs.replace(view, held_until_s=until_s)
        if view.phase is UnmergePhase.DONE:
            held = _with_outcome(held, (await loop.carry_out((settings,)))[0])
        if view.phase is not UnmergePhase.STAGE:
            await _tell(parts, loop, request, held)
        yield held


def _settings(request: UnmergeRequest, ksm: Ksm) -> SetKsm:
    """Return what is written when nothing is merged any more, with what it was before."""
    now, files = settings_of(ksm), {**request.files, "run": "0"}
    before = {name: now[name] for name in files if name in now}
    return SetKsm(files=files, before=before, reason=request.reason)


def _with_outcome(view: UnmergeView, outcome: Outcome) -> UnmergeView:
    if outcome.result is Result.DONE:
        return msgspec.structs.replace(view, detail=outcome.detail)
    return msgspec.structs.replace(view, phase=UnmergePhase.STOPPED, detail=outcome.detail)


async def _tell(parts: Parts, loop: Loop, request: UnmergeRequest, view: UnmergeView) -> None:
    """Write into the log what came of it, and who asked."""
    who = request.reason.numbers.get("who", "somebody")
    severity = Severity.INFO if view.phase is UnmergePhase.DONE else Severity.WARNING
    text = f"KSM's merging undone by hand (operator {who}): {unmerge_line(view)}"
    if view.phase is UnmergePhase.REFUSED:
        text = f"operator {who} asked to undo KSM's merging: {unmerge_line(view)}"
    await loop.event(Event(at_s=parts.clock.now_s(), severity=severity, code=f"ksm-unmerge-{view.phase}", text=text))
