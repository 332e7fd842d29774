"""Placeholder by H4 until H1's registry is here: H1 replaces this file."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from memtide.policy.tide import Tide
from memtide.ports import Policy


class Law(NamedTuple):
    """One law."""

    name: str
    summary: str
    source: str
    make: Callable[[], Policy[Any] | None]


LAWS: Final = {
    "tide": Law("tide", "memtide's own", "memtide", Tide),
    "none": Law("none", "nobody acts", "", lambda: None),
}
