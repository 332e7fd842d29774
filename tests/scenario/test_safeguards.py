"""Each safeguard of the law matters: without it its scenario fails. The table is in ``switches``."""

from pathlib import Path

import pytest
from safeguard_page import table
from switches import SAFEGUARDS, Safeguard


@pytest.mark.parametrize("safeguard", SAFEGUARDS.values(), ids=SAFEGUARDS)
def test_a_safeguard_matters(safeguard: Safeguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the figure stays under its bound, and without it does not."""
    with_it = safeguard.scenario()
    for name, value in safeguard.off:
        monkeypatch.setattr(f"memtide.{name}", value)
    without_it = safeguard.scenario()

    assert with_it <= safeguard.most < without_it


def test_the_page_has_the_table_of_today() -> None:
    """docs/why/proof.md is written from the same table (safeguard_page prints it)."""
    assert table() in (Path(__file__).parents[2] / "docs" / "why" / "proof.md").read_text()
