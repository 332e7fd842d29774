"""Each safeguard of the law matters: without it its scenario fails. The table is in ``switches``."""

import pytest
from switches import SAFEGUARDS, Safeguard


@pytest.mark.parametrize("safeguard", SAFEGUARDS.values(), ids=SAFEGUARDS)
def test_a_safeguard_matters(safeguard: Safeguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the figure stays under its bound, and without it does not."""
    with_it = safeguard.scenario()
    for name, value in safeguard.off:
        monkeypatch.setattr(f"memtide.{name}", value)
    without_it = safeguard.scenario()

    assert with_it <= safeguard.most < without_it
