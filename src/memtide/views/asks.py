"""What a law asks for while nobody does it, and where laws ask for different things.

A law whose actions are not sent says the same thing again at every tick. So what counts is the *ask*: the same
change (more memory, or less) asked of the same guest without a long pause. It counts once, with its largest size.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from memtide.model.action import Action, SetKsm, SetMemory
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.units import MIB

__all__ = ["Ask", "Asks", "Difference", "about_same", "differences"]

PAUSE_S: Final = {"memory": 30.0, "stats-period": 150.0, "ksm": 150.0}
"""An ask that was not repeated for so long is over. What is asked of the host or of a guest's driver is repeated
only every minute."""
SAME_RATIO: Final = 0.1
SAME_BYTES: Final = 16 * MIB
"""Sizes closer than a tenth, or than this, are no difference."""


class Ask(Model, frozen=True, kw_only=True):
    """One change that a law wanted for a while."""

    law: str
    kind: str
    """memory, stats-period or ksm."""
    uuid: str | None
    """``None``: the host."""
    name: str
    began_at_s: float
    last_at_s: float
    ticks: int
    """How many times it was said."""
    action: Action
    """As it was said first."""
    change_bytes: int
    """The largest change of all these times, signed; 0 where no memory was to move."""
    expected_gain_bytes: int
    """What the law expected of that one for the host."""

    @property
    def subject(self) -> tuple[str | None, str]:
        """What it is about."""
        return self.uuid, self.kind

    def overlaps(self, other: "Ask") -> bool:
        """Say whether two laws asked at the same time, or one right after the other."""
        pause_s = PAUSE_S[self.kind]
        return self.began_at_s <= other.last_at_s + pause_s and other.began_at_s <= self.last_at_s + pause_s

    def agrees(self, other: "Ask") -> bool:
        """Say whether two laws asked for the same thing, but for a little."""
        return about_same(self.change_bytes, other.change_bytes)


class Asks:
    """One law's asks, gathered tick by tick.

    Args:
        law: its name.
    """

    def __init__(self, law: str) -> None:
        self._law = law
        self._over: list[Ask] = []
        self._open: dict[tuple[str | None, str, int], Ask] = {}

    def see(self, decision: Decision) -> None:
        """Take note of what was decided in a tick."""
        for action in decision.actions:
            self._see(action, decision.decided_at_s)

    def all(self) -> list[Ask]:
        """Return the asks in the order in which they began."""
        return sorted((*self._over, *self._open.values()), key=lambda ask: ask.began_at_s)

    def _see(self, action: Action, at_s: float) -> None:
        kind = str(action.__struct_config__.tag)
        uuid, name = (None, "host") if isinstance(action, SetKsm) else (action.uuid, action.name)
        change_bytes, gain_bytes = (
            (action.change_bytes, action.expected_gain_bytes) if isinstance(action, SetMemory) else (0, 0)
        )
        key = (uuid, kind, _sign(change_bytes))
        ask = self._open.get(key)
        if ask is None or at_s - ask.last_at_s > PAUSE_S[kind]:
            if ask is not None:
                self._over.append(ask)
            ask = Ask(
                law=self._law, kind=kind, uuid=uuid, name=name, began_at_s=at_s, last_at_s=at_s, ticks=0,
                action=action, change_bytes=change_bytes, expected_gain_bytes=gain_bytes,
            )  # fmt: skip
        ask = msgspec.structs.replace(ask, last_at_s=at_s, ticks=ask.ticks + 1)
        if abs(change_bytes) > abs(ask.change_bytes):
            ask = msgspec.structs.replace(ask, change_bytes=change_bytes, expected_gain_bytes=gain_bytes)
        self._open[key] = ask


class Difference(Model, frozen=True, kw_only=True):
    """One thing that not all laws asked for."""

    asks: dict[str, Ask | None]
    """By law; ``None``: it did not ask. One of them is there."""

    @property
    def first(self) -> Ask:
        """The ask that came first."""
        return min(filter(None, self.asks.values()), key=lambda ask: ask.began_at_s)


def about_same(one_bytes: int, other_bytes: int) -> bool:
    """Say whether two changes, signed, are the same but for a little."""
    if _sign(one_bytes) != _sign(other_bytes):
        return False
    return abs(one_bytes - other_bytes) <= max(SAME_BYTES, SAME_RATIO * max(abs(one_bytes), abs(other_bytes)))


def differences(asks: Mapping[str, Sequence[Ask]]) -> list[Difference]:
    """Return what the laws did not ask for alike, in the order of time; of one law alone, all its asks.

    Args:
        asks: by law.
    """
    by_subject: dict[tuple[str | None, str], list[Ask]] = {}
    for ask in sorted((ask for own in asks.values() for ask in own), key=lambda ask: ask.began_at_s):
        by_subject.setdefault(ask.subject, []).append(ask)
    rows = [row for of_one in by_subject.values() for row in _side_by_side(of_one)]
    found = [Difference(asks={law: row.get(law) for law in asks}) for row in rows]
    told = found if len(asks) == 1 else [difference for difference in found if not _is_agreed(difference)]
    return sorted(told, key=lambda difference: difference.first.began_at_s)


def _side_by_side(asks: Sequence[Ask]) -> list[dict[str, Ask]]:
    """Return asks about one subject, those of different laws that belong together in one row, each once.

    First those that agree find each other; then who is left stands beside what was asked at the same time.
    """
    rows: list[dict[str, Ask]] = []
    left = list(asks)
    for ask in asks:
        if ask not in left:
            continue
        row = {ask.law: ask}
        for other in left:
            if other.law not in row and other.overlaps(ask) and other.agrees(ask):
                row[other.law] = other
        if len(row) > 1:
            rows.append(row)
            left = [other for other in left if other not in row.values()]
    for ask in left:
        beside = (row for row in rows if ask.law not in row and any(other.overlaps(ask) for other in row.values()))
        row = next(beside, {})
        if not row:
            rows.append(row)
        row[ask.law] = ask
    return rows


def _is_agreed(difference: Difference) -> bool:
    first = difference.first
    return all(ask is not None and ask.agrees(first) for ask in difference.asks.values())


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
