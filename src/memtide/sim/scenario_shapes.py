"""Curves by name, as a scenario file writes them: ``anonymous = { shape = "wave", low = "60MiB", … }``.

Each shape is a struct whose fields are the shape's keys. All have a phase; of a block with ``count`` guests each may
be later than the one before (``phase_step``), or later by chance (``phase_random``, by the scenario's seed).
"""

import random
from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.sim.curve import Curve, flat, leak, noise, walk, wave

__all__ = ["SHAPES", "Shape"]

SEEDS: Final = 2**32


class Shape(Model, frozen=True, kw_only=True):
    """What all shapes have in common."""

    phase_s: float = 0.0
    """How much later than its own times it runs."""
    phase_step_s: float = 0.0
    """How much later each guest of the block is than the one before."""
    phase_random_s: float = 0.0
    """Each guest of the block is later by anything from nothing to this."""

    def curve(self, seed: int) -> Curve:
        """Return it as a curve, before any phase; the seed is for those left to chance."""
        raise NotImplementedError

    def curve_of(self, index: int, chance: random.Random) -> Curve:
        """Return the curve of one guest of the block.

        Args:
            index: which guest, from 0.
            chance: what else is left to chance is drawn from it.
        """
        curve = self.curve(chance.randrange(SEEDS))
        later_s = self.phase_s + index * self.phase_step_s + chance.random() * self.phase_random_s
        return msgspec.structs.replace(curve, phase_s=curve.phase_s + later_s)


class Flat(Shape, frozen=True, kw_only=True):
    """Never changes; a bare size means this."""

    size_bytes: int

    def curve(self, seed: int) -> Curve:  # noqa: ARG002 - nothing is left to chance
        """Return it as a curve."""
        return flat(self.size_bytes)


class Wave(Shape, frozen=True, kw_only=True):
    """A square wave with slopes: up, high for a while, down, low for the rest of the period."""

    low_bytes: int
    high_bytes: int
    period_s: float
    high_for_s: float
    ramp_s: float = 2.0

    def curve(self, seed: int) -> Curve:  # noqa: ARG002 - nothing is left to chance
        """Return it as a curve."""
        return wave(self.low_bytes, self.high_bytes, period_s=self.period_s, high_s=self.high_for_s, ramp_s=self.ramp_s)


class Points(Shape, frozen=True, kw_only=True):
    """Straight lines between points."""

    points: tuple[tuple[float, int], ...]
    """Pairs of time and size, the times rising; before the first and after the last the size stays."""
    repeat_s: float | None = None
    """Begin again after so long."""

    def curve(self, seed: int) -> Curve:  # noqa: ARG002 - nothing is left to chance
        """Return it as a curve."""
        return Curve(points=self.points, repeat_s=self.repeat_s)


class Leak(Shape, frozen=True, kw_only=True):
    """Grows steadily from one size to another and stays there, or falls back and begins again."""

    low_bytes: int
    high_bytes: int
    bps: int
    again: bool = False
    """Fall back to the low size in a second, stay there as long, and leak again."""

    def curve(self, seed: int) -> Curve:  # noqa: ARG002 - nothing is left to chance
        """Return it as a curve."""
        once = leak(self.low_bytes, self.high_bytes, bps=self.bps)
        full_s = once.points[-1][0]
        if not self.again:
            return once
        return Curve(points=(*once.points, (full_s + 1, self.low_bytes)), repeat_s=full_s + 2)


class Noise(Shape, frozen=True, kw_only=True):
    """Jumps every so often to any size between two, by chance."""

    low_bytes: int
    high_bytes: int
    every_s: float

    def curve(self, seed: int) -> Curve:
        """Return it as a curve."""
        return noise(self.low_bytes, self.high_bytes, every_s=self.every_s, seed=seed)


class Walk(Shape, frozen=True, kw_only=True):
    """Wanders between two sizes from their middle: every so often up or down by at most a step."""

    low_bytes: int
    high_bytes: int
    step_bytes: int
    every_s: float

    def curve(self, seed: int) -> Curve:
        """Return it as a curve."""
        return walk(self.low_bytes, self.high_bytes, step_bytes=self.step_bytes, every_s=self.every_s, seed=seed)


SHAPES: Final[dict[str, type[Shape]]] = {
    "flat": Flat,
    "wave": Wave,
    "points": Points,
    "leak": Leak,
    "noise": Noise,
    "walk": Walk,
}
"""By their name in the file."""
