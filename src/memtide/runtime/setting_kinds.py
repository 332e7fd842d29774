"""The kinds of values a setting can have: what people may write, what it means, and what is said when it is wrong.

A kind's ``parse`` takes what ``tomllib`` read and returns what the code uses. What it refuses it refuses with a
:class:`MemtideError` whose message begins with the value, so that the caller can put the setting's name before it.
"""

import datetime as dt
import enum
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from memtide.errors import ConfigError
from memtide.model.base import Model
from memtide.units import parse_duration, parse_ratio, parse_size

__all__ = [
    "Amount",
    "Kind",
    "amount",
    "choice",
    "duration",
    "flag",
    "folder",
    "nearest",
    "number",
    "pattern",
    "percentage",
    "shown",
    "size",
    "uri",
    "version",
    "whole_seconds",
]

SIZE_MOST: Final = "1024TiB"
"""No host has it; a larger figure is a slip of the keyboard and would not fit the database's integers."""


class Kind(Model, frozen=True, kw_only=True):
    """One kind of value."""

    words: str
    """What people may write, as the reference page says it."""
    parse: Callable[[object], Any]


class Amount(Model, frozen=True, kw_only=True):
    """Memory as a size or as a share of something; neither: memtide chooses."""

    size_bytes: int | None = None
    ratio: float | None = None


def shown(raw: object) -> str:
    """Return a value as the person wrote it, or in a word where it has no short form."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    words = ((list, "an array"), (dict, "a table"), (dt.date | dt.time, "a date"))
    return next((text for kind, text in words if isinstance(raw, kind)), repr(raw))


def nearest(name: object, known: list[str]) -> str | None:
    """Return the known name that was probably meant, or ``None``."""
    if not isinstance(name, str):
        return None
    found = get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return found[0] if found else None


def flag() -> Kind:
    """Yes or no."""

    def parse(raw: object) -> bool:
        if not isinstance(raw, bool):
            raise ConfigError(f"{shown(raw)} is neither true nor false; write one of these, without quotes")
        return raw

    return Kind(words="`true` or `false`", parse=parse)


def number(least: float, most: float) -> Kind:
    """A number without a unit, within its bounds."""

    def parse(raw: object) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise ConfigError(f"{shown(raw)} is not a number; write one from {least:g} to {most:g}, without quotes")
        if not least <= raw <= most:
            raise ConfigError(f"{shown(raw)} is out of range; write a number from {least:g} to {most:g}")
        return float(raw)

    return Kind(words=f"a number from {least:g} to {most:g}", parse=parse)


def version(current: int) -> Kind:
    """The version of the settings' language."""

    def parse(raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool) and raw > current:
            raise ConfigError(f"{raw} is the language of a newer memtide; this one reads version {current}")
        if isinstance(raw, bool) or raw != current:
            raise ConfigError(f"{shown(raw)} is not a version; write {current}, without quotes")
        return current

    return Kind(words=f"`{current}`", parse=parse)


def choice(words: type[enum.StrEnum]) -> Kind:
    """One word out of a few."""
    known = [word.value for word in words]

    def parse(raw: object) -> enum.StrEnum:
        if isinstance(raw, str) and raw in known:
            return words(raw)
        near = nearest(raw, known)
        meant = f"did you mean {near!r}?" if near else f"write {known[0]!r}, for example"
        raise ConfigError(f"{shown(raw)} is none of {', '.join(known)}; {meant}")

    return Kind(words=" or ".join(f'`"{word}"`' for word in known), parse=parse)


def duration(least: str, most: str) -> Kind:
    """A time with its unit, in seconds, within its bounds."""
    least_s, most_s = parse_duration(least), parse_duration(most)

    def parse(raw: object) -> float:
        duration_s = parse_duration(_text(raw, what="a duration", example=most))
        if not least_s <= duration_s <= most_s:
            raise ConfigError(f"{shown(raw)} is out of range; write {least!r} to {most!r}")
        return duration_s

    return Kind(words=f'a duration from `"{least}"` to `"{most}"` (ms, s, m, h, d)', parse=parse)


def whole_seconds(least: str, most: str) -> Kind:
    """A time in whole seconds: all that libvirt takes for a statistics period."""
    any_duration = duration(least, most)

    def parse(raw: object) -> int:
        duration_s = any_duration.parse(raw)
        if duration_s != int(duration_s):
            raise ConfigError(f"{shown(raw)} is not a whole number of seconds, and libvirt counts in these")
        return int(duration_s)

    return Kind(words=f'a duration of whole seconds from `"{least}"` to `"{most}"`', parse=parse)


def size(least: str, *, word: str | None = None) -> Kind:
    """A size with its unit, in bytes; the word, where there is one, means ``None``."""
    least_bytes = parse_size(least)

    def parse(raw: object) -> int | None:
        return None if word is not None and raw == word else _size_bytes(raw, least_bytes, what="a size")

    words = 'a size such as `"8GiB"` (B, KiB, MiB, GiB, TiB)'
    return Kind(words=words if word is None else f'`"{word}"`, or {words}', parse=parse)


def amount(*, word: str | None = None) -> Kind:
    """A size, or a percentage; the word, where there is one, means that memtide chooses."""

    def parse(raw: object) -> Amount:
        if word is not None and raw == word:
            return Amount()
        if isinstance(raw, str) and raw.rstrip().endswith("%"):
            return Amount(ratio=parse_ratio(raw))
        return Amount(size_bytes=_size_bytes(raw, 0, what="a size or a percentage"))

    words = 'a size such as `"2GiB"` (B, KiB, MiB, GiB, TiB), or a percentage such as `"10%"`'
    return Kind(words=words if word is None else f'`"{word}"`, {words}', parse=parse)


def percentage(least: int, most: int) -> Kind:
    """A share in per cent, as a ratio, within its bounds."""

    def parse(raw: object) -> float:
        ratio = parse_ratio(_text(raw, what="a percentage", example=f"{most}%"))
        if not least / 100 <= ratio <= most / 100:
            raise ConfigError(f"{shown(raw)} is out of range; write '{least}%' to '{most}%'")
        return ratio

    return Kind(words=f'a percentage from `"{least}%"` to `"{most}%"`', parse=parse)


def folder(default: Callable[[], Path]) -> Kind:
    """An absolute path; ``auto`` is the place memtide has for this."""

    def parse(raw: object) -> Path:
        if raw == "auto":
            return default()
        if not isinstance(raw, str) or not raw.startswith("/") or "\0" in raw:
            raise ConfigError(f"{shown(raw)} is not an absolute path such as {str(default())!r}")
        return Path(raw)

    return Kind(words='`"auto"`, or an absolute path', parse=parse)


def uri() -> Kind:
    """A libvirt connection URI."""

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or not re.fullmatch(r"[a-z]+(\+[a-z0-9]+)?://\S*", raw):
            raise ConfigError(f"{shown(raw)} is not a libvirt URI such as 'qemu:///system'")
        return raw

    return Kind(words='a libvirt URI such as `"qemu:///system"`', parse=parse)


def pattern() -> Kind:
    """A shell-style pattern over names, or a UUID."""

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or not raw.strip():
            raise ConfigError(f"{shown(raw)} is not a name pattern such as 'web-*', nor a UUID")
        return raw

    return Kind(words='a name, a pattern such as `"web-*"` (`*`, `?`, `[...]`), or a UUID', parse=parse)


def _size_bytes(raw: object, least_bytes: int, *, what: str) -> int:
    text = _text(raw, what=what, example="2GiB")
    try:
        size_bytes = parse_size(text)
    except OverflowError:  # more digits than a float holds
        size_bytes = -1
    if not least_bytes <= size_bytes <= parse_size(SIZE_MOST):
        raise ConfigError(f"{shown(raw)} is out of range; write {least_bytes // 1024**2}MiB to {SIZE_MOST}")
    return size_bytes


def _text(raw: object, *, what: str, example: str) -> str:
    """Return a quantity's text, or say which mistake a value without quotes is."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        raise ConfigError(f"{raw} has no unit; write it in quotes with its unit, for example {example!r}")
    raise ConfigError(f"{shown(raw)} is not {what}; write a text such as {example!r}")
