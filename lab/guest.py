"""A guest: what it is made of, its libvirt XML, and the handle that tests hold."""

import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from xml.sax.saxutils import escape

from lab import calls, processes
from lab.errors import LabError
from lab.image import KERNEL_ARGUMENTS, Image
from lab.libvirtd import private
from lab.paths import EMULATOR, SERIAL
from lab.report import Listener, Report, SerialLine
from lab.script import parse

Fill = Literal["random", "mixed", "image", "same", "zero"]

_GIB: Final = 1 << 30
_ANSWER_LIMIT_S: Final = 20.0
_NOISE_BYTES: Final[dict[Fill, int]] = {"random": 4096, "mixed": 1360, "image": 4096, "same": 4096, "zero": 0}
_COMMON_OF_8: Final[dict[Fill, int]] = {"image": 5, "same": 8}
_OOM_SCORE: Final = "500"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSpec:
    """A guest to boot.

    `fill` is what the workload's memory contains: `random` (unique, incompressible), `mixed` (unique, compresses about
    3:1, as real memory does), `image` (of eight pages five equal those of all other guests, as in guests of one
    image: for KSM), `same` (all do) or `zero`.  `touch` is how the hot part is touched; `write` makes pages dirty,
    and so also parts what KSM had merged; `read` leaves it merged.
    """

    name: str | None = None
    """Default: `lab-N`, by its place in the list."""
    size_bytes: int = _GIB
    """The maximum: what the guest has with an empty balloon."""
    current_bytes: int | None = None
    """The size it starts with; None: the maximum."""
    script: str = ""
    """Followed as soon as all guests are up; see `lab.script`."""
    fill: Fill = "random"
    touch: Literal["write", "read"] = "write"
    swap_bytes: int = 0
    """Swap on zram inside the guest; pointless with `random`, which does not compress."""
    balloon: bool = True
    stats_period_s: int | None = 2
    autodeflate: bool = False
    free_page_reporting: bool = False
    metadata: str = ""
    """XML put inside the domain's <metadata>; needs its own namespace, as libvirt asks."""


def domain_xml(spec: GuestSpec, *, name: str, seed: int, image: Image, kvm: bool) -> str:
    """The libvirt domain for `spec`."""
    current_bytes = spec.size_bytes if spec.current_bytes is None else spec.current_bytes
    words = {
        "LAB_SEED": seed,
        "LAB_COMMON_OF_8": _COMMON_OF_8.get(spec.fill, 0),
        "LAB_NOISE_BYTES": _NOISE_BYTES[spec.fill],
        "LAB_TOUCH_WRITES": int(spec.touch == "write"),
        "LAB_SWAP_BYTES": spec.swap_bytes,
    }
    arguments = " ".join([KERNEL_ARGUMENTS, *(f"{key}={value}" for key, value in words.items())])
    # tb-cache: TCG's translations may otherwise take a large part of what a small guest has resident.
    return f"""
<domain type='{"kvm" if kvm else "qemu"}'>
  <name>{escape(name)}</name>
  <metadata>{spec.metadata}</metadata>
  <memory unit='b'>{spec.size_bytes}</memory>
  <currentMemory unit='b'>{current_bytes}</currentMemory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{image.kernel}</kernel>
    <initrd>{image.initramfs}</initrd>
    <cmdline>{escape(arguments)}</cmdline>
  </os>
  <features><acpi/>{"" if kvm else "<tcg><tb-cache unit='MiB'>32</tb-cache></tcg>"}</features>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{EMULATOR}</emulator>
    <controller type='usb' model='none'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{image.disk}'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
    </disk>
    <serial type='unix'>
      <source mode='bind' path='{serial_socket(name)}'/>
      <log file='{serial_log(name)}' append='on'/>
      <target port='0'/>
    </serial>
    {_balloon_xml(spec)}
  </devices>
</domain>"""


def serial_socket(name: str) -> Path:
    """QEMU listens here for the guest's serial line."""
    return SERIAL / f"{name}.sock"


def serial_log(name: str) -> Path:
    """Everything the guest ever wrote to its serial line."""
    return SERIAL / f"{name}.log"


def _balloon_xml(spec: GuestSpec) -> str:
    if not spec.balloon:
        return "<memballoon model='none'/>"
    options = (" autodeflate='on'" if spec.autodeflate else "") + (
        " freePageReporting='on'" if spec.free_page_reporting else ""
    )
    stats = "" if spec.stats_period_s is None else f"<stats period='{spec.stats_period_s}'/>"
    return f"<memballoon model='virtio'{options}>{stats}</memballoon>"


class Guest:
    """A running guest.  What it says comes from its serial line; what is done to it goes to its QEMU process."""

    def __init__(self, spec: GuestSpec, *, name: str, listener: Listener) -> None:
        self.spec = spec
        self.name = name
        self.line = SerialLine(name)
        self._listener = listener

    def __repr__(self) -> str:
        return f"<Guest {self.name}>"

    @property
    def pid(self) -> int:
        """Its QEMU's pid.

        Raises:
            LabError: it does not run.
        """
        try:
            pid = int(private(f"/run/libvirt/qemu/{self.name}.pid").read_text())
        except FileNotFoundError:
            raise LabError(f"{self.name} does not run") from None
        if not processes.is_ours(pid):
            raise LabError(f"{self.name} does not run any more (it was {pid})")
        return pid

    @property
    def alive(self) -> bool:
        """Whether its QEMU runs (a stopped one does)."""
        try:
            return bool(self.pid)
        except LabError:
            return False

    @property
    def history(self) -> list[Report]:
        """Its reports, oldest first, at most two hours of them."""
        with self._listener.arrived:
            return list(self.line.history)

    def report(self) -> Report:
        """Its last report; `received_s` tells how old it is.

        Raises:
            LabError: none has come yet.
        """
        with self._listener.arrived:
            if not self.line.history:
                raise LabError(f"{self.name} has not reported yet")
            return self.line.history[-1]

    def command(self, script: str, *, limit_s: float | None = _ANSWER_LIMIT_S) -> None:
        """Follow another script from now on, such as ``hold 300MiB``; returns when the guest has said that it does.

        Raises:
            ScriptError: the script cannot be read.
            LabError: no acknowledgement within `limit_s`; with None it is not waited for.
        """
        parsed = parse(script)
        with self._listener.arrived:
            self.line.follow(parsed)
        if limit_s is not None:
            self.wait_acknowledged(limit_s)

    def wait_acknowledged(self, limit_s: float = _ANSWER_LIMIT_S) -> None:
        """Wait until the guest says that it follows its last script.

        Raises:
            LabError: it did not within `limit_s`.
        """
        with self._listener.arrived:
            if not self._listener.arrived.wait_for(lambda: self.line.acknowledged, limit_s):
                raise LabError(f"{self.name} did not acknowledge its script within {limit_s:.0f} s")

    def wait_for(self, condition: Callable[[Report], bool], *, limit_s: float) -> Report:
        """The first report from now on (or the last one) that meets `condition`.

        Raises:
            LabError: none did within `limit_s`; the message has the last report.
        """
        with self._listener.arrived:
            met = self._listener.arrived.wait_for(
                lambda: bool(self.line.history) and condition(self.line.history[-1]), limit_s
            )
            if not met:
                last = self.line.history[-1] if self.line.history else "no report at all"
                raise LabError(f"{self.name} did not get there within {limit_s:.0f} s; last: {last}")
            return self.line.history[-1]

    def resident_bytes(self) -> int:
        """What its QEMU has resident on the host (shared pages in full)."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def kill(self) -> None:
        """SIGKILL to its QEMU, as the host's OOM killer would."""
        processes.send(self.pid, signal.SIGKILL)

    def stop_process(self) -> None:
        """SIGSTOP: a hung QEMU.  libvirt calls on it block from now on."""
        processes.send(self.pid, signal.SIGSTOP)

    def cont_process(self) -> None:
        """SIGCONT: it goes on."""
        processes.send(self.pid, signal.SIGCONT)

    def reset(self) -> None:
        """Press its reset button; it boots anew and is given its script again.

        Raises:
            LabError: libvirt refused or did not answer.
        """
        calls.reset(self.name)

    def connect(self) -> None:
        """Listen to its serial line, just created.

        From here on its QEMU is also what the host's OOM killer takes first, and not the user's editor.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(serial_socket(self.name)))
        self._listener.add(self.line, connection)
        Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE)

    def wait_up(self, limit_s: float) -> None:
        """Wait for the first report.

        Raises:
            LabError: it did not come; the message has the end of the serial log.
        """
        deadline = time.monotonic() + limit_s
        with self._listener.arrived:
            while not self.line.history:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self.alive:
                    log = serial_log(self.name).read_text(errors="replace")[-400:]
                    raise LabError(f"{self.name} did not come up: {log!r}")
                self._listener.arrived.wait(min(left_s, 1.0))
