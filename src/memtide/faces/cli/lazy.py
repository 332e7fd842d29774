"""Groups of commands that are rows of a table until one of them is called."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

__all__ = ["Command", "LazyGroup"]


class Command(NamedTuple):
    """Where a command is, and what it does in a line."""

    module: str
    """Below ``memtide.faces.cli``; it has a click command of the row's name (``set`` is ``set_``)."""
    summary: str


class LazyGroup(click.Group):
    """A group whose commands are loaded when they are called, so that help comes at once.

    Args:
        rows: name -> command, in the order of the help page.
    """

    def __init__(self, *arguments: Any, rows: Mapping[str, Command], **more: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*arguments, **more)
        self._rows = rows

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the table."""
        return list(self._rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load a command."""
        if cmd_name not in self._rows:
            return None
        module = importlib.import_module(f"memtide.faces.cli.{self._rows[cmd_name].module}")
        command = getattr(module, f"{cmd_name}_" if cmd_name == "set" else cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__} has no click command {cmd_name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without loading them."""
        if self._rows:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.summary) for name, command in self._rows.items()])
