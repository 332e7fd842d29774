"""The report on KSM: the verdict, the account, what would change it, the past."""

import itertools
from typing import Any

import make_ksm
import make_live
import msgspec
import pytest

from memtide.model.ksm import Ksm
from memtide.model.reason import ReasonCode
from memtide.policy.ksm import rights
from memtide.runtime.ksm_history import EVERY_S, MOST, KsmHistory
from memtide.units import GIB, MIB
from memtide.views.ksm import ksm_report
from memtide.views.ksm_schema import HANDS_OFF, KsmReport
from memtide.views.ksm_verdict import WORTH_BYTES_PER_CPU
from memtide.views.live import KsmPast, KsmScene


def alone(*, cpu_ratio: float | None = 0.5, **files: Any) -> KsmReport:
    """Return the report on a host without a daemon, up for 1000 s, with these files of KSM."""
    values = {"pages_shared": 1000, "pages_sharing": 0, "pages_unshared": 0, "pages_volatile": 0, "full_scans": 9}
    ksm = make_live.ksm(**values | {"ksmd_cpu_s_total": None if cpu_ratio is None else 1000 * cpu_ratio} | files)
    host = make_live.host(ksm=ksm)
    return ksm_report(KsmScene(host_name="h", daemon=False, host=host, guests=(), reserve_bytes=GIB, uptime_s=1000.0))


def pages(size_bytes: float) -> int:
    """Return a size in pages."""
    return int(size_bytes) // make_ksm.PAGE


def codes(scene: KsmScene) -> list[str]:
    """Return the codes of all advice."""
    return [advice.code for advice in ksm_report(scene).advice]


# --- the verdict ------------------------------------------------------------------------------------------------


def test_the_articles_price_is_worth_it() -> None:
    """13.6 GiB for 73 % of a core: more than 8 GiB a core."""
    report = alone(cpu_ratio=0.73, pages_sharing=3_574_747)

    assert report.verdict == "worth-it"
    assert report.headline == (
        "worth it: saves 13.6 GiB for 73 % of a core; undoing it needs 13.6 GiB, the host has 1.20 GiB available"
    )
    assert report.cost_of_stopping_bytes == 3_574_747 * 4096
    assert report.room_bytes == 1229 * MIB - GIB


@pytest.mark.parametrize(("over", "verdict"), [(0.99, "worth-it"), (1.01, "dear")])
def test_worth_it_ends_at_eight_gib_a_core(over: float, verdict: str) -> None:
    """The line is profit, not saving, over the price of a core."""
    profit_bytes = 2 * GIB
    report = alone(
        cpu_ratio=over * profit_bytes / WORTH_BYTES_PER_CPU, pages_sharing=pages(3 * GIB), general_profit_bytes=2 * GIB
    )

    assert report.worth_cpu_ratio == pytest.approx(0.25)
    assert report.verdict == verdict


@pytest.mark.parametrize(
    ("files", "verdict", "words"),
    [
        ({"pages_sharing": 10, "general_profit_bytes": -210 * MIB}, "costs-more", "costs more than it saves: -210 MiB"),
        ({"pages_sharing": 0, "pages_unshared": 100}, "nothing", "nothing to merge"),
        ({"pages_sharing": 0, "pages_shared": 0, "run": 0}, "off", "off: ksmd does not scan"),
        ({"pages_sharing": 0, "full_scans": 1}, "too-early", "too early to tell"),
        ({"pages_sharing": 10, "run": 2}, "unmerging", "undone: run=2, 40 KiB still merged"),
        ({"pages_sharing": pages(GIB), "pages_unshared": None}, "unknown", "what its bookkeeping takes is not known"),
        ({"pages_sharing": pages(GIB), "cpu_ratio": None}, "unknown", "what ksmd takes is not known"),
        ({"pages_sharing": pages(GIB), "cpu_ratio": None, "run": 0}, "worth-it", "saves 1.00 GiB while ksmd rests"),
    ],
)
def test_every_other_verdict(files: dict[str, Any], verdict: str, words: str) -> None:
    """Each case has its code and its words."""
    report = alone(**files)

    assert report.verdict == verdict
    assert words in report.headline


def test_negative_profit_stays_negative() -> None:
    """Signed in the figures, in the sentence, and per CPU second."""
    report = alone(cpu_ratio=0.5, pages_sharing=10, general_profit_bytes=-500 * MIB)

    assert (report.profit_bytes, report.profit_per_cpu_s_bytes) == (-500 * MIB, -MIB)
    assert report.worth_cpu_ratio == 0
    assert "memtide ksm unmerge" in report.do


@pytest.mark.parametrize(
    ("why", "verdict", "do"),
    [
        ("there is no /sys/kernel/mm/ksm/run", "no-ksm", "CONFIG_KSM=y"),
        ("this user may not read /sys/kernel/mm/ksm/run", "unknown", ""),
    ],
)
def test_a_host_whose_ksm_cannot_be_read(why: str, verdict: str, do: str) -> None:
    """No KSM is told apart from no permission, and every figure is null with the reason."""
    report = ksm_report(make_ksm.scene(host=make_live.host(ksm=None, missing={"ksm": why}), past=KsmPast()))

    assert report.verdict == verdict
    assert why in report.headline
    assert do in report.do
    assert (report.saved_bytes, report.profit_bytes, report.cost_of_stopping_bytes) == (None, None, None)
    assert report.missing["ksm"] == why


def test_the_verdict_is_about_the_long_run() -> None:
    """Ksmd rests now and took 5 % over three hours: the second is its price, not the first."""
    report = ksm_report(make_ksm.scene())

    assert report.cpu.now_ratio == 0
    assert report.ksmd_cpu_ratio == report.cpu.watched_ratio == pytest.approx(540 / (180 * 60))


@pytest.mark.parametrize(("acting", "advised_to"), [(True, ""), (False, "memtide run --act")])
def test_who_steers_is_not_told_to(*, acting: bool, advised_to: str) -> None:
    """Scanning less is memtide's own affair when it acts; in observe mode it is said."""
    ksm = make_ksm.reading(0, cpu_s=5000.0, sharing_bytes=GIB // 4)
    report = ksm_report(make_ksm.scene(acting=acting, host=make_live.host(ksm=ksm)))

    assert report.verdict == "dear"
    assert advised_to in report.do
    assert bool(report.do) is not acting


@pytest.mark.parametrize("code", sorted(HANDS_OFF))
def test_hands_off_leaves_it_to_people(code: ReasonCode) -> None:
    """Memtide acts, and not on KSM: what could be done is said."""
    ksm = make_ksm.reading(0, cpu_s=5000.0, sharing_bytes=GIB // 4)
    report = ksm_report(make_ksm.scene(acting=True, host=make_live.host(ksm=ksm), verdict=make_ksm.verdict(code)))

    assert (report.verdict, bool(report.do)) == ("dear", True)


def test_hands_off_is_the_policys() -> None:
    """Views may not know the policy; the two sets must not part."""
    assert HANDS_OFF == rights.HANDS_OFF


@pytest.mark.parametrize(("acting", "says"), [(True, "scans"), (False, "would scan")])
def test_who_only_watches_would_scan(*, acting: bool, says: str) -> None:
    """Observe mode does not claim what it does not do."""
    steered = make_ksm.verdict(ReasonCode.KSM_WORTH, scanning=True)
    steering = ksm_report(make_ksm.scene(acting=acting, verdict=steered)).steering

    assert steering is not None
    assert steering.doing == says


def test_a_short_watch_is_no_long_run() -> None:
    """Before ten minutes the last seconds count."""
    past = KsmPast(readings=(make_ksm.reading(2, cpu_s=500.0, sharing_bytes=GIB),))
    report = ksm_report(make_ksm.scene(past=past))

    assert report.cpu.watched_ratio is not None
    assert report.ksmd_cpu_ratio == report.cpu.now_ratio == 0


# --- figures ----------------------------------------------------------------------------------------------------


def test_the_account_closes() -> None:
    """Held - saved + other = used, with every part said."""
    account = ksm_report(make_ksm.scene()).account

    assert account is not None
    assert account.guests_held_bytes == 8 * GIB + 400 * MIB
    assert account.used_bytes == 16 * GIB - 1229 * MIB
    assert account.guests_held_bytes - account.saved_bytes + (account.other_bytes or 0) == account.used_bytes
    assert account.guests_pss_bytes is None, "three guests have no PSS"


def test_an_account_that_cannot_be_true_is_told_as_it_is() -> None:
    """Guests that cost more than is in use: the rest is negative, not hidden."""
    account = ksm_report(make_ksm.scene(guests=(make_ksm.guest("a", rss_bytes=64 * GIB),))).account

    assert account is not None
    assert account.other_bytes is not None
    assert account.other_bytes < -40 * GIB


def test_a_guest_that_did_not_answer_leaves_the_account_open() -> None:
    """What it costs is unknown, so the rest is too."""
    report = ksm_report(make_ksm.scene(absent=1))

    assert report.account is not None
    assert (report.account.guests, report.account.other_bytes) == (7, None)
    assert report.missing["account.guests_cost_bytes"] == "1 did not answer"


@pytest.mark.parametrize(
    ("why", "saved_bytes"),
    [
        ("there is no /sys/kernel/mm/ksm/run", 0),
        ("there is no /sys/kernel/mm/ksm/pages_sharing", None),
        ("/sys/kernel/mm/ksm/pages_sharing says nothing that memtide understands: b'x'", None),
    ],
)
def test_what_could_not_be_read_is_no_zero(why: str, saved_bytes: int | None) -> None:
    """Only a kernel without KSM saves nothing for sure; elsewhere the account stays open, with the reason."""
    report = ksm_report(make_ksm.scene(host=make_live.host(ksm=None, missing={"ksm": why}), past=KsmPast()))
    account = report.account

    assert account is not None
    assert account.saved_bytes == saved_bytes
    assert (account.guests_cost_bytes is None) is (account.other_bytes is None) is (saved_bytes is None)
    assert report.missing.get("account.saved_bytes") == (why if saved_bytes is None else None)


def test_parted_pages_are_said_beside_the_saving() -> None:
    """The headline keeps the kernel's formula; what is gone already stands beside it."""
    report = ksm_report(make_ksm.scene())

    assert report.parted_bytes == 75_600 * 4096
    assert report.saved_bytes == int(5.2 * GIB) // 4096 * 4096
    assert "nobody saw" in ksm_report(make_ksm.scene(past=KsmPast())).missing["parted_bytes"]


def test_a_guests_part_has_its_age() -> None:
    """RSS - PSS, read 200 s ago; who cannot share says why, with how much."""
    guests = {guest.name: guest for guest in ksm_report(make_ksm.scene()).guests}

    assert [*guests] == ["db", "quiet", "vm-2", "vm-3", "vm-7", "vm-10"]
    assert (guests["vm-10"].saving_bytes, guests["vm-10"].saving_age_s) == (GIB, pytest.approx(200))
    assert (guests["vm-3"].why_not, guests["vm-3"].unmergeable_bytes) == ("huge pages", 4 * GIB)
    assert guests["quiet"].why_not == "nosharepages"
    assert guests["db"].profit_bytes == -8 * MIB


def test_gain_per_cpu_second() -> None:
    """Profit rose by all of it for 540 s of CPU."""
    report = ksm_report(make_ksm.scene())

    assert report.gained_per_cpu_s_bytes == int(
        ((report.profit_bytes or 0) - (report.history[0].profit_bytes or 0)) / 540
    )


def test_steering_is_told_in_words() -> None:
    """The governor's reason and what comes next, with its numbers."""
    steering = ksm_report(make_ksm.scene()).steering

    assert steering is not None
    assert (steering.reason, steering.doing, steering.for_s) == ("ksm-converged", "would rest", 754)
    assert "75 MiB for 1.9 s CPU" in steering.why
    assert steering.look_again_in_s == 7200
    assert ksm_report(make_ksm.scene(verdict=None)).steering is None


@pytest.mark.parametrize("code", [code for code in ReasonCode if code.value.startswith("ksm-")])
def test_every_reason_can_be_told(code: ReasonCode) -> None:
    """Whatever the governor says has its words."""
    steering = ksm_report(make_ksm.scene(verdict=make_ksm.verdict(code))).steering

    assert steering is not None
    assert steering.why
    assert steering.next


def test_settings_name_their_originals() -> None:
    """Those that memtide changed, and only those."""
    settings = {setting.name: setting for setting in ksm_report(make_ksm.scene()).settings}

    assert (settings["run"].value, settings["run"].original) == ("0", "1")
    assert settings["max_page_sharing"].original is None
    assert "smart_scan" not in settings, "this kernel did not tell"


# --- advice -----------------------------------------------------------------------------------------------------


def test_who_cannot_share_and_who_is_alike() -> None:
    """Huge pages and nosharepages by name with their size; look-alikes and strangers by name."""
    texts = [advice.text for advice in ksm_report(make_ksm.scene()).advice]

    assert texts[0] == "vm-3 and vm-7 use huge pages: 8.00 GiB cannot be merged"
    assert texts[1] == "quiet is defined with <nosharepages/>: 4.00 GiB cannot be merged"
    assert texts[2].startswith("vm-2 and vm-10 look alike (at least 63 % of each is merged); db shares almost nothing")


def test_owners_are_a_warning() -> None:
    """Two owners among guests that can share; a guest that cannot share endangers nobody."""
    mine, yours = make_ksm.guest("a", owner="alice"), make_ksm.guest("b", owner="bob")
    apart = make_ksm.guest("b", owner="bob", mergeable=False)

    assert "tenants" in codes(make_ksm.scene(guests=(mine, yours)))
    assert "tenants" not in codes(make_ksm.scene(guests=(mine, apart)))


def advised(**files: Any) -> list[str]:
    """Return the codes of advice on a host of two nodes with these files of KSM."""
    ksm = msgspec.structs.replace(make_ksm.reading(0, cpu_s=1.0, sharing_bytes=GIB), **files)
    return codes(make_ksm.scene(guests=(), host=make_live.host(ksm=ksm, numa=make_ksm.two_nodes())))


def test_settings_that_would_help() -> None:
    """Each only where it is off and would matter."""
    many: dict[str, Any] = {"pages_shared": pages(GIB) // 200}

    assert advised(merge_across_nodes=True) == ["merge-across-nodes"]
    assert advised(merge_across_nodes=False) == []
    assert advised(use_zero_pages=False, **many) == ["use-zero-pages"]
    assert advised(use_zero_pages=True, **many) == []
    assert advised(use_zero_pages=False) == []
    assert advised(max_page_sharing=256, **many) == ["max-page-sharing"]


def test_another_writer_comes_first() -> None:
    """It is why memtide does nothing."""
    host = msgspec.structs.replace(make_ksm.scene().host, ksm_writers=("ksmtuned",))

    assert codes(make_ksm.scene(host=host))[0] == "other-writer"


# --- the past ---------------------------------------------------------------------------------------------------


def test_the_ring_keeps_a_reading_a_minute_for_a_day() -> None:
    """Ticks between are let go, and so is what is older than a day."""
    history = KsmHistory()
    for tick in range(2 * 60 * 25 * 60 // 60):
        history.add(make_live.ksm(at_s=tick * EVERY_S / 2))
    readings = history.past().readings

    assert len(readings) == MOST
    assert {b.taken_at_s - a.taken_at_s for a, b in itertools.pairwise(readings)} == {EVERY_S}


def test_the_ring_remembers_the_breaks_of_the_last_full_scan() -> None:
    """Unknown until one was seen to end; a kernel without KSM leaves no trace."""
    history = KsmHistory()

    def add(at_s: float, scans: int, breaks: int) -> int | None:
        history.add(make_live.ksm(at_s=at_s, full_scans=scans, cow_breaks_total=breaks))
        return history.past().breaks_at_scan

    assert [add(0, 5, 10), add(2, 5, 20), add(4, 6, 30), add(6, 6, 99)] == [None, None, 30, 30]
    history.add(None)
    assert len(history.past().readings) == 1


def test_a_clock_set_back_begins_a_new_history() -> None:
    """Times of before mean nothing then."""
    history = KsmHistory()
    readings: list[Ksm] = [make_live.ksm(at_s=at_s) for at_s in (1000.0, 1100.0, 50.0)]
    for reading in readings:
        history.add(reading)

    assert [reading.taken_at_s for reading in history.past().readings] == [50.0]


def test_the_json_keeps_its_schema() -> None:
    """Decoding gives the report back, and what was promised is there by name."""
    report = ksm_report(make_ksm.scene())
    text = msgspec.json.encode(report)
    promised = {"saved_bytes", "merged_bytes", "profit_bytes", "ksmd_cpu_ratio", "verdict", "cost_of_stopping_bytes"}

    assert msgspec.json.decode(text, type=KsmReport) == report
    assert promised <= set(msgspec.json.decode(text))
    assert len(report.history) == 181
