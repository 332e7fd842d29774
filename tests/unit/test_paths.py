"""Where memtide keeps things."""

from pathlib import Path

import pytest

from memtide.runtime.paths import control_folder, control_folders, settings_file, state_folder


def test_root_has_the_hosts_folders() -> None:
    """A daemon of root uses the folders of the host, whatever root's XDG variables say."""
    environ = {"XDG_STATE_HOME": "/root/x", "XDG_RUNTIME_DIR": "/run/user/0", "XDG_CONFIG_HOME": "/root/c"}
    assert state_folder(root=True, environ=environ) == Path("/var/lib/memtide")
    assert control_folder(root=True, environ=environ) == Path("/run/memtide")
    assert settings_file(root=True, environ=environ) == Path("/etc/memtide/memtide.toml")


def test_a_user_has_xdg_folders() -> None:
    """An ordinary user's folders are where XDG says."""
    environ = {"XDG_STATE_HOME": "/h/s", "XDG_RUNTIME_DIR": "/run/user/7", "XDG_CONFIG_HOME": "/h/c"}
    assert state_folder(root=False, environ=environ) == Path("/h/s/memtide")
    assert control_folder(root=False, environ=environ) == Path("/run/user/7/memtide")
    assert settings_file(root=False, environ=environ) == Path("/h/c/memtide/memtide.toml")


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_a_useless_xdg_variable_counts_as_unset(value: str) -> None:
    """XDG: a variable that is empty or not absolute is ignored."""
    assert state_folder(root=False, environ={"XDG_STATE_HOME": value}) == Path.home() / ".local/state/memtide"


def test_what_systemd_gave_the_unit_comes_first() -> None:
    """A service with its own user uses StateDirectory= and its sisters; of several, the first."""
    environ = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a"}
    assert state_folder(root=False, environ=environ) == Path("/var/lib/a")
    assert control_folder(root=True, environ=environ) == Path("/run/a")


def test_a_users_client_also_finds_the_hosts_daemon() -> None:
    """A client looks for the user's own daemon first, then for the host's; root has only one place to look."""
    user = control_folders(root=False, environ={"XDG_RUNTIME_DIR": "/run/user/7"})
    assert user == (Path("/run/user/7/memtide"), Path("/run/memtide"))
    assert control_folders(root=True, environ={}) == (Path("/run/memtide"),)
