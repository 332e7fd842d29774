"""The world of ``memtide run --sim``: eight guests of 1 GiB on 4 GiB, with demand that moves, like the lab's demo.

What they need at any one time fits. What they *leave* resident, freed memory, file data and past peaks, does not: a
host that nobody looks after begins to swap within two minutes.
"""

from typing import Final

from memtide.sim.curve import Curve, flat, wave
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import START_S, World
from memtide.units import GIB, MIB

__all__ = ["demo_world"]

HOST: Final = HostSpec(total_bytes=4 * GIB + 576 * MIB, base_bytes=512 * MIB, swap_bytes=2 * GIB)
"""Without guests 4 GiB are available; 64 MiB are the kernel's watermark."""


def _wave(third: int) -> Curve:
    return wave(60 * MIB, 500 * MIB, period_s=60, high_s=16, ramp_s=3, phase_s=20.0 * third)


def _leak() -> Curve:
    return Curve(points=((0, 40 * MIB), (70, 320 * MIB), (71, 40 * MIB), (90, 40 * MIB)), repeat_s=90)


def _files() -> Curve:
    return Curve(points=((0, 0), (10, 500 * MIB), (89, 500 * MIB), (90, 0)), repeat_s=90)


GUESTS: Final = (
    # three square waves, a third of a minute apart: one of them is high at a time
    *(GuestSpec(name=f"wave-{third}", anonymous=_wave(third)) for third in range(3)),
    # the cheapest memory there is: touched once, free since, still resident on the host
    GuestSpec(name="giant", anonymous=flat(40 * MIB), freed_bytes=900 * MIB),
    GuestSpec(name="burster", anonymous=wave(40 * MIB, 340 * MIB, period_s=60, high_s=13, ramp_s=1, phase_s=45)),
    GuestSpec(name="filler", anonymous=flat(40 * MIB), cold_cache=_files()),
    GuestSpec(name="leaker", anonymous=_leak()),
    GuestSpec(name="steady", anonymous=flat(250 * MIB), hot_ratio=0.4),
)


def demo_world(*, start_s: float = START_S) -> World:
    """Return the demo's world, beginning at this wall time (seconds since 1970)."""
    return World(HOST, GUESTS, start_s=start_s)
