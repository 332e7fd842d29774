"""Hosts with a few guests of any kind, by chance but always the same for one seed.

Where nobody thinks of the case in which a safeguard matters, a search over a hundred of these finds one.
"""

import random

from memtide.model.limits import GuestRule, Limits
from memtide.sim.curve import Curve, flat, leak, noise, wave
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import MIB

__all__ = ["holding", "mixed"]

WATERMARK_MIB = 64


def holding(guests: list[GuestSpec], left_mib: int, *, swap_mib: int = 0, base: Curve | None = None) -> World:
    """Return a host on which so much is available beside what these guests hold at the beginning."""
    held_bytes = sum(
        g.anonymous.at(0) + g.hot_cache.at(0) + g.freed_bytes + g.kernel_bytes + g.overhead_bytes
        for g in guests
        if not g.start_at_s
    )
    total_bytes = held_bytes + (left_mib + WATERMARK_MIB + 512) * MIB
    spec = HostSpec(total_bytes=total_bytes, base_bytes=512 * MIB, base=base, swap_bytes=swap_mib * MIB)
    return World(spec, guests)


def mixed(seed: int) -> tuple[World, Limits]:
    """Return a world and what its operator allows."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    guests = [_guest(chance, f"g{i}", seed) for i in range(chance.randint(2, 5))]
    rules = chance.choice([(), (GuestRule(match="g0", weight=4.0),)])
    reserve_mib = chance.choice([400, 700, 1000])
    swap_mib = chance.choice([0, 0, 400, 1024, 4096])
    left_mib = chance.choice([50, 200, 400, 700, 1000, 1500])
    limits = Limits(boot_grace_s=0.0, reserve_bytes=reserve_mib * MIB, rules=rules)
    return holding(guests, left_mib, swap_mib=swap_mib), limits


def _guest(chance: random.Random, name: str, seed: int) -> GuestSpec:
    curve = _curve(chance, seed)
    begin_mib = curve.at(0) // MIB
    freed_mib = chance.choice([0, 100, 300])
    current_mib = min(1024, max(chance.choice([1024, 1024, 700, 400]), begin_mib + freed_mib + 60))
    return GuestSpec(
        name=name,
        anonymous=curve,
        freed_bytes=min(freed_mib, current_mib - begin_mib - 60) * MIB,
        current_bytes=current_mib * MIB,
        swap_bytes=chance.choice([512, 1024]) * MIB,
        hot_ratio=chance.choice([1.0, 0.8, 0.5]),
        stats_lag_s=chance.choice([0.0, 1.0, 2.0]),
        deflates_on_oom=chance.random() < 0.15,
        stats_period_s=chance.choice([1, 1, 2, 5]),
    )


def _curve(chance: random.Random, seed: int) -> Curve:
    kind = chance.choice(["flat", "wave", "leak", "steps", "noise"])
    low = chance.choice([60, 100, 200, 300]) * MIB
    high = chance.choice([400, 500, 600, 800, 950]) * MIB
    if kind == "flat":
        return flat(chance.choice([low, high]))
    if kind == "wave":
        period_s = chance.choice([12, 20, 30, 60, 90])
        high_s, ramp_s = period_s * chance.choice([0.2, 0.4, 0.5]), chance.choice([1, 2, 5])
        phase_s = period_s * chance.random()
        return wave(low, high, period_s=period_s, high_s=high_s, ramp_s=ramp_s, phase_s=phase_s)
    if kind == "leak":
        return leak(low, high, bps=chance.choice([3, 8, 20, 50, 150]) * MIB, at_s=chance.choice([5, 20, 40]))
    if kind == "noise":
        return noise(low, (low + high) // 2, every_s=chance.choice([3, 6, 12]), seed=seed)
    rise_s, top_s = chance.randint(5, 15), chance.randint(16, 25)
    fall_s, end_s = chance.randint(40, 60), chance.randint(61, 80)
    middle = (low + high) // 2
    return Curve(points=((0, low), (rise_s, low), (top_s, high), (fall_s, high), (end_s, middle)))
