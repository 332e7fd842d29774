"""`memtide ksm unmerge` through the sockets: what is asked, what is shown, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import make_live
import msgspec
import pytest
from click.testing import CliRunner

from memtide.errors import ActuatorError, ControlError
from memtide.faces.cli.ksm_unmerge import unmerge
from memtide.runtime.control.client import Client
from memtide.runtime.control.server import serving
from memtide.runtime.unmerge import UnmergeRequest
from memtide.views.unmerge import UnmergePhase, UnmergeView


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
