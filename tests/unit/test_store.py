"""What the store keeps, and what it answers."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from make import GIB, MIB, guest, snapshot

from memtide.errors import AlreadyRunningError, PermissionDeniedError, StoreError
from memtide.model.action import Action, Outcome, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.model.decision import Budget, Decision, HostState
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Change, ChangeKind, Event, Record, Severity
from memtide.store import backlog, retention, schema
from memtide.store.backlog import Backlog, Entry
from memtide.store.connect import connect
from memtide.store.retention import DAY_S, Retention
from memtide.store.sqlite import SqliteStore

NOW_S = 2_000_000_000.0
REASON = Reason(code=ReasonCode.HOST_SHORT, numbers={"available_bytes": 5, "growth_bps": 2.5, "guest": "b"})


def memory(name: str = "a") -> SetMemory:
    """Return a shrink by half."""
    return SetMemory(
        uuid=f"uuid-{name}", name=name, from_bytes=GIB, to_bytes=512 * MIB, reason=REASON, expected_gain_bytes=300 * MIB
    )


def outcome(action: Action | None = None, *, at_s: float = NOW_S) -> Outcome:
    """Return an action just sent."""
    return Outcome(action=action or memory(), result=Result.SENT, asked_at_s=at_s)


def event(text: str, *, at_s: float = NOW_S, guest_name: str | None = None) -> Event:
    """Return an event."""
    return Event(at_s=at_s, severity=Severity.INFO, code="test", text=text, guest=guest_name)


def record(*names: str, at_s: float = NOW_S) -> Record:
    """Return a tick with two guests that did something to these."""
    decision = Decision(
        decided_at_s=at_s,
        policy="tide",
        mode="pressure",
        state=HostState.SOFT,
        state_since_s=at_s,
        budget=Budget(reserve_bytes=1, available_bytes=2, headroom_bytes=-1, missing_bytes=4, pending_bytes=0),
        verdicts=(),
        actions=(*map(memory, names), SetKsm(files={"run": "1"}, before={"run": "0"}, reason=REASON)),
    )
    return Record(snapshot=snapshot(guest("a"), guest("b"), at_s=at_s), decision=decision)


def change(key: str, original: str = "1073741824") -> Change:
    """Return an original."""
    return Change(kind=ChangeKind.MEMORY, key=key, name=f"name of {key}", original=original, at_s=NOW_S)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Return an open store."""
    opened = SqliteStore(tmp_path / "state", now_s=lambda: NOW_S)
    yield opened
    await opened.close()


async def reopened(store: SqliteStore, folder: Path) -> SqliteStore:
    """Return the store as a new process would find it."""
    await store.close()
    return SqliteStore(folder / "state", now_s=lambda: NOW_S)


# --- history ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        memory(),
        SetStatsPeriod(uuid="u", name="a", from_s=None, to_s=2, reason=REASON),
        SetStatsPeriod(uuid="u", name="a", from_s=5, to_s=0, reason=REASON),
        SetKsm(files={"pages_to_scan": "100", "run": "1"}, before={"run": "0"}, reason=REASON),
    ],
)
async def test_an_outcome_comes_back_as_it_was(store: SqliteStore, action: Action) -> None:
    """Every kind of action survives the way through the database, numbers of its reason included."""
    saved = await store.save_outcome(outcome(action))
    assert saved == msgspec.structs.replace(outcome(action), id=saved.id)
    assert await store.log() == [saved]


async def test_what_became_of_an_action_replaces_how_it_began(store: SqliteStore) -> None:
    """An action has one entry, however often its outcome is saved."""
    sent = await store.save_outcome(outcome())
    done = msgspec.structs.replace(
        sent, result=Result.PARTIAL, closed_at_s=NOW_S + 4, moved_bytes=-MIB, host_gained_bytes=MIB, detail="slow"
    )
    assert await store.save_outcome(done) == done
    assert await store.log() == [done]


async def test_the_log_is_in_the_order_of_time(store: SqliteStore) -> None:
    """Actions and events are one sequence; what was saved late stands where it happened."""
    late = await store.save_outcome(outcome(at_s=NOW_S + 2))
    await store.save_event(event("third", at_s=NOW_S + 3))
    await store.save_event(event("first", at_s=NOW_S + 1))
    texts = [e.text if isinstance(e, Event) else e.id for e in await store.log()]
    assert texts == ["first", late.id, "third"]


async def test_the_log_can_be_narrowed(store: SqliteStore) -> None:
    """By guest (name or UUID, also for events that know only the name), by time, by number."""
    for name in ("a", "b"):
        await store.save_outcome(outcome(memory(name), at_s=NOW_S))
        await store.save_event(event(f"about {name}", at_s=NOW_S + 1, guest_name=name))
    await store.save_event(event("about nobody", at_s=NOW_S + 2))
    everything = await store.log()
    assert len(everything) == 5
    assert await store.log(vm="b") == await store.log(vm="uuid-b") == [everything[1], everything[3]]
    assert await store.log(since_s=NOW_S + 1, until_s=NOW_S + 2) == everything[2:4]
    assert await store.log(limit=2) == everything[-2:]
    assert await store.log(vm="nobody") == []


async def test_a_reader_can_go_on_where_it_ended(store: SqliteStore) -> None:
    """With the last number seen, a follower gets each later entry once, oldest first."""
    for text in "abcde":
        await store.save_event(event(text))
    (first, *_) = await store.log()
    pages = [await store.log(after_id=first.id, limit=2)]
    pages.append(await store.log(after_id=pages[0][-1].id, limit=5))
    assert [[entry.text for entry in page] for page in pages] == [["b", "c"], ["d", "e"]]


async def test_numbers_go_on_after_a_restart(store: SqliteStore, tmp_path: Path) -> None:
    """A number is never used twice, so that a reader's place in the log stays right."""
    first = await store.save_outcome(outcome())
    await store.append(record("a"))
    store = await reopened(store, tmp_path)
    second = await store.save_outcome(outcome())
    assert second.id is not None
    assert first.id is not None
    assert second.id > first.id + 1
    await store.close()


async def test_a_record_comes_back_as_it_was(store: SqliteStore) -> None:
    """A tick can be explained and replayed from what is kept of it."""
    await store.append(record("a"))
    assert await store.records() == [record("a")]


async def test_records_of_a_guest_are_those_that_touched_it(store: SqliteStore) -> None:
    """``why`` wants the ticks that did something to the guest, the newest ones, in the order of time."""
    ticks = [record(name, at_s=NOW_S + i) for i, name in enumerate("abab")]
    for tick in ticks:
        await store.append(tick)
    assert await store.records("a") == await store.records("uuid-a") == [ticks[0], ticks[2]]
    assert await store.records("b", limit=1) == [ticks[3]]
    assert await store.records(limit=2) == ticks[2:]


async def test_one_entry_that_cannot_be_understood_does_not_hide_the_others(store: SqliteStore, tmp_path: Path) -> None:
    """A reason or a record of another version is left out; the log still answers."""
    await store.save_outcome(outcome())
    await store.save_outcome(outcome())
    await store.append(record("a"))
    await store.append(record("b"))
    await store.log()
    other = sqlite3.connect(tmp_path / "state/memtide.db")
    other.execute("UPDATE action SET reason = 'of-tomorrow' WHERE id = 1")
    other.execute("UPDATE record SET body = x'00' WHERE id = 3")
    other.commit()
    other.close()
    assert [entry.id for entry in await store.log()] == [2]
    assert await store.records() == [record("b")]


async def test_facts_outlive_a_restart(store: SqliteStore, tmp_path: Path) -> None:
    """A pause that an operator asked for is still there after a restart, and gone when it was ended."""
    await store.keep("paused_until", "5")
    await store.keep("other", "x")
    await store.keep("other", None)
    assert await store.kept() == {"paused_until": "5"}
    store = await reopened(store, tmp_path)
    assert await store.kept() == {"paused_until": "5"}
    await store.close()


async def test_a_value_that_no_database_takes_is_left_out_alone(store: SqliteStore) -> None:
    """One entry with an impossible number neither stops the others nor is tried for ever."""
    await store.save_event(event("before"))
    await store.save_outcome(outcome(msgspec.structs.replace(memory(), to_bytes=2**70)))
    await store.save_event(event("after"))
    await store.log()
    log = await store.log()
    assert [entry.code for entry in log if isinstance(entry, Event)] == ["test", "test", "history-gap"]
    assert "history has a gap: 1 entry dropped" in log[-1].text
    assert store.trouble is None


# --- originals ----------------------------------------------------------------------------------------------


async def test_the_first_original_wins(store: SqliteStore, tmp_path: Path) -> None:
    """What a thing was before our first change of it is what counts, over restarts too."""
    await store.remember(change("u", "1"))
    await store.remember(change("u", "2"))
    store = await reopened(store, tmp_path)
    await store.remember(change("u", "3"))
    assert await store.changes() == (change("u", "1"),)
    await store.close()


async def test_what_was_put_back_is_forgotten(store: SqliteStore, tmp_path: Path) -> None:
    """An original is gone after ``forget``; forgetting twice is no error; the same key of another kind stays."""
    period = Change(kind=ChangeKind.STATS_PERIOD, key="u", name="a", original="", at_s=NOW_S)
    await store.remember(change("u"))
    await store.remember(period)
    await store.forget(ChangeKind.MEMORY, "u")
    await store.forget(ChangeKind.MEMORY, "u")
    store = await reopened(store, tmp_path)
    assert await store.changes() == (period,)
    await store.close()


async def test_an_original_is_in_the_file_when_remember_returns(store: SqliteStore, tmp_path: Path) -> None:
    """Nothing is still under way: the file has it, and no half-written one lies beside it."""
    await store.remember(change("u"))
    content = msgspec.json.decode((tmp_path / "state/originals.json").read_bytes())
    assert [entry["key"] for entry in content["changes"]] == ["u"]
    assert not list((tmp_path / "state").glob("*.new"))


async def test_an_original_is_synced_before_remember_returns(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after ``remember`` loses nothing: the file is synced, renamed, and the rename is synced."""
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        sync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        steps.append(f"{path.name} -> {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    await store.remember(change("u"))
    assert steps == ["sync originals.new", "originals.new -> originals.json", "sync state"]


# --- retention ----------------------------------------------------------------------------------------------


def fill(connection: sqlite3.Connection, count: int, at_s: float) -> None:
    """Put so many rows of each kind into the database, all of one time."""
    for _ in range(count):
        connection.execute(
            "INSERT INTO action (asked_at, kind, to_value, reason, numbers, result, detail)"
            " VALUES (?, 'memory', 1, 'content', '{}', 'done', '')",
            (at_s,),
        )
        connection.execute("INSERT INTO event (at, severity, code, text) VALUES (?, 'info', 'x', 'x')", (at_s,))
        number = connection.execute("INSERT INTO record (at, body) VALUES (?, zeroblob(5000))", (at_s,)).lastrowid
        connection.execute("INSERT INTO record_guest (uuid, record, name) VALUES ('u', ?, 'a')", (number,))


def left(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many rows there are."""
    tables = ("record", "record_guest", "action", "event")
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608 - constants


def test_what_is_too_old_goes_in_small_steps(tmp_path: Path) -> None:
    """Each kind is kept for its own time, and no step takes more than its share."""
    connection = connect(tmp_path / "memtide.db")
    for age_s in (100 * DAY_S, 30 * DAY_S, 0):
        fill(connection, 70, NOW_S - age_s)
    steps = 1
    while retention.prune_step(connection, Retention(), NOW_S):
        steps += 1
    assert left(connection) == {"record": 70, "record_guest": 70, "action": 140, "event": 140}
    assert steps == 3
    connection.close()


def test_the_database_does_not_grow_for_ever(tmp_path: Path) -> None:
    """Over its largest size the oldest records go, whatever their age, and the file gets smaller; actions stay."""
    path = tmp_path / "memtide.db"
    connection = connect(path)
    fill(connection, 400, NOW_S)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before_bytes = path.stat().st_size
    while retention.prune_step(connection, Retention(most_bytes=MIB), NOW_S):
        retention.give_back(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert left(connection)["action"] == 400
    assert 50 < left(connection)["record"] < 200
    assert path.stat().st_size < MIB + 400 * 1024 < before_bytes
    connection.close()


# --- the backlog --------------------------------------------------------------------------------------------


def test_the_backlog_drops_the_oldest_records_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes nothing, memory stays bounded: records go, actions and events stay."""
    monkeypatch.setattr(backlog, "RECORDS_MOST_BYTES", 100)
    waiting = Backlog()
    waiting.add(Entry((("event", ()),)))
    for name in ("old", "middle", "new"):
        waiting.add(Entry(((name, ()),), record_bytes=50))
    assert waiting.records_dropped == 1
    assert [entry.statements[0][0] for entry in waiting.take(10)] == ["event", "middle", "new"]


def test_the_backlog_is_bounded_even_for_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """After days without a disk the oldest events go too, and are counted."""
    monkeypatch.setattr(backlog, "OTHERS_MOST", 2)
    waiting = Backlog()
    for name in "abc":
        waiting.add(Entry(((name, ()),)))
    assert (waiting.others_dropped, [entry.statements[0][0] for entry in waiting.take(10)]) == (1, ["b", "c"])


def test_what_could_not_be_written_keeps_its_place() -> None:
    """A batch that failed comes first again, in its order; records again count towards their bound."""
    waiting = Backlog()
    for name in "abc":
        waiting.add(Entry(((name, ()),), record_bytes=int(name == "c")))
    batch = waiting.take(2)
    waiting.put_back(batch)
    assert [entry.statements[0][0] for entry in waiting.take(5)] == ["a", "b", "c"]
    assert len(waiting) == 0


# --- who may open it ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_a_second_daemon_is_told_who_is_there(tmp_path: Path) -> None:
    """Another process that opens the same folder learns the holder's process id, and changes nothing."""
    folder = tmp_path / "state"
    program = (
        f"from pathlib import Path; from memtide.store.sqlite import SqliteStore; SqliteStore(Path({str(folder)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"AlreadyRunningError: another memtide (process {os.getpid()}) works in {folder}" in result.stderr
    assert str(folder / "memtide.lock") in result.stderr
    with pytest.raises(AlreadyRunningError):
        SqliteStore(folder)


async def test_a_closed_store_lets_the_next_one_in(store: SqliteStore, tmp_path: Path) -> None:
    """After ``close`` the folder is free, and the closed store says that it is closed."""
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed already"):
        await store.save_event(event("late"))
    await SqliteStore(tmp_path / "state").close()


async def test_the_database_of_a_newer_memtide_is_left_alone(store: SqliteStore, tmp_path: Path) -> None:
    """A downgrade is refused with a sentence, the file stays as it is, and the folder is not left locked."""
    await store.close()
    path = tmp_path / "state/memtide.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    other.close()
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"was written by a newer memtide \(schema 2; this one knows 1\)"):
            SqliteStore(tmp_path / "state")
    assert path.read_bytes() == before


async def test_a_migration_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails in its middle leaves the older schema; a later start does it again and keeps the rows."""
    first = SqliteStore(tmp_path)
    await first.save_event(event("old"))
    await first.close()
    good = "ALTER TABLE event ADD COLUMN extra TEXT"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (good, "NONSENSE")))
    with pytest.raises(StoreError):
        SqliteStore(tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], (good,)))
    second = SqliteStore(tmp_path)
    assert [entry.text for entry in await second.log()] == ["old"]
    await second.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user without rights")
def test_a_folder_of_somebody_else_is_a_matter_of_permission(tmp_path: Path) -> None:
    """The message names the folder and the user, and the way out."""
    (tmp_path / "theirs").mkdir(mode=0o755)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        for folder in (tmp_path / "theirs", tmp_path / "theirs/new"):
            with pytest.raises(PermissionDeniedError, match=f"{folder} may not be written by user nobody"):
                SqliteStore(folder)
    finally:
        os.seteuid(0)
