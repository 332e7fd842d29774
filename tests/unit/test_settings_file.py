"""Reading settings files: what is said of every mistake, what wins, and where each value comes from."""

# ruff: noqa: E501 - a table with one row per mistake

import os
from pathlib import Path

import pytest

from memtide.errors import ConfigError, PermissionDeniedError
from memtide.runtime.setting_lines import key_lines
from memtide.runtime.settings_file import Origin, load, needs_restart
from memtide.units import GIB

MAIN = "memtide.toml"

# (what was written, what is said); a list where several mistakes are said at once
BROKEN: dict[str, tuple[str, str | list[str]]] = {
    # sizes, durations, percentages
    "bare size": ("[host]\nreserve = 10240", "2: [host] reserve: 10240 has no unit; write it in quotes with its unit, for example '2GiB'"),
    "size without unit": ("[host]\nreserve = '10240'", "2: [host] reserve: '10240' has no unit; write one of B, KiB, MiB, GiB, TiB, for example '2GiB'"),
    "MB": ("[host]\nreserve = '512MB'", "2: [host] reserve: '512MB' has the unknown unit 'MB'; write one of B, KiB, MiB, GiB, TiB, for example '2GiB'"),
    "negative size": ("[guests]\nfloor = '-1GiB'", "2: [guests] floor: '-1GiB' is not a number with a unit, such as '2GiB'"),
    "size of nothing": ("[guests]\nceiling = ''", "2: [guests] ceiling: '' is not a number with a unit, such as '2GiB'"),
    "ceiling in percent": ("[guests]\nceiling = '50%'", "2: [guests] ceiling: '50%' has the unknown unit '%'; write one of B, KiB, MiB, GiB, TiB, for example '2GiB'"),
    "ceiling of zero": ("[guests]\nceiling = '0B'", "2: [guests] ceiling: '0B' is out of range; write 1MiB to 1024TiB"),
    "absurd size": ("[host]\nreserve = '9999TiB'", "2: [host] reserve: '9999TiB' is out of range; write 0MiB to 1024TiB"),
    "size as truth": ("[host]\nreserve = true", "2: [host] reserve: true is not a size or a percentage; write a text such as '2GiB'"),
    "size as array": ("[host]\nreserve = ['1GiB']", "2: [host] reserve: an array is not a size or a percentage; write a text such as '2GiB'"),
    "more than everything": ("[host]\nreserve = '120%'", "2: [host] reserve: '120%' is more than 100 %"),
    "ratio": ("[guests]\nfloor = 0.1", "2: [guests] floor: 0.1 has no unit; write it in quotes with its unit, for example '2GiB'"),
    "bare duration": ("[law]\nperiod = 2", "2: [law] period: 2 has no unit; write it in quotes with its unit, for example '60s'"),
    "duration without unit": ("[law]\nperiod = '2'", "2: [law] period: '2' has no unit; write one of ms, s, m, h, d, for example '10s'"),
    "duration in seconds": ("[law]\nperiod = '2sec'", "2: [law] period: '2sec' has the unknown unit 'sec'; write one of ms, s, m, h, d, for example '10s'"),
    "too often": ("[law]\nperiod = '100ms'", "2: [law] period: '100ms' is out of range; write '500ms' to '60s'"),
    "too seldom": ("[law]\nperiod = '2m'", "2: [law] period: '2m' is out of range; write '500ms' to '60s'"),
    "half a second": ("[stats]\nperiod = '2.5s'", "2: [stats] period: '2.5s' is not a whole number of seconds, and libvirt counts in these"),
    "kept for a minute": ("[store]\nkeep_actions = '1m'", "2: [store] keep_actions: '1m' is out of range; write '1h' to '3650d'"),
    # truth, numbers, words, paths
    "1 for true": ("[guests]\nmanage = 1", "2: [guests] manage: 1 is neither true nor false; write one of these, without quotes"),
    "quoted truth": ("[law]\nact = 'true'", "2: [law] act: 'true' is neither true nor false; write one of these, without quotes"),
    "quoted number": ("[guests]\nweight = '2'", "2: [guests] weight: '2' is not a number; write one from 0.01 to 100, without quotes"),
    "no weight": ("[guests]\nweight = 0", "2: [guests] weight: 0 is out of range; write a number from 0.01 to 100"),
    "not a number": ("[guests]\nweight = nan", "2: [guests] weight: nan is out of range; write a number from 0.01 to 100"),
    "truth as number": ("[guests]\nweight = true", "2: [guests] weight: true is not a number; write one from 0.01 to 100, without quotes"),
    "misspelt word": ("[law]\nmode = 'presure'", "2: [law] mode: 'presure' is none of pressure, follow; did you mean 'pressure'?"),
    "strange word": ("[on_stop]\nguests = 'shrink'", "2: [on_stop] guests: 'shrink' is none of keep, restore; write 'keep', for example"),
    "number as word": ("[law]\nmode = 1", "2: [law] mode: 1 is none of pressure, follow; write 'pressure', for example"),
    "no URI": ("[libvirt]\nuri = 'system'", "2: [libvirt] uri: 'system' is not a libvirt URI such as 'qemu:///system'"),
    "date for a folder": ("[store]\ndirectory = 2026-01-01", "2: [store] directory: a date is not an absolute path such as '{state}'"),
    "relative folder": ("[store]\ndirectory = 'state'", "2: [store] directory: 'state' is not an absolute path such as '{state}'"),
    # names
    "misspelt setting": ("[law]\nperod = '2s'", "2: there is no setting 'perod' in [law]; did you mean 'period'?"),
    "spelt with a dash": ("[law]\nboot-grace = '2s'", "2: there is no setting 'boot-grace' in [law]; did you mean 'boot_grace'?"),
    "setting of another section": ("[host]\nperiod = '2s'", "2: there is no setting 'period' in [host]; it belongs in [law] or [stats]"),
    "strange setting": ("[ksm]\nturbo = true", "2: there is no setting 'turbo' in [ksm]; known: 'manage', 'max_cpu', 'tenants'"),
    "rules": ("[[rules]]\nmatch = 'a'", "1: there is no section [rules]; did you mean [[rule]]?"),
    "misspelt section": ("\n[hosts]\nreserve = '1GiB'", "2: there is no section [hosts]; did you mean [host]?"),
    "strange section": ("[zebra]", "1: there is no section [zebra]; known: [host], [law], [guests], [[rule]], [stats], [ksm], [on_stop], [libvirt], [store], [control]"),
    "setting above the sections": ("reserve = '1GiB'", "1: there is no setting 'reserve' above the sections; it belongs in [host]"),
    "strange setting above the sections": ("speed = 3", "1: there is no setting 'speed' above the sections; settings stand in sections, such as [host]"),
    "section as value": ("host = '1GiB'", "1: host is a section; write [host] on a line of its own"),
    "section in two pairs of brackets": ("[[law]]\nmode = 'follow'", "1: law is a section; write [law] on a line of its own"),
    "section in a section": ("[law]\n[law.ksm]\nx = 1", "2: there is no setting 'ksm' in [law]; it belongs in [on_stop]"),
    "newer version": ("version = 2", "1: version: 2 is the language of a newer memtide; this one reads version 1"),
    "quoted version": ("version = '1'", "1: version: '1' is not a version; write 1, without quotes"),
    # rules
    "rule in one pair of brackets": ("[rule]\nmatch = 'a'", "1: a rule begins with [[rule]], in two pairs of brackets"),
    "rule for nobody": ("[[rule]]\nmatch = 'a'\n\n[[rule]]\nweight = 2", "4: the rule has no 'match'; write whom it speaks of, for example match = 'web-*'"),
    "empty match": ("[[rule]]\nmatch = ' '", "2: [[rule]] match: ' ' is not a name pattern such as 'web-*', nor a UUID"),
    "list of matches": ("[[rule]]\nmatch = ['a', 'b']", "2: [[rule]] match: an array is not a name pattern such as 'web-*', nor a UUID"),
    "misspelt in the second rule": ("[[rule]]\nmatch = 'a'\n[[rule]]\nmatch = 'b'\nwieght = 2", "5: there is no setting 'wieght' in [[rule]]; did you mean 'weight'?"),
    "floor above ceiling": ("[guests]\nceiling = '1GiB'\nfloor = '2GiB'", "3: the floor '2GiB' is above the ceiling '1GiB'"),
    "floor above ceiling in a rule": ("[[rule]]\nmatch = 'a'\nfloor = '2GiB'\nceiling = '1GiB'", "3: the floor '2GiB' is above the ceiling '1GiB'"),
    # not TOML
    "no quotes": ("[host]\nreserve = 1GiB", "2: not valid TOML: Expected newline or end of document after a statement"),
    "written twice": ("[law]\nmode = 'follow'\nmode = 'pressure'", "3: not valid TOML: Cannot overwrite a value"),
    "unfinished": ("[host]\n\nreserve = '1GiB", "3: not valid TOML: Expected \"'\""),
    "Latin-1": ("[host]\n# gr\udcfc\udcdfe", "2: is not UTF-8 text"),
    # several at once, in the order of their lines
    "several": (
        "[law]\nperiod = 2\nmode = 'folow'\n[zebras]\n[guests]\nmanage = 'no'\n[host]\nreserv = '1%'",
        [
            "2: [law] period: 2 has no unit; write it in quotes with its unit, for example '60s'",
            "3: [law] mode: 'folow' is none of pressure, follow; did you mean 'follow'?",
            "4: there is no section [zebras]; known: [host], [law], [guests], [[rule]], [stats], [ksm], [on_stop], [libvirt], [store], [control]",
            "6: [guests] manage: 'no' is neither true nor false; write one of these, without quotes",
            "8: there is no setting 'reserv' in [host]; did you mean 'reserve'?",
        ],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _root_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the default folders the same for whoever runs the tests."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/memtide")


def write(folder: Path, text: str, name: str = MAIN) -> Path:
    """Write one settings file; a surrogate stands for a raw byte."""
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return file


def mistakes(path: Path, overrides: dict[str, object] | None = None) -> list[str]:
    """Return what is said of the settings, line by line, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return caught.value.message.replace(f"{path.parent}/", "").split("\n")


@pytest.mark.parametrize("case", BROKEN)
def test_every_mistake_has_its_sentence(case: str, tmp_path: Path) -> None:
    """A broken file is refused with the line, what is wrong there, and what to write."""
    text, said = BROKEN[case]
    expected = [line.replace("{state}", "/var/lib/memtide") for line in ([said] if isinstance(said, str) else said)]
    assert mistakes(write(tmp_path, text)) == [f"{MAIN}:{line}" for line in expected]


def test_there_are_enough_broken_files() -> None:
    """R31 asks for 30 broken configurations with 30 precise messages."""
    assert len({text for text, _ in BROKEN.values()}) >= 30


def test_mistakes_in_several_files_are_said_at_once(tmp_path: Path) -> None:
    """One file that is not TOML does not hide the mistakes of the others, nor of the command line."""
    main = write(tmp_path, "[host]\nreserve = 1GiB")
    write(tmp_path, "[law]\nmode = 'x'", "memtide.toml.d/10-law.toml")
    assert mistakes(main, {"law.perod": "2s", "law.act": "yes"}) == [
        "memtide.toml:2: not valid TOML: Expected newline or end of document after a statement",
        "memtide.toml.d/10-law.toml:2: [law] mode: 'x' is none of pressure, follow; write 'pressure', for example",
        "command line: there is no setting 'law.perod'; did you mean 'law.period'?",
        "command line: [law] act: 'yes' is neither true nor false; write one of these, without quotes",
    ]


def test_a_floor_and_a_ceiling_of_two_files_are_compared(tmp_path: Path) -> None:
    """A drop-in cannot put the ceiling under the main file's floor."""
    main = write(tmp_path, "[guests]\nfloor = '2GiB'")
    write(tmp_path, "[guests]\nceiling = '1GiB'", "memtide.toml.d/a.toml")
    assert mistakes(main) == ["memtide.toml:2: the floor '2GiB' is above the ceiling '1GiB'"]


def test_drop_ins_win_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Main file, drop-ins by name, command line: the later wins, and each value knows where it was written."""
    main = write(tmp_path, "[law]\nmode = 'follow'\nperiod = '3s'\nboot_grace = '1m'")
    write(tmp_path, "[law]\nperiod = '5s'", "memtide.toml.d/20.toml")
    write(tmp_path, "\n[law]\nperiod = '4s'\nboot_grace = '2m'", "memtide.toml.d/10.toml")
    loaded = load(main, {"law.mode": "pressure"})
    limits = loaded.settings.limits
    assert (limits.mode, limits.period_s, limits.boot_grace_s) == ("pressure", 5.0, 120.0)
    assert str(loaded.values["law.mode"].origin) == "command line"
    assert str(loaded.values["law.period"].origin) == f"{tmp_path}/memtide.toml.d/20.toml:2"
    assert str(loaded.values["law.boot_grace"].origin) == f"{tmp_path}/memtide.toml.d/10.toml:4"
    assert str(loaded.values["host.reserve"].origin) == "default"
    assert [file.name for file in loaded.files] == [MAIN, "10.toml", "20.toml"]


def test_rules_are_added_up(tmp_path: Path) -> None:
    """A drop-in's rules come after the main file's, so they win, and each knows its own line."""
    main = write(tmp_path, "[[rule]]\nmatch = 'a'\nfloor = '1GiB'\n[[rule]]\nmatch = 'b'\nmanage = false")
    write(tmp_path, "[[rule]]\nmatch = 'c'\nfloor = '20%'", "memtide.toml.d/x.toml")
    loaded = load(main)
    rules = loaded.settings.limits.rules
    assert [rule.match for rule in rules] == ["a", "b", "c"]
    assert (rules[0].floor_bytes, rules[0].floor_ratio) == (GIB, None)
    assert (rules[2].floor_bytes, rules[2].floor_ratio) == (None, 0.2)
    assert loaded.rules[1]["manage"].origin == Origin(place=str(main), line=6)


def test_other_files_beside_are_not_read(tmp_path: Path) -> None:
    """Backups, package leftovers and an editor's dot files are no drop-ins."""
    main = write(tmp_path, "")
    for name in (".a.toml", "a.toml~", "a.toml.dpkg-new", "README"):
        write(tmp_path, "[zebra]", f"memtide.toml.d/{name}")
    assert load(main).files == (main,)


def test_the_default_file_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file all defaults hold; drop-ins alone are read too."""
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    assert load().files == ()
    drop_in = write(tmp_path, "[law]\nact = true", "memtide.toml.d/act.toml")
    assert (load().files, load().settings.act) == ((drop_in,), True)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A file that was asked for by name and is not there is an error, and so is a folder."""
    assert mistakes(tmp_path / "none.toml") == ["none.toml: cannot be read: No such file or directory"]
    assert mistakes(tmp_path / "../none.toml") == ["none.toml: cannot be read: No such file or directory"]
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    assert mistakes(folder) == ["folder.toml: cannot be read: Is a directory"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not read the file")
def test_a_file_of_somebody_else_is_a_matter_of_permission(tmp_path: Path) -> None:
    """A file that this user may not read is said to be so, not taken as absent."""
    main = write(tmp_path, "")
    main.chmod(0)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionDeniedError, match="may not be read by this user"):
            load(main)
    finally:
        os.seteuid(0)


def test_what_only_a_restart_can_change_is_named(tmp_path: Path) -> None:
    """A reload takes the mode at once and says that libvirt's URI has to wait."""
    old = load(write(tmp_path, ""))
    new = load(write(tmp_path, "[law]\nmode = 'follow'\nperiod = '3s'\n[libvirt]\nuri = 'test:///default'"))
    assert needs_restart(old, new) == ("libvirt.uri",)
    assert needs_restart(old, old) == ()


LINES = '''# a comment
version = 1
"quoted section".'and key' = """
[not.a.header]
key = 1
"""

[host]          # trailing
reserve = """\\
   1GiB"""
list = [
  "[[rule]]",
  1, # ]
]
[[rule]]
match = "a"
inline = { floor = "1GiB", deep.er = 2 }

[[rule]]
  match = 'b'
[rule.inner]
x = 1
'''


def test_the_scanner_finds_every_key() -> None:
    """Lines are right after multi-line texts and arrays, in arrays of tables, for dotted, quoted and inline keys."""
    assert key_lines(LINES) == {
        ("version",): 2,
        ("quoted section",): 3,
        ("quoted section", "and key"): 3,
        ("host",): 8,
        ("host", "reserve"): 9,
        ("host", "list"): 11,
        ("host", "list", 0): 11,
        ("host", "list", 1): 11,
        ("rule",): 15,
        ("rule", 0): 15,
        ("rule", 0, "match"): 16,
        ("rule", 0, "inline"): 17,
        ("rule", 0, "inline", "floor"): 17,
        ("rule", 0, "inline", "deep"): 17,
        ("rule", 0, "inline", "deep", "er"): 17,
        ("rule", 1): 19,
        ("rule", 1, "match"): 20,
        ("rule", 1, "inner"): 21,
        ("rule", 1, "inner", "x"): 22,
    }


def test_windows_line_ends_count_once() -> None:
    """A file from another system has the same line numbers."""
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = 2\r\n") == {("a",): 1, ("b",): 3, ("b", "c"): 4}
