"""What can go wrong, whose move it is, and the exit status a command ends with.

::

    MemtideError                 1  something failed; the message says what, for whom, and what to do next
    ├── UnitError                2  a size, duration or ratio without a number or without a unit
    ├── UsageError               2  the command line asks for something impossible
    ├── ConfigError              3  a settings file is wrong; the running daemon keeps its old settings
    ├── SourceError              4  the world cannot be read (libvirt is away, a trace is damaged)
    ├── PermissionDeniedError    5  it is there, but not for this user
    ├── ActuatorError            6  the world refused a change
    ├── NoAnswerError            6  the world said nothing in time; whether it heard is unknown
    ├── StoreError               7  the database is full, locked, broken or newer; a trace cannot be written
    ├── AlreadyRunningError      8  another daemon serves this host
    └── ControlError             9  the daemon does not answer, or has no such guest
"""

from typing import ClassVar

__all__ = [
    "ActuatorError",
    "AlreadyRunningError",
    "ConfigError",
    "ControlError",
    "MemtideError",
    "NoAnswerError",
    "PermissionDeniedError",
    "SourceError",
    "StoreError",
    "UnitError",
    "UsageError",
]


class MemtideError(Exception):
    """A failure that a person is told about in a sentence, with what to do next when we know it.

    Args:
        message: what failed and for whom, one sentence without a full stop.
        hint: what to do next, one sentence; empty when there is nothing useful to say.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UnitError(MemtideError):
    """A size, duration or ratio that cannot be read. The operator must write it with its unit."""

    exit_status = 2


class UsageError(MemtideError):
    """The command line asks for something impossible. The operator must ask differently."""

    exit_status = 2


class ConfigError(MemtideError):
    """A settings file is wrong. The operator must mend it; nothing was changed."""

    exit_status = 3


class SourceError(MemtideError):
    """Part of the world, or a record of it, cannot be read. The daemon tries again; a command ends."""

    exit_status = 4


class PermissionDeniedError(MemtideError):
    """The thing is there but not for this user. The operator must grant it, or run as root."""

    exit_status = 5


class ActuatorError(MemtideError):
    """The world refused a change (libvirt, the guest, the kernel)."""

    exit_status = 6


class NoAnswerError(MemtideError):
    """The world (libvirt, a guest's monitor) said nothing in time; whether it heard is unknown."""

    exit_status = 6


class StoreError(MemtideError):
    """The database cannot be used: full disk, locked, broken, or written by a newer memtide; or a trace not written."""

    exit_status = 7


class AlreadyRunningError(MemtideError):
    """Another memtide serves this host; two would fight over the same guests."""

    exit_status = 8


class ControlError(MemtideError):
    """The daemon does not answer, or does not know what was asked for."""

    exit_status = 9
