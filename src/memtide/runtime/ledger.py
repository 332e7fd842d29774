"""Whatever we change is on record before it changes, and can be put back."""

from collections.abc import Iterable
from typing import Final

import msgspec

from memtide.errors import StoreError
from memtide.model.action import Action, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.guest import Guest
from memtide.model.ksm import Ksm, settings_of
from memtide.model.reason import Reason
from memtide.model.record import Change, ChangeKind
from memtide.ports import Actuator, Clock, Store
from memtide.units import MIB

__all__ = ["Ledger", "OnRecord", "undo", "undo_ksm"]


KEPT_USABLE_BYTES: Final = 64 * MIB
"""Usable memory left to a guest whose original size is smaller than what it needs now."""


NOT_TWO: Final = "run was 2, but 0 is written: 2 would need the memory of all merged pages at once"


class Ledger:
    """The originals of all that memtide changed, mirrored in memory.

    Args:
        store: where they outlive a crash.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[ChangeKind, str], Change] = {}

    async def load(self) -> None:
        """Read what an earlier run left."""
        self._known = {(change.kind, change.key): change for change in await self._store.changes()}

    async def note(self, action: Action, now_s: float) -> None:
        """Remember the originals that this action is about to change; durable when it returns.

        Raises:
            StoreError: they cannot be kept, so the action must not be sent.
        """
        for change in _originals(action, now_s):
            if (change.kind, change.key) not in self._known:
                await self._store.remember(change)
                self._known[change.kind, change.key] = change

    async def drop(self, kind: ChangeKind, key: str) -> None:
        """Forget an original: it was put back, or its guest started anew."""
        if (kind, key) in self._known:
            await self._store.forget(kind, key)
            del self._known[kind, key]

    def changes(self, *kinds: ChangeKind) -> tuple[Change, ...]:
        """Return what is changed now, of these kinds or of all."""
        return tuple(change for change in self._known.values() if not kinds or change.kind in kinds)


class OnRecord:
    """An actuator that sends nothing whose original could not be kept.

    Args:
        actuator: the one that makes the change.
        ledger: where originals are kept.
        clock: says when.
    """

    def __init__(self, actuator: Actuator, ledger: Ledger, clock: Clock) -> None:
        self._actuator = actuator
        self._ledger = ledger
        self._clock = clock

    async def apply(self, action: Action) -> Reply:
        """Keep the original, then make the change."""
        try:
            await self._ledger.note(action, self._clock.now_s())
        except StoreError as error:
            return Reply(result=Result.WITHHELD, detail=f"its original could not be kept: {error.message}")
        return await self._actuator.apply(action)


def _originals(action: Action, now_s: float) -> list[Change]:
    if isinstance(action, SetKsm):
        return [
            Change(kind=ChangeKind.KSM, key=name, name=name, original=value, at_s=now_s)
            for name, value in action.before.items()
        ]
    kind = ChangeKind.MEMORY if isinstance(action, SetMemory) else ChangeKind.STATS_PERIOD
    before = action.from_bytes if isinstance(action, SetMemory) else (action.from_s or 0)
    return [Change(kind=kind, key=action.uuid, name=action.name, original=str(before), at_s=now_s)]


def undo_ksm(changes: Iterable[Change], reason: Reason, ksm: Ksm | None) -> SetKsm:
    """Return the one action that puts KSM's originals back; ``ksm`` is how it is now."""
    files = {change.key: change.original for change in changes}
    if files.get("run") == "2":
        # with 2 nothing was merged; to write it would part at once what has been merged since
        files["run"] = "0"
        reason = msgspec.structs.replace(reason, numbers=reason.numbers | {"note": NOT_TWO})
    now = {} if ksm is None else settings_of(ksm)
    return SetKsm(files=files, before={name: now[name] for name in files if name in now}, reason=reason)


def undo(change: Change, reason: Reason, guest: Guest | None) -> SetMemory | SetStatsPeriod:
    """Return the action that puts a guest's original back; ``guest`` is how it is now, ``None``: it is not there."""
    if change.kind is ChangeKind.STATS_PERIOD:
        from_s = guest.traits.stats_period_s if guest else None
        return SetStatsPeriod(
            uuid=change.key, name=change.name, from_s=from_s, to_s=int(change.original), reason=reason
        )
    to_bytes = int(change.original)
    if guest is not None and guest.reported is not None:
        # a guest that memtide had grown may use it by now: it is not put back into the arms of its OOM killer
        in_use_bytes = guest.observed.current_bytes - guest.reported.usable_bytes + KEPT_USABLE_BYTES
        to_bytes = max(to_bytes, min(in_use_bytes, guest.observed.current_bytes))
    from_bytes = guest.observed.current_bytes if guest else to_bytes
    return SetMemory(uuid=change.key, name=change.name, from_bytes=from_bytes, to_bytes=to_bytes, reason=reason)
