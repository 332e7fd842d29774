"""What ``status`` is made of: every figure of one moment made by hand."""

import make_ksm
import make_live
import msgspec
import pytest

from memtide.model.guest import GuestTraits
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.units import GIB, MIB
from memtide.views.live import Live
from memtide.views.schema import GuestView, HostView, StatusView
from memtide.views.status import status
from memtide.views.words import sentence


def named(view: StatusView, name: str) -> GuestView:
    """Return one guest."""
    return next(guest for guest in view.guests if guest.name == name)


def everyone_answers() -> Live:
    """Return the moment without the guest that does not answer and the one whose cost is unknown."""
    live = make_live.live()
    guests = tuple(guest for guest in live.snapshot.guests if guest.name != "win-10")
    verdicts = tuple(v for v in live.decision.verdicts if v.name not in {"one-12", "win-10"})
    return make_live.live(
        snapshot=Snapshot(taken_at_s=make_live.NOW_S, host=live.snapshot.host, guests=guests),
        decision=msgspec.structs.replace(live.decision, verdicts=verdicts),
    )


def test_the_host_is_told_whole() -> None:
    """Host figures are those of the snapshot and of the decision's budget."""
    host = status(make_live.live()).host

    assert (host.name, host.state, host.state_for_s) == ("virt5v", "soft", pytest.approx(12.4))
    assert (host.total_bytes, host.available_bytes, host.reserve_bytes) == (16 * GIB, 1229 * MIB, 2 * GIB)
    assert (host.headroom_bytes, host.missing_bytes) == (-819 * MIB, 819 * MIB)
    assert host.pressure is not None
    assert (host.pressure.some_avg10_ratio, host.pressure.full_avg10_ratio) == (0.031, 0.01)
    assert host.ksm is not None
    assert (host.ksm.run, host.ksm.saved_bytes) == (1, 3_574_747 * 4096)
    assert host.ksm.ksmd_cpu_ratio == pytest.approx(0.73)
    assert (host.swap.used_bytes, host.swap.in_bps, host.swap.out_bps) == (GIB, 0, 2048 * 4096)


def test_overcommit_adds_up() -> None:
    """Configured, granted and resident are the three sums over what the host can give."""
    overcommit = status(everyone_answers()).host.overcommit

    assert overcommit.configured_ratio == pytest.approx((16 + 2 + 4) / 14)
    assert overcommit.granted_ratio == pytest.approx((14631 + 1984 + 3072) / (14 * 1024))
    assert overcommit.resident_ratio == pytest.approx((13 * 1024 + 2048 + 1500) / (14 * 1024))


def test_overcommit_is_unknown_while_a_guest_is() -> None:
    """A sum without the guest that did not answer would be wrong; it says so instead."""
    host = status(make_live.live()).host

    assert host.overcommit.configured_ratio is None
    assert host.missing["overcommit"] == "1 guest did not answer"


def test_guests_on_huge_pages_are_not_overcommitted() -> None:
    """Their memory is not taken from what the others share."""
    huge = make_live.guest("huge", maximum_bytes=64 * GIB, traits=GuestTraits(has_balloon=True, huge_pages=True))
    live = everyone_answers()
    with_huge = make_live.live(
        snapshot=Snapshot(taken_at_s=make_live.NOW_S, host=live.snapshot.host, guests=(*live.snapshot.guests, huge)),
        decision=live.decision,
    )

    assert status(with_huge).host.overcommit == status(live).host.overcommit


def test_a_guest_is_told_whole() -> None:
    """Guest figures come from what is observed, what is reported, and the verdict, each from its own place."""
    guest = named(status(make_live.live()), "one-1217")

    assert (guest.maximum_bytes, guest.current_bytes, guest.target_bytes) == (16 * GIB, 14631 * MIB, 14580 * MIB)
    assert (guest.used_bytes, guest.usable_bytes) == (6 * GIB, (14631 - 64) * MIB - 6 * GIB)
    assert (guest.host_cost_bytes, guest.slack_bytes) == (13 * GIB, 51 * MIB)
    assert (guest.stats, guest.stats_age_s) == ("fresh", pytest.approx(0.9))
    assert (guest.doing, guest.reason) == ("gives", "host-short")
    assert guest.why == "host short: 1.20 of 2.00 GiB reserve available; holds 51 MiB it does not need"


def test_unknown_is_null() -> None:
    """A guest that did not answer has no sizes, one without figures of its own no use, and neither has a zero."""
    view = status(make_live.live())
    absent, mute = named(view, "one-12"), named(view, "win-10")

    assert (absent.maximum_bytes, absent.current_bytes, absent.used_bytes, absent.host_cost_bytes) == (None,) * 4
    assert "its QEMU does not answer" in absent.missing["maximum_bytes"]
    assert (mute.used_bytes, mute.usable_bytes, mute.stats_age_s, mute.host_cost_bytes) == (None,) * 4
    assert (mute.stats, mute.maximum_bytes) == ("none", 8 * GIB)


def test_a_hold_is_told_until_it_ends() -> None:
    """An operator's size shows how long it still holds."""
    assert named(status(make_live.live()), "one-997").held_for_s == pytest.approx(600)
    assert named(status(make_live.live(now_s=make_live.NOW_S + 700)), "one-997").held_for_s is None


def test_observe_mode_says_would() -> None:
    """What is not done is not told as done."""
    view = status(make_live.live(acting=False))

    assert named(view, "one-1217").doing == "would give"
    assert "only watches" in view.host.means


def test_guests_stand_in_the_order_people_count() -> None:
    """one-301 comes before one-1217."""
    assert [g.name for g in status(make_live.live()).guests] == ["one-12", "one-301", "one-997", "one-1217", "win-10"]


def test_a_host_that_tells_little_is_shown_with_what_it_tells() -> None:
    """Without PSI, KSM and an earlier reading those parts are null, with the reasons kept."""
    bare = make_live.host(pressure=None, ksm=None, missing={"pressure": "no PSI in this kernel"})
    live = make_live.live()
    view = status(make_live.live(previous_host=None, snapshot=msgspec.structs.replace(live.snapshot, host=bare)))

    assert (view.host.pressure, view.host.ksm, view.host.swap.out_bps) == (None, None, None)
    assert view.host.missing["pressure"] == "no PSI in this kernel"


def test_the_json_keeps_its_schema() -> None:
    """Decoding with unknown fields forbidden gives the view back, and the top of it has the promised names."""
    view = status(make_live.live())
    text = msgspec.json.encode(view)
    plain = msgspec.json.decode(text)

    assert msgspec.json.decode(text, type=StatusView) == view
    assert list(plain) == ["schema", "host", "guests", "daemon"]
    assert set(plain["host"]) == set(HostView.__struct_fields__)
    assert {guest["name"]: guest["current_bytes"] for guest in plain["guests"]}["one-12"] is None


def test_ksm_is_told_with_its_reason() -> None:
    """Code and sentence of the law's verdict; null where it has no opinion."""
    live = make_live.live()
    assert live.decision.ksm is None
    silent = status(live).host.ksm
    steered = msgspec.structs.replace(live.decision, ksm=make_ksm.verdict(ReasonCode.KSM_WORTH, scanning=True))
    told = [status(make_live.live(decision=steered, acting=acting)).host.ksm for acting in (True, False)]

    assert silent is not None
    assert (silent.doing, silent.reason, silent.why) == (None, None, None)
    assert [ksm.doing for ksm in told if ksm] == ["scans", "would scan"]
    assert {(ksm.reason, ksm.why) for ksm in told if ksm} == {("ksm-worth", sentence(steered.ksm.reason))}


def test_reasons_reach_programs_as_codes() -> None:
    """The code is stable, the sentence is for people."""
    codes = {guest.reason for guest in status(make_live.live()).guests}

    assert codes == {
        c.value
        for c in (
            ReasonCode.HOST_SHORT,
            ReasonCode.RELIEF,
            ReasonCode.EXEMPT,
            ReasonCode.STATS_NONE,
            ReasonCode.ABSENT,
        )
    }
