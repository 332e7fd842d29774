"""The lab itself: N guests under a private libvirtd, and nothing left behind.

The end of a lab and the cleaning after a crash are the same code (`clean`), working from what is on the machine: the
processes that are ours, and the state file.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from lab import calls, processes, state
from lab import image as images
from lab.errors import LabError
from lab.guest import Guest, GuestSpec, domain_xml
from lab.host import HostSize
from lab.libvirtd import URI, Libvirtd
from lab.others import others_bytes
from lab.packages import why_not
from lab.paths import CACHE, LOCK, RUN, SERIAL
from lab.report import Listener

_UP_LIMIT_S: Final = 120.0
_Handler = Callable[[int, FrameType | None], object] | int | None


def _silent(_line: str) -> None:
    pass


def clean() -> None:
    """Remove what a lab left: processes, huge pages, swap, directories.  Call it with the lock held.

    Raises:
        LabError: a process would not die.
    """
    processes.kill_all()  # the mount namespaces go with their last process
    left = state.load()
    HostSize(left).restore()
    for directory in left.made_directories:
        with contextlib.suppress(OSError):  # somebody uses it by now: then it is theirs
            Path(directory).rmdir()
    shutil.rmtree(RUN, ignore_errors=True)


@contextlib.contextmanager
def locked(wait_s: float = 0.0) -> Iterator[None]:
    """Hold the machine's one lab lock; the kernel drops it when we die, so there are no stale ones.

    Raises:
        LabError: another lab holds it, and still does after `wait_s`.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as file:
        _wait_for_lock(file, time.monotonic() + wait_s)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _wait_for_lock(file: IO[str], deadline: float) -> None:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "unknown"
            # a process that waits for itself would wait for ever
            if time.monotonic() < deadline and holder != str(os.getpid()):
                time.sleep(0.2)
                continue
            raise LabError(
                f"another lab runs on this machine (process {holder}): end it, or wait for it (wait_s, --wait)"
            ) from None
        return


class Lab:
    """Real guests for as long as the `with` block lasts.

    Example: ``with Lab(guests=[GuestSpec(script="hold 300MiB")], progress=print) as lab: lab.guests[0].report()``
    """

    def __init__(
        self,
        guests: Sequence[GuestSpec],
        *,
        progress: Callable[[str], None] = _silent,
        host_available_bytes: int | None = None,
        host_swap_bytes: int = 0,
        wait_s: float = 0.0,
    ) -> None:
        """Say what to boot; nothing happens before the `with`.

        Args:
            guests: what to boot, in this order.
            progress: told one line about whatever takes more than about 2 s.
            host_available_bytes: make the host that small before the boot; None: leave it.
            host_swap_bytes: compressed swap for the host, 0: none.
            wait_s: how long to wait for another lab on this machine to end.
        """
        self.guests: list[Guest] = []
        self.libvirtd: Libvirtd
        self.host: HostSize
        self.others_bytes = 0
        """What other processes held when the host was made small: what they take later, the guests do not have."""
        self.uri = URI
        self._specs = list(guests)
        self._progress = progress
        self._host_available_bytes = host_available_bytes
        self._host_swap_bytes = host_swap_bytes
        self._wait_s = wait_s
        self._undo = contextlib.ExitStack()  # the lock and the signal handlers, which outlast
        self._running = contextlib.ExitStack()  # what was started

    def __enter__(self) -> Self:
        """Boot everything.

        Raises:
            LabError: with the reason; whatever was started is gone again.
        """
        if reason := why_not():
            raise LabError(reason)
        with contextlib.ExitStack() as undo:
            undo.enter_context(locked(self._wait_s))
            undo.enter_context(_quitting_by_exception())
            clean()  # a crashed lab's remains
            undo.callback(self._end)
            self._start()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _start(self) -> None:
        self._running.callback(clean)
        self._image = images.build(self._progress)
        self._kvm = images.kvm_works(self._image, self._progress)
        changes = state.State()
        changes.save()
        self.host = HostSize(changes)
        if self._host_swap_bytes:
            self.host.swap_zram(self._host_swap_bytes)
        if self._host_available_bytes is not None:
            self._progress("making the host small")
            left_bytes = self.host.shrink_to(self._host_available_bytes)
            self.others_bytes = others_bytes()
            self._progress(f"the host has {left_bytes / (1 << 20):.0f} MiB available now")
        SERIAL.mkdir()
        self.libvirtd = Libvirtd(changes, kvm=self._kvm)
        self._running.callback(self.libvirtd.kill)
        self.libvirtd.start()
        self._listener = Listener()
        self._running.callback(self._listener.close)
        self.boot(self._specs)

    def _end(self) -> None:
        """Quick and without libvirt, whose calls block on a hung guest: a signal does not."""
        with _ignoring_signals():
            self._running.close()

    def boot(self, specs: Sequence[GuestSpec]) -> list[Guest]:
        """Boot guests, as many at a time as there are CPUs, and wait until all have reported; returns them.

        Those of the lab itself are booted by the `with`; more may come while it lasts.

        Raises:
            LabError: libvirt refused one, or one did not come up.
        """
        booted: list[Guest] = []
        up = 0
        at_once = os.cpu_count() or 1
        began = time.monotonic()
        for spec in specs:
            number = len(self.guests)
            name = spec.name or f"lab-{number}"
            guest = Guest(spec, name=name, listener=self._listener)
            calls.create(domain_xml(spec, name=name, seed=number + 1, image=self._image, kvm=self._kvm))
            guest.connect()
            self.guests.append(guest)
            booted.append(guest)
            if len(booted) - up >= at_once:
                self._wait_up(booted[up], began)
                up += 1
        for guest in booted[up:]:
            self._wait_up(guest, began)
        scripted = [guest for guest in booted if guest.spec.script]
        for guest in scripted:  # only now, and all at once: scripts of several guests keep step
            guest.command(guest.spec.script, limit_s=None)
        for guest in scripted:
            guest.wait_acknowledged()
        return booted

    def _wait_up(self, guest: Guest, began: float) -> None:
        guest.wait_up(_UP_LIMIT_S)
        self._progress(f"{guest.name} is up after {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def _quitting_by_exception() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise SystemExit, so that everything is undone.

    SIGINT raises KeyboardInterrupt as usual, but also where a shell started us in the background with SIGINT ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may; there the caller must see to it
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handlers({signal.SIGTERM: leave, signal.SIGHUP: leave, signal.SIGINT: signal.default_int_handler}):
        yield


@contextlib.contextmanager
def _ignoring_signals() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning in the middle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handlers(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)):
        yield


@contextlib.contextmanager
def _handlers(wanted: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
