"""What a tick costs: the whole of one, beside the bare bulk call to libvirt, in the same process and run.

    .venv/bin/python -m bench.tick [--guests 8] [--rounds 200]

Boots real guests. CPU time is this process's own, all threads. Both are measured in turns, so that other work on the
machine slows both alike; the ratio is the result, not the times. `act` runs the whole daemon's loop (sources, law,
store) against guests that have nothing to give, so it is the price of watching.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import libvirt

from lab import GuestSpec, Lab
from memtide.runtime import wiring
from memtide.runtime.options import RunOptions
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import load
from memtide.units import KIB

GROUPS = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON
FLAGS = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
GOAL_RATIO = 3.0
GOAL_RESIDENT_MIB = 42


async def measure(uri: str, rounds: int, folder: Path) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of each bare call and of each tick, taken in turns."""
    config = folder / "memtide.toml"
    config.write_text("")
    options = RunOptions(acting=True, uri=uri, state=folder / "state", control=folder / "control", config=config)
    loaded = load(options.config, overrides(options))
    bare_s, tick_s = [], []
    connection = libvirt.open(uri)
    async with wiring.assembled(loaded.settings, simulate=False) as parts:
        service = Service(parts, loaded, options)
        await parts.guests.start(service.notify)
        for _ in range(5):  # processes found, configurations read, statistics switched on
            await service.loop.tick()
            await asyncio.sleep(1)
        for _ in range(rounds):
            began_s = time.process_time()
            connection.getAllDomainStats(GROUPS, FLAGS)
            bare_s.append(time.process_time() - began_s)
            await asyncio.sleep(0.02)
            began_s = time.process_time()
            await service.loop.tick()
            service.ticked()
            tick_s.append(time.process_time() - began_s)
            await asyncio.sleep(0.02)
    connection.close()
    return bare_s, tick_s


def daemon_resident_mib(uri: str, folder: Path) -> float:
    """Return the resident memory of a real daemon on these guests, after half a minute."""
    environment = os.environ | {"MEMTIDE_STATE": str(folder / "own"), "MEMTIDE_CONTROL": str(folder / "sockets")}
    memtide = Path(sys.executable).with_name("memtide")
    daemon = subprocess.Popen([memtide, "run", "--quiet", "--act", "--uri", uri], env=environment)
    try:
        time.sleep(30)
        lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / KIB
    finally:
        daemon.terminate()
        daemon.wait(20)


@click.command()
@click.option("--guests", default=8, show_default=True)
@click.option("--rounds", default=200, show_default=True)
def main(*, guests: int, rounds: int) -> None:
    """Print what a tick costs beside the bare bulk call."""
    specs = [GuestSpec(script="hold 40MiB")] * guests
    with Lab(specs, progress=click.echo, wait_s=300) as lab, tempfile.TemporaryDirectory() as folder:
        bare_s, tick_s = asyncio.run(measure(lab.uri, rounds, Path(folder)))
        daemon_mib = daemon_resident_mib(lab.uri, Path(folder))
    ratio = statistics.median(tick_s) / statistics.median(bare_s)
    click.echo(f"\n{guests} guests, {rounds} rounds, own CPU, median (90th percentile):")
    for name, costs in (("bare bulk call", bare_s), ("whole tick", tick_s)):
        ordered = sorted(costs)
        click.echo(
            f"  {name:16}{statistics.median(costs) * 1e3:7.2f} ms ({ordered[len(ordered) * 9 // 10] * 1e3:.2f} ms)"
        )
    click.echo(f"  ratio           {ratio:7.2f}    goal at most {GOAL_RATIO:g}")
    click.echo(f"  daemon resident {daemon_mib:7.1f} MiB goal {GOAL_RESIDENT_MIB} MiB")


if __name__ == "__main__":
    main()
