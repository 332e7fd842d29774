"""Every contract test runs on a simulated world and on real guests.

Real guests are booted once a module; ``MEMTIDE_LAB=require`` turns the skip, where they cannot be, into a failure.
"""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from contract.providers import Provider, booted_lab, real, sim_world, simulated

from lab import Lab, why_not


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Five real guests."""
    reason = why_not()
    if reason and os.environ.get("MEMTIDE_LAB") == "require":
        pytest.fail(f"MEMTIDE_LAB=require, but {reason}")
    if reason:
        pytest.skip(reason)
    with booted_lab() as running:
        yield running


@pytest.fixture(params=["sim", pytest.param("lab", marks=pytest.mark.lab)])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Each of the two worlds in turn."""
    world = simulated(sim_world()) if request.param == "sim" else real(request.getfixturevalue("lab"))
    async with world as ready:
        yield ready
