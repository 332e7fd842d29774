"""What must be installed, and how a missing piece is told."""

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CAP_SYS_ADMIN: Final = 21
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Need:
    """A program (or, with a slash, a file) the lab uses, and the Debian package that brings it."""

    name: str
    package: str


NEEDS: Final = (
    Need("qemu-system-x86_64", "qemu-system-x86"),
    Need("libvirtd", "libvirt-daemon"),
    Need("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so", "libvirt-daemon-driver-qemu"),
    Need("gcc", "gcc"),
    Need("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
    Need("busybox", "busybox-static"),
    Need("cpio", "cpio"),
    Need("depmod", "kmod"),
    Need("unshare", "util-linux"),
    Need("mount", "mount"),
    Need("apt-get", "apt"),
    Need("dpkg", "dpkg"),
)
KERNEL_PACKAGE: Final = "linux-image-cloud-amd64"
"""Downloaded and unpacked, never installed: the package this one depends on."""


def find_program(name: str) -> Path | None:
    """The program's path, looking in the system directories too (root's PATH may lack them)."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")
    return Path(found) if found else None


def why_not() -> str | None:  # noqa: PLR0911  one return for each answer
    """None when the lab can run here; else one sentence naming what is missing and what to do.  Changes nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"the lab needs Linux on x86-64 and this is {platform.system()} on {platform.machine()}"
    if os.geteuid() != 0:
        return "the lab must run as root (libvirtd, a mount namespace, huge pages): start it with sudo"
    if not _may_mount():
        return "the lab needs CAP_SYS_ADMIN for a private mount namespace: give it to this container or use a machine"
    missing = [need for need in NEEDS if not _is_here(need)]
    if missing:
        names = ", ".join(Path(need.name).name for need in missing)
        return f"missing {names}: apt-get install {' '.join(sorted({need.package for need in missing}))}"
    if not _is_static(find_program("busybox")):
        return "busybox here is dynamically linked, which an initramfs cannot use: apt-get install busybox-static"
    if importlib.util.find_spec("libvirt") is None:
        return "Python's libvirt module is missing: install memtide[libvirt] (or apt-get install python3-libvirt)"
    return None


def _is_here(need: Need) -> bool:
    return Path(need.name).exists() if "/" in need.name else find_program(need.name) is not None


def _may_mount() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _is_static(program: Path | None) -> bool:
    """A dynamic ELF file names its interpreter near its beginning."""
    if program is None:
        return False
    with program.open("rb") as file:
        return b"/ld-linux" not in file.read(4096)
