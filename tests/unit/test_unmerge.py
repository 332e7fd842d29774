"""Undoing KSM's merging: when it may begin and go on, how a stage ends, and what people are told."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import make
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtide.actuators.ksm import KsmActuator
from memtide.actuators.unmerge import KsmUnmerger
from memtide.errors import UsageError
from memtide.model.action import Outcome, Result, SetKsm
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Change, ChangeKind
from memtide.model.unmerge import Stage, StageEnd
from memtide.policy.unmerge import Next, left_bytes, next_step, plan_unmerge, stage_size
from memtide.runtime.ledger import undo_ksm
from memtide.runtime.unmerge import UnmergeRequest, planned, take_apart
from memtide.runtime.unmerge_service import KSM_HOLD, unmerge
from memtide.runtime.will import Will
from memtide.units import GIB, MIB
from memtide.views.unmerge import UnmergePhase, UnmergeView, unmerge_line
from memtide.views.words import sentence

PAGE = 4096
REASON = Reason(code=ReasonCode.RESTORE)
SIZES = st.integers(0, 1 << 46)


def host(
    *, sharing: int, shared: int = 100, zero: int | None = 0, available_bytes: int = 8 * GIB, run: int = 1
) -> Host:
    """Return a host with so many merged pages."""
    ksm = Ksm(page_size_bytes=PAGE, run=run, pages_shared=shared, pages_sharing=sharing, zero_pages=zero)
    return msgspec.structs.replace(make.host(available_bytes=available_bytes), ksm=ksm)


# --- the plan -------------------------------------------------------------------------------------------------


def test_the_articles_host_is_refused_with_its_numbers() -> None:
    """13.64 GiB saved need 16.4; with 3.4 available and 2.4 reserve, 15.4 are missing."""
    plan = plan_unmerge(host(sharing=3_574_747, available_bytes=int(3.4 * GIB)), int(2.4 * GIB))

    assert plan.missing_bytes == pytest.approx(15.36 * GIB, rel=0.01)
    for number in ("16.4 GiB", "3.40 GiB", "2.40 GiB", "15.4 GiB are missing"):
        assert number in plan.why_not
    assert "stop or move a guest" in plan.hint


def test_what_is_unknown_is_refused_with_the_reason() -> None:
    """Without KSM's figures nobody can say that it fits."""
    blind = msgspec.structs.replace(make.host(), ksm=None, missing={"ksm": "there is no /sys/kernel/mm/ksm"})
    plan = plan_unmerge(blind, GIB)

    assert (plan.needed_bytes, plan.missing_bytes) == (None, None)
    assert "there is no /sys/kernel/mm/ksm" in plan.why_not


@given(sharing=st.integers(0, 1 << 34), zero=st.integers(0, 1 << 30), available=SIZES, reserve=SIZES)
def test_never_allowed_when_it_does_not_fit(sharing: int, zero: int, available: int, reserve: int) -> None:
    """Allowed: after all is apart the reserve is there, and a fifth of what came apart beside it."""
    plan = plan_unmerge(host(sharing=sharing, zero=zero, available_bytes=available), reserve)
    saved = (sharing + zero) * PAGE
    fits = available - reserve >= int(1.2 * saved)

    assert bool(plan.why_not) == (saved > 0 and not fits)
    assert bool(plan.missing_bytes) == bool(plan.why_not)


@given(sharing=st.integers(0, 1 << 34), available=SIZES, more=SIZES, reserve=SIZES)
def test_more_available_memory_never_forbids(sharing: int, available: int, more: int, reserve: int) -> None:
    """What is allowed stays allowed when the host has more; stages do not become smaller."""
    little = plan_unmerge(host(sharing=sharing, available_bytes=available), reserve)
    much = plan_unmerge(host(sharing=sharing, available_bytes=available + more), reserve)

    assert little.why_not or not much.why_not
    assert 64 * MIB <= little.stage_bytes <= much.stage_bytes <= GIB


def test_what_is_left_is_the_smaller_bound() -> None:
    """pages_sharing falls late, a process at a time; the copies are counted at once."""
    plan = plan_unmerge(host(sharing=1000, shared=500), GIB)

    assert left_bytes(host(sharing=1000, shared=500), plan, 900 * PAGE) == 600 * PAGE
    assert left_bytes(host(sharing=200, shared=100), plan, 900 * PAGE) == 200 * PAGE
    assert left_bytes(host(sharing=1000, shared=500), plan, None) == 1000 * PAGE
    assert left_bytes(make.host(), plan_unmerge(msgspec.structs.replace(make.host(), ksm=None), 0), 0) is None


@pytest.mark.parametrize(
    ("sharing", "shared", "available_bytes", "still_bytes", "follows"),
    [
        (0, 0, 0, 0, Next.DONE),
        (0, 5, 8 * GIB, 0, Next.GO_ON),
        (1000, 5, 2 * GIB, GIB, Next.GO_ON),
        (1000, 5, 2 * GIB - 1, GIB, Next.STOP),
        (1000, 5, 8 * GIB, None, Next.STOP),
    ],
)
def test_what_follows_a_stage(
    sharing: int, shared: int, available_bytes: int, still_bytes: int | None, follows: Next
) -> None:
    """It goes on while reserve and rest fit, and is done when nothing at all is merged."""
    now = host(sharing=sharing, shared=shared, available_bytes=available_bytes)

    assert next_step(now, GIB, still_bytes) is follows


def test_a_stage_is_a_quarter_of_the_room() -> None:
    """Between 64 MiB and 1 GiB."""
    assert [stage_size(size, GIB) for size in (GIB, 3 * GIB, 9 * GIB)] == [64 * MIB, 512 * MIB, GIB]


# --- from stage to stage --------------------------------------------------------------------------------------


class Kernel:
    """A host whose merged pages come apart as they are asked to; memory goes with them."""

    def __init__(self, *, sharing: int, available_bytes: int, drain_bytes: int = 0) -> None:
        self.sharing, self.available_bytes, self.drain_bytes = sharing, available_bytes, drain_bytes
        self.falls: list[int] = []

    def look(self) -> Host:
        """Return the host now."""
        return host(sharing=self.sharing, shared=0, available_bytes=self.available_bytes)

    async def stage(self, copied_bytes: int, fall_bytes: int) -> Stage:
        """Take apart what is asked for; somebody else takes ``drain_bytes`` meanwhile."""
        self.falls.append(fall_bytes)
        done = min(copied_bytes, self.sharing * PAGE)
        self.sharing -= done // PAGE
        self.available_bytes -= done + self.drain_bytes
        return Stage(end=StageEnd.ENOUGH if self.sharing else StageEnd.ALL, copied_bytes=done)


async def steps(kernel: Kernel, reserve_bytes: int) -> list[UnmergeView]:
    """Return all it tells."""
    return [view async for view in take_apart(kernel.look, reserve_bytes, kernel)]


async def test_with_enough_memory_everything_comes_apart() -> None:
    """Three GiB in stages of at most one; the last word is done, and available fell by what was saved."""
    kernel = Kernel(sharing=3 * GIB // PAGE, available_bytes=8 * GIB)
    views = await steps(kernel, GIB)

    assert views[-1].phase is UnmergePhase.DONE
    assert views[-1].stages >= 3
    assert [view.apart_bytes for view in views] == sorted(view.apart_bytes or 0 for view in views)
    assert (kernel.sharing, kernel.available_bytes) == (0, 5 * GIB)
    assert unmerge_line(views[0]) == "stage 1: 1.00 GiB of 3.00 GiB apart, host has 7.00 GiB"


async def test_it_stops_when_the_memory_goes_elsewhere() -> None:
    """Guests take what was counted on: the rest stays merged and that is said, and nothing went under the reserve."""
    kernel = Kernel(sharing=4 * GIB // PAGE, available_bytes=6 * GIB, drain_bytes=GIB)
    views = await steps(kernel, GIB)

    assert views[-1].phase is UnmergePhase.STOPPED
    assert kernel.sharing > 0
    assert kernel.available_bytes >= GIB
    assert "stay merged" in unmerge_line(views[-1])
    assert kernel.falls[0] == 5 * GIB


# --- a stage on files -----------------------------------------------------------------------------------------


def counts(root: Path, *, copied: int | None, available_kib: int) -> None:
    """Write what the kernel counts."""
    (root / "proc/vmstat").write_text("nr_free_pages 1\n" + ("" if copied is None else f"cow_ksm {copied}\n"))
    (root / "proc/meminfo").write_text(f"MemTotal: 9000000 kB\nMemAvailable: {available_kib} kB\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host of plain files whose kernel takes long: nobody reads the run file."""
    folder = tmp_path / "sys/kernel/mm/ksm"
    folder.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    os.mkfifo(folder / "run")
    counts(tmp_path, copied=0, available_kib=1_000_000)
    return tmp_path


async def staged(root: Path, deadline_s: float = 20.0, **later: int | None) -> Stage:
    """Return what came of a stage of 100 pages that may cost 1 MiB, with these counts from half a second on."""
    stage = asyncio.create_task(KsmUnmerger(root, deadline_s=deadline_s).stage(100 * PAGE, MIB))
    if later:
        await asyncio.sleep(0.5)
        counts(root, **{"copied": 0, "available_kib": 1_000_000} | later)  # type: ignore[arg-type]
    return await stage


async def test_a_stage_ends_when_enough_is_apart(root: Path) -> None:
    """The kernel is in the middle of its one write; the process dies, and what it copied is told."""
    assert await staged(root, copied=120) == Stage(end=StageEnd.ENOUGH, copied_bytes=120 * PAGE)


async def test_a_stage_ends_when_memory_falls(root: Path) -> None:
    """However little came apart."""
    assert (await staged(root, copied=10, available_kib=1_000_000 - 1024)).end is StageEnd.SHORT


async def test_a_kernel_that_counts_no_copies(root: Path) -> None:
    """What the host lost has to do, and how much was copied is unknown, not 0."""
    counts(root, copied=None, available_kib=1_000_000)
    assert await staged(root, copied=None, available_kib=1_000_000 - 512) == Stage(
        end=StageEnd.ENOUGH, copied_bytes=None
    )


async def test_a_stage_has_a_deadline(root: Path) -> None:
    """A kernel that gets nowhere is not waited for."""
    assert (await staged(root, deadline_s=0.3)).end is StageEnd.LATE


async def test_the_whole_write_went_through(root: Path) -> None:
    """Nothing left: 0 is written after the 2."""
    (root / "sys/kernel/mm/ksm/run").unlink()
    (root / "sys/kernel/mm/ksm/run").write_text("1\n")

    assert (await staged(root)).end is StageEnd.ALL
    assert (root / "sys/kernel/mm/ksm/run").read_text() == "0"


async def test_a_kernel_without_ksm(root: Path) -> None:
    """It is said, and nothing hangs."""
    (root / "sys/kernel/mm/ksm/run").unlink()
    (root / "sys/kernel/mm/ksm").rmdir()

    assert (await staged(root)).detail == "this kernel has no KSM"


async def test_cancelling_leaves_no_process(root: Path) -> None:
    """Whoever asked went away: the child is gone before the cancellation is through."""
    stage = asyncio.create_task(KsmUnmerger(root).stage(100 * PAGE, MIB))
    await asyncio.sleep(0.5)
    children = _children()
    assert children
    stage.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage

    assert not children & _children()


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


# --- 2 is written nowhere else ----------------------------------------------------------------------------------


async def test_the_actuator_never_writes_two(tmp_path: Path) -> None:
    """Whoever asks for it is told of the way in stages."""
    folder = tmp_path / "sys/kernel/mm/ksm"
    folder.mkdir(parents=True)
    (folder / "run").write_text("1\n")
    reply = await KsmActuator(tmp_path).apply(SetKsm(files={"run": "2"}, before={}, reason=REASON))

    assert (reply.result, (folder / "run").read_text()) == (Result.REFUSED, "1\n")
    assert "memtide ksm unmerge" in reply.detail


async def test_changes_at_the_same_time_take_turns(tmp_path: Path) -> None:
    """Restore puts several files back at once; none is refused because of another."""
    folder = tmp_path / "sys/kernel/mm/ksm"
    folder.mkdir(parents=True)
    names = ("run", "pages_to_scan", "sleep_millisecs")
    for name in names:
        (folder / name).write_text("9\n")
    actuator = KsmActuator(tmp_path)
    replies = await asyncio.gather(
        *(actuator.apply(SetKsm(files={name: "1"}, before={}, reason=REASON)) for name in names)
    )

    assert [reply.result for reply in replies] == [Result.DONE] * 3


def test_an_original_of_two_is_put_back_as_zero() -> None:
    """And the log says why."""
    change = Change(kind=ChangeKind.KSM, key="run", name="run", original="2", at_s=0.0)
    action = undo_ksm([change], REASON, None)

    assert action.files == {"run": "0"}
    assert "run was 2, but 0 is written" in sentence(action.reason)


# --- held off -----------------------------------------------------------------------------------------------------


def test_the_hold_reaches_the_law_until_it_is_over() -> None:
    """And not a moment longer."""
    will = Will(Limits())
    will.hold_ksm(100.0)

    assert [will.at(now_s, ()).ksm_held_until_s for now_s in (0.0, 99.0, 100.0)] == [100.0, 100.0, None]


def test_the_plan_names_who_would_merge_all_again() -> None:
    """Memtide's hold binds memtide only."""
    steered = msgspec.structs.replace(host(sharing=1000), ksm_writers=("ksmtuned", "mom"))
    plan, end = planned(steered, GIB)

    assert plan.other_writers == ("ksmtuned", "mom")
    assert "; others that steer KSM here may merge all again, stop them first: ksmtuned, mom" in unmerge_line(plan)
    assert end.phase is UnmergePhase.PLANNED
    assert "steer" not in unmerge_line(planned(host(sharing=1000), GIB)[0])


# --- a daemon's part --------------------------------------------------------------------------------------------


class Daemon:
    """A daemon on a host where nothing is merged: its parts and its loop, as far as undoing needs them."""

    def __init__(self, *, run: int = 0) -> None:
        self.kept: dict[str, str] = {}
        self.noted: list[SetKsm] = []
        self.clock = SimpleNamespace(now_s=lambda: 1000.0)
        self.written: list[SetKsm] = []
        self.host = SimpleNamespace(sample=lambda _now_s: host(sharing=0, shared=0, run=run))
        self.ledger, self.store, self.unmerger = self, self, self

    async def note(self, settings: SetKsm, _now_s: float) -> None:
        """Remember what was to be kept before the first change."""
        self.noted.append(settings)

    async def keep(self, key: str, value: str) -> None:
        """Keep a fact over restarts."""
        self.kept[key] = value

    async def stage(self, _copied_bytes: int, _fall_bytes: int) -> Stage:
        """Take nothing apart, for there is nothing."""
        return Stage(end=StageEnd.ALL, copied_bytes=0)

    async def carry_out(self, actions: tuple[SetKsm, ...]) -> list[Outcome]:
        """Say that it is written."""
        self.written += actions
        return [Outcome(action=actions[0], result=Result.DONE, asked_at_s=1000.0, closed_at_s=1000.0)]

    async def event(self, event: Any) -> None:
        """Take what goes into the log."""


async def asked(daemon: Any, will: Will, **more: Any) -> list[UnmergeView]:
    """Return what a daemon answers."""
    return [view async for view in unmerge(daemon, daemon, will, UnmergeRequest(reason=REASON, **more))]


async def test_a_hold_is_replaced_by_a_shorter_one() -> None:
    """Asked again for a second, with nothing merged, it is over after that second, also after a restart.

    Nothing is written: the law would leave alone for ten minutes what was set by hand.
    """
    daemon, will = Daemon(), Will(Limits())
    will.hold_ksm(90_000.0)
    views = await asked(daemon, will, for_s=1.0)

    assert views[-1].phase is UnmergePhase.DONE
    assert unmerge_line(views[-1]) == "done: nothing is merged, host has 8.00 GiB"
    assert (daemon.written, daemon.noted) == ([], [])
    assert daemon.kept == {KSM_HOLD: "1001.0"}
    assert will.at(1001.0, ()).ksm_held_until_s is None


@pytest.mark.parametrize(("run", "more"), [(1, {}), (0, {"max_page_sharing": 64})])
async def test_what_is_to_be_written_is_written_though_nothing_is_merged(run: int, more: dict[str, Any]) -> None:
    """A ksmd that scans is ended, a setting is set."""
    daemon = Daemon(run=run)
    await asked(daemon, Will(Limits()), for_s=60.0, **more)

    assert [write.files for write in daemon.written] == [
        {"run": "0"} | {key: str(value) for key, value in more.items()}
    ]
    assert daemon.noted == daemon.written


@pytest.mark.parametrize("sharers", [1, 1 << 31, -5])
async def test_a_daemon_refuses_first_what_the_kernel_would_refuse_last(sharers: int) -> None:
    """Whoever asks it, on whatever way: nothing is taken apart for a max_page_sharing that cannot be."""
    daemon = Daemon()
    with pytest.raises(UsageError, match="max_page_sharing is 2 to 2147483647"):
        await asked(daemon, Will(Limits()), for_s=1.0, max_page_sharing=sharers)

    assert not daemon.noted
