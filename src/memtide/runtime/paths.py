"""Where memtide keeps things: the settings file, the state that outlives a crash, and the sockets.

In this order: what systemd gave the service (systemd.exec(5), ``StateDirectory=`` and its sisters), the host's
folders for root, the XDG folders for an ordinary user.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from memtide.model.base import Model

__all__ = ["SIMULATED", "control_folder", "control_folders", "settings_file", "state_folder"]

NAME: Final = "memtide"
SIMULATED: Final = "simulation"
"""Subfolder for a simulated host's state and sockets."""


class _Place(Model, frozen=True, kw_only=True):
    """One kind of folder, in the three ways it can be given."""

    systemd: str
    """Variable that systemd sets for a unit; may hold several folders, separated by colons."""
    system: str
    """Folder of a daemon that runs as root."""
    xdg: str
    """Variable that names the parent for an ordinary user."""
    home: str
    """The parent below the home folder when that variable is not set."""


SETTINGS: Final = _Place(
    systemd="CONFIGURATION_DIRECTORY", system="/etc/memtide", xdg="XDG_CONFIG_HOME", home=".config"
)
STATE: Final = _Place(systemd="STATE_DIRECTORY", system="/var/lib/memtide", xdg="XDG_STATE_HOME", home=".local/state")
CONTROL: Final = _Place(
    systemd="RUNTIME_DIRECTORY", system="/run/memtide", xdg="XDG_RUNTIME_DIR", home=".local/state/run"
)


def settings_file(*, root: bool | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the main settings file; it need not exist."""
    return _folder(SETTINGS, root=root, environ=environ) / "memtide.toml"


def state_folder(*, root: bool | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the database, the originals and the lock; it need not exist."""
    return _folder(STATE, root=root, environ=environ)


def control_folder(*, root: bool | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which a daemon of this user makes its sockets; it need not exist."""
    return _folder(CONTROL, root=root, environ=environ)


def control_folders(*, root: bool | None = None, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return where a client looks for a daemon, in this order: the user's own, then the host's."""
    return tuple(dict.fromkeys((control_folder(root=root, environ=environ), Path(CONTROL.system))))


def _folder(place: _Place, *, root: bool | None, environ: Mapping[str, str] | None) -> Path:
    variables = os.environ if environ is None else environ
    given = variables.get(place.systemd, "").split(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0 if root is None else root:
        return Path(place.system)
    parent = variables.get(place.xdg, "")
    # the XDG specification: a path that is not absolute is to be ignored
    return (Path(parent) if parent.startswith("/") else Path.home() / place.home) / NAME
