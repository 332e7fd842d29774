"""``memtide replay``."""

from pathlib import Path
from typing import Final

import click
import msgspec

from memtide.faces.cli.log_text import local_zone
from memtide.faces.cli.options import json_option
from memtide.faces.cli.replay_text import replay_lines
from memtide.faces.cli.simulate_text import Progress
from memtide.faces.cli.terminal import columns, print_json, print_lines

__all__ = ["replay"]

SHOWN: Final = 20
"""Differences, unless told: about a screen."""


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="LAW",
    help="Ask this law; may be given again. tide and none unless told.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Decide by these settings, not by those on record.",
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"The first so many differences; {SHOWN}, or all with --json.",
)
@click.option("--estimate/--no-estimate", default=True, help="Play what guests needed on a simulated host too.")
@json_option
def replay(  # noqa: PLR0913 - one argument for each option
    *, trace: Path, policies: tuple[str, ...], config: Path | None, limit: int | None, estimate: bool, as_json: bool
) -> None:
    """Ask laws about TRACE, and show where they differ: a file of `memtide record`, or a daemon's state folder.

    First what each law would have asked for at every recorded tick. Nothing is sent: guests do what they did. A law
    repeats what is not done, so an ask counts once, by its largest size. Decisions on record are compared too.

    Then an estimate of what would have come of it: what the guests needed is played on a simulated host, in which
    each law has its way. It says what it assumes.

    A daemon's folder holds only ticks in which the daemon did something; laws know less there than they would have.
    """
    # all laws, the store and the simulator: loaded to replay, not for --help
    from memtide.runtime import replay as runtime  # noqa: PLC0415

    with Progress(str(trace), len(policies) or len(runtime.DEFAULT_LAWS)) as progress:
        view = runtime.replay(trace, laws=policies, config=config, estimate=estimate, tell=progress.tell)
    if as_json:
        print_json(msgspec.structs.replace(view, differences=view.differences[:limit]))
    else:
        shown = SHOWN if limit is None else limit
        print_lines(replay_lines(view, zone=local_zone(), width=columns(), shown=shown))
