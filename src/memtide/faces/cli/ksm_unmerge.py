"""``memtide ksm unmerge``."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from memtide.errors import ActuatorError
from memtide.faces.cli.options import DURATION, config_option, control_option, json_option, state_option
from memtide.faces.cli.terminal import print_json
from memtide.runtime.control.client import Client, NoDaemonError
from memtide.runtime.options import RunOptions
from memtide.views.unmerge import SHARERS, UnmergePhase, UnmergeView, unmerge_line

__all__ = ["unmerge"]

NO_DAEMON = "no daemon runs: after this nothing holds ksmd off but run=0; a daemon that starts in time takes it up"


@click.command()
@click.option(
    "--max-page-sharing",
    type=click.IntRange(SHARERS.start, SHARERS.stop - 1),
    metavar="N",
    help="Write it when nothing is merged.",
)
@click.option("--merge-across-nodes", type=click.Choice(["yes", "no"]), help="Write it when nothing is merged.")
@click.option(
    "--for",
    "for_s",
    type=DURATION,
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Hold ksmd off for so long, so that it does not merge all again.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@json_option
@control_option
@config_option
@state_option
@click.pass_context
def unmerge(  # noqa: PLR0913 - one argument for each option
    ctx: click.Context,
    *,
    max_page_sharing: int | None,
    merge_across_nodes: str | None,
    for_s: float,
    dry_run: bool,
    as_json: bool,
    control: Path | None,
    config: Path | None,
    state: Path | None,
) -> None:
    """Undo KSM's merging in stages, without bringing the OOM killer.

    Every merged page gets a copy of its own again; the memory that takes is computed first, and without it nothing
    is changed. The kernel accepts another max_page_sharing or merge_across_nodes only while nothing is merged:
    with those options they are written at the end. It works without a daemon too, as root.
    """
    outer: dict[str, Any] = {} if ctx.parent is None else ctx.parent.params
    as_json = as_json or outer.get("as_json", False)
    if ctx.get_parameter_source("control") is not ParameterSource.COMMANDLINE:
        control = outer.get("control", control)
    across = None if merge_across_nodes is None else merge_across_nodes == "yes"
    seen: list[UnmergeView] = []

    def tell(view: UnmergeView) -> None:
        seen.append(view)
        if not as_json:
            click.echo(unmerge_line(view))

    try:
        _tell_all(
            Client.find(control).unmerge_ksm(
                max_page_sharing=max_page_sharing, merge_across_nodes=across, for_s=for_s, dry_run=dry_run
            ),
            tell,
        )
    except NoDaemonError:
        # asyncio and the store are loaded only when there is no daemon to do it
        from memtide.runtime.unmerge_offline import offline  # noqa: PLC0415

        click.echo(NO_DAEMON, err=True)
        options = RunOptions(config=config, state=state, control=control)
        offline(options, tell, for_s=for_s, files=(max_page_sharing, across), dry_run=dry_run)
    if as_json:
        print_json(seen[-1])
    _raise_unless_done(seen[-1])


def _tell_all(views: Iterable[UnmergeView], tell: Callable[[UnmergeView], None]) -> None:
    for view in views:
        tell(view)


def _raise_unless_done(view: UnmergeView) -> None:
    if view.phase in {UnmergePhase.REFUSED, UnmergePhase.STOPPED}:
        raise ActuatorError(
            "the merging was not undone" if view.phase is UnmergePhase.REFUSED else "not everything came apart",
            view.hint or "what is merged stays merged, ksmd rests; make room and ask again",
        )
