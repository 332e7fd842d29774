"""``memtide config``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtide.errors import ConfigError
from memtide.faces.cli.config import config
from memtide.runtime.settings_file import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a settings file with a drop-in."""
    (tmp_path / "memtide.toml.d").mkdir()
    (tmp_path / "memtide.toml.d/10-rules.toml").write_text("[[rule]]\nmatch = 'db-*'\nfloor = '2GiB'\n")
    file = tmp_path / "memtide.toml"
    file.write_text("[law]\nperiod = '3s'\n")
    return file


def said(*arguments: str | Path) -> str:
    """Return what the command prints when all is well."""
    result = CliRunner().invoke(config, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_check_counts_what_it_found(file: Path) -> None:
    """The answer names the files, so that nobody checks another file than the one in use."""
    assert said("check", file) == f"ok: 3 settings from {file}, {file}.d/10-rules.toml\n"


def test_check_without_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is fine, and said."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    assert said("check") == "ok: there is no settings file; all are defaults\n"


def test_check_says_every_mistake(file: Path) -> None:
    """All mistakes come as one error with exit status 3."""
    file.write_text("[law]\nperod = '3s'\nmode = 1\n")
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(config, ["check", str(file)], catch_exceptions=False)
    assert caught.value.message.count("\n") == 1
    assert caught.value.exit_status == 3


def test_show_is_a_settings_file_again(file: Path, tmp_path: Path) -> None:
    """What is in force is printed so that, saved as a file, it means the same; each line says where it came from."""
    text = said("show", file)
    assert f'period = "3s"       # {file}:2' in text
    assert f'floor = "2GiB"  # {file}.d/10-rules.toml:3' in text
    assert 'mode = "pressure"   # default' in text
    copy = tmp_path / "copy.toml"
    copy.write_text(text)
    assert load(copy).settings == load(file).settings


def test_show_as_json(file: Path) -> None:
    """Programs get value, origin and line of every setting, and the rules with theirs."""
    content = json.loads(said("show", "--json", file))
    assert content["files"] == [str(file), f"{file}.d/10-rules.toml"]
    assert content["settings"]["law.period"] == {"value": "3s", "origin": str(file), "line": 2}
    assert content["settings"]["law.mode"] == {"value": "pressure", "origin": "default", "line": None}
    assert [rule["floor"]["value"] for rule in content["rules"]] == ["2GiB"]


def test_show_default_is_the_packaged_file(file: Path, tmp_path: Path) -> None:
    """The default file can be written anew, and means nothing but the defaults."""
    fresh, empty = tmp_path / "fresh.toml", tmp_path / "empty.toml"
    fresh.write_text(said("show", "--default", file))
    empty.write_text("")
    assert load(fresh).settings == load(empty).settings
