"""The arithmetic of the comparison of laws (bench/verdicts.py): each question's bound, from both sides."""

from typing import Any

import pytest

from bench.laws_page import Cell, page
from bench.verdicts import Figures, judge, misses

WELL: dict[str, Any] = {
    "law": "tide",
    "shortage_gib_s": 0.0,
    "worst_guest": None,
    "oom_kills": 0,
    "under_reserve_s": 10.0,
    "under_line_s": 0.0,
    "moved_gib": 10.0,
    "reversals": 0,
    "guest_swap_gib": 0.0,
    "host_swap_gib": 0.0,
    "major_faults": 0,
    "longest_relief_s": 0.0,
    "cpu_s": 0.1,
    "by_weight": {1.0: 0.0},
}


def law(**changed: Any) -> Figures:
    """Return the figures of a law, good but for these."""
    return Figures(**(WELL | changed))


def answer(question: str, subject: Figures, *rivals: Figures, oracle: Figures | None = None, lag_s: float = 0.0) -> Any:
    """Return whether a question's answer is yes; ``None``: it was not asked."""
    found = [v.reached for v in judge(subject, rivals, oracle, lag_s) if v.question == question]
    return all(found) if found else None


@pytest.mark.parametrize(
    ("own_gib_s", "rival", "reached"),
    [
        (3.0, {"shortage_gib_s": 2.0}, True),  # within 1 GiB s
        (3.1, {"shortage_gib_s": 2.0}, False),
        (1009.0, {"shortage_gib_s": 1000.0}, True),  # within 1 %
        (1011.0, {"shortage_gib_s": 1000.0}, False),
        (99.0, {"shortage_gib_s": 2.0, "under_reserve_s": 11.5}, None),  # the host is less safe there
        (99.0, {"shortage_gib_s": 2.0, "under_reserve_s": 11.0}, False),  # a second is a tie
    ],
)
def test_least_shortage_among_the_laws_that_are_as_safe(own_gib_s: float, rival: dict[str, Any], reached: Any) -> None:
    """(a) compares only with laws under which the host was no longer under its reserve."""
    assert answer("a", law(shortage_gib_s=own_gib_s), law(law="rival", **rival)) is reached


def test_a_rival_that_kills_is_no_measure_for_one_that_does_not() -> None:
    """(a) prefers, among the rivals, one that kills no more."""
    rivals = law(law="killer", oom_kills=3, shortage_gib_s=1.0), law(law="mild", shortage_gib_s=5.0)
    assert answer("a", law(shortage_gib_s=5.5), *rivals) is True


def test_the_emergency_line_is_compared_with_the_quickest() -> None:
    """(b) takes the shortest time of all rivals, safe or not, and a second for a tie."""
    rivals = law(law="slow", under_line_s=30.0), law(law="quick", under_line_s=2.0, under_reserve_s=500.0)
    assert answer("b", law(under_line_s=3.0), *rivals) is True
    assert answer("b", law(under_line_s=3.1), *rivals) is False


def test_weights_protect_in_proportion_where_somebody_lacks_something() -> None:
    """(c) a guest of weight 4 may lack a quarter of what one of weight 1 lacks; without shortage nothing is asked."""
    assert answer("c", law(by_weight={1.0: 40.0, 4.0: 11.0})) is True
    assert answer("c", law(by_weight={1.0: 40.0, 4.0: 11.1})) is False
    assert answer("c", law(by_weight={1.0: 40.0})) is None
    assert answer("c", law(by_weight={1.0: 0.5, 4.0: 0.9})) is None


def test_bytes_moved_are_compared_with_the_calmest_that_keeps_all_whole() -> None:
    """(d) doing nothing is calm only when nobody suffers by it, the host's emergency included."""
    calm, idle = law(law="calm", moved_gib=5.0), law(law="idle", moved_gib=0.0, under_line_s=60.0)
    hurting = law(law="hurting", moved_gib=1.0, shortage_gib_s=1.5)
    assert answer("d", law(moved_gib=10.0), calm, idle, hurting) is True
    assert answer("d", law(moved_gib=10.2), calm, idle, hurting) is False
    assert answer("d", law(moved_gib=10.2), idle, hurting) is None
    assert answer("d", law(moved_gib=10.2, oom_kills=1), calm) is None


@pytest.mark.parametrize(
    ("lag_s", "own_gib_s", "reached"),
    [(0.0, 104.9, True), (0.0, 105.1, False), (2.0, 114.9, True), (2.0, 115.1, False), (5.0, 999.0, None)],
)
def test_the_oracle_is_near_at_no_lag_and_less_near_at_two_seconds(
    lag_s: float, own_gib_s: float, reached: Any
) -> None:
    """(e) 5 % at no lag, 15 % at 2 s, nothing said beyond."""
    oracle = law(law="oracle", shortage_gib_s=100.0)
    assert answer("e", law(shortage_gib_s=own_gib_s), oracle=oracle, lag_s=lag_s) is reached


def test_misses_come_with_their_place_the_farthest_from_its_bound_first() -> None:
    """A miss of ten times its bound stands before one of twice."""
    near = judge(law(shortage_gib_s=4.0), [law(law="r", shortage_gib_s=1.0)], None, 0.0)
    far = judge(law(under_line_s=10.0), [law(law="r")], None, 0.0)
    assert [(where, v.question) for where, v in misses({"near": near, "far": far})] == [("far", "b"), ("near", "a")]


def test_the_page_says_what_is_not_reached_and_counts() -> None:
    """The table has every law, the summary what is reached of what was asked, the answers what is not."""
    found = {"tide": law(shortage_gib_s=9.0), "mom": law(law="mom"), "oracle": law(law="oracle")}
    cell = Cell(scenario="some", intent="It holds.", note="", duration_s=60.0, figures={0.0: found, 2.0: found})
    text = page([cell], subjects=["tide"], command="x")
    assert "**tide**: reached 2 of 6." in text
    assert "- (a) some, lag 2 s: shortage 9.0 GiB·s, mom 0.0 (host under its reserve 10 and 10 s) (9 x)" in text
    assert "- tide: reached (b)" in text
    assert "| mom | 0.0 | 0 | 10 | 0 | 0 | 10 | 0 | 0 | 0 | 100 |" in text
