"""What the lab changed on the machine, written down before the change.

Read back by the end of the lab, by the next lab after a crash, and by `python -m lab clean`.
"""

import os
from pathlib import Path

import msgspec

from lab.paths import RUN, STATE


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class State(msgspec.Struct, kw_only=True):
    """The values to give back.  `None` or empty: not changed."""

    boot_id: str = msgspec.field(default_factory=_boot_id)
    huge_pages: int | None = None
    zram_devices: list[str] = []
    made_directories: list[str] = []

    def save(self) -> None:
        """Write to disk, whole or not at all, before the change it speaks of is made."""
        RUN.mkdir(mode=0o755, exist_ok=True)
        scratch = STATE.with_suffix(".new")
        with scratch.open("wb") as file:
            file.write(msgspec.json.encode(self))
            os.fsync(file.fileno())
        scratch.replace(STATE)


def load() -> State:
    """The saved state; an empty one when there is none.  What a reboot has undone by itself is not in it."""
    try:
        state = msgspec.json.decode(STATE.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    if state.boot_id != _boot_id():
        return State(made_directories=state.made_directories)
    return state
