"""One moment of a daemon made by hand, and a daemon that stays in it: for tests of views, sockets and commands."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from memtide.model.action import Outcome, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import Budget, Decision, HostState, Verdict
from memtide.model.guest import Guest, GuestState, GuestTraits, Observed, Reported, StatsState
from memtide.model.host import Host, HostMemory
from memtide.model.ksm import Ksm
from memtide.model.limits import Hold, Limits
from memtide.model.pressure import Pressure, Stall
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Event, LogEntry, Severity
from memtide.model.snapshot import Absent, Snapshot
from memtide.runtime.control.daemon import LogQuery
from memtide.runtime.control.fanout import Fanout
from memtide.runtime.unmerge import UnmergeRequest
from memtide.units import GIB, MIB
from memtide.views.live import KsmPast, KsmScene, Live, Totals, ksm_scene
from memtide.views.unmerge import UnmergePhase, UnmergeView

NOW_S = 1_626_229_928.0  # 2021-07-14 02:32:08 UTC, the first line of the log in the article
HOST_NAME = "virt5v"


def ksm(*, cpu_s: float = 1000.0, at_s: float = NOW_S, **more: Any) -> Ksm:
    """Return the KSM of the article's host, scanning."""
    values = {
        "page_size_bytes": 4096,
        "run": 1,
        "pages_shared": 1_700_529,
        "pages_sharing": 3_574_747,
    }
    return Ksm(**values | {"ksmd_cpu_s_total": cpu_s, "taken_at_s": at_s} | more)


def host(*, at_s: float = NOW_S, **more: Any) -> Host:
    """Return a host of 16 GiB that is short: 1.2 GiB available."""
    memory = {
        "total_bytes": 16 * GIB,
        "available_bytes": 1229 * MIB,
        "free_bytes": 600 * MIB,
        "cached_bytes": 800 * MIB,
        "shmem_bytes": 0,
        "huge_pages_total_bytes": 0,
        "huge_pages_free_bytes": 0,
        "swap_total_bytes": 8 * GIB,
        "swap_free_bytes": 7 * GIB,
    }
    some = Stall(avg10_ratio=0.031, avg60_ratio=0.012, avg300_ratio=0.004, total_us=0)
    full = Stall(avg10_ratio=0.01, avg60_ratio=0.004, avg300_ratio=0.001, total_us=0)
    values = {
        "taken_at_s": at_s,
        "counters_at_s": at_s,
        "memory": HostMemory(**memory),
        "pressure": Pressure(some=some, full=full),
        "ksm": ksm(),
        "swap_in_pages_total": 1000,
        "swap_out_pages_total": 5096,
        "oom_kills_total": 0,
    }
    return Host(**values | more)


def guest(  # noqa: PLR0913 - a builder: everything by keyword, everything with a default
    name: str,
    *,
    maximum_bytes: int = 4 * GIB,
    current_bytes: int | None = None,
    used_bytes: int = GIB,
    cost_bytes: int | None = 2 * GIB,
    reported: bool = True,
    **more: Any,
) -> Guest:
    """Return a running guest that reported half a second ago."""
    current = maximum_bytes if current_bytes is None else current_bytes
    total = current - 64 * MIB
    said = Reported(updated_at_s=NOW_S - 0.5, total_bytes=total, usable_bytes=total - used_bytes)
    values = {
        "uuid": f"uuid-{name}",
        "name": name,
        "state": GuestState.RUNNING,
        "observed": Observed(maximum_bytes=maximum_bytes, current_bytes=current, rss_bytes=cost_bytes),
        "traits": GuestTraits(has_balloon=True, stats_period_s=1),
        "reported": said if reported else None,
    }
    return Guest(**values | more)


def verdict(name: str, code: ReasonCode, *, stats: StatsState = StatsState.FRESH, **more: Any) -> Verdict:
    """Return a verdict; its sizes and growth are numbers of its reason too."""
    fields = {key: value for key, value in more.items() if key in Verdict.__struct_fields__}
    numbers = {key: value for key, value in more.items() if key not in {"starving", "weight"}}
    values = {"uuid": f"uuid-{name}", "name": name, "stats": stats, "target_bytes": None}
    return Verdict(**values | fields, reason=Reason(code=code, numbers=numbers))


SHORT = {"available_bytes": 1229 * MIB, "reserve_bytes": 2 * GIB}


def live(**more: Any) -> Live:
    """Return the moment: a host that is short, one guest giving, one starving, one stale, one exempt, one absent."""
    guests = (
        guest("one-1217", maximum_bytes=16 * GIB, current_bytes=14631 * MIB, used_bytes=6 * GIB, cost_bytes=13 * GIB),
        guest("one-301", maximum_bytes=2 * GIB, current_bytes=1984 * MIB, used_bytes=1900 * MIB, cost_bytes=2 * GIB),
        guest("one-997", current_bytes=3 * GIB, used_bytes=GIB, cost_bytes=1500 * MIB),
        guest("win-10", maximum_bytes=8 * GIB, cost_bytes=None, reported=False),
    )
    verdicts = (
        verdict(
            "one-1217",
            ReasonCode.HOST_SHORT,
            **SHORT,
            slack_bytes=51 * MIB,
            target_bytes=14580 * MIB,
            demand_bytes=6400 * MIB,
            floor_bytes=1639 * MIB,
            keep_bytes=6700 * MIB,
            growth_bps=0.0,
        ),
        verdict(
            "one-301",
            ReasonCode.RELIEF,
            usable_bytes=20 * MIB,
            line_bytes=96 * MIB,
            growth_bps=12.0 * MIB,
            starving=True,
            target_bytes=2 * GIB,
            demand_bytes=1950 * MIB,
            floor_bytes=205 * MIB,
        ),
        verdict("one-997", ReasonCode.EXEMPT, demand_bytes=GIB, floor_bytes=410 * MIB),
        verdict("win-10", ReasonCode.STATS_NONE, stats=StatsState.NONE, weight=2.0),
        verdict("one-12", ReasonCode.ABSENT, stats=StatsState.NONE, why="its QEMU does not answer"),
    )
    values = {
        "version": "0.1.0",
        "host_name": HOST_NAME,
        "uri": "qemu:///system",
        "acting": True,
        "started_at_s": NOW_S - 7500,
        "now_s": NOW_S + 0.4,
        "limits": Limits(holds={"uuid-one-997": Hold(size_bytes=3 * GIB, until_s=NOW_S + 600.4)}),
        "snapshot": Snapshot(
            taken_at_s=NOW_S,
            host=host(),
            guests=guests,
            absent=(Absent(uuid="uuid-one-12", name="one-12", reason="its QEMU does not answer"),),
        ),
        "decision": Decision(
            decided_at_s=NOW_S,
            policy="tide",
            mode="pressure",
            state=HostState.SOFT,
            state_since_s=NOW_S - 12,
            budget=Budget(
                reserve_bytes=2 * GIB,
                available_bytes=1229 * MIB,
                headroom_bytes=1229 * MIB - 2 * GIB,
                missing_bytes=819 * MIB,
                pending_bytes=0,
            ),
            verdicts=verdicts,
        ),
        "previous_host": host(
            at_s=NOW_S - 2,
            ksm=ksm(cpu_s=998.54, at_s=NOW_S - 2),
            swap_in_pages_total=1000,
            swap_out_pages_total=1000,
        ),
        "totals": Totals(
            actions=41,
            failures=2,
            taken_bytes=2150 * MIB,
            given_bytes=1843 * MIB,
            host_gained_bytes=2068 * MIB,
            reliefs=7,
            relieved_guests=frozenset({"one-301", "one-997"}),
            donor_guests=frozenset({"one-1217"}),
            kills=0,
        ),
    }
    return Live(**values | more)


def shrink(at_s: float = NOW_S, **more: Any) -> Outcome:
    """Return the first line of the article's log, with what memtide adds to it."""
    action = SetMemory(
        uuid="uuid-one-1217",
        name="one-1217",
        from_bytes=14981844 * 1024,
        to_bytes=14928458 * 1024,
        reason=Reason(code=ReasonCode.HOST_SHORT, numbers=SHORT),
        expected_gain_bytes=51 * MIB,
    )
    values = {
        "action": action,
        "result": Result.DONE,
        "asked_at_s": at_s,
        "closed_at_s": at_s + 1.2,
        "moved_bytes": -52 * MIB,
        "host_gained_bytes": 49 * MIB,
        "id": 1,
    }
    return Outcome(**values | more)


def grow(at_s: float = NOW_S) -> Outcome:
    """Return a relief that is still under way."""
    numbers = {"usable_bytes": 20 * MIB, "line_bytes": 96 * MIB, "growth_bps": 12.0 * MIB}
    action = SetMemory(
        uuid="uuid-one-301",
        name="one-301",
        from_bytes=1984 * MIB,
        to_bytes=2 * GIB,
        reason=Reason(code=ReasonCode.RELIEF, numbers=numbers),
    )
    return Outcome(action=action, result=Result.SENT, asked_at_s=at_s, id=2)


def entries() -> list[LogEntry]:
    """Return a log with one entry of every kind, oldest first."""
    period = SetStatsPeriod(
        uuid="uuid-win-10",
        name="win-10",
        from_s=None,
        to_s=2,
        reason=Reason(code=ReasonCode.STATS_PERIOD_MISSING, numbers={"period_s": 2}),
    )
    scan = SetKsm(files={"run": "1"}, before={"run": "0"}, reason=Reason(code=ReasonCode.KSM_HOST_SHORT, numbers=SHORT))
    return [
        Outcome(action=period, result=Result.DONE, asked_at_s=NOW_S - 40, closed_at_s=NOW_S - 40),
        Event(at_s=NOW_S - 30, severity=Severity.ERROR, code="libvirt-lost", text="libvirt does not answer"),
        Outcome(action=scan, result=Result.REFUSED, asked_at_s=NOW_S - 20, closed_at_s=NOW_S - 20, detail="read-only"),
        shrink(NOW_S - 10, result=Result.PARTIAL, moved_bytes=-20 * MIB, host_gained_bytes=0),
        shrink(),
        grow(NOW_S + 1),
    ]


class FakeDaemon:
    """A daemon that stays in one moment and writes down what it is asked to change."""

    def __init__(self, moment: Live | None = None) -> None:
        self.entries = Fanout()
        self.moment = moment
        self.history = entries()
        self.asked: list[tuple[Any, ...]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it is served, for a test in another thread."""

    def live(self) -> Live | None:
        """Return the moment."""
        return self.moment

    def ksm(self) -> KsmScene | None:
        """Return the moment's KSM; nothing is remembered."""
        return None if self.moment is None else ksm_scene(self.moment, KsmPast(), uptime_s=None, originals={})

    async def log(self, query: LogQuery) -> list[LogEntry]:
        """Return the history."""
        found = [entry for entry in self.history if _about(entry, query.vm) and _when(entry) >= (query.since_s or 0)]
        return found[-query.limit :] if query.limit else []

    async def set_memory(self, uuid: str, size_bytes: int, for_s: float, reason: Reason) -> Outcome:
        """Write it down and say that it is done."""
        self.asked.append(("set", uuid, size_bytes, for_s, reason))
        done = shrink()
        action = msgspec.structs.replace(done.action, uuid=uuid, to_bytes=size_bytes, reason=reason)
        return msgspec.structs.replace(done, action=action)

    async def restore(self, uuid: str | None, reason: Reason) -> list[Outcome]:
        """Write it down and say that one guest is done."""
        self.asked.append(("restore", uuid, reason))
        done = shrink()
        return [msgspec.structs.replace(done, action=msgspec.structs.replace(done.action, reason=reason))]

    async def unmerge(self, request: UnmergeRequest) -> AsyncGenerator[UnmergeView, None]:
        """Write it down and say that it was refused after the plan."""
        self.asked.append(("unmerge", request))
        plan = UnmergeView(
            phase=UnmergePhase.PLAN,
            saved_bytes=13 * GIB,
            needed_bytes=16 * GIB,
            missing_bytes=15 * GIB,
            left_bytes=13 * GIB,
            available_bytes=3 * GIB,
            reserve_bytes=2 * GIB,
            stage_bytes=256 * MIB,
        )
        yield plan
        yield msgspec.structs.replace(plan, phase=UnmergePhase.REFUSED, detail="15.0 GiB are missing", hint="make room")


def _about(entry: LogEntry, vm: str | None) -> bool:
    if vm is None:
        return True
    if isinstance(entry, Event):
        return entry.guest == vm
    return vm in {getattr(entry.action, "name", None), getattr(entry.action, "uuid", None)}


def _when(entry: LogEntry) -> float:
    return entry.at_s if isinstance(entry, Event) else entry.asked_at_s
