"""Who else steers KSM on this host: two programs that write the same files undo each other's work.

Looked for among the processes by name, and believed only when they may write those files at all.
"""

import os
import re
from pathlib import Path
from typing import Final

from memtide.sources.files import KernelFiles
from memtide.sources.parse_process import parse_credentials, parse_name, parse_program

__all__ = ["KsmWriters"]

WRITERS: Final = (
    "ksmtuned",  # ksmtuned 018d0ed src/ksmtuned.sh.in (KSMCTL); patched in proxmox/ksm-control-daemon 2349336
    "momd",  # oVirt/mom 3de1c8e mom/HypervisorInterfaces/libvirtInterface.py (ksmTune)
    "supervdsmd",  # oVirt/vdsm lib/vdsm/supervdsm_api/ksm.py: as root, for vdsm's MOM, which is not root
    "virt-handler",  # kubevirt/kubevirt 05a1e12 pkg/virt-handler/ksm/ksm.go (writeKsmValuesToFiles)
    "harvester-node-manager",  # harvester/node-manager 4967308 pkg/ksmtuned/ksmd.go (save)
    "ksm-throttler",  # kata-containers/ksm-throttler 26d5a61 ksm.go (tune)
    "uksmd",  # CachyOS/uksmd 091da9b uksmd.c (ksm_ctl): not root, but CAP_DAC_OVERRIDE; unmerges everything at its end
)
"""Programs that write below /sys/kernel/mm/ksm while they run, and where that can be read.

Not among them: pvestatd (proxmox/pve-manager 14a22df) and vdsmd itself, which write nothing there; nor what writes
once and ends (``ksm.service``, tuned's profiles): that shows as a setting that is not ours.
"""
SCAN_EVERY_S: Final = 60.0
PER_SAMPLE: Final = 200
"""Processes looked at in one sample, some 15 us each: a crowded host is gone through in several."""

_NAME_BYTES: Final = 15
"""The kernel cuts a process's name there (TASK_COMM_LEN)."""
_SHORT: Final = {name[:_NAME_BYTES] for name in WRITERS}
_INTERPRETER: Final = re.compile(r"(python[\d.]*|perl|(ba|da|k)?sh)")
_PID: Final = re.compile(r"\d{1,10}")


class KsmWriters:
    """The other programs that steer KSM here, by name. Sees only processes that can be seen from here.

    Args:
        root: ``/``, or a captured tree.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._files = KernelFiles(root, keep_open=False)
        self._scan_at_s = float("-inf")
        self._ahead: list[str] = []
        self._met: set[str] = set()
        self._known: tuple[str, ...] | None = None

    def sample(self, now_s: float) -> tuple[str, ...]:
        """Return who was found in the last whole scan, sorted; the first one is done at once."""
        if not self._ahead:
            if self._known is not None and 0 <= now_s - self._scan_at_s < SCAN_EVERY_S:
                return self._known
            self._scan_at_s = now_s
            self._met = set()
            self._ahead = [pid for pid in self._files.names("proc", _PID) if int(pid) != os.getpid()]
        most = len(self._ahead) if self._known is None else PER_SAMPLE
        now, self._ahead = self._ahead[:most], self._ahead[most:]
        self._met |= {name for pid in now if (name := self._writer(pid)) is not None}
        if not self._ahead or self._known is None:
            self._known = tuple(sorted(self._met))
        return self._known

    def _writer(self, pid: str) -> str | None:
        """Return the name of the writer that this process is, if it is one."""
        short = self._files.value(f"proc/{pid}/comm", parse_name)
        if short is None or not (short in _SHORT or _INTERPRETER.fullmatch(short)):
            return None
        names = self._files.value(f"proc/{pid}/cmdline", parse_program) or ()
        name = next((name for name in names if name in WRITERS), None)
        return name if name is not None and self._may_write(pid) else None

    def _may_write(self, pid: str) -> bool:
        """Whether it may write files of root's: as root, or with the capability, but not one of its own making."""
        rights = self._files.value(f"proc/{pid}/status", parse_credentials)
        if rights is None or rights.effective_uid == 0:
            return rights is not None
        return rights.overrides_files and self._user_namespace(pid) == self._user_namespace("self") is not None

    def _user_namespace(self, pid: str) -> bytes | None:
        # whoever makes a user namespace has every capability in it, and no map like the one outside
        return self._files.value(f"proc/{pid}/uid_map", bytes)
