"""Every law in every scenario, at statistics lags of 0, 2 and 5 s, and what that proves.

    .venv/bin/python -m bench.laws
    .venv/bin/python -m bench.laws --scenario antiphase --lag 2 --law tide --law qmemman
    .venv/bin/python -m bench.laws --out docs/why/comparison.md
    .venv/bin/python -m bench.laws --known /tmp/laws.json                                  # keeps all figures ...
    .venv/bin/python -m bench.laws --known /tmp/laws.json --law tide --law tide-follow     # ... to tune a law beside

Laws are those of ``memtide simulate``, memtide's in both modes, the prototypes of the lab notes, and an oracle. One
process a core; a few minutes for everything.
"""

import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

from bench.laws_page import Cell, page
from bench.oracle import Oracle
from bench.prototypes import PROTOTYPES
from bench.verdicts import Figures
from memtide.model.limits import Limits, Mode
from memtide.policy.host_state import reserve_for
from memtide.policy.laws import LAWS
from memtide.ports import Policy
from memtide.runtime.simulate import policy_view
from memtide.sim.observe import observe_host
from memtide.sim.play import Trace, play
from memtide.sim.scenario import find, names
from memtide.sim.world import World

LAGS_S: Final = (0.0, 2.0, 5.0)
FOLLOW: Final = "tide-follow"


class Job(NamedTuple):
    """One run."""

    scenario: str
    lag_s: float
    law: str


def all_laws() -> dict[str, Callable[[World], Policy[Any]]]:
    """Return every law by its name, each made for a world."""
    made = {"tide": _for_any_world(LAWS["tide"].make), FOLLOW: _for_any_world(LAWS["tide"].make)}
    made |= {name: _for_any_world(law.make) for name, law in LAWS.items()}
    made |= {name: _for_any_world(partial(_itself, prototype)) for name, prototype in PROTOTYPES.items()}
    return made | {Oracle.name: Oracle}


def _for_any_world(make: Callable[[], Policy[Any]]) -> Callable[[World], Policy[Any]]:
    return lambda _world: make()


def _itself(policy: Policy[Any]) -> Policy[Any]:
    """Return a law that is ready as it is: laws keep their state outside."""
    return policy


def run(job: Job) -> tuple[Job, Figures]:
    """Return what comes of one law in one scenario at one lag."""
    scenario = find(job.scenario)
    world = scenario.world(lag_s=job.lag_s)
    limits = scenario.limits_for(Mode.FOLLOW if job.law == FOLLOW else None)
    trace = play(
        world,
        all_laws()[job.law](world),
        limits,
        duration_s=scenario.duration_s,
        reserve_bytes=reserve_for(observe_host(world), limits),
        events=scenario.events,
        outages=scenario.outages,
        keep_ticks=False,
    )
    return job, figures(job.law, trace, limits)


def figures(law: str, trace: Trace, limits: Limits) -> Figures:
    """Return a run's figures."""
    view = policy_view(trace)
    return Figures(
        law=law,
        shortage_gib_s=view.shortage_gib_s,
        worst_guest=view.worst_guest,
        oom_kills=view.oom_kills,
        under_reserve_s=view.host_under_reserve_s,
        under_line_s=view.host_under_emergency_s,
        moved_gib=view.moved_gib,
        reversals=view.reversals,
        guest_swap_gib=view.guest_swap_gib,
        host_swap_gib=view.host_swap_gib,
        major_faults=view.major_faults,
        longest_relief_s=view.longest_relief_s,
        cpu_s=trace.cpu_s,
        by_weight=_by_weight(trace, limits),
    )


def _by_weight(trace: Trace, limits: Limits) -> dict[float, float]:
    """Return the mean shortage of a guest of each weight."""
    shortages: dict[float, list[float]] = defaultdict(list)
    for name, guest in trace.guests.items():
        weight = limits.defaults.weight
        for rule in limits.rules:
            if rule.weight is not None and rule.matches(name=name, uuid=""):
                weight = rule.weight
        shortages[weight].append(guest.shortage_gib_s)
    return {weight: sum(each) / len(each) for weight, each in shortages.items()}


def read_known(path: Path | None) -> dict[Job, Figures]:
    """Return the figures that an earlier run kept; none without a file."""
    if path is None or not path.exists():
        return {}
    rows = msgspec.json.decode(path.read_bytes(), type=list[tuple[Job, Figures]])
    return dict(rows)


def run_all(jobs: Sequence[Job], processes: int) -> dict[Job, Figures]:
    """Run everything on so many cores, telling on stderr how far it is."""
    began_s, done = time.monotonic(), {}
    with multiprocessing.Pool(processes) as pool:
        for job, found in pool.imap_unordered(run, jobs):
            done[job] = found
            if len(done) % 50 == 0 or len(done) == len(jobs):
                click.echo(f"{len(done)} of {len(jobs)} runs, {time.monotonic() - began_s:.0f} s", err=True)
    return done


@click.command()
@click.option("--scenario", "scenarios", multiple=True, help="Only this one (name or file); may be given again.")
@click.option("--lag", "lags_s", multiple=True, type=float, help="Only this lag, in seconds; may be given again.")
@click.option("--law", "laws", multiple=True, type=click.Choice(list(all_laws())), help="Only this law.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True, help="So many at once.")
@click.option(
    "--known",
    type=click.Path(path_type=Path),
    help="Take the figures of what is not run now from this file, and keep all there. It is for tuning a law: what"
    " it kept is of the simulator and the scenarios of that day.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the page here instead of printing it.")
def main(  # noqa: PLR0913 - one argument for each option
    *,
    scenarios: tuple[str, ...],
    lags_s: tuple[float, ...],
    laws: tuple[str, ...],
    processes: int,
    known: Path | None,
    out: Path | None,
) -> None:
    """Print a table for each scenario, the verdicts, and how many of them are reached."""
    played = {name: find(name) for name in scenarios or names()}
    lags_s, laws = lags_s or LAGS_S, laws or tuple(all_laws())
    # the long ones first, so that no core waits for one at the end
    order = sorted(played, key=lambda name: -len(played[name].guests) * played[name].duration_s)
    jobs = [Job(name, lag_s, law) for name in order for lag_s in lags_s for law in laws]
    found = read_known(known) | run_all(jobs, processes)
    if known is not None:
        known.write_bytes(msgspec.json.encode(list(found.items())))
    cells = [
        Cell(
            scenario=played[name].name,
            intent=played[name].intent,
            note=played[name].note,
            duration_s=played[name].duration_s,
            figures={
                lag_s: {law: found[Job(name, lag_s, law)] for law in all_laws() if Job(name, lag_s, law) in found}
                for lag_s in lags_s
            },
        )
        for name in played
    ]
    text = page(cells, subjects=_subjects(cells), command=_command())
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)
        click.echo(f"written: {out}", err=True)


def _subjects(cells: Sequence[Cell]) -> list[str]:
    """Return memtide's laws, those that were run everywhere."""
    return [law for law in ("tide", FOLLOW) if all(law in by_law for cell in cells for by_law in cell.figures.values())]


def _command() -> str:
    return " ".join([".venv/bin/python -m bench.laws", *sys.argv[1:]])


if __name__ == "__main__":
    main()
