"""Options and arguments that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from memtide.errors import UnitError
from memtide.units import parse_duration, parse_size

__all__ = ["DURATION", "SIZE", "config_option", "control_option", "json_option", "state_option", "uri_option"]


Number = TypeVar("Number", int, float)


def _named(parse: Callable[[str], Number], text: str, param: click.Parameter | None) -> Number:
    """Return the number; an error names the option that it was given to."""
    try:
        return parse(text)
    except UnitError as error:
        where = f"{param.opts[0]}: " if param is not None and param.param_type_name == "option" else ""
        raise UnitError(f"{where}{error.message}") from error


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401, ARG002 - click's signature
        return value if isinstance(value, int) else _named(parse_size, value, param)


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401, ARG002 - click's signature
        return value if isinstance(value, float) else _named(parse_duration, value, param)


SIZE: Final = _Size()
"""``2GiB``: bytes."""
DURATION: Final = _Duration()
"""``10m``: seconds."""

PATH: Final = click.Path(path_type=Path)

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON with a stable schema.")
control_option: Final = click.option(
    "--control",
    type=PATH,
    envvar="MEMTIDE_CONTROL",
    metavar="DIR",
    show_envvar=True,
    help="Folder of the daemon's sockets, if it is not the usual one.",
)
state_option: Final = click.option(
    "--state",
    type=PATH,
    envvar="MEMTIDE_STATE",
    metavar="DIR",
    show_envvar=True,
    help="Folder of what outlives a crash (setting store.directory).",
)
config_option: Final = click.option("--config", type=PATH, metavar="FILE", help="Settings file.")
uri_option: Final = click.option("--uri", metavar="URI", help="Where the guests are (setting libvirt.uri).")
