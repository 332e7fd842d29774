"""Sizes over time: where they are, how long they stay, and chance that is always the same."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtide.sim.curve import Course, Curve, leak, noise, walk
from memtide.units import GIB, MIB


def test_a_curve_is_straight_between_its_points_and_begins_again() -> None:
    """Linear, constant beyond its ends, repeated and shifted."""
    ramp = Curve(points=((10, 0), (20, 100)))
    assert [ramp.at(at_s) for at_s in (0, 10, 15, 20, 99)] == [0, 0, 50, 100, 100]

    saw = Curve(points=((0, 0), (10, 100)), repeat_s=10, phase_s=5)
    assert [saw.at(at_s) for at_s in (0, 5, 10, 14.99, 15)] == [50, 0, 50, 99, 0]


@pytest.mark.parametrize("curve", [
    lambda seed: noise(50 * MIB, 200 * MIB, every_s=10, lasts_s=600, seed=seed),
    lambda seed: walk(50 * MIB, 200 * MIB, step_bytes=20 * MIB, every_s=10, lasts_s=600, seed=seed),
])  # fmt: skip
def test_chance_is_the_same_for_one_seed_and_stays_between_its_bounds(curve: Callable[[int], Curve]) -> None:
    """Noise and random walks: as many different sizes as there are jumps, and another seed takes another course."""
    sizes = [curve(1).at(at_s) for at_s in range(0, 600, 10)]

    assert sizes == [curve(1).at(at_s) for at_s in range(0, 600, 10)]
    assert sizes != [curve(2).at(at_s) for at_s in range(0, 600, 10)]
    assert 50 * MIB <= min(sizes) < max(sizes) <= 200 * MIB
    assert len(set(sizes)) > 20


def test_a_leak_rises_and_ends() -> None:
    """10 MiB/s from the fifth second on, up to 100 MiB."""
    curve = leak(0, 100 * MIB, bps=10 * MIB, at_s=5)

    assert [curve.at(at_s) // MIB for at_s in (0, 5, 6, 15, 100)] == [0, 0, 10, 100, 100]


@given(
    points=st.lists(st.tuples(st.floats(0, 50), st.integers(0, GIB)), min_size=1, max_size=5, unique_by=lambda p: p[0]),
    repeat_s=st.sampled_from((None, 30.0, 60.0)),
    phase_s=st.floats(-20, 20),
    elapsed_s=st.floats(0, 200),
    ahead=st.floats(0, 1),
)
def test_a_course_knows_how_long_it_stays_level(
    points: list[tuple[float, int]], repeat_s: float | None, phase_s: float, elapsed_s: float, ahead: float
) -> None:
    """Until the moment it names nothing changes, wherever in between one looks."""
    course = Course(Curve(points=tuple(sorted(points)), repeat_s=repeat_s, phase_s=phase_s))
    size_bytes, until_s = course.at(elapsed_s), course.flat_until_s(elapsed_s)

    between_s = elapsed_s + ahead * (min(until_s, elapsed_s + 500) - elapsed_s)
    assert between_s < elapsed_s or course.at(between_s) == size_bytes
