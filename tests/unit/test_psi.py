"""The pressure trigger: set where the kernel has one, explained where not, and woken by real pressure."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memtide.sources.psi import PressureTrigger

PRESSURE = Path("/proc/pressure/memory")
HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"
STALL_US, WINDOW_US = 100_000, 1_000_000


@contextlib.contextmanager
def armed() -> Iterator[PressureTrigger]:
    """Set a trigger on this machine, or skip where its kernel takes none from us."""
    trigger = PressureTrigger(Path("/"), STALL_US, WINDOW_US)
    try:
        if trigger.why_not:
            pytest.skip(trigger.why_not)
        yield trigger
    finally:
        trigger.close()


def test_kernel_without_pressure_is_explained() -> None:
    """No PSI: no trigger, and the reason says how to get it."""
    trigger = PressureTrigger(HOSTS / "no-psi", STALL_US, WINDOW_US)
    assert trigger.why_not is not None
    assert "psi=1" in trigger.why_not
    with pytest.raises(ValueError, match="psi=1"):
        trigger.fileno()


def test_captured_tree_is_left_as_it_is() -> None:
    """A plain file is no kernel: nothing is written into it."""
    file = HOSTS / "article/proc/pressure/memory"
    before = file.read_bytes()
    assert PressureTrigger(HOSTS / "article", STALL_US, WINDOW_US).why_not is not None
    assert file.read_bytes() == before


def test_trigger_is_set_wherever_the_kernel_takes_one() -> None:
    """Where the plain system calls of psi.rst work, so does the trigger."""
    try:
        file = os.open(PRESSURE, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        pytest.skip(f"this kernel takes no trigger: {error}")
    try:
        os.write(file, b"some 200000 2000000\0")
    except OSError as error:
        pytest.skip(f"this kernel takes no trigger: {error}")
    finally:
        os.close(file)
    trigger = PressureTrigger(Path("/"), STALL_US, WINDOW_US)
    assert trigger.why_not is None
    trigger.close()


def test_window_is_the_wished_one_or_two_seconds() -> None:
    """What is in force is said: without CAP_SYS_RESOURCE it is 2 s."""
    with armed() as trigger:
        assert trigger.window_us in (WINDOW_US, 2_000_000)


def test_closing_twice_is_harmless() -> None:
    """A closed trigger has no file descriptor to offer."""
    with armed() as trigger:
        trigger.close()
        trigger.close()
        with pytest.raises(ValueError, match="closed"):
            trigger.fileno()


async def test_event_loop_does_not_spin_on_it() -> None:
    """Watching the trigger costs nothing: at most one event per window reaches the loop."""
    with armed() as trigger:
        events: list[float] = []
        loop = asyncio.get_running_loop()
        loop.add_reader(trigger.fileno(), lambda: events.append(loop.time()))
        await asyncio.sleep(0.5)
        loop.remove_reader(trigger.fileno())
        assert len(events) <= 2


SQUEEZED = """
import os, sys, time
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
with open(sys.argv[2], "wb") as file:
    for _ in range(60):
        file.write(os.urandom(1 << 20))
until = time.monotonic() + 8
while time.monotonic() < until:
    with open(sys.argv[2], "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
"""


@pytest.fixture
def tight_cgroup() -> Iterator[Path]:
    """A cgroup of 12 MiB, removed in the end."""
    for mount, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(mount) / f"memtide-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / limit).exists():
                (folder / limit).write_text(str(12 << 20))
                yield folder
                return
        finally:
            folder.rmdir()
    pytest.skip("no memory cgroup can be made here")


@pytest.mark.lab
async def test_real_pressure_wakes_the_loop(tight_cgroup: Path, tmp_path: Path) -> None:
    """A process that reads 60 MiB over and over in 12 MiB stalls, and the loop hears of it."""
    with armed() as trigger:
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(trigger.fileno(), woken.set)
        await asyncio.sleep(2.5)  # an old event of before the trigger would come in its first window
        woken.clear()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SQUEEZED, str(tight_cgroup), str(tmp_path / "file")
        )
        started_s = time.monotonic()
        try:
            await asyncio.wait_for(woken.wait(), timeout=15)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            loop.remove_reader(trigger.fileno())
        assert time.monotonic() - started_s < 15
