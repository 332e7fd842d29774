"""What the simulator costs: many guests for an hour of 2 s ticks, on one core, without a law and with memtide's.

    .venv/bin/python -m bench.sim
    .venv/bin/python -m bench.sim --guests 100 --hours 0.1

A quarter of the guests each: square waves of 20 minutes, level, noise, a random walk. The bar is 60 s for 1000 guests
and one hour, the law included.
"""

import time
from typing import Final

import click

from memtide.model.limits import Limits
from memtide.policy.tide import Tide
from memtide.sim.curve import Curve, flat, noise, walk, wave
from memtide.sim.play import play
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

TICK_S: Final = 2.0
PERIOD_S: Final = 1200.0
OVERCOMMIT: Final = 1.6
"""The guests' maxima over the host's memory: short often enough that a law has something to do."""
FREED_BYTES: Final = 150 * MIB


def demand(index: int) -> Curve:
    """Return what the programs of the guest of this number hold."""
    kinds = (
        lambda: wave(60 * MIB, 600 * MIB, period_s=PERIOD_S, high_s=400, ramp_s=10, phase_s=index * 7.3 % PERIOD_S),
        lambda: flat((100 + index % 300) * MIB),
        lambda: noise(60 * MIB, 500 * MIB, every_s=60, seed=index),
        lambda: walk(60 * MIB, 600 * MIB, step_bytes=60 * MIB, every_s=60, seed=index),
    )
    return kinds[index % len(kinds)]()


def world(guests: int) -> World:
    """Return a host with so many guests of 1 GiB."""
    host = HostSpec(total_bytes=int(guests * GIB / OVERCOMMIT) + GIB, swap_bytes=guests * GIB // 10)
    specs = (GuestSpec(name=f"g{i}", anonymous=demand(i), freed_bytes=i % 5 * FREED_BYTES) for i in range(guests))
    return World(host, specs, step_s=TICK_S)


@click.command()
@click.option("--guests", default=1000, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--hours", default=1.0, show_default=True, type=click.FloatRange(0.001), help="Simulated time.")
def main(guests: int, hours: float) -> None:
    """Print how long it takes, and how much of it is the law's."""
    click.echo(f"{guests} guests, {hours:g} h, a tick every {TICK_S:g} s; CPU seconds of one core")
    click.echo(f"{'law':<8}{'all':>8}{'law':>8}{'simulator':>12}{'actions':>10}{'host swap GiB':>16}")
    for name, law in (("none", None), ("tide", Tide())):
        began_s = time.process_time()
        trace = play(world(guests), law, Limits(period_s=TICK_S), duration_s=hours * 3600, keep_ticks=False)
        all_s = time.process_time() - began_s
        click.echo(
            f"{name:<8}{all_s:>8.1f}{trace.cpu_s:>8.1f}{all_s - trace.cpu_s:>12.1f}"
            f"{trace.action_count:>10}{trace.host_swap_bytes / GIB:>16.1f}"
        )


if __name__ == "__main__":
    main()
