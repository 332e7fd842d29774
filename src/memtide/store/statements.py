"""Model to rows and back: each function returns the SQL statements that keep one thing, or the thing a row keeps."""

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from memtide.model.action import Action, Outcome, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Change, ChangeKind, Event, Record, Severity

__all__ = [
    "Statement",
    "change_dropped",
    "change_kept",
    "change_of",
    "event_kept",
    "event_of",
    "fact_kept",
    "outcome_kept",
    "outcome_of",
    "packed",
    "record_kept",
    "record_of",
]

Statement: TypeAlias = tuple[str, tuple[object, ...]]
"""SQL with its values."""

_JSON: Final = msgspec.json.Encoder()
_RECORD: Final = msgspec.json.Decoder(Record)
_FILES: Final = msgspec.json.Decoder(dict[str, str])
_NUMBERS: Final = msgspec.json.Decoder(dict[str, int | float | str | None])

QUICK: Final = 1
"""zlib's level: half the time of the default for a tenth more bytes (measured on records of 18 to 1000 guests)."""

OUTCOME_SQL: Final = """
    INSERT INTO action (id, asked_at, kind, uuid, name, from_value, to_value, expected_gain_bytes,
                        reason, numbers, result, moved_bytes, gained_bytes, closed_at, detail)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        result = excluded.result, moved_bytes = excluded.moved_bytes, gained_bytes = excluded.gained_bytes,
        closed_at = excluded.closed_at, detail = excluded.detail
"""


def packed(body: bytes) -> bytes:
    """Return a record's JSON as it is stored."""
    return zlib.compress(body, QUICK)


def record_kept(record: Record, number: int) -> tuple[tuple[Statement, ...], int]:
    """Return the statements that keep a record, and how many bytes they hold until then."""
    body = _JSON.encode(record)
    whom = {a.uuid: a.name for a in record.decision.actions if not isinstance(a, SetKsm)}
    at_s = record.decision.decided_at_s
    kept: Statement = ("INSERT INTO record (id, at, body) VALUES (?, ?, packed(?))", (number, at_s, body))
    about = "INSERT INTO record_guest (uuid, record, name) VALUES (?, ?, ?)"
    return (kept, *((about, (uuid, number, name)) for uuid, name in whom.items())), len(body)


def record_of(body: bytes) -> Record:
    """Return the record that was packed.

    Raises:
        msgspec.DecodeError: it was written by a memtide whose records this one does not know.
        zlib.error: the bytes are damaged.
    """
    return _RECORD.decode(zlib.decompress(body))


def outcome_kept(outcome: Outcome, number: int) -> Statement:
    """Return the statement that keeps an outcome, or what became of it since."""
    kind, uuid, name, from_value, to_value, gain_bytes = _action_values(outcome.action)
    reason = outcome.action.reason
    return OUTCOME_SQL, (
        number, outcome.asked_at_s, kind, uuid, name, from_value, to_value, gain_bytes,
        reason.code.value, _text(reason.numbers),
        outcome.result.value, outcome.moved_bytes, outcome.host_gained_bytes, outcome.closed_at_s, outcome.detail,
    )  # fmt: skip


def outcome_of(row: sqlite3.Row) -> Outcome:
    """Return the outcome that a row of ``action`` keeps."""
    numbers = {name: value for name, value in _NUMBERS.decode(row["numbers"]).items() if value is not None}
    return Outcome(
        action=_action_of(row, Reason(code=ReasonCode(row["reason"]), numbers=numbers)),
        result=Result(row["result"]),
        asked_at_s=row["asked_at"],
        closed_at_s=row["closed_at"],
        moved_bytes=row["moved_bytes"],
        host_gained_bytes=row["gained_bytes"],
        detail=row["detail"],
        id=row["id"],
    )


def event_kept(event: Event, number: int) -> Statement:
    """Return the statement that keeps an event."""
    sql = "INSERT INTO event (id, at, severity, code, text, guest) VALUES (?, ?, ?, ?, ?, ?)"
    return sql, (number, event.at_s, event.severity.value, event.code, event.text, event.guest)


def event_of(row: sqlite3.Row) -> Event:
    """Return the event that a row of ``event`` keeps."""
    return Event(
        at_s=row["at"],
        severity=Severity(row["severity"]),
        code=row["code"],
        text=row["text"],
        guest=row["guest"],
        id=row["id"],
    )


def change_kept(change: Change) -> Statement:
    """Return the statement that keeps the copy of an original."""
    sql = "INSERT OR REPLACE INTO change_made (kind, key, name, original, at) VALUES (?, ?, ?, ?, ?)"
    return sql, (change.kind.value, change.key, change.name, change.original, change.at_s)


def change_dropped(kind: ChangeKind, key: str) -> Statement:
    """Return the statement that drops the copy of an original."""
    return "DELETE FROM change_made WHERE kind = ? AND key = ?", (kind.value, key)


def change_of(row: Sequence[Any]) -> Change:
    """Return the original that a row of ``change_made`` keeps: kind, key, name, original, at."""
    kind, key, name, original, at_s = row
    return Change(kind=ChangeKind(kind), key=key, name=name, original=original, at_s=at_s)


def fact_kept(key: str, value: str | None) -> Statement:
    """Return the statement that keeps a fact of the daemon's own, or drops it."""
    if value is None:
        return "DELETE FROM meta WHERE key = ?", (key,)
    return "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value)


def _action_values(action: Action) -> tuple[object, ...]:
    """Return kind, uuid, name, from, to and expected gain of an action."""
    match action:
        case SetMemory():
            gain_bytes = action.expected_gain_bytes
            return "memory", action.uuid, action.name, action.from_bytes, action.to_bytes, gain_bytes
        case SetStatsPeriod():
            return "stats-period", action.uuid, action.name, action.from_s, action.to_s, None
        case SetKsm():
            return "ksm", None, None, _text(action.before), _text(action.files), None


def _action_of(row: sqlite3.Row, reason: Reason) -> Action:
    from_value, to_value = row["from_value"], row["to_value"]
    match row["kind"]:
        case "memory":
            return SetMemory(
                uuid=row["uuid"],
                name=row["name"],
                from_bytes=from_value,
                to_bytes=to_value,
                reason=reason,
                expected_gain_bytes=row["expected_gain_bytes"],
            )
        case "stats-period":
            return SetStatsPeriod(uuid=row["uuid"], name=row["name"], from_s=from_value, to_s=to_value, reason=reason)
        case _:
            return SetKsm(files=_FILES.decode(to_value), before=_FILES.decode(from_value), reason=reason)


def _text(value: object) -> str:
    return _JSON.encode(value).decode()
