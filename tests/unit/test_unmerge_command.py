"""`memtide ksm unmerge` through the sockets: what is asked, what is shown, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import make_live
import msgspec
import pytest
from click.testing import CliRunner

from memtide.errors import ActuatorError, ControlError, UsageError
from memtide.faces.cli.ksm import ksm
from memtide.faces.cli.ksm_unmerge import unmerge
from memtide.runtime import unmerge_offline, wiring
from memtide.runtime.control.client import Client
from memtide.runtime.control.server import serving
from memtide.runtime.options import RunOptions
from memtide.runtime.unmerge import UnmergeRequest
from memtide.sources.host import HostReader
from memtide.views.unmerge import UnmergePhase, UnmergeView, unmerge_line

ARTICLE = Path(__file__).parents[1] / "fixtures" / "hosts" / "article"


@pytest.fixture
def daemon() -> make_live.FakeDaemon:
    """Return a daemon that has too little memory."""
    return make_live.FakeDaemon(make_live.live())


@pytest.fixture
async def folder(tmp_path: Path, daemon: make_live.FakeDaemon) -> AsyncIterator[Path]:
    """Serve the daemon and return where."""
    async with serving(tmp_path, daemon):
        yield tmp_path


async def test_a_refusal_has_its_numbers_and_its_status(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """Plan first, then why not; who asked reaches the daemon with what was asked."""
    arguments = ["--max-page-sharing", "64", "--merge-across-nodes", "no", "--for", "2h", "--control", str(folder)]
    result = await asyncio.to_thread(CliRunner().invoke, unmerge, arguments)

    assert result.output.splitlines()[0].startswith("plan: 13.0 GiB come apart, in stages of 256 MiB")
    assert result.output.splitlines()[1] == "refused, nothing was changed: 15.0 GiB are missing"
    assert isinstance(result.exception, ActuatorError)
    assert result.exception.hint == "make room"
    request = daemon.asked[0][1]
    assert isinstance(request, UnmergeRequest)
    assert (request.files, request.for_s) == ({"max_page_sharing": "64", "merge_across_nodes": "0"}, 7200.0)
    assert "who" in request.reason.numbers


async def test_json_is_the_end_of_it(folder: Path) -> None:
    """One object, the last."""
    result = await asyncio.to_thread(CliRunner().invoke, unmerge, ["--json", "--control", str(folder)])

    assert msgspec.json.decode(result.stdout, type=UnmergeView).phase is UnmergePhase.REFUSED


async def test_nobody_is_held_off_for_ever(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """A hold longer than a month is refused before anything is done."""

    def ask() -> list[UnmergeView]:
        client = Client(folder)
        return list(client.unmerge_ksm(max_page_sharing=None, merge_across_nodes=None, for_s=1e9, dry_run=False))

    with pytest.raises(ControlError, match="at most"):
        await asyncio.to_thread(ask)
    assert not daemon.asked


@pytest.mark.parametrize("number", ["1", "2147483648", "99999999999999999999"])
async def test_what_the_kernel_would_refuse_at_the_end_is_refused_first(
    folder: Path, daemon: make_live.FakeDaemon, number: str
) -> None:
    """A max_page_sharing that the kernel does not take is a mistake in the command line."""
    arguments = ["--max-page-sharing", number, "--control", str(folder)]
    result = await asyncio.to_thread(CliRunner().invoke, unmerge, arguments)

    assert result.exit_code == 2
    assert not daemon.asked


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a captured host in place of this one, and nothing in place of what would change it."""

    def nothing(*_: Any, **__: Any) -> None:
        pytest.fail("this would have changed the machine that runs the tests")

    monkeypatch.setattr(wiring, "assembled", nothing)
    monkeypatch.setattr(wiring, "host_reader", lambda _root: HostReader(ARTICLE))


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("for_s", [0.0, 400 * 86400.0, float("nan")])
def test_without_a_daemon_a_hold_has_the_same_bounds(tmp_path: Path, for_s: float) -> None:
    """No time at all and more than a month are refused before anything is read."""
    options = RunOptions(state=tmp_path / "state")
    with pytest.raises(UsageError, match="at most 30d"):
        unmerge_offline.offline(options, print, for_s=for_s, files=(None, None), dry_run=False)

    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("captured")
def test_a_plan_without_a_daemon_leaves_nothing_behind(tmp_path: Path) -> None:
    """A dry run reads the host and makes no folder, no database."""
    views: list[UnmergeView] = []
    options = RunOptions(state=tmp_path / "state", control=tmp_path / "control")
    unmerge_offline.offline(options, views.append, for_s=60.0, files=(None, None), dry_run=True)

    assert [view.phase for view in views] == [UnmergePhase.PLAN, UnmergePhase.REFUSED]
    assert "13.6 GiB come apart" in unmerge_line(views[0])
    assert list(tmp_path.iterdir()) == []


# --- options before and after the word unmerge ------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """Put a list of what it is asked for in place of what works on this host without a daemon."""
    asked: list[tuple[Any, dict[str, Any]]] = []

    def told(options: RunOptions, tell: Callable[[UnmergeView], None], **more: Any) -> None:
        asked.append((options, more))
        tell(PLANNED)

    monkeypatch.setattr(unmerge_offline, "offline", told)
    return asked


PLANNED = UnmergeView(
    phase=UnmergePhase.PLANNED,
    saved_bytes=0,
    needed_bytes=0,
    missing_bytes=0,
    left_bytes=0,
    available_bytes=1,
    reserve_bytes=1,
    stage_bytes=1,
)


def test_no_other_hosts_pages_are_taken_apart(tmp_path: Path, offline: list[Any]) -> None:
    """A captured tree before the word unmerge is a mistake, not this host."""
    result = CliRunner().invoke(ksm, ["--root", str(tmp_path), "unmerge"])

    assert isinstance(result.exception, UsageError)
    assert "--root" in result.exception.message
    assert not offline


@pytest.mark.parametrize("before", [True, False])
async def test_options_hold_on_either_side_of_the_word(
    folder: Path, daemon: make_live.FakeDaemon, offline: list[Any], *, before: bool
) -> None:
    """The daemon of --control is asked, whatever the environment says, and --json is JSON."""
    options = ["--json", "--control", str(folder)]
    arguments = [*options, "unmerge"] if before else ["unmerge", *options]
    environment = {"MEMTIDE_CONTROL": "/nowhere"}
    result = await asyncio.to_thread(CliRunner(env=environment).invoke, ksm, arguments)

    assert msgspec.json.decode(result.stdout, type=UnmergeView).phase is UnmergePhase.REFUSED
    assert len(daemon.asked) == 1
    assert not offline


def test_the_later_control_wins(tmp_path: Path, offline: list[Any]) -> None:
    """Said twice, the one beside the subcommand is meant; without a daemon it goes on to the offline way."""
    arguments = ["--control", str(tmp_path / "a"), "unmerge", "--control", str(tmp_path / "b")]
    CliRunner().invoke(ksm, arguments)

    assert [options.control for options, _ in offline] == [tmp_path / "b"]
