"""The log that a daemon has left behind, for when none runs."""

from memtide.model.record import LogEntry
from memtide.runtime import wiring
from memtide.runtime.options import RunOptions
from memtide.runtime.service import overrides
from memtide.runtime.settings_file import load

__all__ = ["read_log"]


def read_log(options: RunOptions, *, vm: str | None, since_s: float | None, limit: int) -> list[LogEntry] | None:
    """Return entries of the state folder's log, oldest first; ``None``: there is no log.

    Raises:
        StoreError, PermissionDeniedError: there is one, and it cannot be read.
    """
    folder = load(options.config, overrides(options)).settings.store_directory
    return wiring.read_left_log(folder, vm=vm, since_s=since_s, limit=limit)
