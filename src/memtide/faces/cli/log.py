"""``memtide log``."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from memtide.faces.cli.log_text import is_final, local_zone, log_lines
from memtide.faces.cli.options import DURATION, config_option, control_option, json_option, state_option
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.runtime.control.client import Client, NoDaemonError
from memtide.runtime.options import RunOptions
from memtide.views.log import log_view
from memtide.views.schema import LogView

__all__ = ["log"]

LATEST: Final = 20
"""Without any choice: about a screen."""
ALL: Final = 10_000


@click.command()
@click.option("--vm", metavar="VM", help="Only this guest (name or UUID).")
@click.option("--since", type=DURATION, metavar="TIME", help="Only the last so long: 90s, 10m, 8h, 2d.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), metavar="N", help=f"The latest so many; {LATEST}, or all with --since."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with every new entry as soon as it is settled.")
@json_option
@control_option
@config_option
@state_option
def log(  # noqa: PLR0913 - one argument for each option
    *,
    vm: str | None,
    since: float | None,
    lines: int | None,
    follow: bool,
    as_json: bool,
    control: Path | None,
    config: Path | None,
    state: Path | None,
) -> None:
    """Show what was done, why, and what came of it, the oldest first.

    A line tells the time, the guest, by how much its memory was to change, from what to what, the reason with its
    numbers, what the host gained, and how it ended. With --json, one JSON object a line. When no daemon runs, the
    log is read from the folder of --state.
    """
    client = Client.find(control)
    since_s = None if since is None else time.time() - since
    limit = lines if lines is not None else LATEST if since is None else ALL
    if not follow:
        try:
            entries = client.log(vm=vm, since_s=since_s, limit=limit)
        except NoDaemonError:
            left = _offline(vm, since_s, limit, RunOptions(config=config, state=state))
            if left is None:
                raise
            entries = left
        _print(entries, as_json=as_json)
        return
    for entry in client.follow(vm=vm, since_s=since_s, limit=limit):
        if is_final(entry):
            _print([entry], as_json=as_json)


def _offline(vm: str | None, since_s: float | None, limit: int, options: RunOptions) -> list[LogView] | None:
    # the store is loaded only when there is no daemon to ask
    from memtide.runtime.history import read_log  # noqa: PLC0415

    entries = read_log(options, vm=vm, since_s=since_s, limit=limit)
    return None if entries is None else [log_view(entry) for entry in entries]


def _print(entries: Sequence[LogView], *, as_json: bool) -> None:
    if as_json:
        for entry in entries:
            print_json(entry, lines=True)
    else:
        print_lines(log_lines(entries, zone=local_zone(), now_s=time.time(), width=columns()))
