"""``memtide restore``."""

import time
from pathlib import Path

import click

from memtide.errors import UsageError
from memtide.faces.cli.log_text import local_zone, log_lines, raise_if_refused
from memtide.faces.cli.options import config_option, control_option, json_option, state_option, uri_option
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.runtime.control.client import Client, NoDaemonError
from memtide.runtime.options import RunOptions
from memtide.views.log import log_view
from memtide.views.schema import LogView

__all__ = ["restore"]


@click.command()
@click.argument("vm", required=False)
@click.option("--all", "everything", is_flag=True, help="All guests, statistics periods and KSM's settings.")
@json_option
@control_option
@config_option
@state_option
@uri_option
def restore(  # noqa: PLR0913 - one argument for each option
    *,
    vm: str | None,
    everything: bool,
    as_json: bool,
    control: Path | None,
    config: Path | None,
    state: Path | None,
    uri: str | None,
) -> None:
    """Put back what memtide changed: the guest VM (name or UUID), or everything with --all.

    It works without a daemon too (after a crash, or before memtide is removed): then the originals come from the
    folder of --state and the guests from --uri.
    """
    if everything == (vm is not None):
        raise UsageError("name one guest, or say --all", "`memtide status` lists the guests")
    try:
        outcomes = Client.find(control).restore(vm)
    except NoDaemonError:
        outcomes = _offline(vm, RunOptions(config=config, state=state, uri=uri, control=control))
    if as_json:
        print_json(outcomes)
    elif outcomes:
        print_lines(log_lines(outcomes, zone=local_zone(), now_s=time.time(), width=columns()))
    else:
        click.echo("nothing to put back: memtide has changed nothing, or all is as it was")
    raise_if_refused(outcomes)


def _offline(vm: str | None, options: RunOptions) -> list[LogView]:
    # asyncio, libvirt and the store are loaded only when there is no daemon to do it
    from memtide.runtime.restore import offline  # noqa: PLC0415

    return [log_view(outcome) for outcome in offline(vm, options)]
