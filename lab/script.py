"""The demand language: what a guest's workload does over time, in one line.

Example: ``hold 60MiB 20s; grow 700MiB over 10s; hold 700MiB 30s; loop``

    hold SIZE [hot SIZE] [TIME]          hold SIZE from now on; with `hot`, touch only that much of it again and again
    grow SIZE [hot SIZE] [over] TIME     go to SIZE (up or down) evenly over TIME
    burst SIZE [for] TIME                hold SIZE more for TIME, then give it back
    cache SIZE [TIME]                    read SIZE from the disk into the page cache
    leak SIZE/s [TIME]                   hold ever more; without TIME, for ever
    touchfree SIZE [TIME]                touch SIZE and free it at once: the host keeps it resident
    idle [TIME]                          hold nothing
    loop                                 at the end: begin again

Steps are separated by `;` (or new lines).  A step without TIME is done at once and the next one follows; what the last
one set stays.  Sizes are B, KiB, MiB, GiB and are held in units of 2 MiB; times are ms, s, min, h.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from lab.errors import LabError

_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIME_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_MAX_STEPS: Final = 64  # workload.c: MAX_STEPS
_MAX_SIZE_BYTES: Final = 64 << 30  # workload.c: REGION


class Op(IntEnum):
    """The numbers are the wire's (workload.c: enum op)."""

    HOLD = 1
    GROW = 2
    BURST = 3
    CACHE = 4
    LEAK = 5
    TOUCHFREE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.  `size_bytes` is per second for a leak; `hot_bytes` None: all that is held is hot."""

    op: Op
    size_bytes: int
    hot_bytes: int | None = None
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Steps, once or for ever."""

    steps: tuple[Step, ...]
    loop: bool = False

    def wire(self, script_id: int) -> bytes:
        """The script as the guest reads it; the guest's reports carry `script_id` once it follows it."""
        lines = ["0"]
        for step in self.steps:
            hot = -1 if step.hot_bytes is None else step.hot_bytes
            lines.append(f"1 {step.op:d} {step.size_bytes} {hot} {round(step.duration_s * 1000)}")
        lines.append(f"2 {script_id} {len(self.steps)} {self.loop:d}")
        return ("\n".join(lines) + "\n").encode()


class ScriptError(LabError):
    """A script that cannot be read; the message shows the text with a mark under the place."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        flat = text.replace("\n", ";")
        super().__init__(f"{problem} (at character {position + 1})\n  {flat}\n  {' ' * position}^")
        self.position = position


@dataclass(frozen=True, slots=True)
class _Verb:
    op: Op
    operand: str  # "size", "rate" or "" for none
    hot: bool = False
    must_last: bool = False  # needs a duration


_VERBS: Final = {
    "hold": _Verb(Op.HOLD, "size", hot=True),
    "grow": _Verb(Op.GROW, "size", hot=True, must_last=True),
    "burst": _Verb(Op.BURST, "size", must_last=True),
    "cache": _Verb(Op.CACHE, "size"),
    "leak": _Verb(Op.LEAK, "rate"),
    "touchfree": _Verb(Op.TOUCHFREE, "size"),
    "idle": _Verb(Op.HOLD, ""),
}


def parse(text: str) -> Script:
    """Read a script.

    Raises:
        ScriptError: with the place and what was expected there.
    """
    steps: list[Step] = []
    loop_at: int | None = None
    for words in _steps(text):
        if loop_at is not None:
            raise ScriptError(text, words.position, "`loop` must be the last step")
        if words.peek() == "loop":
            loop_at = words.position
            words.take("`loop`")
        else:
            steps.append(_step(words))
        words.expect_end()
    _check_whole(text, steps, loop_at)
    return Script(steps=tuple(steps), loop=loop_at is not None)


def parse_size(text: str) -> int:
    """Bytes from a size such as ``512MiB`` or ``1.5GiB``.

    Raises:
        LabError: it is not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]+)", text)
    if not found or found[2] not in _SIZE_UNITS:
        raise LabError(f"`{text}` is not a size: write a number and one of {', '.join(_SIZE_UNITS)}, as in 512MiB")
    return round(float(found[1]) * _SIZE_UNITS[found[2]])


class _Words:
    """The words of one step, with where each begins."""

    def __init__(self, text: str, begin: int, end: int) -> None:
        self._text = text
        self._words = [(m.start(), m[0]) for m in re.compile(r"\S+").finditer(text, begin, end)]
        self._end = end

    def __bool__(self) -> bool:
        return bool(self._words)

    @property
    def position(self) -> int:
        return self._words[0][0] if self._words else self._end

    def peek(self) -> str:
        return self._words[0][1] if self._words else ""

    def take(self, expected: str) -> str:
        if not self._words:
            raise self.error(f"expected {expected} here")
        return self._words.pop(0)[1]

    def skip(self, *fillers: str) -> None:
        if self.peek() in fillers:
            self._words.pop(0)

    def size(self, suffix: str = "") -> int:
        word = self.peek()
        try:
            size_bytes = parse_size(word.removesuffix(suffix) if word.endswith(suffix) else "")
        except LabError:
            raise self.error(f"expected a size such as 60MiB{suffix} here") from None
        if size_bytes > _MAX_SIZE_BYTES:
            raise self.error("a guest's workload holds at most 64GiB")
        self._words.pop(0)
        return size_bytes

    def duration(self) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", self.peek())
        if not found or found[2] not in _TIME_UNITS:
            raise self.error("expected a time such as 20s here")
        self._words.pop(0)
        return float(found[1]) * _TIME_UNITS[found[2]]

    def expect_end(self) -> None:
        if self._words:
            raise self.error(f"did not expect `{self.peek()}` here; steps are separated by `;`")

    def error(self, problem: str) -> ScriptError:
        return ScriptError(self._text, self.position, problem)


def _steps(text: str) -> Iterator[_Words]:
    for part in re.finditer(r"[^;\n]+", text):
        words = _Words(text, part.start(), part.end())
        if words:
            yield words


def _step(words: _Words) -> Step:
    if words.peek() not in _VERBS:
        raise words.error(f"expected one of {', '.join(_VERBS)}, loop")
    verb = _VERBS[words.take("a step")]
    size_bytes = words.size("/s" if verb.operand == "rate" else "") if verb.operand else 0
    hot_bytes = None
    if verb.hot and words.peek() == "hot":
        words.take("`hot`")
        hot_bytes = words.size()
    words.skip("for", "over")
    duration_s = words.duration() if words or verb.must_last else 0.0
    return Step(op=verb.op, size_bytes=size_bytes, hot_bytes=hot_bytes, duration_s=duration_s)


def _check_whole(text: str, steps: list[Step], loop_at: int | None) -> None:
    end = len(text.rstrip())
    if not steps:
        raise ScriptError(text, end, f"a script needs a step: one of {', '.join(_VERBS)}")
    if len(steps) > _MAX_STEPS:
        raise ScriptError(text, end, f"a script has at most {_MAX_STEPS} steps")
    if loop_at is not None and not any(step.duration_s for step in steps):
        raise ScriptError(text, loop_at, "a script that loops needs a step that takes time")
    followed = steps if loop_at is not None else steps[:-1]
    if any(step.op is Op.LEAK and not step.duration_s for step in followed):
        raise ScriptError(text, end, "a leak without a time never ends: only the last step can be one")
