"""The only home of 1024: sizes, durations and ratios, parsed from people and printed for people.

Inside memtide a size is an ``int`` of bytes, a time a ``float`` of seconds and a ratio a ``float`` from 0 to 1.
People must write the unit: "10240" in a memory setting once meant KiB to OpenNebula and MiB to its reader.
"""

import re
from typing import Final

from memtide.errors import UnitError

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "format_change",
    "format_duration",
    "format_ratio",
    "format_size",
    "parse_duration",
    "parse_ratio",
    "parse_size",
]

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB

SIZE_UNITS: Final = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*\Z")


def parse_size(text: str) -> int:
    """Return the bytes that a text such as ``"2GiB"`` or ``"1.5 MiB"`` means, rounded down to whole bytes.

    Raises:
        UnitError: no number, no unit, or a unit that is not one of B, KiB, MiB, GiB, TiB.
    """
    number, unit = _split(text, SIZE_UNITS, example="2GiB")
    return int(number * SIZE_UNITS[unit])


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as ``"10s"``, ``"3m"`` or ``"500ms"`` means.

    Raises:
        UnitError: no number, no unit, or a unit that is not one of ms, s, m, h, d.
    """
    number, unit = _split(text, DURATION_UNITS, example="10s")
    return number * DURATION_UNITS[unit]


def parse_ratio(text: str) -> float:
    """Return the ratio (0 to 1) that a percentage such as ``"15%"`` means.

    Raises:
        UnitError: no number, no percent sign, or more than 100 %.
    """
    number, _ = _split(text, {"%": 1}, example="15%")
    if number > 100:  # noqa: PLR2004 - a percentage
        raise UnitError(f"{text!r} is more than 100 %")
    return number / 100


def _split(text: str, units: dict[str, float] | dict[str, int], *, example: str) -> tuple[float, str]:
    match = _QUANTITY.match(text)
    if match is None:
        raise UnitError(f"{text!r} is not a number with a unit, such as {example!r}")
    number, unit = match.groups()
    if unit not in units:
        known = ", ".join(units)
        missing = "has no unit" if not unit else f"has the unknown unit {unit!r}"
        raise UnitError(f"{text!r} {missing}; write one of {known}, for example {example!r}")
    return float(number), unit


def format_size(size_bytes: int) -> str:
    """Return a size as people read it: ``"512 MiB"``, ``"3.5 GiB"``; negative sizes keep their sign."""
    magnitude = abs(size_bytes)
    sign = "-" if size_bytes < 0 else ""
    if magnitude >= TIB:
        return f"{sign}{magnitude / TIB:.2f} TiB"
    # 1023.6 MiB must not print as "1024 MiB", so the border is where rounding goes, not at 1 GiB
    if magnitude >= GIB - MIB // 2:
        precision = 2 if magnitude < 10 * GIB else 1
        return f"{sign}{magnitude / GIB:.{precision}f} GiB"
    if magnitude >= MIB:
        return f"{sign}{magnitude / MIB:.0f} MiB"
    if magnitude >= KIB:
        return f"{sign}{magnitude / KIB:.0f} KiB"
    return f"{sign}{magnitude} B"


def format_change(size_bytes: int) -> str:
    """Return a signed change: ``"+512 MiB"``, ``"-1.50 GiB"``, ``"0 B"``."""
    return f"+{format_size(size_bytes)}" if size_bytes > 0 else format_size(size_bytes)


def format_duration(seconds: float) -> str:
    """Return a duration with the one or two units that matter: ``"0.4 s"``, ``"12 s"``, ``"3m 20s"``, ``"2h 5m"``."""
    if seconds < 10:  # noqa: PLR2004 - one decimal is worth printing below ten seconds
        return f"{seconds:.1f} s"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes}m {rest_s}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004
        return f"{hours}h {minutes}m"
    return f"{hours // 24}d {hours % 24}h"


def format_ratio(ratio: float) -> str:
    """Return a ratio as a percentage: ``"15 %"``, ``"0.4 %"``."""
    percent = ratio * 100
    return f"{percent:.1f} %" if abs(percent) < 10 else f"{percent:.0f} %"  # noqa: PLR2004
