"""Writing KSM's files: in order, read back, never twice, and every refusal in plain words."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from memtide.actuators import ksm
from memtide.actuators.ksm import KsmActuator
from memtide.model.action import Reply, Result, SetKsm, SetStatsPeriod
from memtide.model.reason import Reason, ReasonCode

REASON = Reason(code=ReasonCode.OPERATOR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A KSM of plain files."""
    folder = tmp_path / "sys/kernel/mm/ksm"
    folder.mkdir(parents=True)
    for name, content in {
        "run": "0",
        "pages_to_scan": "100",
        "sleep_millisecs": "20",
        "merge_across_nodes": "1",
        "advisor_mode": "[none] scan-time",
    }.items():
        (folder / name).write_text(f"{content}\n")
    return folder


async def put(folder: Path, **files: str) -> Reply:
    """Ask for these values in this order."""
    actuator = KsmActuator(folder.parents[3])
    return await actuator.apply(SetKsm(files=files, before={}, reason=REASON))


async def test_files_are_written_and_read_back(folder: Path) -> None:
    """Both files hold what was asked, and the detail tells from what to what."""
    reply = await put(folder, pages_to_scan="1250", run="1")
    assert reply.result is Result.DONE
    assert reply.detail == "pages_to_scan 100 -> 1250; run 0 -> 1"
    assert ((folder / "run").read_text(), (folder / "pages_to_scan").read_text()) == ("1\n", "1250\n")


async def test_value_that_is_there_is_not_written_again(folder: Path) -> None:
    """A file that holds the value keeps its modification time; a list holds what it marks."""
    for name in ("run", "advisor_mode"):
        os.utime(folder / name, ns=(1, 1))
    reply = await put(folder, run="0", advisor_mode="none")
    assert (reply.result, reply.detail) == (Result.DONE, "run is 0 already; advisor_mode is none already")
    assert {(folder / name).stat().st_mtime_ns for name in ("run", "advisor_mode")} == {1}


async def test_missing_setting_does_not_stop_the_others(folder: Path) -> None:
    """An old kernel without the advisor still gets its KSM switched on."""
    (folder / "advisor_mode").unlink()
    reply = await put(folder, advisor_mode="scan-time", run="1")
    assert reply.result is Result.PARTIAL
    assert reply.detail == "advisor_mode=scan-time failed: this kernel does not have it; run 0 -> 1"


async def test_kernel_without_ksm(tmp_path: Path) -> None:
    """Nothing to write to is a refusal that names the folder."""
    reply = await put(tmp_path / "sys/kernel/mm/ksm", run="1")
    assert reply.result is Result.REFUSED
    assert "/sys/kernel/mm/ksm" in reply.detail


@pytest.mark.parametrize("name", ["../run", "/etc/passwd", "pages_shared"])
async def test_only_settings_are_written(folder: Path, name: str) -> None:
    """A name that is no setting, whoever it came from, is refused before any file is touched."""
    (folder / "pages_shared").write_text("0\n")
    reply = await put(folder, **{name: "1"})
    assert (reply.result, reply.detail) == (Result.REFUSED, f"{name}=1 failed: there is no such setting of KSM")


async def test_value_that_does_not_stick_is_a_failure(folder: Path) -> None:
    """A write that succeeds proves nothing: the file is read again."""
    (folder / "run").unlink()
    (folder / "run").symlink_to("/dev/null")
    reply = await put(folder, run="1")
    assert reply.result is Result.REFUSED
    assert "the file says ''" in reply.detail


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("merge_across_nodes", errno.EBUSY, "pages are merged now"),
        ("run", errno.EROFS, "/sys is read-only here"),
        ("run", errno.EACCES, "only root"),
        ("pages_to_scan", errno.EINVAL, "advisor"),
        ("sleep_millisecs", errno.EINVAL, "does not accept"),
        ("run", errno.EIO, "Input/output error"),
    ],
)
async def test_refusals_are_plain(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, words: str
) -> None:
    """Each way the kernel says no has its sentence."""

    def refuse(self: Path, _text: str) -> int:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    reply = await put(folder, **{name: "7"})
    assert reply.result is Result.REFUSED
    assert words in reply.detail


async def test_slow_kernel_neither_blocks_the_loop_nor_gets_a_second_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With run=2 under way the answer is "no answer", the next change waits its turn, and then works."""
    release = threading.Event()
    monkeypatch.setattr(ksm, "_write", lambda *_: str(release.wait(10)))
    actuator = KsmActuator(folder.parents[3], deadline_s=0.05)
    change = SetKsm(files={"run": "2"}, before={}, reason=REASON)
    assert (await actuator.apply(change)).result is Result.NO_ANSWER
    refused = await actuator.apply(change)
    assert (refused.result, "previous change" in refused.detail) == (Result.REFUSED, True)
    release.set()
    while (reply := await actuator.apply(change)).result is not Result.DONE:
        assert reply.result is Result.REFUSED
        await asyncio.sleep(0.01)


async def test_other_actions_are_a_mistake_in_the_wiring(folder: Path) -> None:
    """An action of another kind is not quietly dropped."""
    period = SetStatsPeriod(uuid="u", name="n", from_s=None, to_s=1, reason=REASON)
    with pytest.raises(TypeError, match="SetStatsPeriod"):
        await KsmActuator(folder.parents[3]).apply(period)


def test_real_kernel_refuses_nonsense() -> None:
    """The live kernel, asked for an impossible value, says no in words and changes nothing."""
    file = Path("/sys/kernel/mm/ksm/run")
    if not file.exists():
        pytest.skip("this kernel has no KSM")
    reply = asyncio.run(KsmActuator().apply(SetKsm(files={"run": "nonsense"}, before={}, reason=REASON)))
    assert reply.result is Result.REFUSED
    assert any(words in reply.detail for words in ("does not accept", "only root", "read-only"))
    assert file.read_text().strip() in ("0", "1", "2")
