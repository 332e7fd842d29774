"""Replaying: a law decides on a recording exactly what it decided live, and a broken recording says what is wrong."""

import asyncio
import gzip
import re
from pathlib import Path

import msgspec
import pytest
import recordings
from click.testing import CliRunner, Result

from memtide.errors import ConfigError, PermissionDeniedError, SourceError, StoreError, UsageError
from memtide.faces.cli.main import cli, main
from memtide.model.action import SetKsm, SetMemory, SetStatsPeriod
from memtide.model.limits import GuestLimits, Limits
from memtide.model.trace import FORMAT, Frame
from memtide.policy.tide import Tide
from memtide.runtime import paths
from memtide.runtime.loop import Loop
from memtide.runtime.replay import replay
from memtide.runtime.will import Will
from memtide.sim.demo import demo_world
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sources.replay import TraceFile
from memtide.store.connect import NAME, connect
from memtide.store.sqlite import SqliteStore
from memtide.units import GIB
from memtide.views.replay import ReplayView


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the demo's host, recorded for two minutes while nobody acted."""
    path = tmp_path_factory.mktemp("traces") / "demo.trace.gz"
    recordings.made(path, for_s=120)
    return path


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's settings out of it."""
    monkeypatch.setattr(paths, "settings_file", lambda: tmp_path / "none.toml")


def asked(path: Path, *laws: str, config: Path | None = None, estimate: bool = False) -> ReplayView:
    """Return a replay."""
    return replay(path, laws=laws, config=config, estimate=estimate, tell=lambda _law, _share: None)


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a trace."""
    return gzip.decompress(path.read_bytes()).splitlines()


def written(path: Path, *lines: bytes) -> Path:
    """Return a plain file of these lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


# --- open loop --------------------------------------------------------------------------------------------------


def test_a_law_decides_on_a_recording_what_it_decided_live(demo: Path) -> None:
    """I8: the same snapshots, limits and answers make the same decisions, to the last number of every verdict."""
    view = asked(demo, "tide")

    assert view.recorded is not None
    assert view.recorded.compared == view.recorded.same == view.trace.ticks > 60
    assert view.recorded.first_difference is None
    assert view.laws["tide"] == view.laws["recorded"]
    assert view.laws["tide"].take_bytes > GIB


def test_laws_stand_beside_each_other(demo: Path) -> None:
    """Each with what it would have asked for; nobody asks for nothing, and all that tide asks for differs from it."""
    view = asked(demo)

    assert list(view.laws) == ["tide", "none", "recorded"]
    assert (view.laws["none"].asks, view.laws["none"].first_at_s) == (0, None)
    assert len(view.differences) == view.laws["tide"].asks
    assert all(list(difference.laws) == ["tide", "none"] for difference in view.differences)
    assert [difference.at_s for difference in view.differences] == sorted(d.at_s for d in view.differences)


def test_other_settings_make_other_decisions(demo: Path, tmp_path: Path) -> None:
    """--config goes before what is on record, and the record shows as a law of its own."""
    config = tmp_path / "memtide.toml"
    config.write_text('[[rule]]\nmatch = "giant"\nmanage = false\n')
    view = asked(demo, "tide", config=config)

    assert view.trace.limits == str(config)
    assert view.recorded is not None
    assert view.recorded.same < view.recorded.compared
    assert view.recorded.first_difference is not None
    assert all(difference.laws["tide"] is None for difference in view.differences if difference.name == "giant")
    assert any(difference.laws["recorded"] for difference in view.differences if difference.name == "giant")


def test_what_was_wanted_is_on_record(tmp_path: Path) -> None:
    """Limits that were in force while it was recorded are in force when it is replayed."""
    limits = Limits(defaults=GuestLimits(manage=False))
    recordings.made(tmp_path / "t.gz", for_s=60, limits=limits)

    assert asked(tmp_path / "t.gz", "tide").laws["tide"].take_bytes == 0


def test_a_decision_of_another_memtide_is_left_out(demo: Path, tmp_path: Path) -> None:
    """Reasons come and go; what a host went through stays."""
    header, *ticks = lines_of(demo)
    foreign = [line.replace(b'"at-maximum"', b'"by-moonlight"') for line in ticks]
    view = asked(written(tmp_path / "t", header, *foreign), "tide")

    assert view.trace.left_out > 0
    assert view.trace.ticks == len(ticks)
    assert view.recorded is None or view.recorded.compared == view.trace.ticks - view.trace.left_out


def test_a_law_that_was_not_on_record_is_compared_with_nothing(demo: Path) -> None:
    """The record's own law is named; its decisions stand beside as what they are."""
    view = asked(demo, "none")

    assert view.recorded is not None
    assert (view.recorded.policy, view.recorded.compared) == ("tide", 0)
    assert any(difference.laws["recorded"] for difference in view.differences)


# --- a daemon's folder ------------------------------------------------------------------------------------------


def lived(folder: Path) -> int:
    """Let a daemon act on the demo's host for two minutes; return how many ticks it had."""
    world = demo_world()
    actuator = SimActuator(world)
    ticks: list[int] = []

    async def run() -> None:
        store = SqliteStore(folder, now_s=lambda: world.now_s)
        loop = Loop(
            clock=SimClock(world, speed=None),
            host=SimHostSource(world),
            guests=SimGuestSource(world),
            policy=Tide(),
            actuators=dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), actuator),
            store=store,
            will=Will(Limits()),
        )
        await loop.run(for_s=120, on_tick=lambda: ticks.append(1))
        await store.close()

    asyncio.run(run())
    return len(ticks)


def test_a_daemons_folder_is_a_recording_with_gaps(tmp_path: Path) -> None:
    """What a daemon kept can be asked about; it says that it is not whole, and is not played on."""
    ticks = lived(tmp_path)
    view = asked(tmp_path, estimate=True)

    assert (view.trace.whole, view.trace.limits) == (False, "settings")
    assert 0 < view.trace.ticks < ticks
    assert view.recorded is not None
    assert 0 < view.recorded.compared == view.trace.ticks
    assert view.laws["recorded"].asks > 0
    assert view.estimate is not None
    assert view.estimate.simulation is None


def test_records_that_cannot_be_understood_are_counted(tmp_path: Path) -> None:
    """One damaged record costs that record."""
    lived(tmp_path)
    whole = asked(tmp_path, "tide").trace.ticks
    connection = connect(tmp_path / NAME)
    connection.execute("UPDATE record SET body = x'00' WHERE id = (SELECT min(id) FROM record)")
    connection.close()
    trace = asked(tmp_path, "tide").trace

    assert (trace.ticks, trace.left_out) == (whole - 1, 1)


def test_a_folder_of_a_newer_memtide_is_refused(tmp_path: Path) -> None:
    """Its records may mean something else."""
    connection = connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreError, match="newer memtide"):
        asked(tmp_path)


# --- broken traces ----------------------------------------------------------------------------------------------


def test_a_missing_end_is_borne_and_told(demo: Path, tmp_path: Path) -> None:
    """After a kill all whole ticks are there, and the rest is said to be missing."""
    (tmp_path / "t.gz").write_bytes(demo.read_bytes()[:-500])
    cut = asked(tmp_path / "t.gz", "tide")
    plain = written(tmp_path / "t", *lines_of(demo))
    plain.write_bytes(plain.read_bytes()[:-10])

    assert cut.trace.cut_short
    assert 0 < cut.trace.ticks < len(lines_of(demo)) - 1
    assert asked(plain, "tide").trace.ticks == len(lines_of(demo)) - 2


def test_what_is_no_trace_says_so(demo: Path, tmp_path: Path) -> None:
    """A foreign file, an empty one, one of a newer memtide, one without a tick, one that is not there."""
    header, first, *_ = lines_of(demo)
    newer = header.replace(b'"schema":1', b'"schema":2')
    broken = (
        (written(tmp_path / "foreign", b"Nov 24 host kernel: oom"), "is not a memtide trace"),
        (written(tmp_path / "json", b'{"format":"x","schema":1}'), "is not a memtide trace"),
        (written(tmp_path / "half", b'{"format":"memtide trace","schema":1}'), "is not a memtide trace"),
        (written(tmp_path / "empty"), "is not a memtide trace"),
        (written(tmp_path / "newer", newer, first), r"newer memtide \(schema 2; this one knows 1\)"),
        (written(tmp_path / "header", header), "there is no tick in it"),
        (written(tmp_path / "damaged", header, first, b'{"snapshot":{}}'), "tick 2: it is damaged"),
        (written(tmp_path / "text", header, first, b"\xff\xfe"), "tick 2: it is damaged"),
    )
    for path, sentence in broken:
        with pytest.raises(SourceError, match=sentence) as caught:
            asked(path)
        assert str(path) in caught.value.message


def test_a_damaged_file_says_where(demo: Path, tmp_path: Path) -> None:
    """Wrong bytes in the middle, or something behind the end."""
    content = bytearray(demo.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    (tmp_path / "t.gz").write_bytes(content)
    (tmp_path / "two.gz").write_bytes(demo.read_bytes() * 2)

    with pytest.raises(SourceError, match=r"t\.gz, tick \d+: it is damaged"):
        asked(tmp_path / "t.gz")
    with pytest.raises(SourceError, match="something follows its end"):
        asked(tmp_path / "two.gz")


def test_a_line_without_an_end_is_refused(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes can unpack to any amount; a tick cannot."""
    monkeypatch.setattr("memtide.sources.replay.LINE_MOST_BYTES", 100_000)
    header, *_ = lines_of(demo)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(header + b"\n" + bytes(50_000_000)))

    with pytest.raises(SourceError, match="longer than any tick can be"):
        asked(tmp_path / "bomb.gz")


def test_what_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, not a daemon's folder, not for this user, no such law, settings with a mistake."""
    (tmp_path / "bad.toml").write_text("[law]\nperiods = 3\n")
    with pytest.raises(UsageError, match="there is no trace"):
        asked(tmp_path / "none.gz")
    with pytest.raises(UsageError, match="no daemon has kept anything"):
        asked(tmp_path)
    with pytest.raises(UsageError, match="there is no law 'tyde'; did you mean tide"):
        asked(tmp_path, "tyde")
    with pytest.raises(ConfigError):
        asked(written(tmp_path / "t", b""), config=tmp_path / "bad.toml")

    def denied(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(PermissionDeniedError, match="may not be read"):
        asked(tmp_path / "t")


# --- the command ------------------------------------------------------------------------------------------------


def said(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli, ["replay", *arguments])


def test_people_get_a_table_and_the_differences(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replayed, each law's row, whether the record is repeated, who differs when and why, the estimate."""
    monkeypatch.setenv("TZ", "UTC")
    out = said(str(demo), "--limit", "2").output

    assert out.startswith(f"{demo}: ")
    assert "\nLAW       ASKS      TAKE" in out
    assert "tide decides as on record, in all " in out
    assert re.search(r"tide takes [0-9.]+ [MG]iB from giant \(1.00 GiB -> .*\).*: .*; none: nothing\n", out)
    assert "none: nothing" in out
    assert "more; `--limit " in out
    assert "(an estimate)" in out
    assert "It assumes that" in out


def test_each_ask_stands_at_its_own_time(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws that ask about one guest at different moments are told under each other."""
    monkeypatch.setenv("TZ", "UTC")
    out = said(str(demo), "--policy", "squeezed", "--policy", "mom", "--policy", "none", "--no-estimate").output
    shown = re.search(
        r"\n(\S+)  squeezed takes .* from wave-0 .*\n  (\S+)  mom takes .*(?:\n  .*)*\n  none: nothing\n", out
    )

    assert shown is not None
    assert shown[1] < shown[2]


def test_one_law_alone_tells_what_it_would_do(demo: Path) -> None:
    """No law to differ from; and none that asks for nothing."""
    assert "what tide would have asked for" in said(str(demo), "--policy", "tide", "--no-estimate").output
    assert "none would have asked for nothing" not in said(str(demo), "--policy", "none", "--no-estimate").output


def test_json_is_the_view(demo: Path) -> None:
    """All differences, or the first so many."""
    whole = msgspec.json.decode(said(str(demo), "--json", "--no-estimate").output, type=ReplayView)
    first = msgspec.json.decode(said(str(demo), "--json", "--limit", "1").output, type=ReplayView)

    assert whole == asked(demo)
    assert first.differences == whole.differences[:1]
    assert first.estimate is not None
    assert first.estimate.simulation is not None
    assert list(first.estimate.simulation.policies) == ["tide", "none"]


def test_a_broken_trace_ends_with_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4: it cannot be read; 2: there is no such thing."""
    written(tmp_path / "foreign", b"hello")
    statuses = []
    for path in ("foreign", "none"):
        with pytest.raises(SystemExit) as caught:
            main(["replay", str(tmp_path / path)])
        statuses.append(caught.value.code)

    assert statuses == [4, 2]
    assert "is not a memtide trace" in capsys.readouterr().err


def test_the_documented_format_is_the_format(demo: Path) -> None:
    """The first line names itself; the rest are ticks."""
    header, tick, *_ = lines_of(demo)

    assert msgspec.json.decode(header)["format"] == FORMAT
    assert msgspec.json.decode(tick, type=Frame) == next(TraceFile(demo).frames())
