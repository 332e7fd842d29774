"""The words: what a reason says with its numbers, and what every state of the host means.

Numbers are printed by the unit their key ends in.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Final

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.limits import Mode
from memtide.model.reason import Reason, ReasonCode
from memtide.units import format_duration, format_ratio, format_size
from memtide.views.phrases import PHRASES

__all__ = ["PHRASES", "doing", "fill", "number_text", "pair", "sentence", "state_means", "what_next"]


STATES: Final[dict[HostState, tuple[str, str, str]]] = {
    HostState.HIGH: (
        "the host has what it needs",
        "gives back what it took",
        "give back what it took",
    ),
    HostState.SOFT: (
        "the host is under its reserve",
        "takes back memory that guests hold and do not need",
        "take back memory that guests hold and do not need",
    ),
    HostState.HARD: (
        "the host is under half its reserve",
        "takes back what guests do not need, and leaves them less to spare",
        "take back what guests do not need, and leave them less to spare",
    ),
    HostState.LOW: (
        "emergency: the host is under a quarter of its reserve",
        "takes back what it can; only starving guests get memory",
        "take back what it can; only starving guests would get memory",
    ),
}
"""State -> what it means, what memtide does in it, what it would do if it were allowed to act."""

FOLLOWS: Final = (
    "the host has what it needs",
    "gives guests what they want and keeps the rest for the host",
    "give guests what they want and keep the rest for the host",
)
"""The same for the best state in mode ``follow``."""

UNITS: Final[tuple[tuple[str, Callable[[float], str]], ...]] = (
    ("_bytes", lambda number: format_size(int(number))),
    ("_bps", lambda number: f"{format_size(int(number))}/s"),
    ("_s", format_duration),
    ("_ratio", format_ratio),
)

COMPARISONS: Final = {
    "available_of_reserve": ("available_bytes", "of", "reserve_bytes"),
    "share_of_wanted": ("share_bytes", "of the", "wanted_bytes"),
    "share_of_need": ("share_bytes", "of the", "need_bytes"),
}
"""Two numbers told as one."""

_PART: Final = re.compile(r"([^][]+)|\[(\??)([^]]*)]")
_NAME: Final = re.compile(r"\{(\w+)\}")


def sentence(reason: Reason) -> str:
    """Return the reason in words, with as many of its numbers as there are; it never fails for a missing one."""
    return fill(PHRASES[reason.code].says, reason.numbers)


def what_next(reason: Reason) -> str:
    """Return what would change this verdict; empty where there is nothing to say."""
    return fill(PHRASES[reason.code].next, reason.numbers)


def doing(code: ReasonCode, *, acting: bool) -> str:
    """Return in a word or two what happens to a guest or to ksmd, or would happen if memtide acted."""
    word = PHRASES[code].doing
    first = word.split()[0]
    return f"would {first[:-1]}" if not acting and first in {"gets", "gives", "scans", "rests"} else word


def state_means(state: HostState, *, mode: str, acting: bool) -> str:
    """Return what the host's state means and what memtide does in it, one sentence."""
    means, does, would = FOLLOWS if state is HostState.HIGH and mode == Mode.FOLLOW else STATES[state]
    return f"{means}; memtide {does}" if acting else f"{means}; memtide only watches, acting it would {would}"


def fill(template: str, numbers: Mapping[str, float | str]) -> str:
    """Return the template with its numbers; bracketed parts that lack one are left out."""
    said = []
    for part in _parts(template):
        texts = {name: _text(name, numbers) for name in part.names}
        unsaid = None in texts.values() or (part.unless_zero and not all(numbers.get(name) for name in part.names))
        if not unsaid:
            said.append(part.text.format_map(texts) if texts else part.text)
    return "".join(said)


def pair(first_bytes: int, second_bytes: int, between: str) -> str:
    """Return two sizes, the unit once when it is the same: ``14.3 -> 14.2 GiB``, ``512 MiB -> 1.00 GiB``."""
    first, second = format_size(first_bytes), format_size(second_bytes)
    number, _, unit = first.rpartition(" ")
    return f"{number if second.endswith(f' {unit}') else first} {between} {second}"


class _Part(Model, frozen=True, kw_only=True):
    """A stretch of a template that is said as a whole or not at all."""

    text: str
    names: tuple[str, ...]
    unless_zero: bool


@functools.cache
def _parts(template: str) -> tuple[_Part, ...]:
    # three groups in the pattern: text outside brackets, the question mark, text inside
    pieces = _PART.findall(template)
    return tuple(
        _Part(text=outside or inside, names=tuple(_NAME.findall(outside or inside)), unless_zero=bool(mark))
        for outside, mark, inside in pieces
    )


def _text(name: str, numbers: Mapping[str, float | str]) -> str | None:
    """Return a number as people read it, or ``None`` when it is not there."""
    if name in COMPARISONS:
        first, between, second = COMPARISONS[name]
        both = [number for key in (first, second) if isinstance(number := numbers.get(key), int | float)]
        return pair(int(both[0]), int(both[1]), between) if len(both) == len((first, second)) else None
    value = numbers.get(name)
    return None if value is None else number_text(name, value)


def number_text(name: str, value: float | str) -> str:
    """Return a number as people read it, by the unit its name ends in."""
    if isinstance(value, str):
        return value
    render: Callable[[float], str] = next((render for ending, render in UNITS if name.endswith(ending)), _plain)
    return render(value)


def _plain(value: float) -> str:
    return f"{value:g}"
