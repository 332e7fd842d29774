"""``memtide simulate``."""

import click

from memtide.errors import UsageError
from memtide.faces.cli.options import DURATION, json_option
from memtide.faces.cli.simulate_text import Progress, list_lines, simulation_lines
from memtide.faces.cli.terminal import columns, print_json, print_lines
from memtide.model.limits import Mode

__all__ = ["simulate"]


@click.command()
@click.argument("scenario", required=False)
@click.option(
    "--policy", "policies", multiple=True, metavar="LAW", help="Run this law; may be given again. All unless told."
)
@click.option(
    "--lag", "lag_s", type=DURATION, default="0s", metavar="TIME", help="Guests' figures are seen so much later."
)
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), help="memtide's mode, if not the scenario's.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Chance begins here; the scenario's own seed.")
@click.option("--list", "as_list", is_flag=True, help="Name the scenarios, each with what it shows.")
@json_option
def simulate(  # noqa: PLR0913 - one argument for each option
    *,
    scenario: str | None,
    policies: tuple[str, ...],
    lag_s: float,
    mode: str | None,
    seed: int | None,
    as_list: bool,
    as_json: bool,
) -> None:
    """Play SCENARIO on a simulated host under several laws, and say who suffered how much.

    SCENARIO is a name from --list or a file (docs/reference/scenarios.md says how to write one). Every law meets the
    same host and guests. A guest's shortage is the memory it used or wanted and did not have, summed over time:
    half a GiB lacking for ten seconds is 5 GiB·s. Needs no root, no QEMU and no daemon.
    """
    # the simulator and all laws: loaded to run, not for --help
    from memtide.runtime import simulate as runner  # noqa: PLC0415

    if as_list:
        listed = runner.scenarios()
        print_json(listed) if as_json else print_lines(list_lines(listed, width=columns()))
        return
    if scenario is None:
        raise UsageError("which scenario?", "`memtide simulate --list` names them")
    laws = runner.check_laws(policies)
    played = runner.scenario(scenario, seed=seed)
    with Progress(played.name, len(laws)) as progress:
        view = runner.simulate(played, laws, lag_s=lag_s, mode=Mode(mode) if mode else None, tell=progress.tell)
    if as_json:
        print_json(view)
    else:
        print_lines(simulation_lines(view, intent=played.intent, duration_s=played.duration_s, width=columns()))
