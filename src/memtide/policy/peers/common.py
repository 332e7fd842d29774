"""What the peers' laws share: whom they may size, their own clock, and how their targets become a decision.

The frame is memtide's and the same for every law: hands off what the operator, the hypervisor or the guest's build
rules out, statistics switched on where a law reads them, a verdict on every guest. Only the law is the peer's.
Guests on huge pages lie outside: their memory is no part of what the laws here take for the host's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from memtide.model.action import Action, Reply, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.base import Model
from memtide.model.decision import Budget, Decision, HostState, Verdict
from memtide.model.guest import Guest, GuestState, StatsState
from memtide.model.host import HostMemory
from memtide.model.limits import GuestLimits, Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.demand import stats_state
from memtide.policy.eligibility import guest_limits
from memtide.policy.stats_period import missing_period

__all__ = [
    "Books",
    "Numbers",
    "Ruling",
    "Subject",
    "after",
    "answered",
    "conclude",
    "free_and_cached_bytes",
    "is_due",
    "subjects",
]

Numbers = dict[str, int | float | str]

ACCEPTED: Final = frozenset({Result.SENT, Result.DONE, Result.PARTIAL})


class Subject(Model, frozen=True, kw_only=True):
    """A guest that a law may size, and between which bounds."""

    guest: Guest
    floor_bytes: int
    ceiling_bytes: int
    weight: float

    @property
    def current_bytes(self) -> int:
        """Guest memory now."""
        return self.guest.observed.current_bytes


class Books(Model, frozen=True, kw_only=True):
    """What the frame remembers for a law."""

    targets: dict[str, int] = {}
    """The size last asked for and not refused, by UUID."""
    periods_asked_at_s: dict[str, float] = {}
    state: HostState = HostState.HIGH
    state_since_s: float = 0.0


class Ruling(Model, frozen=True, kw_only=True):
    """What a law made of one tick."""

    period_s: float
    """How often it acts."""
    line_bytes: int
    """The memory it wants free on the host; under it the host counts as short."""
    free_bytes: int
    """The memory it sees as free; negative when it counts more as given away than there is."""
    targets: dict[str, int] = {}
    """New sizes by UUID, in the order they are to be asked for."""
    numbers: dict[str, Numbers] = {}
    """The law's own inputs on each guest it looked at, by UUID."""
    ksm: SetKsm | None = None
    pending_bytes: int = 0
    """What it counts as still on its way to the host (positive) or to guests (negative)."""
    reads_reports: bool = True
    """Whether it needs the guests' own figures; then they are asked for."""


Row = tuple[ReasonCode, Callable[[Guest, GuestLimits, bool], bool]]

HANDS_OFF: Final[tuple[Row, ...]] = (
    (ReasonCode.EXEMPT, lambda _guest, limits, _held: not limits.manage),
    (ReasonCode.NOT_RUNNING, lambda guest, _limits, _held: guest.state is not GuestState.RUNNING),
    (ReasonCode.NO_BALLOON, lambda guest, _limits, _held: not guest.traits.has_balloon),
    (ReasonCode.BUSY, lambda guest, _limits, _held: guest.busy is not None),
    (ReasonCode.PINNED, lambda guest, _limits, _held: guest.traits.huge_pages),
    (ReasonCode.HELD, lambda _guest, _limits, held: held),
)


def subjects(snapshot: Snapshot, limits: Limits) -> tuple[dict[str, Subject], dict[str, ReasonCode]]:
    """Return the guests a law may size, and why hands are off the others; both by UUID, in the snapshot's order."""
    free, barred = {}, {}
    for guest in snapshot.guests:
        rules = guest_limits(guest, limits)
        hold = limits.holds.get(guest.uuid)
        held = hold is not None and snapshot.taken_at_s < hold.until_s
        code = next((code for code, holds in HANDS_OFF if holds(guest, rules, held)), None)
        if code is not None:
            barred[guest.uuid] = code
            continue
        maximum_bytes = guest.observed.maximum_bytes
        ceiling_bytes = maximum_bytes if rules.ceiling_bytes is None else min(maximum_bytes, rules.ceiling_bytes)
        floor_bytes = min(ceiling_bytes, rules.floor_for(maximum_bytes))
        free[guest.uuid] = Subject(
            guest=guest, floor_bytes=floor_bytes, ceiling_bytes=ceiling_bytes, weight=rules.weight
        )
    return free, barred


def is_due(due_s: float, now_s: float, period_s: float) -> bool:
    """Say whether a law's round has come; also when the clock was set back and it would not come for long."""
    return now_s >= due_s or due_s - now_s > period_s


def after(due_s: float, now_s: float, period_s: float) -> float:
    """Return when the next round is due: a period after the last one was, so that ticks between do not add up."""
    next_s = due_s + period_s
    return next_s if now_s < next_s <= now_s + period_s else now_s + period_s


def free_and_cached_bytes(memory: HostMemory) -> int:
    """Return the host's MemFree + Cached, which MOM and ksmtuned take for free memory.

    Theirs adds Buffers, which memtide does not read (block device metadata, some MiB). Cached counts shared memory.
    """
    return memory.free_bytes + memory.cached_bytes


def conclude(law: str, books: Books, snapshot: Snapshot, limits: Limits, ruling: Ruling) -> tuple[Books, Decision]:
    """Return the new books and the decision that carries out a ruling."""
    now_s = snapshot.taken_at_s
    able, barred = subjects(snapshot, limits)
    periods = _periods(books, able, limits, now_s) if ruling.reads_reports else ()
    books = _written(books, snapshot, ruling, periods)
    basis: Numbers = {
        "law": law,
        "free_bytes": ruling.free_bytes,
        "line_bytes": ruling.line_bytes,
        "period_s": ruling.period_s,
    }
    reasons = {uuid: Reason(code=ReasonCode.PEER, numbers=basis | ruling.numbers.get(uuid, {})) for uuid in able} | {
        uuid: Reason(code=code) for uuid, code in barred.items()
    }
    seen = (
        _verdict(guest, able.get(guest.uuid), reasons[guest.uuid], books, stats_state(guest, now_s, limits.period_s))
        for guest in snapshot.guests
    )
    ksm = () if ruling.ksm is None else (ruling.ksm,)
    return books, Decision(
        decided_at_s=now_s,
        policy=law,
        mode=limits.mode.value,
        state=books.state,
        state_since_s=books.state_since_s,
        budget=Budget(
            reserve_bytes=ruling.line_bytes,
            available_bytes=ruling.free_bytes,
            headroom_bytes=ruling.free_bytes - ruling.line_bytes,
            missing_bytes=max(0, ruling.line_bytes - ruling.free_bytes),
            pending_bytes=ruling.pending_bytes,
        ),
        verdicts=(*seen, *(_absent(absent, books) for absent in snapshot.absent)),
        actions=(*periods, *(_move(able[uuid], size, reasons[uuid]) for uuid, size in ruling.targets.items()), *ksm),
    )


def answered(books: Books, action: Action, reply: Reply) -> Books:
    """Return the books that know how a request was answered; what was not accepted was never asked for."""
    if not isinstance(action, SetMemory):
        return books
    others = {uuid: target for uuid, target in books.targets.items() if uuid != action.uuid}
    mine = {action.uuid: action.to_bytes} if reply.result in ACCEPTED else {}
    return msgspec.structs.replace(books, targets=others | mine)


def _move(subject: Subject, size_bytes: int, reason: Reason) -> SetMemory:
    return SetMemory(
        uuid=subject.guest.uuid,
        name=subject.guest.name,
        from_bytes=subject.current_bytes,
        to_bytes=size_bytes,
        reason=reason,
        # what these laws believe: that what a guest gives, the host has
        expected_gain_bytes=subject.current_bytes - size_bytes,
    )


def _absent(absent: Absent, books: Books) -> Verdict:
    return Verdict(
        uuid=absent.uuid,
        name=absent.name,
        reason=Reason(code=ReasonCode.ABSENT, numbers={"why": absent.reason}),
        stats=StatsState.NONE,
        target_bytes=books.targets.get(absent.uuid),
    )


def _verdict(guest: Guest, subject: Subject | None, reason: Reason, books: Books, stats: StatsState) -> Verdict:
    return Verdict(
        uuid=guest.uuid,
        name=guest.name,
        reason=reason,
        stats=stats,
        target_bytes=books.targets.get(guest.uuid),
        floor_bytes=None if subject is None else subject.floor_bytes,
        weight=1.0 if subject is None else subject.weight,
    )


def _periods(books: Books, able: Mapping[str, Subject], limits: Limits, now_s: float) -> tuple[SetStatsPeriod, ...]:
    requests = (
        missing_period(
            subject.guest,
            stats_state(subject.guest, now_s, limits.period_s),
            limits,
            since_asked_s=now_s - books.periods_asked_at_s.get(uuid, 0.0),
        )
        for uuid, subject in able.items()
    )
    return tuple(request for request in requests if request is not None)


def _written(books: Books, snapshot: Snapshot, ruling: Ruling, periods: Iterable[SetStatsPeriod]) -> Books:
    """Return the books after this tick, without those who are gone."""
    now_s = snapshot.taken_at_s
    known = {guest.uuid for guest in snapshot.guests} | {absent.uuid for absent in snapshot.absent}
    state = HostState.HIGH if ruling.free_bytes >= ruling.line_bytes else HostState.SOFT
    unchanged = state is books.state and books.state_since_s > 0
    asked_at_s = books.periods_asked_at_s | {request.uuid: now_s for request in periods}
    targets = books.targets | ruling.targets
    return Books(
        targets={uuid: target for uuid, target in targets.items() if uuid in known},
        periods_asked_at_s={uuid: at_s for uuid, at_s in asked_at_s.items() if uuid in known},
        state=state,
        state_since_s=books.state_since_s if unchanged else now_s,
    )
