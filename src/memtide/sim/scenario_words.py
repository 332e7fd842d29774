"""The words of a scenario file: which keys there are, how each is written, and what to say of a wrong one.

Keys are the fields of the values they become (host, guest, limits, event, shape, behaviour) without the unit, since
in a file the unit stands in the text: ``swap_bytes`` is ``swap = "512MiB"``, ``swap_bps`` is
``swap_speed = "300MiB/s"``. So whatever the simulator can do can be written, and nothing is listed twice.
"""

import difflib
import enum
import random
import types
import typing
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from memtide.errors import ConfigError, UnitError
from memtide.sim import behaviours
from memtide.sim.behaviours import Behaviour
from memtide.sim.curve import Curve
from memtide.sim.events import Event, HugePages, KsmByOther, SizeByHand, StopGuest
from memtide.sim.scenario_shapes import SHAPES, Shape
from memtide.units import parse_duration, parse_ratio, parse_size

__all__ = ["BEHAVIOURS", "DURATION", "EVENTS", "TEXT", "WHOLE", "Reader", "is_optional", "key_of", "kind_of"]

T = TypeVar("T")

EVENTS: Final[dict[str, type[Event]]] = {
    "size-by-hand": SizeByHand,
    "huge-pages": HugePages,
    "ksm-by-other": KsmByOther,
    "stop": StopGuest,
}
"""What others do, by its name in the file."""
BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    name.lower(): getattr(behaviours, name) for name in behaviours.__all__ if name != "Behaviour"
}
"""How a guest may behave besides well."""
NEEDED: Final = object()
"""The default of a key that must be there."""
LEFT_OUT: Final = object()
"""The value of a key that is not there."""
NONE: Final = "none"
PAIR: Final = 2


class Kind(NamedTuple):
    """How a value is written."""

    write: str
    """What to write, for people; it follows "write"."""
    parse: Callable[[Any], Any]
    """Raises ValueError, TypeError or UnitError for what it cannot read."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _speed(value: object) -> int:
    size, slash, second = _text(value).partition("/")
    if not slash or second.strip() != "s":
        raise ValueError
    return parse_size(size)


def _figures(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise TypeError
    return {_text(key): _whole(figure) for key, figure in value.items()}


def _points(value: object) -> tuple[tuple[float, int], ...]:
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == PAIR for pair in value):
        raise TypeError
    points = tuple((parse_duration(_text(time)), parse_size(_text(size))) for time, size in value)
    if not points or any(after[0] <= before[0] for before, after in pairwise(points)):
        raise ValueError
    return points


TEXT: Final = Kind("a text", _text)
WHOLE: Final = Kind("a whole number", _whole)
DURATION: Final = Kind('a duration such as "90s"', lambda value: parse_duration(_text(value)))
KINDS: Final[tuple[tuple[str, type, Kind], ...]] = (
    ("_bytes", int, Kind('a size such as "512MiB"', lambda value: parse_size(_text(value)))),
    ("bps", int, Kind('a speed such as "300MiB/s"', _speed)),
    ("_ratio", float, Kind('a percentage such as "40%"', lambda value: parse_ratio(_text(value)))),
    ("_s", float, DURATION),
    ("_s", int, Kind('a duration in whole seconds such as "5s"', lambda value: int(parse_duration(_text(value))))),
    ("", bool, Kind("true or false", _flag)),
    ("", int, WHOLE),
    ("", float, Kind("a number", _number)),
    ("", str, TEXT),
    ("figures", dict, Kind("a table of whole numbers such as { usable_bytes = 0 }", _figures)),
    ("points", tuple, Kind('pairs with rising times such as [["0s", "60MiB"], ["10s", "700MiB"]]', _points)),
)
"""End of the field's name, its type, how it is written; the first that fits holds."""


def key_of(field: str) -> str:
    """Return the key of a field: ``swap_bytes`` is ``swap``, ``swap_bps`` is ``swap_speed``."""
    if field == "bps":
        return "speed"
    suffix = next((s for s in ("_bytes", "_bps", "_ratio", "_s") if field.endswith(s)), "")
    return field.removesuffix(suffix) + ("_speed" if suffix == "_bps" else "")


def kind_of(field: msgspec.structs.FieldInfo) -> Kind | None:
    """Return how a field is written; ``None``: it is not written as a single value."""
    allowed = [t for t in _types(field) if t is not types.NoneType]
    if len(allowed) != 1:
        return None
    one = typing.get_origin(allowed[0]) or allowed[0]
    if isinstance(one, type) and issubclass(one, enum.Enum):
        return Kind("one of " + ", ".join(f'"{member.value}"' for member in one), one)
    return next((kind for end, type_, kind in KINDS if one is type_ and field.name.endswith(end)), None)


def is_optional(field: msgspec.structs.FieldInfo) -> bool:
    """Say whether a field may be written as "none"."""
    return types.NoneType in _types(field)


def _types(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    return typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)


class Reader:
    """One table of a file, read key by key; what is left at the end is a mistake.

    Args:
        place: the file, for people.
        path: where in it this table is, for people; empty at the top.
        data: the table.
        index: which guest of a block with ``count`` guests is read.
        chance: for what is left to chance.
    """

    def __init__(
        self, place: str, path: str, data: Mapping[str, Any], *, index: int = 0, chance: random.Random | None = None
    ) -> None:
        self._place = place
        self._path = path
        self._data = dict(data)
        self._known: list[str] = []
        self._index = index
        self._chance = chance or random.Random(0)  # noqa: S311 - no secret

    def of_guest(self, index: int, chance: random.Random) -> "Reader":
        """Return a reader of the same table for one guest of a block."""
        return Reader(self._place, self._path, self._data, index=index, chance=chance)

    def wrong(self, key: str, what: str) -> ConfigError:
        """Return the error of a key."""
        where = ".".join(part for part in (self._path, key) if part)
        return ConfigError(f"{self._place}: {where}: {what}")

    def take(self, key: str, kind: Kind, default: Any = NEEDED, *, optional: bool = False) -> Any:  # noqa: ANN401 - any kind of value
        """Return a value.

        Raises:
            ConfigError: it is written wrongly, or is missing and has no default.
        """
        self._known.append(key)
        if key not in self._data:
            if default is NEEDED:
                raise self.wrong(key, f"is missing; write {kind.write}")
            return default
        value = self._data.pop(key)
        if optional and value == NONE:
            return None
        try:
            return kind.parse(value)
        except (UnitError, ValueError, TypeError) as error:
            or_none = ' or "none"' if optional else ""
            said = f"{error.message}; " if isinstance(error, UnitError) else f"{value!r} is not it; "
            raise self.wrong(key, f"{said}write {kind.write}{or_none}") from error

    def word(self, key: str, known: Collection[str], default: Any = NEEDED) -> str:  # noqa: ANN401 - any default
        """Return one of some words."""
        name: str = self.take(key, Kind("one of " + ", ".join(known), _text), default)
        if name not in known:
            raise self.wrong(key, f"there is no {name!r}{_meant(name, known)}")
        return name

    def table(self, key: str, *, needed: bool = False) -> "Reader":
        """Return the reader of a table in this one; an empty one where there is none."""
        self._known.append(key)
        if needed and key not in self._data:
            raise self.wrong(key, f"is missing; write a section [{key}]")
        data = self._data.pop(key, {})
        if not isinstance(data, dict):
            raise self.wrong(key, f"is a section; write [{key}] on a line of its own")
        return self._inner(key, data)

    def tables(self, key: str) -> "list[Reader]":
        """Return the readers of a list of tables; none where there is no such list."""
        self._known.append(key)
        data = self._data.pop(key, [])
        if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
            raise self.wrong(key, f"is a list of blocks; begin each with [[{key}]]")
        return [self._inner(f"{key}[{entry.get('name', number)}]", entry) for number, entry in enumerate(data)]

    def struct(self, of: type[T], **given: Any) -> T:  # noqa: ANN401 - fields of any type
        """Return a value whose fields are this table's keys; ``given`` are fields that are not.

        Raises:
            ConfigError: a key is wrong, missing or unknown.
        """
        values = dict(given)
        self._known += given
        fields: dict[str, list[msgspec.structs.FieldInfo]] = {}
        for field in msgspec.structs.fields(of):  # type: ignore[arg-type]
            if field.name not in given:
                fields.setdefault(key_of(field.name), []).append(field)
        for key, rivals in fields.items():
            field = self._one_of(key, rivals)
            value = self._field(key, field)
            if value is not LEFT_OUT:
                values[field.name] = value
        self.done()
        return of(**values)

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for key in self._data:
            raise self.wrong(key, f"there is no such key here{_meant(key, self._known)}")

    def _one_of(self, key: str, fields: list[msgspec.structs.FieldInfo]) -> msgspec.structs.FieldInfo:
        """Return the field that a key means: a floor may be a size or a percentage, a host's base a size or a curve."""
        value = self._data.get(key)
        for field in fields:
            if isinstance(value, dict) if Curve in _types(field) else _is_ratio(field.name, value):
                return field
        return fields[0]

    def _field(self, key: str, field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401 - any field
        if Curve in _types(field):
            return self._curve(key)
        if field.type is Behaviour:
            return self._behaviour(key)
        kind = kind_of(field)
        if kind is None:
            return LEFT_OUT
        return self.take(key, kind, NEEDED if field.required else LEFT_OUT, optional=is_optional(field))

    def _curve(self, key: str) -> Any:  # noqa: ANN401 - a curve, or LEFT_OUT
        self._known.append(key)
        if key not in self._data:
            return LEFT_OUT
        if isinstance(self._data[key], str):
            self._data[key] = {"shape": "flat", "size": self._data[key]}
        table = self.table(key)
        shape: Shape = table.struct(SHAPES[table.word("shape", SHAPES)])
        try:
            curve = shape.curve_of(self._index, self._chance)
            curve.at(0.0)
        except (ArithmeticError, ValueError) as error:
            raise self.wrong(key, "no such curve is possible; write durations and speeds above 0") from error
        return curve

    def _behaviour(self, key: str) -> Any:  # noqa: ANN401 - a behaviour, or LEFT_OUT
        self._known.append(key)
        if key not in self._data:
            return LEFT_OUT
        if isinstance(self._data[key], str):
            self._data[key] = {"kind": self._data[key]}
        table = self.table(key)
        return table.struct(BEHAVIOURS[table.word("kind", BEHAVIOURS)])

    def _inner(self, key: str, data: Mapping[str, Any]) -> "Reader":
        path = ".".join(part for part in (self._path, key) if part)
        return Reader(self._place, path, data, index=self._index, chance=self._chance)


def _is_ratio(field: str, value: object) -> bool:
    return field.endswith("_ratio") and str(value).rstrip().endswith("%")


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
