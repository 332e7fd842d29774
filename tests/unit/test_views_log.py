"""Log lines: what the seed article had to compute with awk."""

from datetime import UTC

import make_live
import msgspec
import pytest

from memtide.model.action import Result
from memtide.model.record import Event, Severity
from memtide.units import MIB
from memtide.views.log import log_line, log_view


def text(entry: object, *, dated: bool = False) -> str:
    """Return the whole line of an entry."""
    return log_line(log_view(entry), zone=UTC, dated=dated).text(8)


def test_the_articles_first_line() -> None:
    """The change, the sizes, the reason with its numbers, the host's gain and the end stand in one line."""
    assert text(make_live.shrink()) == (
        "02:32:08 one-1217    -52 MiB  14.3 -> 14.2 GiB      "
        "host short: 1.20 of 2.00 GiB reserve available; host gained 49 MiB  done"
    )


def test_the_day_is_told_when_asked_for() -> None:
    """A dated line begins with the day."""
    assert text(make_live.shrink(), dated=True).startswith("2021-07-14 02:32:08 one-1217")


@pytest.mark.parametrize(
    ("result", "more", "end"),
    [
        (Result.DONE, {"detail": "read back"}, "done"),
        (Result.SENT, {}, "under way"),
        (Result.PARTIAL, {"moved_bytes": -20 * MIB}, "moved only 20 of 52 MiB"),
        (Result.REFUSED, {"detail": "no such domain"}, "refused: no such domain"),
        (Result.NO_ANSWER, {"detail": "5 s are over"}, "no answer: 5 s are over"),
        (Result.NOT_SENT, {}, "observed only"),
    ],
)
def test_a_line_tells_how_it_ended(result: Result, more: dict[str, object], end: str) -> None:
    """Every result has its words, with the detail there is."""
    assert text(make_live.shrink(result=result, **more)).endswith(f"  {end}")


@pytest.mark.parametrize(
    ("gained_bytes", "said"),
    [(49 * MIB, "host gained 49 MiB"), (0, "host gained nothing"), (-64 * MIB, "host spent 64 MiB"), (None, None)],
)
def test_a_line_tells_what_the_host_got(gained_bytes: int | None, said: str | None) -> None:
    """Gained, spent, nothing for a shrink that brought nothing, and not a word when it is unknown."""
    line = text(make_live.shrink(host_gained_bytes=gained_bytes))

    assert (said in line) if said else ("host gained" not in line and "host spent" not in line)


def test_every_kind_of_entry_has_a_line() -> None:
    """Statistics, KSM and events are told in the same columns."""
    period, event, ksm, *_ = (text(entry) for entry in make_live.entries())

    assert "win-10               reports every 2 s     was never asked for its figures" in period
    assert "host                 error:                libvirt does not answer" in event
    assert "KSM run 0 -> 1" in ksm
    assert ksm.endswith("refused: read-only")


def test_a_harmless_event_is_not_marked() -> None:
    """Only warnings and errors carry the word."""
    event = Event(at_s=make_live.NOW_S, severity=Severity.INFO, code="guest-started", text="a started", guest="a")

    assert text(event) == "02:32:08 a" + " " * 42 + "a started"


def test_the_view_keeps_what_programs_need() -> None:
    """Sizes, code, numbers and result are there as values, and survive JSON."""
    view = log_view(make_live.shrink())

    assert (view.kind, view.reason, view.result) == ("memory", "host-short", "done")
    assert view.change_bytes == view.to_bytes - view.from_bytes == -53386 * 1024
    assert view.numbers["reserve_bytes"] == 2048 * MIB
    assert msgspec.json.decode(msgspec.json.encode(view), type=type(view)) == view
