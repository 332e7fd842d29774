"""``memtide why``."""

from pathlib import Path

import click

from memtide.faces.cli.log_text import local_zone
from memtide.faces.cli.options import control_option, json_option
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.faces.cli.why_text import why_lines
from memtide.runtime.control.client import Client

__all__ = ["why"]


@click.command()
@click.argument("vm")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=5, metavar="N", help="So many past actions; 5 unless told."
)
@json_option
@control_option
def why(*, vm: str, lines: int, as_json: bool, control: Path | None) -> None:
    """Say why the guest VM (name or UUID) has the memory it has.

    What it has and needs, what memtide does with it and on which numbers, what was done to it lately and what came
    of that, what would change it, and how to keep memtide's hands off.
    """
    view = Client.find(control).why(vm, lines)
    if as_json:
        print_json(view)
    else:
        print_lines(why_lines(view, zone=local_zone(), width=columns()))
