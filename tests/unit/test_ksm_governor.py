"""KSM's governor: when it sweeps, when it stops, and when it keeps its hands off."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import START_S, guest, host

from memtide.model.action import Reply, Result, SetKsm
from memtide.model.decision import HostState, KsmVerdict
from memtide.model.guest import Guest, GuestTraits
from memtide.model.ksm import Ksm
from memtide.model.limits import Limits, Tenants
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.constants import FOREIGN_HOLD_S, KSM_LOOK_FIRST_S
from memtide.policy.ksm.governor import answered, steer
from memtide.policy.ksm.rights import HANDS_OFF
from memtide.policy.ksm.signs import can_merge
from memtide.policy.ksm.speed import Account, files_for, refilled
from memtide.policy.ksm.track import KsmTrack
from memtide.units import GIB, MIB
from memtide.views.ksm_advice import why_not

PAGE = 4096
TICK_S = 2.0
MODERN = {"pages_unshared": 0, "pages_volatile": 0, "full_scans": 0, "pages_scanned": 0, "pages_skipped": 0,
          "cow_breaks_total": 0, "pages_to_scan": 100, "sleep_millisecs": 20, "smart_scan": True,
          "advisor_mode": "none", "ksmd_cpu_s_total": 0.0}  # fmt: skip


AS_READ = {"advisor_max_cpu": "advisor_max_cpu_ratio", "advisor_target_scan_time": "advisor_target_scan_time_s"}


def twin(name: str, resident_bytes: int = 300 * MIB, **more: Any) -> Guest:
    """Return a guest whose QEMU holds exactly so much."""
    made = guest(name, **more)
    observed = msgspec.structs.replace(made.observed, rss_bytes=resident_bytes)
    return msgspec.structs.replace(made, observed=observed, since_s=START_S - 3600)


@dataclass
class Bench:
    """A governor, and a ksmd that the test moves by hand."""

    guests: list[Guest] = field(default_factory=lambda: [twin("a"), twin("b"), twin("c")])
    limits: Limits = field(default_factory=Limits)
    state: HostState = HostState.HIGH
    acting: bool = True
    reply: Result = Result.DONE
    now_s: float = START_S
    track: KsmTrack = field(default_factory=KsmTrack)
    values: dict[str, Any] = field(default_factory=lambda: {"page_size_bytes": PAGE, "run": 0, "pages_shared": 0,
                                                            "pages_sharing": 0} | MODERN)  # fmt: skip
    writers: tuple[str, ...] = ()
    absent: tuple[Absent, ...] = ()
    verdict: KsmVerdict | None = None
    written: list[SetKsm] = field(default_factory=list)

    def tick(self, **ksm: Any) -> SetKsm | None:
        """Let time pass, move ksmd's figures, ask the governor and carry out what it wants."""
        self.now_s += TICK_S
        self.values |= ksm
        seen = msgspec.structs.replace(
            host(at_s=self.now_s), ksm=Ksm(taken_at_s=self.now_s, **self.values), ksm_writers=self.writers
        )
        snapshot = Snapshot(taken_at_s=self.now_s, host=seen, guests=tuple(self.guests), absent=self.absent)
        self.track, self.verdict, action = steer(self.track, snapshot, self.state, self.limits)
        if action is not None:
            self.written.append(action)
            self.answer(action, self.reply if self.acting else Result.NOT_SENT)
        return action

    def answer(self, action: SetKsm, result: Result) -> None:
        """Carry an action out, or not, and tell the governor."""
        if result is Result.DONE:
            self.values |= {AS_READ.get(name, name): self._read(name, text) for name, text in action.files.items()}
        self.track = answered(self.track, action, Reply(result=result))

    @staticmethod
    def _read(name: str, text: str) -> int | float | bool:
        if name in {"smart_scan", "use_zero_pages"}:
            return text == "1"
        return int(text) / 100 if name == "advisor_max_cpu" else int(text)

    def until(self, limit: int = 60) -> SetKsm:
        """Tick until something is written."""
        for _ in range(limit):
            action = self.tick()
            if action is not None:
                return action
        raise AssertionError(f"nothing was written in {limit} ticks: {self.verdict}")

    def sweep(self, merged_pages: int, cpu_s: float = 4.0) -> SetKsm:
        """Let ksmd go through all pages twice, merge so many, and return what ends the sweep."""
        pages = sum(g.observed.rss_bytes or 0 for g in self.guests) // PAGE
        shared = self.values["pages_sharing"] + merged_pages
        for _ in range(3):
            self.tick(
                pages_scanned=self.values["pages_scanned"] + pages,
                full_scans=self.values["full_scans"] + 1,
                ksmd_cpu_s_total=self.values["ksmd_cpu_s_total"] + cpu_s / 3,
                pages_sharing=shared,
                pages_unshared=pages - shared,
            )
            if self.values["run"] == 0:
                return self.written[-1]
        return self.until()

    @property
    def code(self) -> ReasonCode:
        """Return why ksmd does what it does."""
        assert self.verdict is not None
        return self.verdict.reason.code


def converged() -> Bench:
    """Return a governor that has merged what three twins have in common, and rests."""
    bench = Bench()
    bench.until()
    bench.sweep(100_000)
    assert bench.code is ReasonCode.KSM_CONVERGED
    return bench


# --- sweeping and resting ---------------------------------------------------------------------------------------


def test_guests_that_are_there_are_gone_through_once_they_settled() -> None:
    """After ten seconds ksmd starts, at a speed of its own, and what the files held is kept for restoring."""
    bench = Bench()
    action = bench.until()

    assert bench.now_s - START_S == pytest.approx(12)
    assert (action.files["run"], action.before["run"], action.before["pages_to_scan"]) == ("1", "0", "100")
    assert action.reason.numbers["guests"] == "a, b, c"


def test_a_sweep_ends_when_everything_was_looked_at_twice() -> None:
    """Not before, not after; what it brought is in the reason."""
    bench = Bench()
    bench.until()
    pages = 3 * 300 * MIB // PAGE
    bench.tick(pages_scanned=2 * pages, pages_unshared=pages, ksmd_cpu_s_total=2.0)
    assert bench.values["run"] == 1
    end = bench.tick(pages_scanned=int(2.15 * pages), ksmd_cpu_s_total=2.2)

    assert end is not None
    assert end.files == {"run": "0"}
    assert end.reason.code is ReasonCode.KSM_NO_GAIN
    assert end.reason.numbers["found_cpu_s"] == pytest.approx(2.2)


def test_a_sweep_that_still_pays_goes_on() -> None:
    """While pages are being merged by the thousand nobody stops it, up to a limit."""
    bench = Bench()
    bench.until()
    pages = 3 * 300 * MIB // PAGE
    bench.tick(pages_scanned=2 * pages, pages_unshared=pages, ksmd_cpu_s_total=2.0)
    assert bench.tick(pages_scanned=int(2.2 * pages), ksmd_cpu_s_total=2.5, pages_sharing=9000) is None
    assert bench.tick(pages_scanned=int(2.4 * pages), ksmd_cpu_s_total=3.0, pages_sharing=18000) is None
    end = bench.tick(pages_scanned=int(2.6 * pages), ksmd_cpu_s_total=3.5, pages_sharing=18000)

    assert end is not None
    assert end.reason.numbers["found_bytes"] == 18000 * PAGE


def test_a_sweep_for_a_new_guest_ends_when_that_is_merged() -> None:
    """Its pages stand together; the second visit of all the others would bring nothing and cost as much again."""
    bench = converged()
    bench.guests.append(twin("d"))
    bench.until()
    pages, looked, cpu = 1200 * MIB // PAGE, bench.values["pages_scanned"], bench.values["ksmd_cpu_s_total"]
    saved = bench.values["pages_sharing"]
    bench.tick(pages_scanned=looked + int(1.1 * pages), ksmd_cpu_s_total=cpu + 1, pages_unshared=pages - saved)
    bench.tick(pages_scanned=looked + int(1.3 * pages), ksmd_cpu_s_total=cpu + 2, pages_sharing=saved + 40_000)
    assert bench.values["run"] == 1
    bench.tick(pages_scanned=looked + int(1.6 * pages), ksmd_cpu_s_total=cpu + 2.5)

    assert bench.values["run"] == 0
    assert bench.code is ReasonCode.KSM_CONVERGED


def test_nothing_new_nothing_done() -> None:
    """A converged host is left in peace until it is looked at again, a quarter of an hour later."""
    bench = converged()
    rested_s = bench.now_s
    bench.until(limit=600)

    assert bench.now_s - rested_s >= KSM_LOOK_FIRST_S
    assert bench.code is ReasonCode.KSM_LOOK_AGAIN
    assert bench.values["smart_scan"] is False


def test_looks_that_find_nothing_become_rarer() -> None:
    """Each one twice as late as the one before."""
    bench = converged()
    gaps = []
    for _ in range(3):
        rested_s = bench.now_s
        bench.until(limit=4000)
        gaps.append(bench.now_s - rested_s)
        bench.sweep(0)

    assert gaps[1] >= 1.9 * gaps[0]
    assert gaps[2] >= 1.9 * gaps[1]


def test_waiting_ends_when_it_has_cost_as_much_as_a_sweep() -> None:
    """Twice the broken memory is merged again after half the time, as long as more keeps coming."""
    waits = []
    for broken_mib in (400, 800):
        bench = converged()
        rested_s, breaks = bench.now_s, broken_mib * MIB // PAGE
        while bench.tick(cow_breaks_total=breaks) is None:
            breaks += MIB // PAGE
        assert bench.code is ReasonCode.KSM_WORTH
        waits.append(bench.now_s - rested_s)

    assert waits[0] == pytest.approx(2 * waits[1], rel=0.2)


def test_what_has_come_to_rest_is_merged_sooner() -> None:
    """Memory that still changes is soon parted again; when nothing new came for a while the price is higher."""
    waits = []
    for more in (0, MIB // PAGE):
        bench = converged()
        rested_s, breaks = bench.now_s, 150 * MIB // PAGE
        while bench.tick(cow_breaks_total=breaks) is None:
            breaks += more
        waits.append(bench.now_s - rested_s)

    assert waits[0] < 0.8 * waits[1]


def test_a_shorter_host_waits_less() -> None:
    """The same memory is worth a sweep the sooner the shorter the host is; in the worst states nearly at once."""
    waits = []
    for state in (HostState.HIGH, HostState.SOFT, HostState.HARD, HostState.LOW):
        bench = converged()
        bench.state = state
        rested_s = bench.now_s
        _ = bench.tick(cow_breaks_total=300 * MIB // PAGE) or bench.until(limit=400)
        waits.append(bench.now_s - rested_s)

    assert waits == sorted(waits, reverse=True)
    assert waits[-1] <= 2 * TICK_S
    assert waits[0] > 5 * waits[-1]


def test_broken_memory_that_never_merges_again_is_learned() -> None:
    """A guest that fills what was free with something new wakes ksmd less and less often."""
    bench = converged()
    waits, broken = [], 0
    for _ in range(3):
        rested_s = bench.now_s
        broken += 300 * MIB // PAGE
        bench.tick(cow_breaks_total=broken)
        bench.until(limit=1000)
        waits.append(bench.now_s - rested_s)
        bench.sweep(0)

    assert waits[1] > 1.5 * waits[0]
    assert waits[2] > 1.5 * waits[1]


def test_growth_is_new_memory_and_shrinking_is_not() -> None:
    """What a guest gave back and took again counts, what it merely lost does not."""
    bench = converged()
    bench.guests[0] = twin("a", 100 * MIB)
    bench.tick()
    assert bench.verdict is not None
    assert bench.verdict.new_bytes == 0
    bench.guests[0] = twin("a", 250 * MIB)
    bench.tick()
    assert bench.verdict.new_bytes == 150 * MIB


def test_a_rebooted_guest_is_new() -> None:
    """Another ``since_s`` means that all of its memory was written anew."""
    bench = converged()
    bench.guests[1] = msgspec.structs.replace(bench.guests[1], since_s=bench.now_s)
    action = bench.until()

    assert (action.reason.code, action.reason.numbers["guests"]) == (ReasonCode.KSM_NEW_GUEST, "b")


def test_what_ended_is_taken_off_the_books_and_ksmd_rests_again() -> None:
    """Ksmd is woken for a moment: until it came by, the dead guest's pages count as saved and their books take room."""
    bench = converged()
    del bench.guests[0]
    woken = bench.until(limit=3)
    assert bench.tick(pages_unshared=100_000) is None
    assert bench.tick(pages_unshared=60_000) is None
    end = bench.tick()

    assert end is not None
    assert (woken.reason.code, woken.reason.numbers["guests"]) == (ReasonCode.KSM_GONE, "a")
    assert end.files == {"run": "0"}
    assert bench.tick() is None


def test_a_guest_that_does_not_answer_is_not_gone() -> None:
    """Unknown is not nothing."""
    bench = converged()
    lost = bench.guests.pop(0)
    bench.absent = (Absent(uuid=lost.uuid, name=lost.name, reason="hung"),)
    assert bench.tick() is None
    bench.guests.insert(0, lost)
    bench.absent = ()
    assert bench.tick() is None


def test_a_new_guest_that_found_no_twin_is_looked_at_more_closely() -> None:
    """Smart scan passed over what stood alone for long: that may be the twin."""
    bench = converged()
    bench.guests.append(twin("d"))
    bench.until()
    pages = 1200 * MIB // PAGE
    looked = bench.values["pages_scanned"] + int(2.2 * pages)
    closer = bench.tick(pages_skipped=50_000, pages_scanned=looked, pages_unshared=pages - 100_000)

    assert closer is not None
    assert closer.files["smart_scan"] == "0"
    assert closer.reason.code is ReasonCode.KSM_LOOK_AGAIN


def test_a_guest_that_reboots_in_the_middle_of_a_sweep_is_new_all_the_same() -> None:
    """What it wrote since was not seen twice."""
    bench = Bench()
    bench.until()
    bench.guests[1] = msgspec.structs.replace(bench.guests[1], since_s=bench.now_s)
    bench.sweep(50_000)
    again = bench.until()

    assert again.reason.numbers["guests"] == "b"


def test_a_guest_that_starts_over_and_over_does_not_keep_ksmd_busy() -> None:
    """Once it is known that its kind merges with nobody, it waits until it is worth a sweep."""
    bench = Bench(guests=[twin("a", 20 * GIB), twin("b", 20 * GIB)])
    bench.until()
    bench.sweep(0)
    bench.written.clear()
    starts = []
    for number in range(400):
        if number % 10 == 0:
            bench.guests[2:] = [twin(f"flap-{number}")]
        action = bench.tick(pages_scanned=bench.values["pages_scanned"] + 2_000_000)
        if action is not None and action.reason.code is ReasonCode.KSM_NEW_GUEST:
            starts.append(number)

    assert 0 < len(starts) < 10
    assert max(starts) < 200


def test_a_clock_set_back_does_not_freeze_a_sweep() -> None:
    """It goes on from there and ends."""
    bench = Bench()
    bench.until()
    bench.now_s -= 3600
    bench.sweep(50_000)

    assert bench.values["run"] == 0


def test_a_refusal_of_a_wrong_clock_does_not_last_for_days() -> None:
    """A deadline further off than it can be is over."""
    bench = Bench(reply=Result.REFUSED)
    bench.until()
    bench.now_s -= 86400
    bench.tick()

    assert bench.code is not ReasonCode.KSM_REFUSED


def test_ksmd_that_looks_at_nothing_is_stopped_and_nothing_is_learned() -> None:
    """No process lets its memory be merged (QEMU's mem-merge=off): that is said, and is no proof of convergence."""
    for uncounted in ({}, {"pages_scanned": None, "pages_skipped": None}):
        bench = Bench()
        bench.values |= uncounted
        bench.until()
        end = bench.until(limit=20)
        assert (end.files, end.reason.code) == ({"run": "0"}, ReasonCode.KSM_IDLE)
        assert bench.track.look_costs_cpu_s == {}


def test_guests_that_ended_are_forgotten_where_nothing_is_on_the_books() -> None:
    """Hundreds of them are no list to carry about."""
    bench = Bench(limits=Limits(manage_ksm=False))
    for number in range(50):
        bench.guests = [twin("a"), twin(f"b{number}")]
        bench.tick(pages_unshared=1000 * (number % 2))

    assert len(bench.track.signs.gone) <= 8


# --- speed and its share of the CPU -----------------------------------------------------------------------------


def a_ksm(**values: Any) -> Ksm:
    """Return a reading of a modern kernel."""
    return Ksm(**{"page_size_bytes": PAGE, "run": 0, "pages_shared": 0, "pages_sharing": 0} | MODERN | values)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_the_batch_gives_ksmd_its_share(share: float) -> None:
    """Pages between two sleeps, at what a page costs, take that share of the time."""
    files = files_for(a_ksm(), pages_per_s=None, most_ratio=share, cost_cpu_s=2e-6)
    busy_s, sleep_s = int(files["pages_to_scan"]) * 2e-6, int(files["sleep_millisecs"]) / 1000

    assert busy_s / (busy_s + sleep_s) == pytest.approx(share, rel=0.02)


def test_the_batch_gives_a_rate() -> None:
    """So many pages a second, whatever a page costs, unless the share forbids it."""
    files = files_for(a_ksm(), pages_per_s=100_000, most_ratio=0.7, cost_cpu_s=2e-6)
    pages, sleep_s = int(files["pages_to_scan"]), int(files["sleep_millisecs"]) / 1000

    assert pages / (pages * 2e-6 + sleep_s) == pytest.approx(100_000, rel=0.01)
    hasty = files_for(a_ksm(), pages_per_s=1e7, most_ratio=0.3, cost_cpu_s=2e-6)
    busy_s, sleep_s = int(hasty["pages_to_scan"]) * 2e-6, int(hasty["sleep_millisecs"]) / 1000
    assert busy_s / (busy_s + sleep_s) == pytest.approx(0.3, rel=0.02)


def test_a_host_whose_owner_chose_the_kernels_advisor_keeps_it() -> None:
    """Its target and its limit are set, never ``pages_to_scan``, which the kernel would refuse."""
    bench = Bench()
    bench.values |= {"advisor_mode": "scan-time", "advisor_target_scan_time_s": 200, "advisor_max_cpu_ratio": 0.7}
    action = bench.until()

    assert set(action.files) == {"advisor_max_cpu", "advisor_target_scan_time", "run"}
    assert action.before["advisor_target_scan_time"] == "200"
    assert action.files["advisor_max_cpu"] == "30"


def test_ksmd_pauses_when_its_share_is_used_up_and_goes_on() -> None:
    """The account is filled by the second and emptied by what ksmd really used."""
    bench = Bench(limits=Limits(ksm_max_cpu_ratio=0.1))
    bench.until()
    pause = bench.tick(ksmd_cpu_s_total=5.0, pages_scanned=1000, pages_unshared=200_000)
    assert pause is not None
    assert (pause.files, pause.reason.code) == ({"run": "0"}, ReasonCode.KSM_CPU_SPENT)
    paused_s = bench.now_s
    again = bench.until()

    assert again.files["run"] == "1"
    assert bench.now_s - paused_s >= 15


def test_a_new_share_holds_in_the_middle_of_a_sweep() -> None:
    """Who raises or lowers ksm.max_cpu need not wait for its end."""
    bench = Bench(limits=Limits(ksm_max_cpu_ratio=0.01))
    bench.until()
    slow = bench.values["pages_to_scan"]
    bench.limits = Limits(ksm_max_cpu_ratio=1.0)
    bench.tick(pages_scanned=10, pages_unshared=200_000)

    assert bench.values["pages_to_scan"] > slow


def test_the_account_survives_a_clock_that_was_set_back() -> None:
    """It is opened anew rather than emptied or overfilled."""
    account = refilled(Account(), a_ksm(taken_at_s=1000.0, ksmd_cpu_s_total=50.0), 0.5)
    back = refilled(account, a_ksm(taken_at_s=10.0, ksmd_cpu_s_total=50.0), 0.5)

    assert back.left_cpu_s == 15.0
    assert not back.paused


# --- hands off --------------------------------------------------------------------------------------------------


def test_a_setting_that_changes_by_itself_was_changed_by_somebody_else() -> None:
    """Memtide yields for ten minutes, says what was changed, and then takes what it finds as given."""
    bench = converged()
    bench.tick(run=1, pages_to_scan=1250)
    assert bench.code is ReasonCode.KSM_OTHER_WRITER
    assert bench.verdict is not None
    assert "run 0 -> 1" in str(bench.verdict.reason.numbers["who"])
    yielded_s = bench.now_s
    bench.until(limit=400)

    assert bench.now_s - yielded_s >= FOREIGN_HOLD_S


def test_its_own_writes_are_not_somebody_elses() -> None:
    """The control: a whole life of sweeps raises no such suspicion."""
    bench = converged()
    bench.tick(cow_breaks_total=400 * MIB // PAGE)
    bench.until(limit=400)
    bench.sweep(50_000)

    assert bench.code is ReasonCode.KSM_CONVERGED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"limits": Limits(manage_ksm=False)}, ReasonCode.KSM_UNMANAGED),
        ({"limits": Limits(ksm_held_until_s=START_S + 1e6)}, ReasonCode.KSM_HELD),
        ({"writers": ("ksmtuned",)}, ReasonCode.KSM_OTHER_WRITER),
    ],
)
def test_who_may_not_writes_nothing_at_all(change: dict[str, Any], code: ReasonCode) -> None:
    """Not even a stop: ksmd may be running for somebody."""
    bench = Bench(**change)
    bench.values["run"] = 1
    for _ in range(30):
        assert bench.tick() is None

    assert bench.code is code
    assert code in HANDS_OFF


def test_guests_that_cannot_be_merged_are_no_reason_to_scan() -> None:
    """Huge pages, shared memory, passed-through devices and <nosharepages/>: ksmd that runs is stopped."""
    traits = ({"huge_pages": True}, {"shared_memory": True}, {"passthrough": True}, {"mergeable": False})
    guests = [
        twin(f"g{i}", traits=GuestTraits(has_balloon=True, **trait))  # type: ignore[arg-type]
        for i, trait in enumerate(traits)
    ]
    bench = Bench(guests=[*guests, twin("alone")])
    bench.values["run"] = 1
    stop = bench.tick()

    assert stop is not None
    assert (stop.files, stop.reason.code) == ({"run": "0"}, ReasonCode.KSM_NOTHING_TO_MERGE)


@pytest.mark.parametrize("name", ["huge_pages", "shared_memory", "passthrough", "mergeable", "locked", None])
def test_the_law_and_the_report_agree_on_who_cannot_be_merged(name: str | None) -> None:
    """What ksmd is not woken for is what the report has a reason for, and nothing else."""
    trait = {} if name is None else {name: name != "mergeable"}
    some = twin("a", traits=GuestTraits(has_balloon=True, **trait))

    assert can_merge(some) == (why_not(some) is None)
    assert can_merge(some) == (name in {"locked", None})


def test_a_refusal_is_not_repeated_every_tick() -> None:
    """The kernel is asked again after a minute."""
    bench = Bench(reply=Result.REFUSED)
    bench.until()
    refused_s = bench.now_s
    bench.until()

    assert bench.now_s - refused_s >= 60


def test_a_write_that_went_half_way_is_nobody_elses_work() -> None:
    """What the kernel did not take is not mistaken for somebody who changed it back."""
    bench = Bench(reply=Result.PARTIAL)
    bench.values["smart_scan"] = False
    asked = bench.until().files
    bench.tick(run=1, pages_to_scan=int(asked["pages_to_scan"]), sleep_millisecs=10)
    assert bench.code is ReasonCode.KSM_NEW_GUEST
    bench.reply = Result.DONE
    bench.sweep(50_000)
    bench.tick(cow_breaks_total=800 * MIB // PAGE)
    bench.until(limit=400)

    assert all("smart_scan" not in action.files for action in bench.written[1:])
    assert bench.code is ReasonCode.KSM_WORTH


def test_who_had_everything_unmerged_is_not_overruled() -> None:
    """No kernel begins with run=2: somebody wants nothing merged, and is told how to change that."""
    bench = Bench()
    bench.values["run"] = 2
    for _ in range(30):
        assert bench.tick() is None

    assert bench.code is ReasonCode.KSM_RUN_TWO
    bench.values["run"] = 0
    assert bench.until().files["run"] == "1"


def swept_away(**change: Any) -> list[SetKsm]:
    """Return what is written when a sweep of ours meets with this."""
    bench = Bench()
    bench.until()
    for name, value in change.items():
        setattr(bench, name, value)
    bench.written.clear()
    for _ in range(30):
        bench.tick()
    return bench.written


@pytest.mark.parametrize(
    "change",
    [
        {"limits": Limits(manage_ksm=False)},
        {"limits": Limits(ksm_held_until_s=START_S + 1e6)},
        {"writers": ("ksmtuned",)},
    ],
)
def test_a_sweep_of_ours_is_ended_before_hands_are_taken_off(change: dict[str, Any]) -> None:
    """Who may not steer any more does not leave ksmd running: one stop, and not a word more."""
    assert [action.files for action in swept_away(**change)] == [{"run": "0"}]


def test_a_ksmd_that_somebody_else_switched_is_his() -> None:
    """He wrote ``run`` himself in the middle of our sweep, twice: it is not switched off under him."""
    bench = Bench()
    bench.until()
    bench.tick(run=0)
    assert bench.code is ReasonCode.KSM_OTHER_WRITER
    assert bench.tick(run=1) is None


def test_another_writer_of_the_advisors_settings_is_seen() -> None:
    """They are what memtide steers by on such a host, so they are watched there."""
    bench = Bench()
    bench.values |= {"advisor_mode": "scan-time", "advisor_target_scan_time_s": 200, "advisor_max_cpu_ratio": 0.7}
    bench.until()
    bench.tick()
    bench.tick(advisor_max_cpu_ratio=0.55)

    assert bench.code is ReasonCode.KSM_OTHER_WRITER
    assert bench.verdict is not None
    assert "advisor_max_cpu 30 -> 55" in str(bench.verdict.reason.numbers["who"])


def test_owners_that_are_unknown_are_others_where_some_are_known() -> None:
    """Kept apart means kept apart, also from a guest nobody claims."""
    owned = twin("b", traits=GuestTraits(has_balloon=True, owner="red"))
    limits = Limits(ksm_tenants=Tenants.APART)
    bench = Bench(guests=[twin("a"), owned], limits=limits)
    bench.tick()
    assert bench.code is ReasonCode.KSM_TENANTS
    nobodys = Bench(limits=limits)
    assert nobodys.until().files["run"] == "1"


def test_what_an_operator_restored_is_left_alone() -> None:
    """``memtide restore --all`` puts KSM back; ten minutes nothing is changed again."""
    bench = converged()
    reason = Reason(code=ReasonCode.RESTORE)
    bench.answer(SetKsm(files={"pages_to_scan": "100", "run": "1"}, before={}, reason=reason), Result.DONE)
    assert bench.tick() is None
    assert bench.code is ReasonCode.KSM_HELD


def test_a_shorter_hold_than_ten_minutes_counts() -> None:
    """An operator who had it undone for a minute has said for how long."""
    bench = converged()
    reason = Reason(code=ReasonCode.OPERATOR, numbers={"for_s": 60.0})
    bench.answer(SetKsm(files={"run": "0"}, before={}, reason=reason), Result.DONE)
    bench.tick()
    assert bench.code is ReasonCode.KSM_HELD
    bench.now_s += 60
    bench.tick()
    assert bench.code is not ReasonCode.KSM_HELD


def test_an_observer_says_what_it_would_do_and_nothing_goes_wrong() -> None:
    """Nothing is sent, so nothing moves: the advice stays the same."""
    bench = Bench(acting=False)
    bench.until()
    for _ in range(50):
        bench.tick()

    assert bench.verdict is not None
    assert bench.verdict.scanning
    assert bench.code is ReasonCode.KSM_NEW_GUEST


def test_ksm_stays_as_it_was_found_until_the_guests_are_known() -> None:
    """A ksmd that somebody runs is not stopped at the first glance."""
    bench = Bench()
    bench.values["run"] = 1
    assert bench.tick() is None
    assert bench.code is ReasonCode.KSM_WATCHING


# --- whatever the kernel says -----------------------------------------------------------------------------------

COUNT = st.none() | st.integers(0, 2**40)
READING = st.fixed_dictionaries(
    {
        "run": st.integers(0, 2),
        "pages_shared": st.integers(0, 2**30),
        "pages_sharing": st.integers(0, 2**30),
        "ksmd_cpu_s_total": st.none() | st.floats(0, 1e6),
        "advisor_mode": st.sampled_from([None, "none", "scan-time"]),
        "smart_scan": st.sampled_from([None, True, False]),
        **dict.fromkeys(
            ("pages_unshared", "pages_volatile", "full_scans", "pages_scanned", "pages_skipped", "cow_breaks_total",
             "zero_pages", "pages_to_scan", "sleep_millisecs"), COUNT),
    }
)  # fmt: skip


@given(
    readings=st.lists(READING, min_size=1, max_size=12), state=st.sampled_from(HostState), jump_s=st.floats(-1e5, 1e5)
)
def test_it_copes_with_any_reading(readings: list[dict[str, Any]], state: HostState, jump_s: float) -> None:
    """Counters that fall, files that vanish, clocks that jump: no failure, no ``run=2``, and sane speeds."""
    bench = Bench(state=state)
    for number, reading in enumerate(readings):
        bench.now_s += jump_s if number == 5 else 10.0
        action = bench.tick(**reading)
        assert bench.verdict is not None
        if action is not None:
            assert action.files.get("run") in {None, "0", "1"}
            assert 100 <= int(action.files.get("pages_to_scan", 100)) <= 30_000
            assert bench.code not in HANDS_OFF or action.files == {"run": "0"}
    assert ((bench.verdict and bench.verdict.new_bytes) or 0) >= 0


def test_zero_pages_are_used_where_the_kernel_counts_them() -> None:
    """A huge page of zeros is freed whole; on a kernel that would hide it from the account it is left alone."""
    bench = Bench()
    bench.values |= {"use_zero_pages": False, "zero_pages": 0}
    assert bench.until().files["use_zero_pages"] == "1"
    old = Bench()
    old.values["use_zero_pages"] = False
    assert "use_zero_pages" not in old.until().files
