"""``memtide record``."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtide.faces.cli.options import DURATION, config_option, uri_option
from memtide.runtime.options import RunOptions
from memtide.units import format_duration, format_size

if TYPE_CHECKING:
    from memtide.runtime.record import Progress

__all__ = ["record"]


@click.command()
@click.option("--for", "for_s", type=DURATION, metavar="TIME", help="End after so long: 90s, 10m, 8h.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to make; memtide-HOST-TIME.trace.gz unless told.",
)
@click.option("--anonymous", is_flag=True, help="Put made-up names in place of names, UUIDs, titles and owners.")
@click.option("--sim", "simulate", is_flag=True, help="A simulated host and guests: no root, no QEMU.")
@uri_option
@config_option
def record(  # noqa: PLR0913 - one argument for each option
    *,
    for_s: float | None,
    out: Path | None,
    anonymous: bool,
    simulate: bool,
    uri: str | None,
    config: Path | None,
) -> None:
    """Write down what the host and its guests go through, to ask any law about it later (`memtide replay`).

    It sees what a daemon sees, as often, and writes it to a new file with what an observing daemon would have said,
    tick by tick. It changes nothing and needs no daemon; beside one it is in nobody's way. It runs until Ctrl-C,
    SIGTERM or the end of --for. After a kill the file is good up to the last tick.

    The settings tell it where the guests are, how often to look, and what the operator wants. Sizes that were set by
    hand are known from the daemon's folder (setting store.directory), if this user may read it.
    """
    # asyncio and the sources: loaded to record, not for --help
    from memtide.runtime import record as runtime  # noqa: PLC0415

    watched = sys.stderr is not None and sys.stderr.isatty()
    options = RunOptions(for_s=for_s, uri=uri, config=config, simulate=simulate)
    try:
        done = runtime.record(options, out=out, anonymous=anonymous, tell=_show if watched else _say_nothing)
    finally:
        if watched:
            click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(f"{done.path}: {_told(done)}; `memtide replay {done.path}` asks laws about it")


def _told(progress: "Progress") -> str:
    ticks = f"{progress.ticks} tick{'' if progress.ticks == 1 else 's'} in {format_duration(progress.ran_s)}"
    guests = f"{progress.guests} guest{'' if progress.guests == 1 else 's'}"
    return f"{ticks}, {guests}, {format_size(progress.size_bytes)}"


def _show(progress: "Progress") -> None:
    """Redraw the line of a person who waits."""
    trouble = "".join(f"; {sentence}" for sentence in progress.troubles)
    # a line that wraps cannot be redrawn in place
    said = f"{progress.path.name}: {_told(progress)}; Ctrl-C ends it{trouble}"[: shutil.get_terminal_size().columns - 1]
    click.echo(f"\r\x1b[K{said}", nl=False, err=True)


def _say_nothing(_progress: "Progress") -> None:
    """Keep a script's error output to errors."""
