"""The law of ksmtuned, and no law at all. Host 16 GiB: line 3.2 GiB, sleep 10 ms. See test_peers_mom for KSM."""

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import files_of, play, sizes

from memtide.model.action import Reply, Result, SetKsm
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers import ksm_law, ksmtuned
from memtide.policy.peers.ksmtuned import Ksmtuned
from memtide.policy.peers.none import NoLaw

SHORT_BYTES = 2 * GIB
CALM_BYTES = 8 * GIB


def world(after_s: float, available_bytes: int, *, resident_bytes: int = GIB, **memory: int) -> Snapshot:
    """Return a host with one guest; KSM is there, off, with a page count the kernel does not tell."""
    at_s = START_S + after_s
    return snapshot(
        guest("a", at_s=at_s, maximum_bytes=16 * GIB, resident_bytes=resident_bytes),
        at_s=at_s,
        available_bytes=available_bytes,
        **memory,
    )


def test_constants_are_those_of_ksmtuned() -> None:
    """ksmtuned.sh.in and ksmtuned.conf."""
    assert (ksmtuned.PERIOD_S, ksmtuned.SLEEP_MIN_MS, ksm_law.FREE_RATIO) == (60.0, 10, 0.20)
    assert (ksm_law.PAGES_BOOST, ksm_law.PAGES_DECAY) == (300, -50)
    assert (ksm_law.PAGES_MIN, ksm_law.PAGES_MAX, ksm_law.SLEEP_MS) == (64, 1250, 10)


def test_it_takes_five_minutes_to_full_speed() -> None:
    """Its own count: 300, 600, 900, 1200, 1250, a minute apart, and then nothing more to write."""
    seen = [world(10.0 * i, SHORT_BYTES) for i in range(37)]

    written = [files_of(play(Ksmtuned(), *seen[: i + 1])[1]) for i in range(37)]

    first = {"pages_to_scan": "300", "sleep_millisecs": "10", "run": "1"}
    more = [{"pages_to_scan": pages} for pages in ("600", "900", "1200", "1250")]
    assert [files for files in written if files] == [first, *more]
    assert [i * 10 for i, files in enumerate(written) if files] == [0, 60, 120, 180, 240]


@pytest.mark.parametrize(
    ("available_bytes", "resident_gib", "files"),
    [
        # C + line = 13 + 3.2 > 16 with 8 GiB free: on, and slowing down from 0
        (CALM_BYTES, 13, {"pages_to_scan": "64", "sleep_millisecs": "10", "run": "1"}),
        # C + line = 12.7 + 64 MiB + 3.2 < 16: off, as it is
        (CALM_BYTES, 12.7, {}),
    ],
)
def test_committed_memory_is_what_is_resident(available_bytes: int, resident_gib: float, files: dict[str, str]) -> None:
    """The guest's maximum plays no part."""
    seen = world(0, available_bytes, resident_bytes=int(resident_gib * GIB))

    assert files_of(play(Ksmtuned(), seen)[1]) == files


def test_no_more_is_needed_and_ksmd_stops() -> None:
    """After being short for two minutes the host is calm."""
    seen = [world(0, SHORT_BYTES), world(60, SHORT_BYTES), world(120, CALM_BYTES)]

    assert files_of(play(Ksmtuned(), *seen)[1]) == {"run": "0"}


def test_a_large_host_never_sleeps_less_than_ten_milliseconds() -> None:
    """10 ms * 16 / 64 = 2.5 ms; ksmtuned writes 10."""
    seen = world(0, SHORT_BYTES, total_bytes=64 * GIB)

    assert files_of(play(Ksmtuned(), seen)[1])["sleep_millisecs"] == "10"


def test_a_refused_write_is_written_again_and_the_count_goes_on() -> None:
    """It never looks whether the kernel took it."""
    law = Ksmtuned()
    state, decision = play(law, world(0, SHORT_BYTES))
    action = next(a for a in decision.actions if isinstance(a, SetKsm))

    state = law.answered(state, action, Reply(result=Result.REFUSED))
    _, decision = law.decide(state, world(60, SHORT_BYTES), Limits())

    assert files_of(decision) == {"pages_to_scan": "600", "sleep_millisecs": "10", "run": "1"}


def test_without_ksm_or_leave_it_does_nothing() -> None:
    """No KSM on the host, or the operator's no."""
    seen = world(0, SHORT_BYTES)
    bare = msgspec.structs.replace(seen, host=msgspec.structs.replace(seen.host, ksm=None))

    assert play(Ksmtuned(), bare)[1].actions == ()
    assert play(Ksmtuned(), seen, limits=Limits(manage_ksm=False))[1].actions == ()


def test_no_law_asks_for_nothing() -> None:
    """Not even for statistics, however short the host is."""
    seen = [snapshot(guest("a", used_bytes=900 * MIB), available_bytes=0, at_s=START_S + i) for i in range(70)]

    state, decision = play(NoLaw(), *seen)

    assert decision.actions == ()
    assert decision.policy == "none"
    assert sizes(decision) == {}
    assert len(decision.verdicts) == 1
    assert state.books.targets == {}
