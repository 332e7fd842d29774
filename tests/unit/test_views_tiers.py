"""`memtide why` names the tier, the numbers and the threshold of every action of the law."""

import pytest
from make import GIB, MIB, START_S, guest, snapshot

from memtide.model.action import SetMemory
from memtide.model.limits import Limits, Mode
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.tide import Tide
from memtide.views.tiers import TIERS, figures, threshold, tier

AIR = {"used_bytes": 100 * MIB, "resident_bytes": 800 * MIB}
WORLDS = {
    ReasonCode.RELIEF: ({"current_bytes": 400 * MIB, "used_bytes": 350 * MIB}, 8 * GIB, Mode.PRESSURE),
    ReasonCode.HOST_SHORT: (AIR, 900 * MIB, Mode.PRESSURE),
    ReasonCode.RETURN: ({"current_bytes": 500 * MIB, "used_bytes": 100 * MIB}, 8 * GIB, Mode.PRESSURE),
    ReasonCode.FOLLOW: (AIR, 8 * GIB, Mode.FOLLOW),
    ReasonCode.OVERLOAD: ({"used_bytes": 900 * MIB}, 0, Mode.PRESSURE),
}


@pytest.mark.parametrize("code", WORLDS)
def test_an_action_names_its_tier_its_numbers_and_its_threshold(code: ReasonCode) -> None:
    """What the law really decided, not a made-up reason, fills the sentence: no bracket stays empty."""
    kind, available_bytes, mode = WORLDS[code]
    law, limits = Tide(), Limits(mode=mode)
    state, found = law.initial(), []
    for tick in range(40):
        at_s = START_S + 2 * tick
        seen = snapshot(guest(**kind, at_s=at_s), at_s=at_s, available_bytes=available_bytes)
        state, decision = law.decide(state, seen, limits)
        found += [a.reason for a in decision.actions if isinstance(a, SetMemory) and a.reason.code is code]
    assert found, "the world was to lead to such an action"

    assert tier(found[0]) == TIERS[code].name
    said = threshold(found[0])
    assert any(unit in said for unit in ("MiB", "GiB", " B"))
    assert said.count(":") >= 1
    assert "state " in figures(found[0].numbers)


def test_a_guest_left_alone_has_no_tier() -> None:
    """There is no threshold where nothing is done."""
    content = Reason(code=ReasonCode.CONTENT)

    assert tier(content) is None
    assert threshold(content) == ""


def test_figures_carry_their_units_once() -> None:
    """The unit is printed with the number and left out of its name."""
    assert figures({"missing_bytes": 512 * MIB, "growth_bps": 4.0 * MIB, "weight": 2.0, "state": "soft"}) == (
        "missing 512 MiB, growth 4 MiB/s, weight 2, state soft"
    )
