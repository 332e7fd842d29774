"""``memtide status``."""

from pathlib import Path
from typing import Final

import click

from memtide.errors import ControlError, UsageError
from memtide.faces.cli.options import control_option, json_option
from memtide.faces.cli.status_text import status_lines
from memtide.faces.cli.terminal import Line, Screen, Span, columns, is_terminal, line, print_json, print_lines
from memtide.runtime.control.client import Client

__all__ = ["status"]

LOOK_AGAIN_S: Final = 2.0


@click.command()
@json_option
@click.option("--watch", is_flag=True, help="Redraw every two seconds until q or Ctrl-C.")
@control_option
def status(*, as_json: bool, watch: bool, control: Path | None) -> None:
    """Show the host and its guests.

    For each guest: the most it may have, what it has, what memtide asked for, what it uses and could still use by
    its own figures, what it costs the host, and what memtide does about it and why. A question mark is something
    that is not known. In the host's bar the reserve begins at the line; in a guest's bar
    (on a wide terminal) dots are memory that it does not have now.
    """
    client = Client.find(control)
    if watch:
        _watch(client, control)
    elif as_json:
        print_json(client.status())
    else:
        print_lines(status_lines(client.status(), width=columns(), drawn=is_terminal()))


def _watch(client: Client, control: Path | None) -> None:
    if not is_terminal():
        raise UsageError("--watch redraws a terminal, and there is none", "without --watch it can be piped")
    client.status()  # a daemon that is not there is told at once, not on a screen that then vanishes
    with Screen() as screen:
        screen.draw(_look(client, screen.size.columns))
        while screen.key(LOOK_AGAIN_S) not in {"q", "Q"}:
            client = Client.find(control)  # it may have been started anew, elsewhere
            screen.draw(_look(client, screen.size.columns))


def _look(client: Client, width: int) -> list[Line]:
    try:
        return status_lines(client.status(), width=width, drawn=True)
    except ControlError as error:
        return [line(Span(error.message, "bad")), line(error.hint)]
