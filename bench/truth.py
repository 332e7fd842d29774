"""Does the simulator tell the truth? The table measured on real guests (lab-notes), and the same laws simulated.

    .venv/bin/python -m bench.truth

Prints both side by side, in pages. tests/scenario/test_sim_truth.py holds the simulator to it; docs/why/simulator.md
says what it does not know.
"""

import functools
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

import click
import msgspec

from bench.prototypes import Nominal, by_state, fixed
from memtide.model.limits import Limits
from memtide.policy.peers.mom import Mom
from memtide.ports import Policy
from memtide.sim.play import Trace, play
from memtide.sim.scenario import Scenario, find
from memtide.units import MIB

PAGE_BYTES: Final = 4096
LIMITS: Final = Limits(boot_grace_s=0, period_s=1, manage_ksm=False)
WARM_UP_S: Final = 60.0
"""Played before measuring: the managers of the table had been at work for a while."""
MEASURED_S: Final = {"lab-roomy": 200.0, "lab-tight": 300.0}
ZEROS_COMPRESSION: Final = 30.0
"""The guests of that table held mostly zeros; those of the scenarios hold what compresses 3:1."""
OVERHEAD_BYTES: Final = 110 * MIB
"""QEMU's own memory under TCG, as the prototypes were told."""

LAWS: Final[Mapping[str, Policy[Any] | None]] = {
    "none": None,
    "mom": Mom(),
    "nominal": Nominal(overhead_bytes=OVERHEAD_BYTES),
    "fixed": fixed(overhead_bytes=OVERHEAD_BYTES),
    "by-state": by_state(overhead_bytes=OVERHEAD_BYTES),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What the guests and the host of one run suffered; pages."""

    guest_faults: int
    guest_swap: int
    host_swap: int

    @property
    def pages(self) -> int:
        """Return all of it together."""
        return self.guest_faults + self.guest_swap + self.host_swap


MEASURED: Final = {
    "lab-roomy": {
        "none": Row(0, 0, 2_511_976),
        "mom": Row(3_637_092, 7_509_670, 595_614),
        "nominal": Row(1_632_039, 3_272_057, 29_180),
        "fixed": Row(0, 0, 11_202),
        "by-state": Row(18_050, 36_462, 9_875),
    },
    "lab-tight": {
        "none": Row(0, 0, 1_439_219),
        "mom": Row(6_164_093, 12_579_407, 142_057),
        "nominal": Row(9_198_454, 19_207_452, 64_283),
        "fixed": Row(0, 0, 1_448_657),
        "by-state": Row(17_063, 34_365, 73_409),
    },
}


def of_zeros(scenario: Scenario) -> Scenario:
    """Return it with memory that compresses as that of the measured guests did."""
    guests = tuple(msgspec.structs.replace(g, swap_compression=ZEROS_COMPRESSION) for g in scenario.guests)
    host = msgspec.structs.replace(scenario.host, swap_compression=ZEROS_COMPRESSION)
    return msgspec.structs.replace(scenario, host=host, guests=guests)


def pages(trace: Trace) -> Row:
    """Return what it came to in the whole run."""
    return Row(trace.major_faults, trace.guest_swap_bytes // PAGE_BYTES, trace.host_swap_bytes // PAGE_BYTES)


@functools.cache
def simulated(setting: str, law: str) -> Row:
    """Return the row of one law: a run with the warm-up, less the same run up to its end."""
    scenario = of_zeros(find(setting))

    def run(duration_s: float) -> Row:
        return pages(play(scenario.world(), LAWS[law], LIMITS, duration_s=duration_s, keep_ticks=False))

    whole, warm_up = run(WARM_UP_S + MEASURED_S[setting]), run(WARM_UP_S)
    return Row(
        whole.guest_faults - warm_up.guest_faults,
        whole.guest_swap - warm_up.guest_swap,
        whole.host_swap - warm_up.host_swap,
    )


@click.command()
def main() -> None:
    """Print the measured and the simulated table side by side."""
    click.echo("| pages, measured / simulated | guest major faults | guest swap in + out | host swap in + out |")
    click.echo("|---|---:|---:|---:|")
    for setting, rows in MEASURED.items():
        for law, real in rows.items():
            pairs = zip(astuple(real), astuple(simulated(setting, law)), strict=True)
            cells = " | ".join(f"{there:,} / {here:,}" for there, here in pairs)
            click.echo(f"| {setting}: {law} | {cells} |")


if __name__ == "__main__":
    main()
