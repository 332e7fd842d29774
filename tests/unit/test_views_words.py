"""The words that people read: complete, plain, and never broken by a missing number."""

import re

import pytest

from memtide.model.decision import HostState
from memtide.model.reason import Reason, ReasonCode
from memtide.units import GIB, MIB
from memtide.views.words import PHRASES, fill, pair, sentence, state_means, what_next

ALL_NUMBERS: dict[str, int | float | str] = {
    "usable_bytes": 40 * MIB,
    "line_bytes": 96 * MIB,
    "available_bytes": 1229 * MIB,
    "reserve_bytes": 2 * GIB,
    "missing_bytes": 819 * MIB,
    "slack_bytes": 51 * MIB,
    "keep_bytes": 300 * MIB,
    "demand_bytes": 280 * MIB,
    "target_bytes": 3 * GIB,
    "dead_band_bytes": 16 * MIB,
    "growth_bps": 12.0 * MIB,
    "swap_out_bytes": 5 * MIB,
    "share_bytes": 100 * MIB,
    "wanted_bytes": 300 * MIB,
    "for_s": 33.2,
    "period_s": 2,
    "state": "soft",
    "who": "root",
    "uid": 0,
    "why": "its QEMU does not answer",
}


def test_every_reason_has_its_words() -> None:
    """There is one phrase for each reason, and none for a reason that is gone."""
    assert set(PHRASES) == set(ReasonCode)


@pytest.mark.parametrize("code", ReasonCode)
def test_sentences_are_plain(code: ReasonCode) -> None:
    """No sentence speaks of balloons or prints a number of bytes, and none leaves a placeholder behind."""
    said = sentence(Reason(code=code, numbers=ALL_NUMBERS))

    assert not re.search(r"inflat|deflat|balloon", said, re.IGNORECASE)
    assert not re.search(r"\d{6,}|[][{}?]", said)
    assert said == said.strip()
    assert len(PHRASES[code].doing) <= 10


@pytest.mark.parametrize("code", ReasonCode)
def test_sentences_need_no_numbers(code: ReasonCode) -> None:
    """Without any number there is still a sentence, and what would change it, without holes."""
    for said in (sentence(Reason(code=code)), what_next(Reason(code=code))):
        assert not re.search(r"[][{}?]|  |[:,;(] *$|^ ", said)
    assert sentence(Reason(code=code))


@pytest.mark.parametrize("code", ReasonCode)
def test_numbers_stand_in_brackets(code: ReasonCode) -> None:
    """What lacks a number is left out as a whole, so no number may stand outside brackets."""
    for template in (PHRASES[code].says, PHRASES[code].next):
        assert "{" not in re.sub(r"\[[^]]*]", "", template)


def test_the_example_of_the_log() -> None:
    """A short host is told with what is left of its reserve, the unit once."""
    reason = Reason(
        code=ReasonCode.HOST_SHORT, numbers={"available_bytes": 12 * GIB, "reserve_bytes": 20 * GIB, "slack_bytes": 0}
    )

    assert sentence(reason) == "host short: 12.0 of 20.0 GiB reserve available"


def test_a_zero_is_told_only_where_it_says_something() -> None:
    """A part marked with ? goes when its number is 0, another stays."""
    assert fill("a[ {x_bytes}][? {x_bytes}]", {"x_bytes": 0}) == "a 0 B"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (14981844 * 1024, 14928458 * 1024, "14.3 -> 14.2 GiB"),
        (512 * MIB, GIB, "512 MiB -> 1.00 GiB"),
        (0, 64 * MIB, "0 B -> 64 MiB"),
    ],
)
def test_pairs_name_a_common_unit_once(first: int, second: int, expected: str) -> None:
    """Two sizes of one unit share it."""
    assert pair(first, second, "->") == expected


@pytest.mark.parametrize("state", HostState)
def test_every_state_says_what_memtide_does(state: HostState) -> None:
    """Each state is told with what it means and what is done, or would be, in it."""
    acting = state_means(state, mode="pressure", acting=True)
    watching = state_means(state, mode="pressure", acting=False)

    assert "; memtide " in acting
    assert "only watches" in watching


def test_follow_mode_has_its_own_words_for_a_calm_host() -> None:
    """In mode follow a calm host does not hand everything back."""
    assert "what they want" in state_means(HostState.HIGH, mode="follow", acting=True)
