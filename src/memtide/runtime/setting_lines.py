"""On which line of a TOML document each key stands; ``tomllib`` does not say.

A valid document is a sequence of statements: a header, or a key with its value. Each is valid TOML by itself, and
none is complete before its last line. So the scanner adds line to line until ``tomllib`` accepts them, and lets
``tomllib`` say which keys are in it. Inside an array or an inline table, every key has the statement's first line.
"""

import tomllib
from typing import TypeAlias

__all__ = ["KeyPath", "key_lines"]

KeyPath: TypeAlias = tuple[str | int, ...]
"""``("law", "period")``; an element of an array of tables has its index: ``("rule", 0, "floor")``."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table and key of a valid document; the first, where a table has several."""
    lines: dict[KeyPath, int] = {}
    elements: dict[KeyPath, int] = {}  # array of tables -> index of its last element so far
    table: KeyPath = ()
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _header(content, elements)
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], first)
        else:
            _keys(content, table, first, lines)
        statement, first = "", number + 1
    return lines


def _header(content: object, elements: dict[KeyPath, int]) -> KeyPath:
    """Return the table that a header opens, with the indices of the arrays it is in."""
    path: KeyPath = ()
    while isinstance(content, dict) and content:
        ((name, content),) = content.items()
        path += (name,)
        if isinstance(content, list):  # [[name]]: the next element
            elements[path] = elements.get(path, -1) + 1
        if path in elements:
            path += (elements[path],)
    return path


def _keys(content: object, path: KeyPath, line: int, lines: dict[KeyPath, int]) -> None:
    """Note the line for everything in a value, however deep."""
    if path and path not in lines:
        lines[path] = line
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in inner:
        _keys(value, (*path, name), line, lines)
