"""What one decision over many guests costs, beside a plain pass over the same snapshot.

    .venv/bin/python -m bench.decide [--guests 1000] [--ticks 40]

Every guest's demand moves all the time, and the host is short: the dearest case there is. CPU time of this process, not
wall time; the plain pass reads every figure of every guest once and adds it up, which is the least a law can do.
"""

import time
from statistics import median
from typing import Final

import click

from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.tide import Tide
from memtide.sim.curve import wave
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

GOAL_MS: Final = 20.0
PERIOD_S: Final = 80.0


def world_of(guests: int) -> World:
    """Return a short host with guests whose demand moves all the time, each at another moment."""
    specs = [
        GuestSpec(
            name=f"guest-{index}",
            swap_bytes=256 * MIB,
            anonymous=wave(
                60 * MIB, 600 * MIB, period_s=PERIOD_S, high_s=10, ramp_s=30, phase_s=index * 7.3 % PERIOD_S
            ),
        )
        for index in range(guests)
    ]
    return World(HostSpec(total_bytes=guests * GIB // 2, swap_bytes=guests * GIB // 20), specs, step_s=1.0)


def plain_pass(snapshot: Snapshot) -> int:
    """Return the sum of what every guest has, costs and says of itself."""
    total_bytes = 0
    for guest in snapshot.guests:
        total_bytes += guest.observed.current_bytes + (guest.observed.host_cost_bytes or 0)
        if guest.reported is not None:
            total_bytes += guest.reported.usable_bytes + guest.reported.total_bytes
    return total_bytes


@click.command(help=__doc__)
@click.option("--guests", default=1000, show_default=True)
@click.option("--ticks", default=40, show_default=True)
def main(guests: int, ticks: int) -> None:
    """Measure and print."""
    world, law, limits = world_of(guests), Tide(), Limits(boot_grace_s=0.0)
    state = law.initial()
    decisions_ms, plain_ms, actions = [], [], 0
    for _ in range(ticks):
        world.advance(2.0)
        sample = observe_guests(world)
        snapshot = Snapshot(taken_at_s=world.now_s, host=observe_host(world), guests=sample.guests)
        began_s = time.process_time()
        plain_pass(snapshot)
        passed_s = time.process_time()
        state, decision = law.decide(state, snapshot, limits)
        plain_ms.append(1000 * (passed_s - began_s))
        decisions_ms.append(1000 * (time.process_time() - passed_s))
        actions += len(decision.actions)
    law_ms, pass_ms = median(decisions_ms), median(plain_ms)
    click.echo(f"{guests} guests, {ticks} ticks, {actions} actions; CPU time, median (least):")
    click.echo(f"  plain pass    {pass_ms:6.2f} ms ({min(plain_ms):.2f} ms)")
    click.echo(f"  one decision  {law_ms:6.2f} ms ({min(decisions_ms):.2f} ms)   goal at most {GOAL_MS:.0f} ms")
    click.echo(f"  ratio         {law_ms / pass_ms:6.1f}")


if __name__ == "__main__":
    main()
