"""``memtide run``."""

from pathlib import Path

import click

from memtide.faces.cli.options import DURATION, config_option, control_option, state_option, uri_option
from memtide.faces.cli.terminal import is_terminal
from memtide.faces.cli.watchers import Painter, Printer, Silent, shown
from memtide.runtime import paths
from memtide.runtime.options import RunOptions
from memtide.views.summary import summary

__all__ = ["run"]


def _asking(control: Path | None, *, simulate: bool) -> str:
    folder = control or (paths.control_folder() / paths.SIMULATED if simulate else None)
    return "" if folder is None else f" --control {folder}"


@click.command()
@click.option(
    "--act/--observe", "acting", default=None, help="Change the world, or only watch it (the default, setting law.act)."
)
@click.option("--for", "for_s", type=DURATION, metavar="TIME", help="End after so long: 90s, 3m, 8h.")
@click.option("--sim", "simulate", is_flag=True, help="A simulated host and guests: no root, no QEMU.")
@click.option("--live", is_flag=True, help="Show the state in the whole terminal, redrawn at every tick; q ends it.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@uri_option
@config_option
@state_option
@control_option
def run(  # noqa: PLR0913 - one argument for each option
    *,
    acting: bool | None,
    for_s: float | None,
    simulate: bool,
    live: bool,
    quiet: bool,
    uri: str | None,
    config: Path | None,
    state: Path | None,
    control: Path | None,
) -> None:
    """Watch the host and its guests, and act on them if told to.

    Without --act nothing is changed: it says what it would do. It runs until Ctrl-C, SIGTERM or the end of --for,
    and then says what it did. SIGHUP reads the settings again. What is given here goes before the settings file.
    """
    # sources, actuators and store: loaded to run, not for --help
    from memtide.runtime import daemon  # noqa: PLC0415

    watcher = (
        Silent() if quiet else Painter(_asking(control, simulate=simulate)) if live and is_terminal() else Printer()
    )
    options = RunOptions(
        acting=acting,
        for_s=for_s,
        uri=uri,
        config=config,
        state=state,
        control=control,
        simulate=simulate,
        watcher=watcher,
    )
    with shown(watcher):
        daemon.run(options)
    if watcher.last is not None and not quiet:
        click.echo("\n".join(summary(watcher.last)))
