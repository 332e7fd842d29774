"""The commands: what they print, how they end, against a daemon on real sockets."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import click
import make_live
import msgspec
import pytest
from click.testing import CliRunner

import memtide.runtime.daemon
import memtide.runtime.restore
from memtide.errors import ConfigError, MemtideError
from memtide.faces.cli import main, reference
from memtide.faces.cli.main import COMMANDS, cli
from memtide.faces.cli.screen_text import screen_lines
from memtide.faces.cli.terminal import render
from memtide.model.action import Outcome
from memtide.model.reason import ReasonCode
from memtide.runtime.control.server import serving
from memtide.runtime.options import RunOptions
from memtide.units import GIB
from memtide.views.live import Live
from memtide.views.log import log_view
from memtide.views.schema import LogView, StatusView, WhyView
from memtide.views.status import status

MEMTIDE = Path(sys.executable).with_name("memtide")
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


@pytest.fixture
def daemon() -> make_live.FakeDaemon:
    """Return a daemon that stays in one moment."""
    return make_live.FakeDaemon(make_live.live())


@pytest.fixture
def folder(tmp_path: Path, daemon: make_live.FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve the daemon in a thread, as another process would, and tell the commands where."""
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    up = threading.Event()

    async def serve() -> None:
        async with serving(tmp_path, daemon):
            daemon.loop = loop
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(5)
    monkeypatch.setenv("MEMTIDE_CONTROL", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    yield tmp_path
    loop.call_soon_threadsafe(over.set)
    thread.join(5)
    loop.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit status, what it printed, and what it complained of."""
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


# --- status -----------------------------------------------------------------------------------------------------

HEAD = """\
memtide 0.1.0 on virt5v, qemu:///system: acting, mode pressure, up 2h 5m
host      SOFT for 12 s: the host is under its reserve; memtide takes back memory that guests hold and do not need
memory    14.8 of 16.0 GiB used, 1.20 of 2.00 GiB reserve left: 819 MiB short
promised  unknown: 1 guest did not answer
pressure  some 3.1 %, full 1.0 % of the last 10 s spent waiting for memory
swap      1.00 of 8.00 GiB used, out 8 MiB/s
ksm       scanning: saves 13.6 GiB, ksmd at 73 % of a CPU
so far    2.10 GiB taken, 1.80 GiB given, 7 reliefs; host gained 2.02 GiB
"""
TABLE = """\
GUEST      MAXIMUM   CURRENT    TARGET      USED    USABLE   ON HOST  STATS  DOING
one-12           ?         ?         -         ?         ?         ?  none   no answer
one-301   2.00 GiB  1.94 GiB  2.00 GiB  1.86 GiB    20 MiB  2.00 GiB  fresh  gets
one-997   4.00 GiB  3.00 GiB         -  1.00 GiB  1.94 GiB  1.46 GiB  fresh  exempt
one-1217  16.0 GiB  14.3 GiB  14.2 GiB  6.00 GiB  8.23 GiB  13.0 GiB  fresh  gives
win-10    8.00 GiB  8.00 GiB         -         ?         ?         ?  none   no stats
"""
REASONS = """\
WHY
did not answer: its QEMU does not answer
running out: 20 MiB usable, should have 96 MiB, growing 12 MiB/s
exempt: its owner or the settings say hands off
host short: 1.20 of 2.00 GiB reserve available; holds 51 MiB it does not need
reports no figures of its own yet: nothing is taken
"""


@pytest.mark.usefixtures("folder")
def test_status_in_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets every name and reason uncut, without colour, one guest a line."""
    width = max(map(len, TABLE.splitlines()))
    rows = zip(TABLE.splitlines(), REASONS.splitlines(), strict=True)
    table = "".join(f"{row:<{width}}  {why}\n" for row, why in rows)

    assert run(capsys, "status") == (0, f"{HEAD}\n{table}", "")


@pytest.mark.usefixtures("folder")
def test_status_as_json_is_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON decodes as the view that every other face shows."""
    code, out, _ = run(capsys, "status", "--json")

    assert code == 0
    assert msgspec.json.decode(out, type=StatusView) == status(make_live.live())


@pytest.mark.usefixtures("folder")
def test_watching_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """--watch in a pipe is an error that says what works."""
    code, out, err = run(capsys, "status", "--watch")

    assert (code, out) == (2, "")
    assert "without --watch" in err


# --- why and log ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_why_answers_the_question_of_three_in_the_morning(capsys: pytest.CaptureFixture[str]) -> None:
    """What is taken, why, what was done and came of it, and how to get it back."""
    code, out, _ = run(capsys, "why", "one-1217")

    assert code == 0
    assert out.startswith("one-1217 has 14.3 GiB of its 16.0 GiB; 1.71 GiB are taken from it now\n")
    assert "now   gives: host short: 1.20 of 2.00 GiB reserve available" in out
    assert "14.3 -> 14.2 GiB" in out
    assert "moved only 20 of 52 MiB" in out
    assert "memtide set one-1217 16GiB --for 1h" in out


@pytest.mark.usefixtures("folder")
def test_why_as_json_is_the_view(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON decodes as the view; -n bounds the actions."""
    _, out, _ = run(capsys, "why", "one-1217", "--json", "-n", "1")
    view = msgspec.json.decode(out, type=WhyView)

    assert (view.guest.name, len(view.actions)) == ("one-1217", 1)


@pytest.mark.usefixtures("folder")
def test_the_log_is_one_line_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe every entry is a line, dated when it is not of today."""
    _, out, _ = run(capsys, "log", "--vm", "one-1217")

    assert [line.rpartition("  ")[2] for line in out.splitlines()] == ["moved only 20 of 52 MiB", "done"]
    assert out.startswith("2021-07-14 02:31:58 one-1217    -52 MiB  14.3 -> 14.2 GiB      host short: ")


@pytest.mark.usefixtures("folder")
def test_the_log_as_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line decodes as an entry; the latest come when only some are asked for."""
    _, out, _ = run(capsys, "log", "--json", "-n", "2")
    entries = [msgspec.json.decode(line, type=LogView) for line in out.splitlines()]

    assert [entry.name for entry in entries] == ["one-1217", "one-301"]


def test_following_goes_on_with_what_is_settled(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """--follow prints what is there, then what comes; an action under way is told when it is over."""
    command = [MEMTIDE, "log", "--follow", "--json", "-n", "1", "--vm", "one-301", "--control", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        deadline = threading.Timer(10, follower.kill)
        deadline.start()
        while not daemon.entries._followers:
            assert follower.poll() is None
            time.sleep(0.01)
        done = msgspec.structs.replace(make_live.grow(), closed_at_s=make_live.NOW_S + 3)
        assert daemon.loop is not None
        daemon.loop.call_soon_threadsafe(daemon.entries.publish, done)
        line = follower.stdout.readline()
        deadline.cancel()
        follower.kill()

    assert msgspec.json.decode(line, type=LogView).closed_at_s == make_live.NOW_S + 3


# --- set and restore --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_set_asks_the_daemon(capsys: pytest.CaptureFixture[str], daemon: make_live.FakeDaemon) -> None:
    """Size and time are read with their units, and the answer is a line of the log."""
    code, out, _ = run(capsys, "set", "one-301", "1GiB", "--for", "1h")

    assert code == 0
    assert daemon.asked[0][1:4] == ("uuid-one-301", GIB, 3600.0)
    assert "set by hand for 1h 0m: operator" in out


@pytest.mark.usefixtures("folder")
def test_set_as_json_is_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON decodes as a log entry."""
    _, out, _ = run(capsys, "set", "one-301", "1GiB", "--json")

    assert msgspec.json.decode(out, type=LogView).reason == "operator"


@pytest.mark.usefixtures("folder")
def test_a_size_without_unit_is_refused(capsys: pytest.CaptureFixture[str], daemon: make_live.FakeDaemon) -> None:
    """10240 once meant KiB to one program and MiB to another."""
    code, _, err = run(capsys, "set", "one-301", "10240")

    assert (code, daemon.asked) == (2, [])
    assert err.startswith("memtide: '10240' has no unit")


@pytest.mark.usefixtures("folder")
def test_a_refused_change_ends_with_its_status(
    capsys: pytest.CaptureFixture[str], daemon: make_live.FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is printed, and the exit status says that it was not done."""

    async def refuse(*_: Any) -> Outcome:
        return make_live.shrink(result=make_live.Result.REFUSED, detail="the domain is being migrated")

    monkeypatch.setattr(daemon, "set_memory", refuse)
    code, out, err = run(capsys, "set", "one-301", "1GiB")

    assert code == 6
    assert "refused: the domain is being migrated" in out
    assert "not done for one-1217" in err


@pytest.mark.usefixtures("folder")
def test_restore_needs_to_be_told_what(capsys: pytest.CaptureFixture[str], daemon: make_live.FakeDaemon) -> None:
    """Neither nothing nor both: putting everything back is not a default."""
    assert run(capsys, "restore")[0] == 2
    assert run(capsys, "restore", "one-301", "--all")[0] == 2
    assert not daemon.asked


@pytest.mark.usefixtures("folder")
def test_restore_asks_the_daemon(capsys: pytest.CaptureFixture[str], daemon: make_live.FakeDaemon) -> None:
    """With a daemon it is the daemon that puts back."""
    code, out, _ = run(capsys, "restore", "--all", "--json")

    assert code == 0
    assert daemon.asked[0][:2] == ("restore", None)
    assert [entry.reason for entry in msgspec.json.decode(out, type=list[LogView])] == [ReasonCode.RESTORE.value]


def test_restore_works_without_a_daemon(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill -9 the originals are put back by the command itself, from where it is told they are."""
    asked: list[tuple[str | None, RunOptions]] = []
    monkeypatch.setattr(memtide.runtime.restore, "offline", lambda vm, options: asked.append((vm, options)) or [])
    code, out, _ = run(capsys, "restore", "--all", "--control", str(tmp_path), "--state", "/s", "--uri", "test:///x")

    assert code == 0
    assert out.startswith("nothing to put back")
    assert asked == [(None, RunOptions(state=Path("/s"), uri="test:///x", control=tmp_path))]


# --- run --------------------------------------------------------------------------------------------------------


class Runs:
    """Stands in for the daemon: shows its watcher one moment and two entries."""

    def __init__(self) -> None:
        self.options: list[RunOptions] = []

    def __call__(self, options: RunOptions) -> None:
        """Take note and play."""
        self.options.append(options)
        assert options.watcher is not None
        options.watcher.entry(make_live.grow())
        options.watcher.entry(make_live.shrink())
        options.watcher.tick(make_live.live())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Put a stand-in where the daemon is."""
    player = Runs()
    monkeypatch.setattr(memtide.runtime.daemon, "run", player)
    return player


def test_run_hands_over_what_it_was_told(capsys: pytest.CaptureFixture[str], runs: Runs, tmp_path: Path) -> None:
    """Every option reaches the daemon; what is not said stays with the settings."""
    run(capsys, "run", "--act", "--for", "3m", "--sim", "--uri", "test:///x", "--state", str(tmp_path))
    run(capsys, "run", "--observe", "--quiet")
    run(capsys, "run")
    first, second, third = (msgspec.structs.replace(options, watcher=None) for options in runs.options)

    assert first == RunOptions(acting=True, for_s=180.0, simulate=True, uri="test:///x", state=tmp_path)
    assert (second.acting, third) == (False, RunOptions())


@pytest.mark.usefixtures("runs")
def test_run_prints_what_is_done_and_what_it_brought(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for every settled entry, and the summary at the end; --live without a terminal does the same."""
    for arguments in (("run",), ("run", "--live")):
        code, out, _ = run(capsys, *arguments)

        assert code == 0
        assert "one-1217    -52 MiB  14.3 -> 14.2 GiB" in out
        assert "under way" not in out
        assert "memtide acted for 2h 5m on 5 guests" in out
        assert "\x1b" not in out


@pytest.mark.usefixtures("runs")
def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet prints nothing at all."""
    assert run(capsys, "run", "--quiet") == (0, "", "")


# --- errors, help, pipes ----------------------------------------------------------------------------------------


def test_without_a_daemon_every_question_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One sentence with what to do next, on stderr, and its own exit status."""
    for arguments in (("status",), ("status", "--json"), ("why", "a"), ("log",), ("log", "-f"), ("set", "a", "1GiB")):
        code, out, err = run(capsys, *arguments, "--control", str(tmp_path))

        assert (code, out) == (9, "")
        assert err == f"memtide: no memtide daemon answers at {tmp_path}\n  start one with `memtide run`\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frobnicate"], "memtide: No such command 'frobnicate'"),
        (["status", "--colour"], "memtide: No such option"),
        (["log", "--since", "soon"], "memtide: --since: 'soon' is not a number with a unit"),
        (["why"], "memtide: Missing argument 'VM'"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """Never a traceback, always status 2."""
    code, out, err = run(capsys, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith(sentence)


def test_every_error_ends_with_its_own_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree of errors.py decides, not the command."""

    def fail(_options: RunOptions) -> None:
        raise ConfigError("line 3: no setting 'reserv'", "did you mean 'reserve'?")

    monkeypatch.setattr(memtide.runtime.daemon, "run", fail)

    assert run(capsys, "run") == (3, "", "memtide: line 3: no setting 'reserv'\n  did you mean 'reserve'?\n")


def test_every_exit_status_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of memtide lists the status of every class of error."""
    code, out, _ = run(capsys, "--help")
    listed = {line.split()[0] for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()}

    assert code == 0
    assert {str(kind.exit_status) for kind in (MemtideError, *MemtideError.__subclasses__())} <= listed


def test_help_loads_no_command() -> None:
    """`memtide --help` answers before asyncio, msgspec or any command could be loaded."""
    script = "import sys, memtide.faces.cli.main as m\ntry: m.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())

    assert not loaded & {"asyncio", "msgspec", "libvirt", "asyncvarlink", "memtide.views", "memtide.runtime"}


def test_asking_does_not_load_the_daemon() -> None:
    """A question needs neither asyncio nor libvirt nor the store."""
    script = "import sys, memtide.faces.cli.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert not set(done.stdout.split()) & {"asyncio", "libvirt", "asyncvarlink", "sqlite3", "memtide.runtime.daemon"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_is_true(name: str) -> None:
    """Every row of the table is a command that can be loaded and explains itself."""
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.help
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def test_the_reference_page_is_current() -> None:
    """`python -m memtide.faces.cli.reference > docs/reference/cli.md` was run after the last change of a command."""
    assert REFERENCE.read_text() == reference.page()


@pytest.mark.usefixtures("folder")
def test_a_closed_pipe_is_no_error() -> None:
    """`memtide log | head -1` ends without a word."""
    shell = f"{MEMTIDE} status --json | head -c 1"
    done = subprocess.run(["/bin/bash", "-c", shell], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("{", "")


# --- terminals --------------------------------------------------------------------------------------------------


def in_terminal(command: str, columns: int, rows: int, tmp_path: Path, **environment: str) -> str:
    """Run a command in a terminal of this size and return what it wrote, escapes and all."""
    record = tmp_path / "typescript"
    shell = f"stty cols {columns} rows {rows}; {MEMTIDE} {command}"
    subprocess.run(
        ["/usr/bin/script", "-q", "-e", "-c", shell, str(record)],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm"} | environment,
    )
    lines = record.read_text().replace("\r", "").splitlines()
    return "\n".join(line for line in lines if not line.startswith("Script "))


@pytest.mark.parametrize("columns", [80, 100, 120, 160, 240])
def test_status_fits_its_terminal(folder: Path, columns: int) -> None:
    """No line is wider than the terminal, and every guest is there."""
    out = in_terminal("status", columns, 24, folder, NO_COLOR="1")

    assert max(map(len, out.splitlines())) <= columns
    assert all(name in out for name in ("one-12", "one-301", "one-997", "one-1217", "win-10"))
    assert "█" in out


def test_colour_is_for_terminals_that_want_it(folder: Path) -> None:
    """There is colour on a terminal, and none with NO_COLOR."""
    assert "\x1b[33m" in in_terminal("status", 80, 24, folder)
    assert "\x1b" not in in_terminal("status", 80, 24, folder, NO_COLOR="1")


@pytest.mark.parametrize("command", ["why one-1217", "log"])
def test_words_fit_80_columns(folder: Path, command: str) -> None:
    """Answers and log wrap at words."""
    out = in_terminal(command, 80, 24, folder, NO_COLOR="1")

    assert max(map(len, out.splitlines())) <= 80


def screen(live: Live, columns: int, rows: int, latest: int = 20) -> list[str]:
    """Return the live screen of this size, with so many entries in its log."""
    entries = tuple(log_view(make_live.shrink(make_live.NOW_S + second)) for second in range(latest))
    size = os.terminal_size((columns, rows))
    lines = screen_lines(status(live), entries, size, UTC)
    return [render(line, width=columns, coloured=False) for line in lines]


def crowd(count: int) -> Live:
    """Return a moment with many guests, every tenth of them starving."""
    codes = [ReasonCode.CONTENT if number % 10 else ReasonCode.RELIEF for number in range(count)]
    live = make_live.live()
    verdicts = tuple(make_live.verdict(f"vm-{number}", code) for number, code in enumerate(codes))
    return make_live.live(decision=msgspec.structs.replace(live.decision, verdicts=verdicts))


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (100, 30), (160, 50), (80, 12)])
def test_the_screen_is_as_large_as_its_terminal(columns: int, rows: int) -> None:
    """Exactly so many lines, the host first, what happened last before the footer."""
    lines = screen(make_live.live(), columns, rows)

    assert len(lines) == rows
    assert lines[0].startswith("memtide 0.1.0 on virt5v")
    if rows >= 24:
        assert lines[-1].startswith("q ends memtide")
        assert [line for line in lines if line][-2].startswith("02:32:27 one-1217    -52 MiB")


def test_a_crowd_is_cut_to_those_with_something_to_tell() -> None:
    """On a small terminal the starving stay in the table, and the log keeps its lines."""
    lines = screen(crowd(40), 80, 24)
    shown = [line.split()[0] for line in lines if line.startswith("vm-")]

    assert {"vm-0", "vm-10", "vm-20", "vm-30"} <= set(shown)
    assert f"and {40 - len(shown)} more, calm or smaller" in lines
    assert sum(line.startswith("02:32:") for line in lines) >= 4


def test_the_live_screen_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    """A simulated run in a real terminal: the second screen is entered, drawn and left; then comes the summary."""
    control, state = tmp_path / "control", tmp_path / "state"
    out = in_terminal(f"run --sim --act --live --for 3s --control {control} --state {state}", 80, 24, tmp_path)
    before, _, rest = out.partition("\x1b[?1049h")
    drawn, _, after = rest.partition("\x1b[?1049l")

    assert before == ""
    assert "GUEST" in drawn
    # what moves at the end gets a moment to arrive
    assert re.match(r"memtide acted for [34]\.\d s on ", after.splitlines()[0])
    assert "\x1b[?25h" in drawn
