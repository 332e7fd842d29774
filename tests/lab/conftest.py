"""What all tests on real guests share: they are skipped where there can be no guests, unless somebody insists."""

import os

import pytest

from lab import why_not


@pytest.fixture(scope="session", autouse=True)
def _possible() -> None:
    reason = why_not()
    if reason and os.environ.get("MEMTIDE_LAB") == "require":
        pytest.fail(f"MEMTIDE_LAB=require, but {reason}")
    if reason:
        pytest.skip(reason)
