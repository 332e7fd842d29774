"""A libvirtd of our own, so that the machine's is never touched.

libvirt's directories are compiled in, so the daemon gets a mount namespace in which private ones lie over them; its
socket is outside of them, where everybody can reach it.  Each start makes a new namespace over the same directories,
which is why a restarted daemon finds its guests again.  It loads the QEMU driver only: no networks, no firewall rules.

`qemu:///embed` would save the daemon and the socket, but a driver that lives in the client's process cannot be killed
and started again under a running memtide, and that is one of the things to be tried here.
"""

import grp
import os
import pwd
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from lab.errors import LabError
from lab.packages import find_program
from lab.paths import CACHE, EMULATOR, LIBVIRTD, PRIVATE, RUN, SOCKET
from lab.state import State

URI: Final = f"qemu+unix:///system?socket={SOCKET}"
_OVERLAID: Final = ("/etc/libvirt", "/var/lib/libvirt", "/run/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
_ACCOUNT: Final = "libvirt-qemu"
_ACCOUNT_FILES: Final = {
    "/etc/passwd": f"{_ACCOUNT}:x:64055:64055::/nonexistent:/usr/sbin/nologin",
    "/etc/group": f"{_ACCOUNT}:x:64055:",
}
_DRIVERS: Final = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")
_START_LIMIT_S: Final = 30.0
_STOP_LIMIT_S: Final = 5.0

_LIBVIRTD_CONF: Final = f"""\
unix_sock_dir = "{RUN}"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:{RUN}/libvirtd.log"
"""
# stdio_handler: without it guests' output goes through virtlogd, one more daemon.
# The rest keeps libvirt from depending on what else the machine has: AppArmor, cgroups, device namespaces, accounts.
_QEMU_CONF: Final = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""


def private(path: str) -> Path:
    """Where the daemon's `path` (under one of the overlaid directories) is for everybody else."""
    if path == "/var/cache/libvirt":  # what QEMU can do, asked once: worth keeping, libvirtd checks that it still holds
        return CACHE / "libvirt"
    return PRIVATE / path.lstrip("/")


class Libvirtd:
    """The private daemon: start, stop, kill, restart.  Guests outlive it; only the lab's end takes them."""

    def __init__(self, state: State, *, kvm: bool) -> None:
        self._state = state
        self._kvm = kvm
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The daemon's pid while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the daemon and wait until it answers; nothing to do when it runs.

        Raises:
            LabError: it ended or gave no answer; the message has the end of its log.
        """
        if self.pid:
            return
        self._prepare()
        # A group of its own: a Ctrl-C at the terminal must not take libvirtd before its guests.
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec", self._shell()],
            env={**os.environ, "LIBVIRT_DRIVER_DIR": str(RUN / "drivers")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(RUN / "libvirtd.log").open("ab"),
            cwd="/",
            process_group=0,
        )
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"libvirtd did not start: {(RUN / 'libvirtd.log').read_text()[-800:].strip()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the daemon in order (SIGTERM, after 5 s SIGKILL).  Guests go on."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash would.  Guests go on."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again; a killed one is just started."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if not self._process:
            return
        self._process.send_signal(number)  # a no-op when it is dead already
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _prepare(self) -> None:
        for directory in _OVERLAID:
            private(directory).mkdir(parents=True, exist_ok=True)
        (RUN / "no-kvm").touch()
        private("/etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
        _add_account()
        (RUN / "libvirtd.conf").write_text(_LIBVIRTD_CONF)
        (RUN / "drivers").mkdir(exist_ok=True)
        _link(RUN / "drivers" / "libvirt_driver_qemu.so", _DRIVERS / "libvirt_driver_qemu.so")
        LIBVIRTD.parent.mkdir(exist_ok=True)
        _link(LIBVIRTD, find_program("libvirtd"))
        _link(EMULATOR, find_program("qemu-system-x86_64"))
        self._make_mount_points()

    def _make_mount_points(self) -> None:
        """A bind mount needs a directory to lie on; one that was not there is noted, and removed at the end."""
        missing = [directory for directory in _OVERLAID if not Path(directory).exists()]
        if missing:
            self._state.made_directories = [*self._state.made_directories, *missing]
            self._state.save()
        for directory in missing:
            Path(directory).mkdir(parents=True)

    def _shell(self) -> str:
        lines = [f"mount --bind {shlex.quote(str(private(path)))} {path}" for path in _OVERLAID]
        lines += [f"mount --bind {private(path)} {path}" for path in _ACCOUNT_FILES if private(path).exists()]
        if not self._kvm and Path("/dev/kvm").exists():
            # While /dev/kvm looks usable and QEMU says it is not, libvirtd asks QEMU for its abilities anew for each
            # guest (up to 44 s).  A read-only plain file is the one thing that access(2) refuses to root as well.
            lines.append(f"mount --bind {RUN}/no-kvm /dev/kvm; mount -o remount,bind,ro /dev/kvm")
        lines.append(f"exec {LIBVIRTD} --config {RUN}/libvirtd.conf --pid-file {RUN}/libvirtd.pid")
        return "\n".join(lines)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(SOCKET))
            except OSError:
                return False
        return True


def _add_account() -> None:
    """Add Debian's account for QEMU, in the namespace only: libvirtd does not start without it, used or not.

    The package libvirt-daemon-system makes it, but would start the machine's own daemon too.
    """
    try:
        pwd.getpwnam(_ACCOUNT)
        grp.getgrnam(_ACCOUNT)
    except KeyError:
        for path, entry in _ACCOUNT_FILES.items():
            lines = Path(path).read_text().splitlines()
            others = [line for line in lines if not line.startswith(f"{_ACCOUNT}:")]
            private(path).write_text("\n".join([*others, entry]) + "\n")


def _link(link: Path, target: Path | None) -> None:
    if target is None:
        raise LabError(f"nothing installed behind {link.name}; lab.why_not() tells the package")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
