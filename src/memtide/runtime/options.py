"""What the command line hands to the daemon: where it differs from the settings file, and who watches."""

from pathlib import Path
from typing import Protocol

from memtide.model.base import Model
from memtide.model.record import LogEntry
from memtide.views.live import Live

__all__ = ["RunOptions", "Watcher"]


class Watcher(Protocol):
    """Somebody in the same process who shows what happens. Called in the loop's thread: it must not block."""

    def tick(self, live: Live) -> None:
        """See the newest moment; called after every tick, and once more when all outcomes of the run are closed."""
        ...

    def entry(self, entry: LogEntry) -> None:
        """See an outcome that is new or changed, or an event."""
        ...


class RunOptions(Model, frozen=True, kw_only=True):
    """``None`` means: as the settings say."""

    acting: bool | None = None
    """``False``: observe."""
    for_s: float | None = None
    """End after so long; ``None``: when told to."""
    uri: str | None = None
    config: Path | None = None
    """The settings file."""
    state: Path | None = None
    """Directory of what outlives a crash."""
    control: Path | None = None
    """Directory of the sockets."""
    simulate: bool = False
    """A simulated host and guests instead of the real ones."""
    watcher: Watcher | None = None
