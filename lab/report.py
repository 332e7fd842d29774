"""What a guest's workload says about itself once a second, and the one thread that listens to all guests."""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from typing import Final

import msgspec

from lab.errors import LabError
from lab.script import Script

HISTORY: Final = 7200  # reports kept per guest: two hours
_MAX_LINE_BYTES: Final = 1 << 16
_RESEND_AFTER: Final = 3  # reports without the acknowledgement


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report.  Counters are since the guest's boot unless said otherwise; pages are the guest's, 4 KiB."""

    uptime_s: float
    mem_total_bytes: int
    mem_available_bytes: int
    mem_free_bytes: int
    cached_bytes: int
    """Page cache, block device buffers included."""
    swap_total_bytes: int
    swap_used_bytes: int
    swap_in_pages: int
    swap_out_pages: int
    major_faults: int
    alloc_stalls: int
    oom_kills: int
    psi_some_us: int | None
    """Time at least one task stalled for memory; None when the guest's kernel does not tell."""
    psi_full_us: int | None
    anon_bytes: int
    """What the workload holds now."""
    target_bytes: int
    """What its script wants it to hold now."""
    hot_bytes: int
    cache_read_bytes: int
    """Read from the disk so far."""
    rounds: int
    """Full rounds of touching the hot part so far."""
    touch_p50_ms: float | None = None
    """Duration of the rounds finished since the last report; None when none was."""
    touch_p99_ms: float | None = None
    touch_max_ms: float | None = None
    round_age_ms: int
    """How long the unfinished round has taken so far: a starving guest finishes none."""
    workload_kills: int
    """Times the process that holds the memory died (the guest's OOM killer) and was started again."""
    script_id: int
    step: int
    """Index of the script's step; its number of steps when it is over."""
    received_s: float = 0.0
    """Monotonic clock of the host when the line came."""


_decoder: Final = msgspec.json.Decoder(Report)


class SerialLine:
    """A guest's serial line: reports in, scripts out.

    A script is sent again until a report acknowledges it, so a torn line heals, and a guest that was reset gets its
    script back.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.history: deque[Report] = deque(maxlen=HISTORY)
        self.torn_lines = 0
        self._socket: socket.socket | None = None
        self._rest = b""
        self._script: Script | None = None
        self._script_id = 0
        self._unacknowledged = 0

    @property
    def acknowledged(self) -> bool:
        """Whether the guest follows the last script it was sent."""
        return self._script is None or (bool(self.history) and self.history[-1].script_id == self._script_id)

    def attach(self, connection: socket.socket) -> None:
        """Use this connection from now on."""
        connection.settimeout(0)
        self._socket = connection

    def detach(self) -> None:
        """Forget the connection: QEMU is gone."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def follow(self, script: Script) -> None:
        """Make the guest follow `script`.

        Raises:
            LabError: QEMU is gone, or stopped for so long that its socket is full.
        """
        self._script = script
        self._script_id += 1
        self._unacknowledged = 0
        if self.history:  # before the first report nobody reads; the first report makes `_resend` send it
            self._send()

    def receive(self, data: bytes) -> None:
        """Take bytes as they come; lines that are no report (kernel messages, torn ones) are only counted."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MAX_LINE_BYTES:]
        for line in lines:
            try:
                report = _decoder.decode(line[line.find(b"{") :])
            except msgspec.DecodeError:
                self.torn_lines += bool(line.strip())
                continue
            self.history.append(msgspec.structs.replace(report, received_s=time.monotonic()))
            self._resend()

    def _resend(self) -> None:
        if self._script is None or self.acknowledged:
            self._unacknowledged = 0
            return
        if self._unacknowledged % _RESEND_AFTER == 0:
            with contextlib.suppress(LabError):  # tried again at a later report
                self._send()
        self._unacknowledged += 1

    def _send(self) -> None:
        if self._script is None:
            return
        if self._socket is None:
            raise LabError(f"{self.name}: no serial line, its QEMU is gone")
        try:
            self._socket.sendall(self._script.wire(self._script_id))
        except OSError as problem:
            raise LabError(f"{self.name}: cannot write to its serial line: {problem}") from problem


class Listener:
    """One thread that reads all guests' serial lines.  `arrived` is notified at each report and each loss of a line."""

    def __init__(self) -> None:
        self.arrived = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="lab-serial", daemon=True)
        self._thread.start()

    def add(self, line: SerialLine, connection: socket.socket) -> None:
        """Listen to a guest from now on."""
        line.attach(connection)
        self._selector.register(connection, selectors.EVENT_READ, line)
        self._wake_write.send(b"+")

    def close(self) -> None:
        """End the thread and close all lines."""
        self._wake_write.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, SerialLine):
                key.data.detach()
        self._selector.close()
        self._wake_read.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)  # noqa: S101  only sockets are registered
                data = self._read(connection)
                if key.data is None:
                    if not data:
                        return
                    continue
                with self.arrived:
                    if data:
                        key.data.receive(data)
                    else:
                        self._selector.unregister(connection)
                        key.data.detach()
                    self.arrived.notify_all()

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        try:
            return connection.recv(1 << 16)
        except OSError:  # reset: as good as closed
            return b""
