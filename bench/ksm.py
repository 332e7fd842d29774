"""The KSM comparison on real guests: what each way to steer KSM saves, and what ksmd's CPU it costs.

    .venv/bin/python -m bench.ksm --managers tide,ksmtuned,advisor,always-on --minutes 10 --out ksm.json
    .venv/bin/python -m bench.ksm --setting short --managers tide --minutes 2 --out ksm.json
    .venv/bin/python -m bench.ksm --table ksm.json

Boots real guests, so it needs root, and changes KSM's settings meanwhile: they are put back. Each run is added to the
file as it ends. At the end, or with --table, the table of each setting is printed, with the verdicts of issue 4.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bench.ksm_managers import MANAGERS
from bench.ksm_plan import SETTINGS
from bench.ksm_result import Run
from bench.ksm_run import measure
from bench.ksm_table import table, verdicts
from bench.run_files import add, read
from lab import LabError

BENCH: Final = "bench.ksm"
DEFAULT_MANAGERS: Final = "tide,ksmtuned,advisor,always-on"


@click.command()
@click.option("--setting", default="roomy", show_default=True, type=click.Choice(list(SETTINGS)))
@click.option("--managers", default=DEFAULT_MANAGERS, show_default=True, help=f"Of {', '.join(MANAGERS)}.")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(1, 120), help="Measured, each run.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Add each run to this file.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Run nothing: print the runs of this file; may be given several times.",
)
def main(*, setting: str, managers: str, minutes: float, out: Path | None, tables: tuple[Path, ...]) -> None:
    """Compare ways to steer KSM on real guests."""
    if tables:
        show([run for file in tables for run in read(file, Run, BENCH)])
        return
    wanted = [name.strip() for name in managers.split(",")]
    if unknown := [name for name in wanted if name not in MANAGERS]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(MANAGERS)}", param_hint="--managers")
    runs = []
    for name in wanted:
        click.echo(f"{setting}, {name}: {MANAGERS[name].words}; {minutes:g} minutes")
        run = measure(name, SETTINGS[setting], minutes=minutes, progress=click.echo)
        runs.append(run)
        if out is not None:
            add(out, run, BENCH)
    show(runs)


def show(runs: Sequence[Run]) -> None:
    """Print a table and the verdicts of each setting."""
    for setting in SETTINGS.values():
        of_setting = [run for run in runs if run.setting == setting.name]
        if of_setting:
            click.echo(f"\n## {setting.name}: {setting.intent}\n\n{table(of_setting)}\n")
            for line in verdicts(of_setting):
                click.echo(f"- {line}")


if __name__ == "__main__":
    try:
        main()
    except LabError as trouble:
        click.echo(f"lab: {trouble}", err=True)
        sys.exit(1)
