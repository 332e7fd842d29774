"""The comparison on real guests: the same demand under memtide, its prototypes, oVirt MOM, and no manager.

    .venv/bin/python -m bench.lab --laws kernel,tide --minutes 10 --out runs.json
    .venv/bin/python -m bench.lab --laws mom --mom PATH --out runs.json
    .venv/bin/python -m bench.lab --table runs.json

Boots real guests on a host made small, so it needs root and most of the machine's memory; what else runs meanwhile
disturbs it, and is shown. Each run is added to the file as it ends. At the end, or with --table for runs made earlier,
the table of each setting is printed, with the verdict of what memtide must reach there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import click

from bench.lab_managers import LAWS
from bench.lab_result import Run
from bench.lab_run import measure
from bench.lab_settings import PERIOD_S, SETTINGS, WARM_UP_S, Setting
from bench.lab_table import table, verdicts
from bench.run_files import add, read
from lab import LabError
from lab.guest import Fill
from memtide.units import GIB, MIB

BENCH: Final = "bench.lab"
DEFAULT_LAWS: Final = ("unshort", "kernel", "fixed", "by-state", "tide")


@click.command()
@click.option("--setting", default="both", show_default=True, type=click.Choice([*SETTINGS, "both"]))
@click.option("--laws", default=",".join(DEFAULT_LAWS), show_default=True, help=f"Of {', '.join(LAWS)}.")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.5, 120), help="Measured, each run.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1, 20))
@click.option("--mom", type=click.Path(file_okay=False, exists=True, path_type=Path), help="oVirt MOM's source tree.")
@click.option("--fill", default="mixed", show_default=True, type=click.Choice(get_args(Fill)), help="Of the memory.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Add each run to this file.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Run nothing: print the runs of this file; may be given several times.",
)
def main(  # noqa: PLR0913 - one for each option
    *,
    setting: str,
    laws: str,
    minutes: float,
    repeat: int,
    mom: Path | None,
    fill: Fill,
    out: Path | None,
    tables: tuple[Path, ...],
) -> None:
    """Compare memory managers on real guests."""
    if tables:
        if len(tables) > 1:
            click.echo(f"Runs from {len(tables)} files together, not made in one go: {', '.join(map(str, tables))}\n")
        show([run for file in tables for run in read(file, Run, BENCH)])
        return
    wanted = [law.strip() for law in laws.split(",")]
    if unknown := [law for law in wanted if law not in LAWS]:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(LAWS)}", param_hint="--laws")
    if "mom" in wanted and mom is None:
        raise click.BadParameter("the law `mom` needs --mom PATH, oVirt MOM's source tree", param_hint="--laws")
    runs = []
    for _ in range(repeat):
        for name in SETTINGS if setting == "both" else [setting]:
            for law in wanted:
                click.echo(f"{name}, {law}: {LAWS[law].words}; {minutes:g} minutes")
                run = measure(law, SETTINGS[name], minutes=minutes, fill=fill, mom=mom, progress=click.echo)
                runs.append(run)
                if out is not None:
                    add(out, run, BENCH)
    show(runs)


def show(runs: Sequence[Run]) -> None:
    """Print a table and the verdicts of each setting."""
    for setting in SETTINGS.values():
        of_setting = [run for run in runs if run.setting == setting.name]
        if of_setting:
            click.echo(f"\n{heading(setting)}\n\n{table(of_setting)}\n")
            for line in verdicts(of_setting):
                click.echo(f"- {line}")


def heading(setting: Setting) -> str:
    """Return what a setting is, in a line."""
    return (
        f"## {setting.name}: {setting.intent}\n\n{setting.guests} guests of {setting.size_bytes / GIB:g} GiB,"
        f" {setting.low_bytes // MIB} or {setting.high_bytes // MIB} MiB hot, half of them high while the others are"
        f" low (period {PERIOD_S} s), on {setting.host_bytes / GIB:.1f} GiB available before boot"
        f" ({setting.overcommit_ratio:.0%}); measured from {WARM_UP_S:g} s after the scripts begin."
    )


if __name__ == "__main__":
    try:
        main()
    except LabError as trouble:
        click.echo(f"lab: {trouble}", err=True)
        sys.exit(1)
