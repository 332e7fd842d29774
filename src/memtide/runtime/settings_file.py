"""Reading the settings: the main file, the drop-ins beside it in the order of their names, then the command line.

Every effective value remembers where it was written. Whatever is wrong, in all files, is said at once, each with
its file and line; only a setting without any mistake anywhere is ever used.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from memtide.errors import ConfigError, MemtideError, PermissionDeniedError
from memtide.model.base import Model
from memtide.runtime import paths
from memtide.runtime.setting_kinds import Amount, nearest, shown
from memtide.runtime.setting_lines import KeyPath, key_lines
from memtide.runtime.settings import RULE, SECTIONS, SETTINGS, Setting, Settings, build

__all__ = ["Given", "Loaded", "Origin", "load", "needs_restart"]

ROWS: Final = {row.key: row for row in SETTINGS}
TOML_PLACE: Final = re.compile(r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL)


class Origin(Model, frozen=True, kw_only=True):
    """Where a value was written."""

    place: str
    """A file, ``command line`` or ``default``."""
    line: int | None = None

    def __str__(self) -> str:
        return self.place if self.line is None else f"{self.place}:{self.line}"


DEFAULT: Final = Origin(place="default")
COMMAND_LINE: Final = Origin(place="command line")


class Given(Model, frozen=True, kw_only=True):
    """One effective value."""

    raw: Any
    """As it was written."""
    value: Any
    """As it is used."""
    origin: Origin


class Loaded(Model, frozen=True, kw_only=True):
    """The settings in force, and where each of them comes from."""

    settings: Settings
    values: dict[str, Given]
    """By the setting's key, in the table's order; defaults included."""
    rules: tuple[dict[str, Given], ...]
    """Each rule's values by name."""
    files: tuple[Path, ...]
    """The files that were read, in order."""


class Problem(Model, frozen=True, kw_only=True):
    """One mistake, where it stands."""

    origin: Origin
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


class Document(Model, frozen=True, kw_only=True):
    """One settings file that is valid TOML."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def origin(self, *path: str | int) -> Origin:
        """Return where a key stands; the file alone when it has no line."""
        return Origin(place=str(self.path), line=self.lines.get(path))


class _Reading:
    """What was gathered so far from all places."""

    def __init__(self) -> None:
        self.values = {
            row.key: Given(raw=row.default, value=row.kind.parse(row.default), origin=DEFAULT)
            for row in SETTINGS
            if row.section != RULE
        }
        self.rules: list[dict[str, Given]] = []
        self.problems: list[Problem] = []

    def refuse(self, origin: Origin, text: str) -> None:
        self.problems.append(Problem(origin=origin, text=text))

    def parse(self, row: Setting, raw: object, origin: Origin) -> Given | None:
        try:
            return Given(raw=raw, value=row.kind.parse(raw), origin=origin)
        except MemtideError as error:
            self.refuse(origin, f"{_title(row.section)} {row.name}: {error.message}".removeprefix("[] "))
            return None

    def take(self, row: Setting, raw: object, origin: Origin) -> None:
        given = self.parse(row, raw, origin)
        if given is not None:
            self.values[row.key] = given


def load(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """Return the settings in force.

    Args:
        path: the main file; without it the default one, which need not exist.
        overrides: values by key (``law.period``) from the command line; they win.

    Raises:
        ConfigError: something is wrong; the message has one line, ``file:line: sentence``, per mistake.
        PermissionDeniedError: a file is there, but not for this user.
    """
    reading = _Reading()
    documents = []
    for file in _files(path):
        document = _document(file, reading)
        if document is not None:
            documents.append(document)
            known = len(reading.problems)
            _read(document, reading)
            reading.problems[known:] = sorted(reading.problems[known:], key=lambda problem: problem.origin.line or 0)
    for key, raw in (overrides or {}).items():
        if key in reading.values:
            reading.take(ROWS[key], raw, COMMAND_LINE)
        else:
            reading.refuse(COMMAND_LINE, f"there is no setting {key!r}{_meant(key, list(reading.values))}")
    for values in (
        {row.name: reading.values[key] for key, row in ROWS.items() if row.section == "guests"},
        *reading.rules,
    ):
        _compare(values, reading)
    if reading.problems:
        raise ConfigError("\n".join(map(str, reading.problems)))
    return Loaded(
        settings=build(
            {key: given.value for key, given in reading.values.items()},
            ({name: given.value for name, given in rule.items()} for rule in reading.rules),
        ),
        values=reading.values,
        rules=tuple(reading.rules),
        files=tuple(document.path for document in documents),
    )


def needs_restart(old: Loaded, new: Loaded) -> tuple[str, ...]:
    """Return the settings that differ and that a running daemon cannot change."""
    return tuple(
        key for key, given in new.values.items() if not ROWS[key].reload and given.value != old.values[key].value
    )


def _files(path: Path | None) -> list[Path]:
    """Return the main file, if it is there or was asked for, and the drop-ins."""
    main = paths.settings_file() if path is None else path
    folder = main.parent / f"{main.name}.d"
    try:
        # an editor's own files begin with a dot
        drop_ins = sorted(file for file in folder.glob("*.toml") if not file.name.startswith("."))
        return [*([main] if path is not None or main.exists() else []), *drop_ins]
    except PermissionError as error:
        raise _denied(Path(error.filename)) from error


def _denied(path: Path) -> PermissionDeniedError:
    return PermissionDeniedError(f"the settings in {path} may not be read by this user", "run it as root")


def _document(path: Path, reading: _Reading) -> Document | None:
    """Read one file; when it cannot be read, say so and return ``None``."""
    try:
        text = path.read_bytes().decode()
        return Document(path=path, data=tomllib.loads(text), lines=key_lines(text))
    except PermissionError as error:
        raise _denied(path) from error
    except OSError as error:
        reading.refuse(Origin(place=str(path)), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reading.refuse(Origin(place=str(path), line=line), "is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        found = TOML_PLACE.fullmatch(str(error))
        what, line_text = (found["what"], found["line"]) if found else (str(error), None)
        line = int(line_text) if line_text else text.rstrip("\n").count("\n") + 1
        reading.refuse(Origin(place=str(path), line=line), f"not valid TOML: {what}")
    return None


def _read(document: Document, reading: _Reading) -> None:
    """Take everything that a document says."""
    for name, content in document.data.items():
        origin = document.origin(name)
        if name == RULE:
            _read_rules(content, document, reading)
        elif name in SECTIONS:
            _read_section(name, content, document, reading)
        elif name in ROWS:
            reading.take(ROWS[name], content, origin)
        elif isinstance(content, dict | list):
            reading.refuse(origin, f"there is no section [{name}]{_meant(name, list(SECTIONS), shown_as=_title)}")
        else:
            reading.refuse(origin, f"there is no setting {name!r} above the sections{_elsewhere(name)}")


def _read_section(section: str, content: object, document: Document, reading: _Reading) -> None:
    if not isinstance(content, dict):
        reading.refuse(document.origin(section), f"{section} is a section; write [{section}] on a line of its own")
        return
    for name, raw in content.items():
        row = ROWS.get(f"{section}.{name}")
        if row is None:
            reading.refuse(document.origin(section, name), _no_setting(section, name))
        else:
            reading.take(row, raw, document.origin(section, name))


def _read_rules(content: object, document: Document, reading: _Reading) -> None:
    if not isinstance(content, list) or not all(isinstance(rule, dict) for rule in content):
        reading.refuse(document.origin(RULE), "a rule begins with [[rule]], in two pairs of brackets")
        return
    for index, rule in enumerate(content):
        values = {}
        for name, raw in rule.items():
            row, origin = ROWS.get(f"{RULE}.{name}"), document.origin(RULE, index, name)
            if row is None:
                reading.refuse(origin, _no_setting(RULE, name))
            elif (given := reading.parse(row, raw, origin)) is not None:
                values[name] = given
        if "match" not in rule:
            text = "the rule has no 'match'; write whom it speaks of, for example match = 'web-*'"
            reading.refuse(document.origin(RULE, index), text)
        reading.rules.append(values)


def _compare(values: Mapping[str, Given], reading: _Reading) -> None:
    """Refuse a floor above the ceiling, where both are sizes and written together."""
    floor, ceiling = values.get("floor"), values.get("ceiling")
    if floor is None or ceiling is None or not isinstance(floor.value, Amount) or ceiling.value is None:
        return
    if floor.value.size_bytes is not None and floor.value.size_bytes > ceiling.value:
        origin = ceiling.origin if floor.origin == DEFAULT else floor.origin
        reading.refuse(origin, f"the floor {shown(floor.raw)} is above the ceiling {shown(ceiling.raw)}")


def _title(section: str) -> str:
    return f"[[{section}]]" if section == RULE else f"[{section}]"


def _no_setting(section: str, name: str) -> str:
    known = [row.name for row in SETTINGS if row.section == section]
    hint = _meant(name, known) if nearest(name, known) or not _homes(name) else _elsewhere(name)
    return f"there is no setting {name!r} in {_title(section)}{hint}"


def _meant(name: str, known: list[str], *, shown_as: Callable[[str], str] = repr) -> str:
    near = nearest(name, known)
    return f"; did you mean {shown_as(near)}?" if near else f"; known: {', '.join(map(shown_as, known))}"


def _homes(name: str) -> list[str]:
    return [_title(row.section) for row in SETTINGS if row.name == name and row.section]


def _elsewhere(name: str) -> str:
    homes = _homes(name)
    return f"; it belongs in {' or '.join(homes)}" if homes else "; settings stand in sections, such as [host]"
