"""Calls that hang are left behind, counted, and taken back; they keep nobody, and not the process either."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from memtide.errors import NoAnswerError
from memtide.sources.libvirt import workers as module
from memtide.sources.libvirt.workers import Workers


@pytest.fixture
def gate() -> threading.Event:
    """What hanging calls wait for."""
    return threading.Event()


async def test_a_call_returns_what_the_function_returns_and_raises_what_it_raises() -> None:
    """As if there were no thread."""
    workers = Workers()
    assert await workers.call(lambda: 42, deadline_s=1) == 42
    with pytest.raises(ZeroDivisionError):
        await workers.call(lambda: 1 // 0, deadline_s=1)


async def test_a_stuck_call_is_left_behind_counted_and_comes_back(gate: threading.Event) -> None:
    """Others go on meanwhile; when it returns after all, nothing is stuck any more."""
    workers = Workers()
    with pytest.raises(NoAnswerError, match=r"within 0\.05 s"):
        await workers.call(lambda: gate.wait(10), deadline_s=0.05)
    assert workers.stuck == 1
    assert await workers.call(lambda: "served", deadline_s=1) == "served"

    gate.set()
    await asyncio.sleep(0.1)
    assert workers.stuck == 0


async def test_a_stuck_call_that_fails_in_the_end_is_no_complaint(gate: threading.Event) -> None:
    """Nobody waits for its exception."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    workers = Workers()

    def fail_late() -> None:
        gate.wait(10)
        raise RuntimeError("too late")

    with pytest.raises(NoAnswerError):
        await workers.call(fail_late, deadline_s=0.02)
    gate.set()
    await asyncio.sleep(0.1)
    assert workers.stuck == 0
    assert complaints == []


async def test_a_cancelled_call_is_left_behind_too(gate: threading.Event) -> None:
    """Its thread hangs whether somebody waits or not."""
    workers = Workers()
    call = asyncio.create_task(workers.call(lambda: gate.wait(10), deadline_s=10))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert workers.stuck == 1
    gate.set()
    await asyncio.sleep(0.1)
    assert workers.stuck == 0


async def test_threads_are_bounded(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at work, so many stuck, then no more are tried until some come back."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    monkeypatch.setattr(module, "STUCK_MOST", 3)
    workers = Workers()
    before = threading.active_count()
    calls = [workers.call(lambda: gate.wait(10), deadline_s=0.05) for _ in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(result, NoAnswerError) for result in results)
    assert workers.stuck <= 4
    assert threading.active_count() - before <= 4
    with pytest.raises(NoAnswerError, match="hang already"):
        await workers.call(lambda: 1, deadline_s=1)
    gate.set()
    await asyncio.sleep(0.1)
    assert await workers.call(lambda: 1, deadline_s=1) == 1


async def test_threads_are_used_again() -> None:
    """A thread a call would cost more than the call."""
    workers = Workers()
    threads = {await workers.call(threading.get_ident, deadline_s=1) for _ in range(20)}
    assert len(threads) == 1


STUCK = """
import asyncio, time
from memtide.errors import NoAnswerError
from memtide.sources.libvirt.workers import Workers

async def main():
    try:
        await Workers().call(lambda: time.sleep(60), deadline_s=0.05)
    except NoAnswerError:
        print("left behind")

asyncio.run(main())
"""


def test_the_process_ends_with_a_call_stuck() -> None:
    """A guest that hangs for ever must not keep the daemon from stopping."""
    began_s = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "left behind\n"
    assert ended.stderr == ""
    assert time.monotonic() - began_s < 20
