"""The guests' kernel, initramfs and disk, built once and kept in the cache.

The kernel is the distribution's cloud kernel, downloaded and unpacked but not installed.  The initramfs is busybox, the
virtio modules and one static program: 4 MB.  The disk is a sparse file that reads as zeros; guests open it read-only
and past the host's page cache, to fill their own.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.errors import LabError
from lab.packages import KERNEL_PACKAGE, find_program
from lab.paths import CACHE

Progress = Callable[[str], None]

DISK_BYTES: Final = 8 << 30
_MODULES: Final = ("virtio_pci", "virtio_balloon", "virtio_blk")
_SWAP_MODULES: Final = ("zram", "lzo_rle")
_HERE: Final = Path(__file__).parent
_KVM_PROBE_LIMIT_S: Final = 8.0
KERNEL_ARGUMENTS: Final = "console=ttyS0 quiet loglevel=3 panic=1 mitigations=off cryptomgr.notests"
"""loglevel=3: the guest's OOM reports would tear the JSON lines apart on the same serial line; they are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a guest boots from."""

    kernel: Path
    initramfs: Path
    disk: Path


def build(progress: Progress) -> Image:
    """The image, from the cache when nothing it is made of has changed; else built (seconds, some network once).

    Raises:
        LabError: a step failed; the message carries the tool's own words.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    modules = hashlib.sha256(repr((KERNEL_PACKAGE, _MODULES, _SWAP_MODULES)).encode()).hexdigest()[:8]
    kernel = CACHE / f"kernel-{modules}"
    if not kernel.exists():
        for old in CACHE.glob("kernel*"):
            shutil.rmtree(old)
        _into_place(kernel, lambda folder: _fetch_kernel(folder, progress))
    image = CACHE / f"image-{_hash([*sorted(kernel.rglob('*')), *_sources()])}"
    if not image.exists():
        progress("building the guests' initramfs")
        for old in CACHE.glob("image-*"):
            shutil.rmtree(old)
        _into_place(image, lambda folder: _build_initramfs(folder, kernel))
    disk = CACHE / "disk.raw"
    with disk.open("ab") as file:
        file.truncate(DISK_BYTES)
    return Image(kernel=kernel / "vmlinuz", initramfs=image / "initramfs", disk=disk)


def kvm_works(image: Image, progress: Progress) -> bool:
    """Whether KVM really runs a guest here; asked once per boot of the host.

    A nested, paravirtualised /dev/kvm can open, answer its ioctls and still never get a stock kernel past the firmware.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = CACHE / "kvm.json"
    if answer.exists():
        known = json.loads(answer.read_text())
        if known["boot_id"] == boot_id:
            return bool(known["works"])
    works = Path("/dev/kvm").exists() and _boots_with_kvm(image, progress)
    answer.write_text(json.dumps({"boot_id": boot_id, "works": works}))
    progress("guests use KVM" if works else "KVM runs no guest here: guests are emulated (TCG)")
    return works


def _boots_with_kvm(image: Image, progress: Progress) -> bool:
    progress(f"trying whether KVM runs a guest (at most {_KVM_PROBE_LIMIT_S:.0f} s)")
    command: list[str | Path] = [
        *("qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-m", "128", "-nodefaults", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-kernel", image.kernel, "-initrd", image.initramfs),
        *("-append", KERNEL_ARGUMENTS),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as qemu:
        try:
            output, _ = qemu.communicate(timeout=_KVM_PROBE_LIMIT_S)
        except subprocess.TimeoutExpired:  # the workload never ends, so a guest that runs ends here too
            qemu.kill()
            output, _ = qemu.communicate()
    return b'"uptime_s"' in output


def _into_place(target: Path, make: Callable[[Path], None]) -> None:
    """Make a directory aside and rename it: a half-built one is never taken for a whole one."""
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="building-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        make(folder)
        folder.rename(target)


def _fetch_kernel(folder: Path, progress: Progress) -> None:
    depends = _run(["apt-cache", "depends", KERNEL_PACKAGE])
    packages = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not packages:
        raise LabError(f"apt knows no kernel behind {KERNEL_PACKAGE}: run apt-get update first")
    progress(f"downloading and unpacking {packages[0]} (27 MB, not installed)")
    scratch = folder.parent
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", packages[0]], folder=scratch)
    (archive,) = scratch.glob("*.deb")
    root = scratch / "root"
    _run(["dpkg", "-x", archive, root])
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    kernel.rename(folder / "vmlinuz")
    version = kernel.name.removeprefix("vmlinuz-")
    _run([_program("depmod"), "-b", root, version])
    (folder / "modules").mkdir()
    for name, modules in (("order", _MODULES), ("swap", _SWAP_MODULES)):
        names = [_keep(path, folder / "modules") for path in _with_dependencies(root, version, modules)]
        (folder / "modules" / name).write_text("\n".join(names) + "\n")


def _with_dependencies(root: Path, version: str, modules: Iterable[str]) -> list[Path]:
    """The module files, each after what it depends on."""
    paths: dict[Path, None] = {}
    for module in modules:
        shown = _run([_program("modprobe"), "-d", root, "-S", version, "--show-depends", module])
        lines = [line.split() for line in shown.splitlines()]
        paths.update((Path(words[1]), None) for words in lines if words[0] == "insmod")  # else: built in
    return list(paths)


def _keep(module: Path, folder: Path) -> str:
    shutil.copy(module, folder)
    return module.name


def _build_initramfs(folder: Path, kernel: Path) -> None:
    root = folder.parent / "root"
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy(_program("busybox"), root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    shutil.copytree(kernel / "modules", root / "modules")
    shutil.copy(_HERE / "init", root / "init")
    (root / "init").chmod(0o755)
    workload = root / "workload"
    _run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o", workload, _HERE / "workload.c"])
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (folder / "initramfs").open("wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=file, cwd=root, check=True)


def _sources() -> list[Path]:
    return [_HERE / "init", _HERE / "workload.c", Path(__file__), _program("busybox")]


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _program(name: str) -> Path:
    found = find_program(name)
    if found is None:
        raise LabError(f"{name} is not installed; lab.why_not() tells the package")
    return found


def _run(command: list[str | Path], *, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise LabError(f"`{words}` failed with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
