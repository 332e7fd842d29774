"""The settings: one table. It feeds the parser, ``memtide config``, the default file and the reference page.

To add a setting, add its row here and its field in :class:`Settings`; everything else follows from the table.
"""

import enum
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from memtide.errors import MemtideError
from memtide.model.base import Model
from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode, Tenants
from memtide.runtime import paths
from memtide.runtime.setting_kinds import (
    Amount,
    Kind,
    amount,
    choice,
    duration,
    flag,
    folder,
    number,
    pattern,
    percentage,
    size,
    uri,
    version,
    whole_seconds,
)

__all__ = ["RULE", "SECTIONS", "SETTINGS", "OnStop", "Setting", "Settings", "build", "defaults", "guest_rule"]

VERSION: Final = 1
RULE: Final = "rule"
"""The section that may be written many times, ``[[rule]]``; its settings have no default."""


class OnStop(enum.StrEnum):
    """What becomes of a thing that memtide changed, when memtide stops."""

    KEEP = "keep"
    RESTORE = "restore"


class Setting(Model, frozen=True, kw_only=True):
    """One row of the table."""

    section: str
    """Empty: it stands above all sections."""
    name: str
    kind: Kind
    default: str | bool | float | None
    """As a person would write it, unit included; ``None``: not set."""
    help: str
    reload: bool = True
    """Takes effect on reload (SIGHUP); ``False``: the daemon must be restarted."""

    @property
    def key(self) -> str:
        """The setting's full name, ``law.period``."""
        return f"{self.section}.{self.name}" if self.section else self.name


SECTIONS: Final = {
    "host": "The host itself.",
    "law": "How memtide decides.",
    "guests": "What holds for every guest, unless a rule says otherwise.",
    RULE: "What differs for some guests. Write as many rules as you like; where several match, the later wins.",
    "stats": "The guests' own memory statistics. Without them nothing can be taken from a guest.",
    "ksm": "Kernel samepage merging: identical pages of several guests kept once.",
    "on_stop": "What becomes of the changes when memtide stops.",
    "libvirt": "Where the guests are.",
    "store": "What memtide remembers: original sizes, actions with their outcomes, events, decisions.",
    "control": "How the commands reach the daemon.",
}

FLOOR: Final = "Never leave a guest less memory than this; a percentage is of the guest's maximum."
CEILING: Final = "Never grow a guest above this."
WEIGHT: Final = "Under contention a guest of weight 2 keeps twice as much as one of weight 1."
MANAGE: Final = "Change the guest's memory; false leaves it alone, and it still counts in what the host needs."


def _row(key: str, kind: Kind, text: str, *, default: str | bool | float | None, reload: bool = True) -> Setting:
    section, _, name = key.rpartition(".")
    return Setting(section=section, name=name, kind=kind, default=default, help=text, reload=reload)


SETTINGS: Final[tuple[Setting, ...]] = (
    _row("version", version(VERSION), "The version of this file's language.", default=VERSION),
    _row("host.reserve", amount(word="auto"),
         "Host memory never granted to guests; when less is available, memory is taken back. "
         "auto: 512 MiB + 3 % of the host's memory, at most 15 %, and 2 % of what KSM saves. "
         "A percentage is of what guests can have.",
         default="auto"),
    _row("law.act", flag(),
         "Change the world. false: observe, decide and record, but write nothing.", default=False, reload=False),
    _row("law.mode", choice(Mode),
         "pressure: guests have their maximum, and memory is taken only when the host is short. "
         "follow: guests get what they want, and the rest stays the host's.", default="pressure"),
    _row("law.period", duration("500ms", "60s"), "How often memtide looks and decides.", default="2s"),
    _row("law.boot_grace", duration("0s", "1h"),
         "Take nothing from a guest for so long after its start: its own boot is its peak.", default="30s"),
    _row("guests.manage", flag(), MANAGE, default=True),
    _row("guests.floor", amount(), FLOOR, default="10%"),
    _row("guests.ceiling", size("1MiB", word="maximum"), f"{CEILING} maximum: the guest's own.", default="maximum"),
    _row("guests.weight", number(0.01, 100), WEIGHT, default=1.0),
    _row("rule.match", pattern(), "The guests it speaks of. Every rule needs it.", default=None),
    _row("rule.manage", flag(), MANAGE, default=None),
    _row("rule.floor", amount(), FLOOR, default=None),
    _row("rule.ceiling", size("1MiB"), CEILING, default=None),
    _row("rule.weight", number(0.01, 100), WEIGHT, default=None),
    _row("stats.manage", flag(),
         "Switch statistics on, live, for a guest that has none. A period that somebody else set is left as it is.",
         default=True),
    _row("stats.period", whole_seconds("1s", "60s"), "How often such a guest then reports.", default="1s"),
    _row("ksm.manage", flag(),
         "Start and stop KSM by what it brings for its CPU. false: leave it as it is.", default=True),
    _row("ksm.max_cpu", percentage(1, 100), "ksmd has at most this share of one CPU on average.", default="70%"),
    _row("ksm.tenants", choice(Tenants),
         "While guests of several owners are here (OpenNebula, nova or memtide's own metadata say whose they are). "
         "warn: merge, and say so. apart: do not start KSM; from inside a guest merging can be timed.",
         default="warn"),
    _row("on_stop.guests", choice(OnStop),
         "keep: guests keep the size they have. restore: they get their original size back, as far as the host can.",
         default="keep"),
    _row("on_stop.stats", choice(OnStop), "The same for statistics periods that memtide set.", default="restore"),
    _row("on_stop.ksm", choice(OnStop),
         "The same for KSM's settings. Pages already merged stay merged.", default="restore"),
    _row("libvirt.uri", uri(), "The hypervisor to connect to.", default="qemu:///system", reload=False),
    _row("store.directory", folder(paths.state_folder),
         "The folder of the database. auto: /var/lib/memtide, or below XDG_STATE_HOME for an ordinary user.",
         default="auto", reload=False),
    _row("store.keep_records", duration("1h", "3650d"),
         "How long to keep decisions with all they were based on.", default="7d", reload=False),
    _row("store.keep_actions", duration("1h", "3650d"),
         "How long to keep what was done, and what came of it.", default="90d", reload=False),
    _row("store.keep_events", duration("1h", "3650d"), "How long to keep events.", default="90d", reload=False),
    _row("store.max_size", size("16MiB"),
         "When the database is larger, the oldest decisions are dropped.", default="1GiB", reload=False),
    _row("control.directory", folder(paths.control_folder),
         "The folder of the sockets. auto: /run/memtide, or below XDG_RUNTIME_DIR for an ordinary user.",
         default="auto", reload=False),
)  # fmt: skip


class Settings(Model, frozen=True, kw_only=True):
    """All settings, parsed: bytes, seconds, ratios."""

    limits: Limits
    """What reaches the policy."""
    act: bool
    """``False``: observe."""
    on_stop_guests: OnStop
    on_stop_stats: OnStop
    on_stop_ksm: OnStop
    libvirt_uri: str
    store_directory: Path
    keep_records_s: float
    keep_actions_s: float
    keep_events_s: float
    store_max_bytes: int
    control_directory: Path


def build(values: Mapping[str, Any], rules: Iterable[Mapping[str, Any]] = ()) -> Settings:
    """Return the settings.

    Args:
        values: every setting's parsed value by its key, none missing.
        rules: each rule's parsed values by name; what a rule does not say is missing.
    """
    return Settings(
        limits=_limits(values, rules),
        act=values["law.act"],
        on_stop_guests=values["on_stop.guests"],
        on_stop_stats=values["on_stop.stats"],
        on_stop_ksm=values["on_stop.ksm"],
        libvirt_uri=values["libvirt.uri"],
        store_directory=values["store.directory"],
        keep_records_s=values["store.keep_records"],
        keep_actions_s=values["store.keep_actions"],
        keep_events_s=values["store.keep_events"],
        store_max_bytes=values["store.max_size"],
        control_directory=values["control.directory"],
    )


def defaults() -> dict[str, Any]:
    """Return the parsed default of every setting that has one, by key."""
    return {row.key: row.kind.parse(row.default) for row in SETTINGS if row.section != RULE}


def _limits(values: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> Limits:
    reserve: Amount = values["host.reserve"]
    floor: Amount = values["guests.floor"]
    return Limits(
        mode=values["law.mode"],
        reserve_bytes=reserve.size_bytes,
        reserve_ratio=reserve.ratio,
        period_s=values["law.period"],
        boot_grace_s=values["law.boot_grace"],
        manage_ksm=values["ksm.manage"],
        ksm_max_cpu_ratio=values["ksm.max_cpu"],
        ksm_tenants=values["ksm.tenants"],
        stats_period_s=values["stats.period"] if values["stats.manage"] else None,
        defaults=GuestLimits(
            manage=values["guests.manage"],
            floor_bytes=floor.size_bytes or 0,
            floor_ratio=floor.ratio or 0.0,
            ceiling_bytes=values["guests.ceiling"],
            weight=values["guests.weight"],
        ),
        rules=tuple(_rule(rule) for rule in rules),
    )


def _rule(values: Mapping[str, Any]) -> GuestRule:
    floor: Amount = values.get("floor", Amount())
    return GuestRule(
        match=values["match"],
        manage=values.get("manage"),
        floor_bytes=floor.size_bytes,
        floor_ratio=floor.ratio,
        ceiling_bytes=values.get("ceiling"),
        weight=values.get("weight"),
    )


def guest_rule(uuid: str, overrides: Mapping[str, str]) -> tuple[GuestRule, tuple[str, ...]]:
    """Return a guest's own settings (its libvirt ``<metadata>``) as a rule for it alone, and what is wrong in them.

    The guest's side can only say "leave me alone", never undo the operator's: ``manage = true`` says nothing here.
    While something is wrong the guest is left alone: a floor that cannot be read must not count as no floor.
    """
    rows = {row.name: row for row in SETTINGS if row.section == RULE and row.name != "match"}
    values: dict[str, Any] = {"match": uuid}
    problems = []
    for name, text in overrides.items():
        if name not in rows:
            problems.append(f"there is no setting {name!r} for a guest; there are {', '.join(rows)}")
            continue
        try:
            values[name] = rows[name].kind.parse(_plain(text))
        except MemtideError as error:
            problems.append(f"{name}: {error.message}")
    if problems or values.get("manage") is True:
        values["manage"] = False if problems else None
    return _rule(values), tuple(problems)


def _plain(text: str) -> object:
    """Return what a text without quotes means: ``true``, ``2.5``, or itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
