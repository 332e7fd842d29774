"""Cgroups: the limit that the host itself lives under, and what one guest is charged with.

The host's own limit. When memtide runs in a container with its guests, that container is "the host", and its limit,
not MemTotal, is what can be had. But memtide's own service has a limit too (``MemoryMax=`` in its unit), and a path
in /proc/self/cgroup does not tell the two apart. What does is PID 1: everything of the host descends from it, so the
limits that hold for the host are those on **PID 1's** path, up to the top of what is mounted:

===============================================  ====================  =============================================
memtide runs                                     PID 1's cgroup        limit that counts
===============================================  ====================  =============================================
on the host, as a service with MemoryMax=        /init.scope           none: the service is not on that path
in a container (Docker, Podman)                  / or /init.scope      the container's, on the mounted top
in a container, cgroup v1, no cgroup namespace   /docker/ID            the same (the mounted top is /docker/ID)
in a unit with ProtectControlGroups=private      /../../init.scope     none: PID 1 is outside our namespace
in a container with the host's PIDs, to steer    /../../init.scope     none: the guests are not in our container
the host's guests
===============================================  ====================  =============================================

Known flaws. A limit set above the namespace's top (a Kubernetes pod's, nspawn's, LXC's) cannot be seen from inside;
LXC tells it all the same, by a smaller /proc/meminfo (lxcfs). A container that steers the guests of its host and does
*not* share the host's PIDs looks like a host of its own: run it with ``--pid=host``.
"""

import re
from typing import Final

from memtide.model.base import Missing, Model
from memtide.sources.files import KernelFiles
from memtide.sources.parse import CgroupMemory, parse_cgroup_memory, parse_limit, parse_number
from memtide.sources.parse_process import CgroupPaths, parse_cgroup_paths

__all__ = ["HostLimit", "LimitReader", "guest_memory_file"]

_V1: Final = "sys/fs/cgroup/memory"
_V2: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
"""Where the unified tree is mounted: alone, or beside the trees of v1."""

_PID_1: Final = "proc/1/cgroup"
_OUTSIDE: Final = ["", ".."]
"""How a path begins that lies outside the reader's cgroup namespace."""

# with systemd: /machine.slice/machine-qemu\x2d1\x2dNAME.scope[/libvirt/emulator]
# without: /machine/qemu-1-NAME.libvirt-qemu[/emulator]
# The guest's charge is the whole scope's: what is below it holds threads only (libvirt.org/cgroups.html).
_GUEST_SCOPE: Final = re.compile(r"(?:/[^/]+)*/(?:machine-qemu[^/]*\.scope|[^/]+\.libvirt-qemu)(?=/|\Z)")


class HostLimit(Model, frozen=True, kw_only=True):
    """The cgroup limit that holds for the whole host, and how much of it is taken, in bytes."""

    limit_bytes: int
    charged_bytes: int
    memory: CgroupMemory

    @property
    def left_bytes(self) -> int:
        """What can still be had under the limit without counting any cache as free."""
        return max(0, self.limit_bytes - self.charged_bytes)


class _Folder(Model, frozen=True, kw_only=True):
    path: str
    v1: bool

    @property
    def limit_file(self) -> str:
        return f"{self.path}/{'memory.limit_in_bytes' if self.v1 else 'memory.max'}"

    @property
    def charged_file(self) -> str:
        return f"{self.path}/{'memory.usage_in_bytes' if self.v1 else 'memory.current'}"


class LimitReader:
    """Reads the smallest limit on PID 1's path that is below the host's memory.

    The folders on that path are looked for once, as PID 1 stays where it is; their limits are read every time.
    """

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self._folders: tuple[_Folder, ...] | None = None

    def sample(self, total_bytes: int, missing: Missing) -> HostLimit | None:
        """Return the limit when there is one below ``total_bytes``.

        When that cannot be known, ``missing["limit_bytes"]`` says why.
        """
        if self._folders is None:
            paths = self._files.parsed(_PID_1, parse_cgroup_paths, missing, "limit_bytes")
            if paths is None:
                return None
            self._folders = tuple(f for f in _folders(paths) if self._limit_bytes(f) is not None)
        limits = [(limit_bytes, f) for f in self._folders if (limit_bytes := self._limit_bytes(f)) is not None]
        limit_bytes, folder = min(limits, key=lambda pair: pair[0], default=(total_bytes, None))
        if folder is None or limit_bytes >= total_bytes:
            return None
        charged_bytes = self._files.parsed(folder.charged_file, parse_number, missing, "limit_bytes")
        memory = self._files.parsed(f"{folder.path}/memory.stat", parse_cgroup_memory, missing, "limit_bytes")
        if charged_bytes is None or memory is None:
            return None
        return HostLimit(limit_bytes=limit_bytes, charged_bytes=charged_bytes, memory=memory)

    def _limit_bytes(self, folder: _Folder) -> int | None:
        # most folders have no limit file, the top of a real host for one: that is no news
        return self._files.value(folder.limit_file, parse_limit)


def _folders(paths: CgroupPaths) -> list[_Folder]:
    """Return every folder from a process up to the mounted top, whether it exists or not.

    Without a cgroup namespace the mounted top may itself be somewhere on the path; its folder is then found at the
    top, and the others are not there.
    """
    folders = [_Folder(path=path, v1=True) for path in _upwards(_V1, paths.v1_memory)]
    for mount in _V2:
        folders += [_Folder(path=path, v1=False) for path in _upwards(mount, paths.v2)]
    return folders


def _upwards(mount: str, path: str | None) -> list[str]:
    if path is None or path.split("/")[:2] == _OUTSIDE:
        return []
    parts = path.strip("/").split("/") if path != "/" else []
    return ["/".join([mount, *parts[:depth]]) for depth in range(len(parts), -1, -1)]


def guest_memory_file(paths: CgroupPaths) -> str | None:
    """Return the file that holds what a guest is charged with, when its process is in a machine scope of its own.

    ``None`` when it is elsewhere: a shared cgroup (libvirtd's service, a login) says nothing of one guest.
    """
    for mount, path, v1 in ((_V1, paths.v1_memory, True), (_V2[0], paths.v2, False)):
        scope = _GUEST_SCOPE.match(path) if path else None
        if scope is not None:
            return _Folder(path=f"{mount}{scope[0]}", v1=v1).charged_file
    return None
