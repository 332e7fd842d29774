"""What the settings mean."""

import re
import tomllib
from pathlib import Path

import pytest

from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode, Tenants
from memtide.policy import host_state
from memtide.runtime.settings import RULE, SECTIONS, SETTINGS, OnStop, Settings, build, defaults, guest_rule
from memtide.runtime.settings_pages import default_file, reference_page
from memtide.units import GIB, MIB, format_ratio, format_size

ROOT = Path(__file__).parents[2]
UUID = "2f5cbd4c-1f6c-4a52-9d52-06f7f3d0e6a1"

# another value than the default for every setting
OTHER = {
    "host.reserve": "3GiB", "law.act": True, "law.mode": "follow", "law.period": "5s", "law.boot_grace": "1m",
    "guests.manage": False, "guests.floor": "1GiB", "guests.ceiling": "8GiB", "guests.weight": 2,
    "rule.match": "db-*", "rule.manage": False, "rule.floor": "2GiB", "rule.ceiling": "4GiB", "rule.weight": 3,
    "stats.manage": False, "stats.period": "10s", "ksm.manage": False, "ksm.max_cpu": "25%", "ksm.tenants": "apart",
    "on_stop.guests": "restore", "on_stop.stats": "keep", "on_stop.ksm": "keep", "libvirt.uri": "test:///default",
    "store.directory": "/srv/memtide", "store.keep_records": "1d", "store.keep_actions": "1d",
    "store.keep_events": "1d", "store.max_size": "1TiB", "control.directory": "/srv/run",
}  # fmt: skip
ROWS = {row.key: row for row in SETTINGS}


def test_without_a_file_the_model_decides_nothing_else() -> None:
    """The table's defaults are those of the model: a policy without settings behaves like a daemon without a file."""
    settings = build(defaults())
    assert settings.limits == Limits()
    assert settings.limits.defaults == GuestLimits()
    assert settings.act is False


@pytest.mark.parametrize("key", [key for key in ROWS if key != "version"])
def test_every_setting_has_a_reader(key: str) -> None:
    """Another value of a setting makes other settings: no row of the table is without effect."""
    value = ROWS[key].kind.parse(OTHER[key])
    if ROWS[key].section == RULE:
        rule = {"match": "*"}
        assert build(defaults(), [rule | {ROWS[key].name: value}]) != build(defaults(), [rule])
    else:
        assert build(defaults() | {key: value}) != build(defaults())


def test_values_arrive_in_bytes_and_seconds() -> None:
    """What people write with units, the code gets in bytes, seconds and ratios."""
    values = {key: ROWS[key].kind.parse(raw) for key, raw in OTHER.items() if ROWS[key].section != RULE}
    rule = {ROWS[key].name: ROWS[key].kind.parse(raw) for key, raw in OTHER.items() if ROWS[key].section == RULE}
    assert build(defaults() | values, [rule]) == Settings(
        limits=Limits(
            mode=Mode.FOLLOW,
            reserve_bytes=3 * GIB,
            period_s=5.0,
            boot_grace_s=60.0,
            manage_ksm=False,
            ksm_max_cpu_ratio=0.25,
            ksm_tenants=Tenants.APART,
            stats_period_s=None,
            defaults=GuestLimits(manage=False, floor_bytes=GIB, floor_ratio=0.0, ceiling_bytes=8 * GIB, weight=2.0),
            rules=(GuestRule(match="db-*", manage=False, floor_bytes=2 * GIB, ceiling_bytes=4 * GIB, weight=3.0),),
        ),
        act=True,
        on_stop_guests=OnStop.RESTORE,
        on_stop_stats=OnStop.KEEP,
        on_stop_ksm=OnStop.KEEP,
        libvirt_uri="test:///default",
        store_directory=Path("/srv/memtide"),
        keep_records_s=86400.0,
        keep_actions_s=86400.0,
        keep_events_s=86400.0,
        store_max_bytes=1024 * GIB,
        control_directory=Path("/srv/run"),
    )


def test_a_stats_period_is_set_unless_statistics_are_left_alone() -> None:
    """The period reaches the policy; with ``manage = false`` no period does, whatever it says."""
    period = {"stats.period": ROWS["stats.period"].kind.parse("10s")}
    assert build(defaults() | period).limits.stats_period_s == 10
    assert build(defaults() | period | {"stats.manage": False}).limits.stats_period_s is None


def test_a_reserve_in_percent_is_a_ratio() -> None:
    """A percentage reaches the policy as a ratio, and no size beside it."""
    limits = build(defaults() | {"host.reserve": ROWS["host.reserve"].kind.parse("15 %")}).limits
    assert (limits.reserve_bytes, limits.reserve_ratio) == (None, 0.15)


def test_the_help_of_reserve_tells_the_policys_figures() -> None:
    """What the table says of the automatic reserve is what the policy computes."""
    text = ROWS["host.reserve"].help
    assert f"{format_size(host_state.RESERVE_BASE_BYTES)} + 3 %" in text
    assert host_state.RESERVE_RATIO == 0.03
    assert f"at most {format_ratio(host_state.RESERVE_MOST_RATIO)}" in text


@pytest.mark.parametrize(
    ("path", "text"),
    [("packaging/memtide.toml", default_file()), ("docs/reference/settings.md", reference_page())],
)
def test_generated_files_are_current(path: str, text: str) -> None:
    """The default file and the reference page are what the table makes; ``memtide config`` writes them anew."""
    command = "show --default" if path.endswith("toml") else "reference"
    assert (ROOT / path).read_text() == text, f"run: memtide config {command} > {path}"


def test_the_default_file_says_the_defaults() -> None:
    """With every "#" before a setting removed, the default file still says exactly the defaults, and one rule."""
    data = tomllib.loads(re.sub(r"^#(?! )", "", default_file(), flags=re.MULTILINE))
    rules = data.pop(RULE)
    assert data.pop("version") == 1
    assert {f"{section}.{name}": raw for section, names in data.items() for name, raw in names.items()} == {
        row.key: row.default for row in SETTINGS if row.section not in ("", RULE)
    }
    assert [set(rule) for rule in rules] == [{row.name for row in SETTINGS if row.section == RULE}]


def test_every_section_is_described() -> None:
    """The sections and their order are the same in both tables, so every face can rely on it."""
    assert list(dict.fromkeys(row.section for row in SETTINGS)) == ["", *SECTIONS]


def test_a_guests_own_settings_become_a_rule() -> None:
    """What a guest's metadata says holds for that guest alone."""
    rule, problems = guest_rule(UUID, {"floor": "512MiB", "weight": "2"})
    assert problems == ()
    assert rule == GuestRule(match=UUID, floor_bytes=512 * MIB, weight=2.0)


def test_a_guest_can_only_opt_out() -> None:
    """``manage = false`` in the metadata exempts; ``true`` does not undo what the operator exempted."""
    assert guest_rule(UUID, {"manage": "false"})[0].manage is False
    assert guest_rule(UUID, {"manage": "true"})[0].manage is None


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"floor": "512"}, "floor: 512 has no unit; write it in quotes with its unit, for example '2GiB'"),
        ({"flor": "1GiB"}, "there is no setting 'flor' for a guest; there are manage, floor, ceiling, weight"),
        ({"manage": "no"}, "manage: 'no' is neither true nor false; write one of these, without quotes"),
    ],
)
def test_a_guest_with_broken_settings_is_left_alone(overrides: dict[str, str], problem: str) -> None:
    """A floor that cannot be read must not count as no floor."""
    rule, problems = guest_rule(UUID, overrides | {"weight": "2"})
    assert rule == GuestRule(match=UUID, manage=False, weight=2.0)
    assert problems == (problem,)


def test_settings_are_frozen() -> None:
    """Nobody changes settings in place: a reload replaces them."""
    with pytest.raises(AttributeError):
        build(defaults()).act = True
