"""The log in plain words: memory a -> b, why, what the host gained, what came of it."""

from datetime import datetime, tzinfo

from memtide.model.action import Outcome, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.base import Model
from memtide.model.record import LogEntry
from memtide.units import MIB, format_change, format_size
from memtide.views.schema import LogView
from memtide.views.tiers import threshold, tier
from memtide.views.words import pair, sentence

__all__ = ["LogLine", "clock", "log_line", "log_view", "what"]

WORTH_SAYING_BYTES = MIB
"""What the host gained is noise below this."""

RESULTS = {
    Result.SENT: "under way",
    Result.DONE: "done",
    Result.PARTIAL: "only part of the way",
    Result.REFUSED: "refused",
    Result.NO_ANSWER: "no answer",
    Result.NOT_SENT: "observed only",
}


class LogLine(Model, frozen=True, kw_only=True):
    """The columns of one line, in the order in which they are read."""

    time: str
    name: str
    change: str
    """``-51 MiB``; empty where no guest's memory changes."""
    span: str
    """``14.3 -> 14.2 GiB``, the change in words, or how bad an event is."""
    why: str
    result: str

    def text(self, name_width: int) -> str:
        """Return the whole line, its columns aligned with those of lines of the same name width."""
        return f"{self.lead(name_width)}  {self.why}  {self.result}".rstrip()

    def lead(self, name_width: int) -> str:
        """Return the columns before the reason."""
        return f"{self.time} {self.name:<{name_width}}  {self.change:>9}  {self.span:<20}"


def log_view(entry: LogEntry) -> LogView:
    """Return what every face tells of this entry."""
    if not isinstance(entry, Outcome):
        return LogView(
            at_s=entry.at_s,
            kind="event",
            name=entry.guest or "host",
            reason=entry.code,
            why=entry.text,
            severity=entry.severity.value,
        )
    action = entry.action
    memory = action if isinstance(action, SetMemory) else None
    return LogView(
        at_s=entry.asked_at_s,
        kind=str(action.__struct_config__.tag),
        name="host" if isinstance(action, SetKsm) else action.name,
        uuid=None if isinstance(action, SetKsm) else action.uuid,
        what=what(action),
        from_bytes=None if memory is None else memory.from_bytes,
        to_bytes=None if memory is None else memory.to_bytes,
        moved_bytes=entry.moved_bytes,
        host_gained_bytes=entry.host_gained_bytes,
        reason=action.reason.code.value,
        why=sentence(action.reason),
        tier=tier(action.reason),
        threshold=threshold(action.reason),
        numbers=action.reason.numbers,
        result=entry.result.value,
        detail=entry.detail,
        closed_at_s=entry.closed_at_s,
    )


def log_line(view: LogView, *, zone: tzinfo, dated: bool) -> LogLine:
    """Return the columns for people.

    Args:
        view: the entry.
        zone: where the people are.
        dated: whether the day is told too.
    """
    change_bytes = view.change_bytes
    return LogLine(
        time=clock(view.at_s, zone=zone, dated=dated),
        name=view.name,
        change="" if change_bytes is None else format_change(change_bytes),
        span=_span(view),
        why="; ".join(filter(None, (view.why, _effect(view)))),
        result=_result(view),
    )


def clock(at_s: float, *, zone: tzinfo, dated: bool) -> str:
    """Return the time of day, with the day before it when asked for."""
    return datetime.fromtimestamp(at_s, zone).strftime("%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S")


def what(action: SetMemory | SetStatsPeriod | SetKsm) -> str:
    """Return the change in words, where it is not one of memory; else nothing."""
    if isinstance(action, SetStatsPeriod):
        return f"reports every {action.to_s} s" if action.to_s else "reports switched off"
    if isinstance(action, SetKsm):
        return "KSM " + ", ".join(f"{file} {action.before.get(file, '?')} -> {to}" for file, to in action.files.items())
    return ""


def _span(view: LogView) -> str:
    if view.from_bytes is None or view.to_bytes is None:
        return view.what or (f"{view.severity}:" if view.severity in {"warning", "error"} else "")
    return pair(view.from_bytes, view.to_bytes, "->")


def _effect(view: LogView) -> str:
    gained_bytes = view.host_gained_bytes
    if gained_bytes is None:
        return ""
    if abs(gained_bytes) < WORTH_SAYING_BYTES:
        shrank = view.moved_bytes is not None and view.moved_bytes <= -WORTH_SAYING_BYTES
        return "host gained nothing" if shrank else ""
    return f"host {'gained' if gained_bytes > 0 else 'spent'} {format_size(abs(gained_bytes))}"


def _result(view: LogView) -> str:
    if view.result is None:
        return ""
    said = RESULTS[Result(view.result)]
    if view.result == Result.PARTIAL and view.moved_bytes is not None and view.change_bytes is not None:
        said = f"moved only {pair(abs(view.moved_bytes), abs(view.change_bytes), 'of')}"
    # of a success the columns before tell all
    return f"{said}: {view.detail}" if view.detail and view.result != Result.DONE else said
