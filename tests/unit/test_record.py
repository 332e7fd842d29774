"""Recording: what a daemon sees goes into a file, whole, and without names if asked."""

import asyncio
import errno
import gzip
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import recordings
from click.testing import CliRunner
from running import MEMTIDE, wait_for

from memtide.errors import PermissionDeniedError, SourceError, StoreError, UsageError
from memtide.faces.cli.main import cli
from memtide.model.host import Host
from memtide.model.limits import GuestLimits, GuestRule, Limits
from memtide.model.reason import ReasonCode
from memtide.model.trace import TraceHeader
from memtide.runtime.record import Progress
from memtide.runtime.record_file import TraceWriter
from memtide.runtime.service import HOLD
from memtide.sim.behaviours import Hung
from memtide.sim.curve import flat
from memtide.sim.demo import demo_world
from memtide.sim.ports import SimHostSource
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.sources.replay import TraceFile
from memtide.store.sqlite import SqliteStore
from memtide.store.stream import read_facts
from memtide.units import GIB, MIB


def small_world() -> World:
    """Return a host with a guest that hangs for a while and one that is well."""
    hung = GuestSpec(name="db-prod", anonymous=flat(100 * MIB), behaviour=Hung(from_s=10, to_s=20))
    return World(HostSpec(total_bytes=8 * GIB), [hung, GuestSpec(name="web-prod", anonymous=flat(200 * MIB))])


def test_every_tick_is_in_the_file(tmp_path: Path) -> None:
    """Snapshot, decision and limits of each; limits are written once when they do not change."""
    law = recordings.Watched()
    done = recordings.made(tmp_path / "t.gz", policy=law, for_s=20)
    trace = TraceFile(tmp_path / "t.gz")
    frames = list(trace.frames())

    assert (trace.header.uri, trace.header.period_s, trace.header.anonymous) == ("simulation", 2.0, False)
    assert done.ticks == len(frames) == len(law.decisions)
    assert [frame.decision for frame in frames] == law.decisions
    assert frames[0].limits == Limits()
    assert {frame.limits for frame in frames[1:]} == {None}
    assert not trace.cut_short
    assert done.size_bytes == (tmp_path / "t.gz").stat().st_size


def test_progress_is_told_after_every_tick(tmp_path: Path) -> None:
    """How many ticks, for how long, how many guests, how large."""
    told: list[Progress] = []
    recordings.made(tmp_path / "t.gz", for_s=6, world=small_world(), tell=told.append)

    assert [(one.ticks, one.guests) for one in told] == [(1, 2), (2, 2), (3, 2)]
    assert [one.ran_s for one in told] == pytest.approx([0, 2, 4], abs=0.3)
    assert 0 < told[0].size_bytes < told[1].size_bytes


def test_a_guest_that_hangs_is_on_record_as_absent(tmp_path: Path) -> None:
    """Absent is not gone."""
    recordings.made(tmp_path / "t.gz", for_s=30, world=small_world())
    absent = [[guest.name for guest in frame.snapshot.absent] for frame in TraceFile(tmp_path / "t.gz").frames()]

    assert ["db-prod"] in absent
    assert [] in absent


class Flaky(SimHostSource):
    """A host that cannot be read now and then."""

    reads = 0

    def sample(self, now_s: float) -> Host:
        self.reads += 1
        if self.reads % 3 == 0:
            raise SourceError("/proc/meminfo cannot be read")
        return super().sample(now_s)


def test_a_tick_without_the_host_is_no_tick(tmp_path: Path) -> None:
    """What cannot be seen is not written twice in its place."""
    world = small_world()
    told: list[Progress] = []
    host = Flaky(world)
    done = recordings.made(tmp_path / "t.gz", for_s=24, world=world, host=host, tell=told.append)
    times = [frame.snapshot.taken_at_s for frame in TraceFile(tmp_path / "t.gz").frames()]

    assert host.reads > done.ticks
    assert len(times) == len(set(times)) == done.ticks


def test_without_names_nothing_of_them_is_left(tmp_path: Path) -> None:
    """Not in snapshots, decisions or settings; and what the settings say of a guest still holds for it."""
    rule = GuestRule(match="db-*", weight=4.0)
    limits = Limits(rules=(rule,), defaults=GuestLimits(floor_ratio=0.2))
    recordings.made(tmp_path / "t.gz", for_s=30, world=small_world(), limits=limits, anonymous=True)
    content = gzip.decompress((tmp_path / "t.gz").read_bytes()).decode()
    frame = next(TraceFile(tmp_path / "t.gz").frames())

    assert "prod" not in content
    assert all(uuid not in content for uuid in small_world().guests)
    assert [guest.name for guest in frame.snapshot.guests] == ["guest-1", "guest-2"]
    assert frame.decision is not None
    assert {verdict.name: verdict.weight for verdict in frame.decision.verdicts} == {"guest-1": 4.0, "guest-2": 1.0}


@pytest.mark.parametrize("anonymous", [False, True])
def test_sizes_set_by_hand_are_on_record(tmp_path: Path, *, anonymous: bool) -> None:
    """As long as the daemon beside it remembers them; a law sees a held guest."""
    world = small_world()
    uuid = next(iter(world.guests))
    facts = {f"{HOLD}{uuid}": '{"size_bytes": 1073741824, "until_s": 1e12}', f"{HOLD}x": "?", "uri": "qemu:///system"}

    def now() -> dict[str, str]:
        return facts if world.elapsed_s < 5 else {}

    recordings.made(tmp_path / "t.gz", for_s=9, world=world, facts=now, anonymous=anonymous)
    decisions = [frame.decision for frame in TraceFile(tmp_path / "t.gz").frames()]

    assert [
        [verdict.reason.code is ReasonCode.HELD for verdict in decision.verdicts] for decision in decisions if decision
    ] == [[True, False]] * 3 + [[False, False]] * 2


def test_the_facts_of_a_daemon_are_read_beside_it(tmp_path: Path) -> None:
    """While it holds its lock; where there is none, nothing is known."""
    store = SqliteStore(tmp_path)

    async def keep() -> dict[str, str]:
        await store.keep("hold:a", "1")
        try:
            return await asyncio.to_thread(wait_for, "the fact", lambda: read_facts(tmp_path), 10)
        finally:
            await store.close()

    assert asyncio.run(keep()) == {"hold:a": "1"}
    assert read_facts(tmp_path / "none") == {}


# --- the file ---------------------------------------------------------------------------------------------------


HEADER = TraceHeader(memtide="0", host_name="h", uri="u", began_at_s=0.0, period_s=2.0)


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """And the folder must be there."""
    (tmp_path / "t.gz").write_text("mine")

    with pytest.raises(UsageError, match="is there already"):
        TraceWriter(tmp_path / "t.gz", HEADER)
    with pytest.raises(UsageError, match="there is no folder"):
        TraceWriter(tmp_path / "none" / "t.gz", HEADER)
    assert (tmp_path / "t.gz").read_text() == "mine"


@pytest.fixture
def no_room() -> Iterator[None]:
    """Let no file of this process grow beyond 20 KiB: it fails as a full disk does, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_ends_the_recording(tmp_path: Path) -> None:
    """With a sentence that says what is left, and that many ticks are there."""
    world = demo_world()
    with pytest.raises(StoreError, match=r"t\.gz cannot be written: File too large") as caught:
        recordings.made(tmp_path / "t.gz", world=world, for_s=3600)
    trace = TraceFile(tmp_path / "t.gz")
    ticks = len(list(trace.frames()))

    assert caught.value.hint == f"the {ticks} ticks before can be replayed"
    assert ticks > 10
    assert trace.cut_short
    assert world.elapsed_s < 600


def test_a_file_that_may_not_be_made_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is told of the permission."""

    def denied(*_args: object, **_named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(PermissionDeniedError, match="may not be written"):
        TraceWriter(tmp_path / "t.gz", HEADER)


# --- the command ------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_recording_with_a_sentence(tmp_path: Path) -> None:
    """The simulated host, for real: a process, its signal, its file."""
    path = tmp_path / "t.gz"
    command = [MEMTIDE, "record", "--sim", "--out", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not path.exists() or path.stat().st_size < 500:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"{path}: ")
    assert f"; `memtide replay {path}` asks laws about it" in out
    assert not TraceFile(path).cut_short


def test_a_kill_loses_no_tick(tmp_path: Path) -> None:
    """What was written before a kill -9 is all there, and the missing end is noticed."""
    path = tmp_path / "t.gz"
    with subprocess.Popen([MEMTIDE, "record", "--sim", "--out", path], stderr=subprocess.PIPE) as process:
        while not path.exists() or path.stat().st_size < 3000:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    trace = TraceFile(path)

    assert list(trace.frames())
    assert trace.cut_short


def test_the_name_of_the_file_tells_host_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the current folder; an anonymous one does not name the host."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.gethostname", lambda: "virt5v")
    for arguments in ([], ["--anonymous"]):
        done = CliRunner().invoke(cli, ["record", "--sim", "--for", "100ms", *arguments])
        assert done.exit_code == 0, done.output
    names = sorted(path.name for path in tmp_path.iterdir())

    assert [name.rsplit("-", 2)[0] for name in names] == ["memtide-host", "memtide-virt5v"]


def test_a_person_sees_how_far_it_is(tmp_path: Path) -> None:
    """One line that is redrawn, on a terminal only, and gone at the end."""
    typescript = tmp_path / "typescript"
    shell = f"{MEMTIDE} record --sim --for 1s --out {tmp_path / 't.gz'}"
    subprocess.run(
        ["/usr/bin/script", "-q", "-e", "-c", shell, typescript],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    out = typescript.read_bytes().decode()

    assert "\r\x1b[Kt.gz: 1 tick in " in out
    assert "; Ctrl-C ends it\r\x1b[K" in out
