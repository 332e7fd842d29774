"""``memtide set``."""

import time
from pathlib import Path

import click

from memtide.faces.cli.log_text import local_zone, log_lines, raise_if_refused
from memtide.faces.cli.options import DURATION, SIZE, control_option, json_option
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.runtime.control.client import Client

__all__ = ["set_"]


@click.command("set")
@click.argument("vm")
@click.argument("size", type=SIZE)
@click.option(
    "--for",
    "for_s",
    type=DURATION,
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Leave it there for so long; a guest that starves is relieved all the same.",
)
@json_option
@control_option
def set_(*, vm: str, size: int, for_s: float, as_json: bool, control: Path | None) -> None:
    """Set the memory of the guest VM (name or UUID) to SIZE, such as 2GiB.

    SIZE is between the guest's floor and its maximum. The change is written into the log with your name. What
    should hold for good belongs into the settings, as a floor or a ceiling.
    """
    outcome = Client.find(control).set_memory(vm, size, for_s)
    if as_json:
        print_json(outcome)
    else:
        print_lines(log_lines([outcome], zone=local_zone(), now_s=time.time(), width=columns()))
    raise_if_refused([outcome])
