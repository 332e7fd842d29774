"""Undoing KSM's merging on the real kernel: refused, in stages, and killed in the middle. No guests are needed."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from running import MEMTIDE, wait_for

from lab.lab import locked
from memtide.actuators.unmerge import KsmUnmerger
from memtide.model.unmerge import StageEnd
from memtide.policy.unmerge import plan_unmerge
from memtide.runtime.unmerge import take_apart
from memtide.sources.host import HostReader
from memtide.units import GIB, MIB
from memtide.views.unmerge import UnmergePhase, UnmergeView

pytestmark = pytest.mark.lab

KSM: Final = Path("/sys/kernel/mm/ksm")
WAIT_S: Final = 1800.0
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
HELD_BYTES: Final = 300 * MIB
STILL_BYTES: Final = 8 * MIB
STILL_READINGS: Final = 3
FAST: Final = {"pages_to_scan": "5000", "sleep_millisecs": "1", "smart_scan": "0"}
HOLDER: Final = """
import mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(12)  # MADV_MERGEABLE
for page in range(size // 4096):
    memory[page * 4096 : page * 4096 + 8] = (page + 1).to_bytes(8, "big")
print("ready", flush=True)
sys.stdin.read()
"""


def value(name: str) -> int:
    """Return what one file of KSM says."""
    return int((KSM / name).read_text())


@pytest.fixture
def merged() -> Iterator[int]:
    """Two processes hold the same 300 MiB and share it; return how much that saves, bytes. KSM is left as it was."""
    if os.geteuid() != 0 or not KSM.exists():
        pytest.skip("needs root and a kernel with KSM: run it as root")
    with locked(WAIT_S):
        before = {name: (KSM / name).read_text() for name in (*FAST, "max_page_sharing")}
        command = [sys.executable, "-c", HOLDER, str(HELD_BYTES)]
        holders = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
        try:
            for holder in holders:
                assert holder.stdout
                assert holder.stdout.readline() == b"ready\n"
            # guests that ended still count until ksmd comes by: off the books with them, it costs nothing
            (KSM / "run").write_text("2")
            for name, content in (FAST | {"run": "1"}).items():
                (KSM / name).write_text(content)
            wait_for("merging", lambda: value("pages_sharing") * PAGE >= HELD_BYTES, 60)
            (KSM / "run").write_text("0")
            yield value("pages_sharing") * PAGE
        finally:
            for holder in holders:
                holder.kill()
                holder.communicate()
            # only our own processes had anything merged (the lab's lock is ours), so this needs no memory
            (KSM / "run").write_text("2")
            for name, content in (before | {"run": "0"}).items():
                (KSM / name).write_text(content)


async def steps(reserve_bytes: int) -> list[UnmergeView]:
    """Return what undoing it tells."""
    reader = HostReader()
    return [view async for view in take_apart(lambda: reader.sample(time.time()), reserve_bytes, KsmUnmerger())]


def available_bytes() -> int:
    """Return the host's available memory."""
    return HostReader().sample(time.time()).memory.available_bytes


def steady_bytes() -> int:
    """Return available memory once it keeps still: guests of an earlier test may be giving theirs back for seconds."""
    seen = [available_bytes()]

    def still() -> bool:
        time.sleep(0.5)
        seen.append(available_bytes())
        return len(seen) > STILL_READINGS and max(seen[-STILL_READINGS:]) - min(seen[-STILL_READINGS:]) < STILL_BYTES

    wait_for("available memory to keep still", still, 60)
    return seen[-1]


def unused_bytes() -> int:
    """Return the same with the free pages of the kernel's per-CPU lists, which MemAvailable leaves out."""
    counts = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(), re.MULTILINE)
    assert counts
    return available_bytes() + sum(map(int, counts)) * PAGE


def test_it_is_refused_when_it_does_not_fit(merged: int, tmp_path: Path) -> None:
    """A reserve that takes nearly all: the plan has the numbers, the command ends with 6, and nothing was written."""
    reserve_bytes = steady_bytes() - merged
    plan = plan_unmerge(HostReader().sample(time.time()), reserve_bytes)
    refused = unmerge(tmp_path, reserve_bytes)

    assert plan.why_not
    assert refused.returncode == 6
    assert "are missing" in refused.stdout
    assert (value("run"), value("pages_sharing") * PAGE) == (0, merged)


def test_it_comes_apart_in_stages(merged: int) -> None:
    """A small room makes small stages; at the end nothing is merged, and the memory it took is what it had saved."""
    before_bytes = unused_bytes()
    copied = cow_breaks()
    # with less room than twice what is merged it may stop half way: what is left is an upper bound (the how-to says so)
    views = asyncio.run(steps(available_bytes() - 2 * merged - 200 * MIB))

    assert views[-1].phase is UnmergePhase.DONE
    assert views[-1].stages >= 2
    assert (value("pages_sharing"), value("run")) == (0, 0)
    # every place got a page of its own, those of the copies that remained too
    assert (cow_breaks() - copied) * PAGE == pytest.approx(2 * merged, rel=0.02)
    assert before_bytes - unused_bytes() == pytest.approx(merged, rel=0.2)


def test_a_stage_killed_in_the_middle_leaves_the_host_sane(merged: int) -> None:
    """What is apart stays apart, the rest stays merged, ksmd rests, and a later stage finishes it."""
    stage = asyncio.run(KsmUnmerger().stage(64 * MIB, GIB))

    assert stage.end is StageEnd.ENOUGH
    assert 64 * MIB <= (stage.copied_bytes or 0) < 2 * merged
    assert value("run") == 0
    assert value("pages_sharing") > 0
    assert asyncio.run(KsmUnmerger().stage(8 * GIB, 8 * GIB)).end is StageEnd.ALL
    assert (value("run"), value("pages_sharing")) == (0, 0)


def test_the_command_does_it_and_restore_knows(merged: int, tmp_path: Path) -> None:
    """Without a daemon: plan, stages, the setting written and on record; restore puts the setting back."""
    original = value("max_page_sharing")
    planned = unmerge(tmp_path, GIB, "--dry-run")
    assert (planned.returncode, planned.stdout[:5], value("pages_sharing") * PAGE) == (0, "plan:", merged)
    assert planned.stdout.endswith("it fits; nothing was changed\n")

    done = unmerge(tmp_path, GIB, "--max-page-sharing", str(original // 2), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["phase"] == "done"
    assert (value("max_page_sharing"), value("run"), value("pages_sharing")) == (original // 2, 0, 0)

    restored = memtide(tmp_path, "restore", "--all", "--uri", "test:///default")
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert value("max_page_sharing") == original


def unmerge(folder: Path, reserve_bytes: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Return what `memtide ksm unmerge` says on a host with this reserve."""
    (folder / "memtide.toml").write_text(f'[host]\nreserve = "{reserve_bytes}B"\n')
    return memtide(folder, "ksm", "unmerge", *more)


def memtide(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what a command says that has its own state and no daemon."""
    config = ("--config", str(folder / "memtide.toml"))
    places: dict[str, Any] = {"MEMTIDE_STATE": str(folder / "state"), "MEMTIDE_CONTROL": str(folder / "control")}
    return subprocess.run(
        [MEMTIDE, *arguments, *config],
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def cow_breaks() -> int:
    """Return how many merged places got pages of their own since boot."""
    ksm = HostReader().sample(time.time()).ksm
    assert ksm
    assert ksm.cow_breaks_total is not None
    return ksm.cow_breaks_total
