"""The answer to "did *you* take it?"."""

import make_live
import pytest

from memtide.errors import ControlError
from memtide.views.live import Totals
from memtide.views.summary import summary
from memtide.views.why import why, why_text


def test_why_names_what_was_taken_and_how_to_get_it_back() -> None:
    """A guest with less than its maximum learns how much, on which numbers, what was done, and what it can do."""
    view = why(make_live.live(), "one-1217", [make_live.shrink()])
    text = why_text(view)

    assert text.headline == "one-1217 has 14.3 GiB of its 16.0 GiB; 1.71 GiB are taken from it now"
    assert text.verdict.startswith("gives: host short: 1.20 of 2.00 GiB reserve available")
    assert text.next == "taking ends when the host has its reserve of 2.00 GiB back"
    assert ("floor", "1.60 GiB", "never below this, whatever happens") in text.figures
    assert text.advice[0][1] == "memtide set one-1217 16GiB --for 1h"
    assert 'match = "one-1217"\nmanage = false' in text.advice[1][1]
    assert view.actions[0].result == "done"


def test_why_does_not_take_the_blame() -> None:
    """A guest that memtide never touched is told so, whatever it has."""
    text = why_text(why(make_live.live(), "one-997", []))

    assert text.headline == "one-997 has 3.00 GiB of its 4.00 GiB; memtide knows of no change that it made to it"
    assert text.verdict.startswith("exempt: its owner")
    assert "an operator's size holds for 10m 0s" in text.verdict
    assert [wish for wish, _ in text.advice] == ["give it back now and hold it for an hour"]


def test_why_of_a_guest_that_does_not_answer() -> None:
    """Nothing is invented about it."""
    text = why_text(why(make_live.live(), "uuid-one-12", []))

    assert text.headline == "one-12 did not answer; what it has is not known"
    assert {size for name, size, _ in text.figures if name != "target"} == {"unknown"}


def test_why_of_nobody_names_those_called_alike() -> None:
    """A mistyped name is an error that helps."""
    with pytest.raises(ControlError, match="sees no guest called 'one-1271'") as caught:
        why(make_live.live(), "one-1271", [])

    assert "one-1217" in caught.value.hint


def test_a_run_ends_with_what_it_brought() -> None:
    """Moved, gained, relieved and killed are told at the end."""
    text = "\n".join(summary(make_live.live()))

    assert "memtide acted for 2h 5m on 5 guests of virt5v, mode pressure" in text
    assert "41 times, 2 of them without full success" in text
    assert "2.10 GiB from 1 guest; the host really gained 2.02 GiB" in text
    assert "7 times, guests that were running out: one-301, one-997" in text
    assert "nothing, by the host's kernel" in text
    assert all(len(line) <= 80 for line in summary(make_live.live()))


def test_a_watching_run_claims_nothing() -> None:
    """Observe mode says that it changed nothing; what is unknown is not told."""
    text = "\n".join(summary(make_live.live(acting=False, totals=Totals())))

    assert "only watched" in text
    assert "changed    nothing" in text
    assert "taken" not in text
    assert "killed" not in text
