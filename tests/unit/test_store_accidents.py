"""What the store survives: a full disk, a disk that does not answer, damaged files, and the end of the process.

The disks are real ones, as small as the accident allows; that needs root, and tests without it are skipped.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from test_store import change, event, memory, outcome, record

from memtide.errors import PermissionDeniedError, StoreError
from memtide.model.record import Event, Severity
from memtide.store import backlog, sqlite, writer
from memtide.store.connect import NAME
from memtide.store.sqlite import SqliteStore

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")


def run(*command: str) -> None:
    """Run a command; a test that cannot have its disk is skipped with what the command said."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"{' '.join(command)}: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the mount point of a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "memtide-test", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def freezing_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the mount point of a disk that can be frozen."""
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-o", "loop", str(image), str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """Make a disk take nothing, without an error, as long as this lasts."""
    run("fsfreeze", "--freeze", str(folder))
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(writer, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(writer, "RETRY_MOST_S", 0.05)


def fill(folder: Path) -> Path:
    """Take all the room there is; return the file to remove for more."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def names(folder: Path, pattern: str) -> list[str]:
    """Return the names of the files that match."""
    return sorted(path.name for path in folder.glob(pattern))


async def until(met: object, *, within_s: float = 10.0) -> None:
    """Wait until a condition is met."""
    end = time.monotonic() + within_s
    while not met():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.02)


def errors(entries: list[object]) -> list[Event]:
    """Return the events that are errors."""
    return [entry for entry in entries if isinstance(entry, Event) and entry.severity is Severity.ERROR]


# --- a full disk --------------------------------------------------------------------------------------------


@NEEDS_ROOT
async def test_a_full_disk_loses_no_history(small_disk: Path) -> None:
    """While the disk is full history waits, and status says so; with room again all is there, and the gap is told."""
    store = SqliteStore(small_disk)
    await store.save_event(event("before", at_s=-1))
    await store.log()
    ballast = fill(small_disk)
    saved = [await store.save_outcome(outcome(at_s=i)) for i in range(600)]
    await until(lambda: store.trouble is not None)
    assert store.trouble is not None
    assert store.trouble.startswith(f"the disk of {small_disk} is full; no history was written for ")
    assert store.trouble.endswith("(waiting: 600 entries)")
    ballast.unlink()
    await until(lambda: store.trouble is None)
    log = await store.log()
    assert log[1:601] == saved
    gap = log[-1]
    assert isinstance(gap, Event)
    assert gap.code == "history-gap"
    assert f"because the disk of {small_disk} is full; nothing is lost" in gap.text
    await store.close()


@NEEDS_ROOT
async def test_a_full_disk_refuses_originals_and_keeps_those_it_has(small_disk: Path) -> None:
    """An original that does not fit is refused, so the guest is not touched; those kept before stay, whole."""
    store = SqliteStore(small_disk)
    kept = [change(f"guest-{i}") for i in range(40)]
    for one in kept:
        await store.remember(one)
    ballast = fill(small_disk)
    with pytest.raises(StoreError, match=f"the disk of {small_disk} is full") as caught:
        await store.remember(change("one more"))
    assert "free some space there" in caught.value.hint
    assert await store.changes() == tuple(kept)
    assert len(msgspec.json.decode((small_disk / "originals.json").read_bytes())["changes"]) == 40
    assert not names(small_disk, "*.new")
    ballast.unlink()
    await store.remember(change("one more"))
    await store.close()


@NEEDS_ROOT
async def test_a_full_disk_costs_records_first_and_they_are_counted(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the backlog is full the oldest records go; actions stay, and both status and the log say how many went."""
    store = SqliteStore(small_disk)
    await store.log()
    ballast = fill(small_disk)
    monkeypatch.setattr(backlog, "RECORDS_MOST_BYTES", 10_000)
    for i in range(20):
        await store.append(record("a", at_s=i))
    await store.save_outcome(outcome(at_s=0))
    await until(lambda: "dropped" in (store.trouble or ""))
    dropped = int((store.trouble or "").split("dropped: ")[1].removesuffix(")"))
    ballast.unlink()
    await until(lambda: store.trouble is None)
    assert [tick.decision.decided_at_s for tick in await store.records(limit=50)] == list(range(dropped, 20))
    log = await store.log()
    assert log[0].action == memory()  # type: ignore[union-attr]
    assert f"history has a gap: {dropped} entries dropped" in log[-1].text  # type: ignore[union-attr]
    await store.close()


@NEEDS_ROOT
async def test_a_daemon_that_stops_on_a_full_disk_ends(small_disk: Path) -> None:
    """The last chance is taken, and then the process may end: a full disk does not hang the shutdown."""
    store = SqliteStore(small_disk)
    await store.log()
    fill(small_disk)
    for i in range(600):
        await store.save_outcome(outcome(at_s=i))
    await store.close()
    with pytest.raises(StoreError, match="closed already"):
        await store.save_outcome(outcome())


@NEEDS_ROOT
def test_a_full_disk_at_the_start_is_said(small_disk: Path) -> None:
    """A store that cannot begin says why, and leaves the folder to the next try."""
    ballast = fill(small_disk)
    with pytest.raises(StoreError, match=f"the disk of {small_disk} is full"):
        SqliteStore(small_disk)
    ballast.unlink()
    asyncio.run(SqliteStore(small_disk).close())


@NEEDS_ROOT
def test_a_nearly_full_disk_at_the_start_works_or_is_said(small_disk: Path) -> None:
    """However little room there is, the store begins or says that the disk is full: never another reason."""
    said = 0
    for pages_left in range(0, 60, 2):
        ballast = fill(small_disk)
        os.truncate(ballast, max(0, ballast.stat().st_size - 4096 * pages_left))
        try:
            asyncio.run(SqliteStore(small_disk).close())
        except StoreError as error:
            assert error.message == f"the disk of {small_disk} is full"  # noqa: PT017 - either way is right
            said += 1
        for file in small_disk.iterdir():
            file.unlink()
    assert 2 < said < 29


@NEEDS_ROOT
async def test_a_read_only_disk_is_a_matter_of_permission(small_disk: Path) -> None:
    """Both at the start and later, the message says that the disk is read-only."""
    store = SqliteStore(small_disk)
    await store.close()
    run("mount", "-o", "remount,ro", str(small_disk))
    with pytest.raises(PermissionDeniedError, match=f"{small_disk} is on a read-only file system"):
        SqliteStore(small_disk)


# --- a disk that does not answer ----------------------------------------------------------------------------


@NEEDS_ROOT
async def test_a_disk_that_does_not_answer_never_stops_the_loop(
    freezing_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the writer stuck in the kernel, saving stays quick, an original is refused in time, and status tells."""
    monkeypatch.setattr(sqlite, "EDIT_S", 0.3)
    monkeypatch.setattr(writer, "SLOW_S", 0.1)
    store = SqliteStore(freezing_disk)
    await store.log()
    with frozen(freezing_disk):
        # that these return before the disk answers is the test
        saved = await store.save_outcome(outcome())
        await store.append(record("a"))
        with pytest.raises(StoreError, match=r"did not answer within 0\.3 s, so the original of name of x is not safe"):
            await store.remember(change("x"))
        assert f"the disk of {freezing_disk} does not answer" in (store.trouble or "")
    await until(lambda: store.trouble is None)
    assert saved in await store.log()
    assert await store.records() == [record("a")]
    await store.close()


# --- the end of the process ---------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
from test_store import change, event, outcome, record
from memtide.model.record import ChangeKind
from memtide.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    for i in range(1_000_000):
        await store.save_outcome(outcome())
        await store.append(record("a", "b"))
        await store.remember(change(f"guest-{i}"))
        if i % 3 == 0:
            await store.forget(ChangeKind.MEMORY, f"guest-{i}")
        print(i, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("attempt", range(3))
def test_kill_9_loses_nothing_that_was_remembered(tmp_path: Path, attempt: int) -> None:
    """However suddenly the process ends, every original that was kept is there, and the history is readable."""
    folder = Path(__file__).parent
    environ = os.environ | {"PYTHONPATH": f"{folder}:{folder.parent}"}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        for _ in range(20 + 7 * attempt):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = max([last, *map(int, process.stdout.read().split())])

    async def look() -> None:
        store = SqliteStore(tmp_path)
        keys = {kept.key for kept in await store.changes()}
        expected = {f"guest-{i}" for i in range(last + 1) if i % 3}
        assert keys - expected <= {f"guest-{last + 1}"}
        assert expected <= keys
        log = await store.log()
        assert log
        assert errors(log) == []
        await store.close()

    asyncio.run(look())


# --- damaged files ------------------------------------------------------------------------------------------


async def filled(folder: Path) -> list[object]:
    """Fill a store with originals and history; return what was kept as originals."""
    store = SqliteStore(folder)
    kept = [change(f"guest-{i}") for i in range(30)]
    for one in kept:
        await store.remember(one)
    for i in range(300):
        await store.save_outcome(outcome(at_s=i))
    await store.keep("paused", "1")
    await store.close()
    return kept


def overwrite(path: Path, *, start: int, end: int | None = None) -> None:
    """Put other bytes into a file."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(start)
        file.write(b"\xa5" * ((end or size) - start))


DAMAGE = {
    "all": {"start": 0},
    "the head": {"start": 0, "end": 100},
    "all but the head": {"start": 4096},
    "the schema": {"start": 100, "end": 4096},
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_a_damaged_database_is_set_aside(tmp_path: Path, what: str) -> None:
    """A new one begins, an error event says where the old one is, and all originals are there."""
    kept = await filled(tmp_path)
    overwrite(tmp_path / NAME, **DAMAGE[what])
    store = SqliteStore(tmp_path)
    assert list(await store.changes()) == kept
    (told,) = errors(await store.log())
    (aside,) = names(tmp_path, f"{NAME}.corrupt-*Z")
    assert told.code == "store-damaged"
    assert told.text == (
        f"the database {tmp_path / NAME} was damaged; it is now {aside}, and a new one has begun;"
        " all 30 originals are kept"
    )
    saved = await store.save_outcome(outcome())
    assert await store.log() == sorted([told, saved], key=lambda entry: entry.id)
    await store.close()
    assert len(copies(tmp_path / NAME)) == 30


async def test_two_damaged_databases_of_one_second_are_both_kept(tmp_path: Path) -> None:
    """Setting aside never overwrites what was set aside before."""
    for _ in range(3):
        await SqliteStore(tmp_path, now_s=lambda: 0.0).close()
        overwrite(tmp_path / NAME, start=0)
    await SqliteStore(tmp_path, now_s=lambda: 0.0).close()
    assert names(tmp_path, "*corrupt*") == [f"{NAME}.corrupt-19700101T000000Z{number}" for number in ("", ".2", ".3")]


def copies(path: Path) -> list[str]:
    """Return the keys of the originals' copies in a database."""
    connection = sqlite3.connect(path)
    try:
        return [key for (key,) in connection.execute("SELECT key FROM change_made")]
    finally:
        connection.close()


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"format": 1, "changes": [{"kind": "memory"}]}', b"\xff\xfe"])
async def test_without_their_file_the_originals_come_from_the_database(tmp_path: Path, content: bytes | None) -> None:
    """A file that was deleted or broken is replaced from the copy, and an error event says so."""
    kept = await filled(tmp_path)
    file = tmp_path / "originals.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    store = SqliteStore(tmp_path)
    assert set(await store.changes()) == set(kept)
    (told,) = errors(await store.log())
    assert told.code == "originals-damaged"
    assert "30 originals were taken from the database's copy" in told.text
    broken = names(tmp_path, "originals.json.corrupt-*")
    assert [(tmp_path / name).read_bytes() for name in broken] == ([] if content is None else [content])
    await store.close()
    assert len(msgspec.json.decode(file.read_bytes())["changes"]) == 30


async def test_without_file_and_with_a_damaged_database_what_can_be_read_is_kept(tmp_path: Path) -> None:
    """Both accidents at once: the rows that can still be read are saved, and the event does not claim more."""
    await filled(tmp_path)
    (tmp_path / "originals.json").unlink()
    connection = sqlite3.connect(tmp_path / NAME)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'action'").fetchone()
    connection.close()
    overwrite(tmp_path / NAME, start=(root - 1) * 4096, end=root * 4096)
    store = SqliteStore(tmp_path)
    assert len(await store.changes()) == 30
    texts = [told.text for told in errors(await store.log())]
    assert len(texts) == 2
    assert "of the originals 30 could still be read in it" in texts[1]
    await store.close()


async def test_damage_found_while_running_is_set_aside_too(tmp_path: Path) -> None:
    """A page that goes bad under a running daemon: a new database takes over, with originals, facts and what waited."""
    kept = await filled(tmp_path)
    store = SqliteStore(tmp_path)
    await store.log()
    # not through SQLite, and past its cache: the next reader and the writer's next look find other bytes
    overwrite(tmp_path / NAME, start=4096)
    with pytest.raises(StoreError, match="is damaged, and is being set aside"):
        await store.log()
    saved = await store.save_outcome(outcome())
    log = await store.log()
    assert [told.code for told in errors(log)] == ["store-damaged"]
    assert saved in log
    assert list(await store.changes()) == kept
    assert await store.kept() == {"paused": "1"}
    await store.close()
    assert len(copies(tmp_path / NAME)) == 30
    store = SqliteStore(tmp_path)
    assert await store.kept() == {"paused": "1"}
    await store.close()


async def test_a_database_that_was_deleted_begins_anew(tmp_path: Path) -> None:
    """Deleting the history is an operator's right: the originals stay, and nobody calls it damage."""
    kept = await filled(tmp_path)
    (tmp_path / NAME).unlink()
    store = SqliteStore(tmp_path)
    assert list(await store.changes()) == kept
    assert await store.log() == []
    await store.close()


async def test_the_folder_set_aside_by_hand_is_a_first_start(tmp_path: Path) -> None:
    """An empty folder is no accident: no event, no originals."""
    await filled(tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "away")
    store = SqliteStore(tmp_path / "old")
    assert (await store.changes(), await store.log()) == ((), [])
    await store.close()
