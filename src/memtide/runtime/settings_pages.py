"""What is written from the settings table: the commented default file, the reference page, the values in force."""

import json
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Final

from memtide.runtime.settings import RULE, SECTIONS, SETTINGS, Setting
from memtide.runtime.settings_file import Given, Loaded

__all__ = ["default_file", "effective", "in_force", "reference_page", "toml_text"]

DEFAULT_HEAD: Final = """\
# memtide's settings. What stands here after "#" without a space is the default: remove the "#" to change it.
# Sizes, durations and percentages are texts with their unit: "2GiB", "10s", "15%".
# Files in memtide.toml.d/ beside this one are read after it, in the order of their names.
# "memtide config check" finds mistakes, "memtide config show" tells what is in force and where it was written.
"""

REFERENCE_HEAD: Final = """\
# Settings

<!-- Written by `memtide config reference`; change the table in src/memtide/runtime/settings.py instead. -->

memtide reads `/etc/memtide/memtide.toml` (an ordinary user's: `~/.config/memtide/memtide.toml`), then the files in
`memtide.toml.d/` beside it in the order of their names, then the command line. A later value replaces an earlier one;
rules are added up. No file at all is fine: every setting has a default.

Sizes, durations and percentages are texts with their unit: `"2GiB"`, `"10s"`, `"15%"`. An unknown name, a missing unit
or a value out of range is an error with its file and line, and nothing of the new settings is used.

"Reload" says whether `systemctl reload memtide` is enough; the others need a restart.
"""

RULE_EXAMPLE: Final[dict[str, str | bool | float]] = {
    "match": "db-*", "manage": True, "floor": "4GiB", "ceiling": "16GiB", "weight": 2.0
}  # fmt: skip


def toml_text(value: str | bool | float) -> str:  # noqa: FBT001 - any TOML value
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    # a JSON string is a TOML basic string, but for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)


def default_file() -> str:
    """Return the default settings file: valid TOML in which everything but the version is commented out."""
    lines = [DEFAULT_HEAD.rstrip()]
    for section, rows in _by_section():
        if section:
            lines += ["", "", f"# {SECTIONS[section]}", f"#[[{RULE}]]" if section == RULE else f"[{section}]"]
        for row in rows:
            lines += ["", *_comment(row.help), *_comment(_plain(row))]
            if row.section == RULE:
                lines.append(f"#{row.name} = {toml_text(RULE_EXAMPLE[row.name])}")
            elif row.default is not None:
                lines.append(f"{'#' if section else ''}{row.name} = {toml_text(row.default)}")
    return "\n".join(lines) + "\n"


def reference_page() -> str:
    """Return the reference page, in Markdown."""
    parts = [REFERENCE_HEAD]
    for section, rows in _by_section():
        if section:
            title = f"[[{section}]]" if section == RULE else f"[{section}]"
            parts.append(f"## `{title}`\n\n{SECTIONS[section]}\n")
        parts.append("| Setting | Default | What it is | Write | Reload |\n|---|---|---|---|---|")
        parts += [_table_row(row) for row in rows]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def in_force(loaded: Loaded) -> str:
    """Return the settings in force as a valid settings file, each with where it was written."""
    lines = []
    for section, rows in _by_section():
        if section == RULE:
            for rule in loaded.rules:
                lines += ["", f"[[{RULE}]]", *_aligned([(name, given) for name, given in rule.items()])]
        else:
            lines += (["", f"[{section}]"] if section else []) + _aligned(
                [(row.name, loaded.values[row.key]) for row in rows]
            )
    return "\n".join(lines) + "\n"


def effective(given: Given) -> str | bool | float:
    """Return a value as written, but the folder itself where "auto" stands for one."""
    return str(given.value) if isinstance(given.value, Path) else given.raw


def _by_section() -> list[tuple[str, list[Setting]]]:
    return [(section, list(rows)) for section, rows in groupby(SETTINGS, key=lambda row: row.section)]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, width=110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _plain(row: Setting) -> str:
    words = row.kind.words.replace("`", "")
    return f"Write {words}.{'' if row.reload else ' Needs a restart.'}"


def _table_row(row: Setting) -> str:
    default = "" if row.default is None else f"`{toml_text(row.default)}`"
    return f"| `{row.name}` | {default} | {row.help} | {row.kind.words} | {'yes' if row.reload else 'no'} |"


def _aligned(values: list[tuple[str, Given]]) -> list[str]:
    pairs = [(f"{name} = {toml_text(effective(given))}", given.origin) for name, given in values]
    width = max((len(text) for text, _ in pairs), default=0)
    return [f"{text:<{width}}  # {origin}" for text, origin in pairs]
