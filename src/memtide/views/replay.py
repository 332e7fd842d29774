"""What ``memtide replay`` says: which law would have asked for what on a recorded host, and where they differ.

Nothing of it was sent. An ask (``views.asks``) counts once, however often the law repeated it.
"""

from collections.abc import Mapping, Sequence

from memtide.model.action import SetKsm, SetMemory
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.reason import ReasonCode
from memtide.units import format_size
from memtide.views.asks import Ask, Difference
from memtide.views.log import what
from memtide.views.simulation import SimulationView
from memtide.views.words import sentence

__all__ = [
    "AskView",
    "DifferenceView",
    "EstimateView",
    "LawView",
    "RecordedView",
    "ReplayView",
    "TraceView",
    "difference_view",
    "law_view",
    "unlike",
]

SCHEMA_VERSION = 1


class TraceView(Model, frozen=True, kw_only=True):
    """What was replayed."""

    path: str
    host_name: str | None
    """Null: it does not say."""
    uri: str | None
    memtide: str | None
    """The version that recorded it."""
    anonymous: bool
    began_at_s: float
    ended_at_s: float
    ticks: int
    guests: int
    """All that were ever seen."""
    whole: bool
    """False: only ticks in which a daemon did something are in it, so laws remember less than they would have."""
    cut_short: bool
    """It ends in the middle of a tick, as after a kill; what is before that was used."""
    left_out: int
    """What another memtide wrote and this one cannot understand: decisions of a trace, ticks of a folder."""
    limits: str
    """Where the operator's will is from: ``recorded``, ``settings``, or the file of --config."""


class LawView(Model, frozen=True, kw_only=True):
    """What one law would have asked for."""

    asks: int
    take_bytes: int
    """To be taken from guests, each ask by its largest size."""
    give_bytes: int
    reliefs: int
    """Asks to give memory to a guest that was running out."""
    expected_gain_bytes: int
    """What the law expected the host to gain from what it takes."""
    other_asks: int
    """Of guests' drivers and of KSM."""
    first_at_s: float | None


class AskView(Model, frozen=True, kw_only=True):
    """One ask."""

    kind: str
    """memory, stats-period or ksm."""
    what: str
    """The change in words, where it is not one of memory."""
    from_bytes: int | None
    """Like ``to_bytes``, ``reason``, ``why`` and ``numbers``: as it was said first."""
    to_bytes: int | None
    largest_bytes: int | None
    """The largest change of all times it was said, signed; null where no memory was to move."""
    expected_gain_bytes: int | None
    """What the law expected the host to gain from that one."""
    began_at_s: float
    last_at_s: float
    ticks: int
    """How many times it was said."""
    reason: str
    why: str
    """The same in a sentence."""
    numbers: dict[str, int | float | str]


class DifferenceView(Model, frozen=True, kw_only=True):
    """Something that the laws did not ask for alike."""

    at_s: float
    name: str
    """The guest, or ``host``."""
    uuid: str | None
    laws: dict[str, AskView | None]
    """By law; null: it asked for nothing there."""


class RecordedView(Model, frozen=True, kw_only=True):
    """How a law's decisions compare with those on record of the same law."""

    policy: str
    compared: int
    """Ticks of which a decision of this law is on record."""
    same: int
    """Equal to the last number of every verdict."""
    first_difference_at_s: float | None
    first_difference: str | None


class EstimateView(Model, frozen=True, kw_only=True):
    """What would have come of each law: the demand on record, played on a simulated host."""

    simulation: SimulationView | None
    """Null: it could not be played; ``notes`` say why."""
    notes: tuple[str, ...]
    """What was assumed."""


class ReplayView(Model, frozen=True, kw_only=True):
    """``memtide replay --json``."""

    schema: int = SCHEMA_VERSION
    trace: TraceView
    laws: dict[str, LawView]
    """By name, in the order asked for; ``recorded`` is what is on record."""
    recorded: RecordedView | None
    differences: tuple[DifferenceView, ...]
    """In the order of time; with one law alone, all that it asked for. With --limit, the first so many."""
    estimate: EstimateView | None


def law_view(asks: Sequence[Ask]) -> LawView:
    """Return a law's asks in figures."""
    changes = [ask.change_bytes for ask in asks]
    return LawView(
        asks=len(asks),
        take_bytes=-sum(change for change in changes if change < 0),
        give_bytes=sum(change for change in changes if change > 0),
        reliefs=sum(ask.action.reason.code is ReasonCode.RELIEF for ask in asks),
        expected_gain_bytes=sum(ask.expected_gain_bytes for ask in asks if ask.change_bytes < 0),
        other_asks=sum(ask.kind != "memory" for ask in asks),
        first_at_s=asks[0].began_at_s if asks else None,
    )


def difference_view(difference: Difference) -> DifferenceView:
    """Return a difference for all faces."""
    first = difference.first
    return DifferenceView(
        at_s=first.began_at_s,
        name=first.name,
        uuid=first.uuid,
        laws={law: None if ask is None else _ask_view(ask) for law, ask in difference.asks.items()},
    )


def _ask_view(ask: Ask) -> AskView:
    action = ask.action
    memory = action if isinstance(action, SetMemory) else None
    return AskView(
        kind=ask.kind,
        what=what(action),
        from_bytes=None if memory is None else memory.from_bytes,
        to_bytes=None if memory is None else memory.to_bytes,
        largest_bytes=None if memory is None else ask.change_bytes,
        expected_gain_bytes=None if memory is None else ask.expected_gain_bytes,
        began_at_s=ask.began_at_s,
        last_at_s=ask.last_at_s,
        ticks=ask.ticks,
        reason=action.reason.code.value,
        why=sentence(action.reason),
        numbers=action.reason.numbers,
    )


def unlike(recorded: Decision, decided: Decision) -> str | None:
    """Return how two decisions differ, in a sentence; ``None``: they do not."""
    if recorded == decided:
        return None
    before, now = _by_subject(recorded), _by_subject(decided)
    for subject in sorted(before.keys() | now.keys()):
        if before.get(subject) != now.get(subject):
            return f"{subject}: on record {before.get(subject, 'nothing')}, now {now.get(subject, 'nothing')}"
    if recorded.state is not decided.state:
        return f"host: on record {recorded.state}, now {decided.state}"
    reasons = {verdict.uuid: verdict.reason for verdict in recorded.verdicts}
    for verdict in decided.verdicts:
        was = reasons.get(verdict.uuid)
        if was is not None and was.code is not verdict.reason.code:
            return f"{verdict.name}: on record {was.code}, now {verdict.reason.code}"
    return "the same actions and reasons, other numbers"


def _by_subject(decision: Decision) -> Mapping[str, str]:
    """Return whom the actions are about, and what they do, in words."""
    told: dict[str, str] = {}
    for action in decision.actions:
        name = "host" if isinstance(action, SetKsm) else action.name
        done = f"to {format_size(action.to_bytes)}" if isinstance(action, SetMemory) else what(action)
        told[name] = f"{told[name]}, {done}" if name in told else done
    return told
