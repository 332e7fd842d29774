"""The reference page of scenario files, made of what they become: ``python -m memtide.sim.scenario_page``."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec

from memtide.model.limits import GuestLimits, GuestRule, Limits
from memtide.sim.behaviours import Behaviour
from memtide.sim.curve import Curve
from memtide.sim.events import Outage
from memtide.sim.scenario_shapes import SHAPES, Shape
from memtide.sim.scenario_words import BEHAVIOURS, EVENTS, is_optional, key_of, kind_of
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.units import format_size

__all__ = ["page"]

HEAD: Final = """\
# Scenario files

Made by `python -m memtide.sim.scenario_page > docs/reference/scenarios.md`; a test keeps it current.

A scenario is one TOML file: a host, its guests and what happens to them. `memtide simulate FILE.toml` plays it under
every law; `memtide simulate --list` names those that memtide brings along.

```toml
intent = "Two guests take turns: what one leaves behind the other has in time."
duration = "5m"

[host]
total = "4GiB"
swap = "2GiB"

[[guest]]
name = "turn"
count = 2
maximum = "3GiB"
swap = "1GiB"
anonymous = { shape = "wave", low = "200MiB", high = "2GiB", period = "100s", high_for = "40s", phase_step = "50s" }

[limits]
mode = "pressure"

[[limits.rule]]
match = "turn-0"
weight = 2
```

Sizes, speeds, durations and percentages are texts with their unit. What is left out has its default. What is wrong is
said with its key and what to write instead. Times are counted from the beginning of the run; guests begin as if they
had been running for an hour, with what their curves say at that moment.

Not simulated: NUMA nodes, a jump of the clock, a hung libvirtd, page cache of the host itself.

## Above the sections

| Key | Write | What it is |
|---|---|---|
| `intent` | a text | One sentence: what is expected of a good law. |
| `note` | a text; `""` | Where it comes from, and what it cannot show. |
| `duration` | a duration such as `"10m"` | How long it is played. |
| `step` | a duration; `"100ms"` | No two things happen closer together. |
| `seed` | a whole number; `1` | Where chance begins; the same seed always takes the same course. |
"""
GUEST_ROWS: Final = (
    "| `count` | a whole number | So many guests, named `name-0`, `name-1`, …; left out: one, named `name`. |",
)
CURVE: Final = "a size, or a curve"
BEHAVIOUR: Final = "a behaviour"


def page() -> str:
    """Return the page, in Markdown."""
    parts = [
        HEAD.rstrip(),
        _section("[host]", "The host.", HostSpec),
        _section("[[guest]]", "A guest, or a row of them.", GuestSpec, extra=GUEST_ROWS),
        "## Curves\n\nA curve is a table with a `shape`; a bare size never changes. All shapes have these keys:",
        _table(Shape),
        *(_kind("shape", name, shape, besides=Shape) for name, shape in SHAPES.items()),
        "## Behaviours\n\nA table with a `kind`; a bare name where it has no keys.",
        *(_kind("kind", name, behaviour, besides=Behaviour) for name, behaviour in BEHAVIOURS.items()),
        _section("[limits]", "What the operator allows. Left out: memtide's defaults.", Limits),
        _section("[limits.guests]", "What holds for every guest.", GuestLimits),
        _section("[[limits.rule]]", "What differs for some guests; later rules win.", GuestRule),
        "## `[[event]]`\n\nWhat others do to the world, by its `what`.",
        *(_kind("what", name, event) for name, event in EVENTS.items()),
        _section("[[outage]]", "A time in which the daemon is dead; it starts again without a memory.", Outage),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, what: str, of: type, extra: tuple[str, ...] = ()) -> str:
    return f"## `{title}`\n\n{what}\n\n{_table(of, extra=extra)}"


def _kind(word: str, name: str, of: type, besides: type | None = None) -> str:
    known = set() if besides is None else {field.name for field in msgspec.structs.fields(besides)}
    table = _table(of, known=known)
    says = inspect.cleandoc(of.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return f'### `{word} = "{name}"`\n\n{says}' + (f"\n\n{table}" if table else "")


def _table(of: type, *, known: set[str] = frozenset(), extra: tuple[str, ...] = ()) -> str:  # type: ignore[assignment]
    says = _field_docs(of)
    rows = [*_rows(of, known, says)]
    # the name comes first, and how many of that name next
    rows[1:1] = extra
    return "\n".join(["| Key | Write | What it is |", "|---|---|---|", *rows]) if rows else ""


def _rows(of: type, known: set[str], says: dict[str, str]) -> Iterator[str]:
    for field in msgspec.structs.fields(of):
        write = _write(field)
        if write is not None and field.name not in known:
            default = "" if field.required else _default(field)
            written = f"{write}; `{default}`" if default else write
            yield f"| `{key_of(field.name)}` | {written} | {says.get(field.name, '')} |"


def _write(field: msgspec.structs.FieldInfo) -> str | None:
    if field.type is Curve or field.type == Curve | None:
        return CURVE
    if field.type is Behaviour:
        return BEHAVIOUR
    kind = kind_of(field)
    if kind is None:
        return None
    return kind.write + (' or "none"' if is_optional(field) and field.default is not None else "")


AS_WRITTEN: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    ("_bytes", format_size),
    ("bps", lambda value: f"{format_size(value)}/s"),
    ("_ratio", lambda value: f"{value:.0%}"),
    ("_s", lambda value: f"{value:g}s"),
)
"""End of the field's name -> its value as one would write it."""


def _default(field: msgspec.structs.FieldInfo) -> str:
    """Return the default as one would write it; empty: nothing of the kind."""
    value: Any = field.default
    if value is None or value is msgspec.NODEFAULT or isinstance(value, Curve | Behaviour):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    write = next((write for end, write in AS_WRITTEN if field.name.endswith(end)), None)
    if write is None and not isinstance(value, str):
        return str(value)
    return f'"{value if write is None else write(value).replace(" ", "")}"'


def _field_docs(of: type) -> dict[str, str]:
    """Return what is written below each field of a class and of those it is made of, in one line."""
    docs: dict[str, str] = {}
    for one in reversed(of.__mro__[:-1]):
        if not one.__module__.startswith("memtide."):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, says in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(says, ast.Expr):
                text = ast.literal_eval(says.value)
                docs[field.target.id] = " ".join(text.split()).replace("``", "`").replace("`None`", "left out")
    return docs


if __name__ == "__main__":
    sys.stdout.write(page())
