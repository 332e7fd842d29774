"""What a simulated world answers when it is asked to change."""

from typing import Final

from memtide.model.action import Action, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.sim.observe import NO_ANSWER
from memtide.sim.world import World

__all__ = ["apply"]

DEADLINE_S: Final = 5.0
"""What waiting in vain for a hung QEMU costs."""


def apply(world: World, action: Action) -> Reply:
    """Ask the world for a change; like the real world it answers and never raises."""
    if isinstance(action, SetKsm):
        return _set_ksm(world, action)
    guest = world.guests.get(action.uuid)
    if guest is None:
        return _refused(f"there is no guest {action.name} ({action.uuid})")
    if not guest.spec.has_balloon:
        return _refused(f"{action.name} has no balloon device")
    if not guest.spec.behaviour.answers(world.elapsed_s):
        return Reply(result=Result.NO_ANSWER, detail=NO_ANSWER, took_s=DEADLINE_S)
    if isinstance(action, SetStatsPeriod):
        guest.reports.set_period(action.to_s, world.now_s)
        return Reply(result=Result.DONE)
    return _set_memory(world, action)


def _set_memory(world: World, action: SetMemory) -> Reply:
    guest = world.guests[action.uuid]
    if not 0 < action.to_bytes <= guest.spec.maximum_bytes:
        return _refused(f"{action.name} can have more than 0 and at most {guest.spec.maximum_bytes} bytes")
    guest.target_bytes = action.to_bytes
    return Reply(result=Result.DONE if guest.memory.current_bytes == action.to_bytes else Result.SENT)


def _set_ksm(world: World, action: SetKsm) -> Reply:
    """Write one file after the other; one that fails does not stop the others."""
    texts, failed = [], 0
    for name, content in action.files.items():
        before = world.ksm.files.get(name)
        why_not = world.ksm.files.write(name, content, pages_shared=world.ksm.pages_shared)
        failed += why_not is not None
        texts.append(f"{name} {before} -> {content}" if why_not is None else f"{name}={content} failed: {why_not}")
    result = Result.DONE if not failed else Result.REFUSED if failed == len(action.files) else Result.PARTIAL
    return Reply(result=result, detail="; ".join(texts))


def _refused(detail: str) -> Reply:
    return Reply(result=Result.REFUSED, detail=detail)
