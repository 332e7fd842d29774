"""Where the lab keeps its files: one directory per lifetime.

`RUN` lives as long as one lab; `CACHE` holds what is worth keeping between labs.  Unix socket paths are limited to 107
bytes, hence the short names.
"""

from pathlib import Path
from typing import Final

RUN: Final = Path("/run/memtide-lab")
STATE: Final = RUN / "state.json"
SERIAL: Final = RUN / "serial"
SOCKET: Final = RUN / "libvirt-sock"
PRIVATE: Final = RUN / "private"

BIN: Final = RUN / "bin"
"""Everything the lab starts is started through a link in here: argv[0] says whose process it is."""
EMULATOR: Final = BIN / "memtide-lab-qemu-system-x86_64"
LIBVIRTD: Final = BIN / "memtide-lab-libvirtd"

CACHE: Final = Path("/var/cache/memtide-lab")
LOCK: Final = CACHE / "lock"
