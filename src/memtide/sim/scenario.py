"""A scenario: a host, its guests and what happens to them, written down in one TOML file with one sentence of intent.

The files that memtide brings along are in ``memtide/sim/scenarios``. The words a file may use are in
``scenario_words``; docs/reference/scenarios.md is made of them.
"""

import difflib
import importlib.resources
import random
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from memtide.errors import ConfigError, UsageError
from memtide.model.base import Model
from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode
from memtide.sim.events import Event, Outage
from memtide.sim.scenario_words import DURATION, EVENTS, TEXT, WHOLE, Reader
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World

__all__ = ["SUFFIX", "Scenario", "find", "names", "parse"]

SUFFIX: Final = ".toml"
FOLDER: Final = "scenarios"
STEP_S: Final = 0.1
MOST_GUESTS: Final = 10_000
"""A typing error must not fill the machine's memory."""


class Scenario(Model, frozen=True, kw_only=True):
    """One scenario, ready to be played any number of times; the same seed always takes the same course."""

    name: str
    intent: str
    """One sentence: what is expected of a good law."""
    note: str = ""
    """Where it comes from, and what it cannot show."""
    duration_s: float
    step_s: float = STEP_S
    seed: int = 1
    host: HostSpec
    guests: tuple[GuestSpec, ...]
    limits: Limits
    events: tuple[Event, ...] = ()
    outages: tuple[Outage, ...] = ()

    def world(self, *, lag_s: float = 0.0) -> World:
        """Return its world at the beginning.

        Args:
            lag_s: how much later every report is seen, besides what the file says.
        """
        guests = [msgspec.structs.replace(guest, stats_lag_s=guest.stats_lag_s + lag_s) for guest in self.guests]
        return World(self.host, guests, step_s=self.step_s, seed=self.seed)

    def limits_for(self, mode: Mode | None) -> Limits:
        """Return what the operator allows, in another mode than the file's if one is given."""
        return self.limits if mode is None else msgspec.structs.replace(self.limits, mode=mode)


def names() -> list[str]:
    """Return the names of the scenarios that memtide brings along."""
    folder = importlib.resources.files("memtide.sim") / FOLDER
    return sorted(file.name.removesuffix(SUFFIX) for file in folder.iterdir() if file.name.endswith(SUFFIX))


def find(name: str, *, seed: int | None = None) -> Scenario:
    """Return a scenario by its name, or by its file's path.

    Args:
        name: one of ``names()``, or a path, which ends in ``.toml``.
        seed: in place of the file's.

    Raises:
        UsageError: there is none of that name, and no such file.
        ConfigError: the file is wrong.
    """
    if name.endswith(SUFFIX) or "/" in name:
        path = Path(name)
        try:
            return parse(path.read_bytes(), name=path.stem, place=name, seed=seed)
        except OSError as error:
            raise UsageError(f"the scenario {name} cannot be read: {error.strerror}") from error
    known = names()
    if name not in known:
        alike = difflib.get_close_matches(name, known, n=3)
        meant = f"; did you mean {' or '.join(alike)}?" if alike else ""
        raise UsageError(f"there is no scenario {name!r}{meant}", "`memtide simulate --list` names them all")
    file = importlib.resources.files("memtide.sim") / FOLDER / f"{name}{SUFFIX}"
    return parse(file.read_bytes(), name=name, place=f"{name}{SUFFIX}", seed=seed)


def parse(content: bytes, *, name: str, place: str, seed: int | None = None) -> Scenario:
    """Return the scenario that a file's content describes.

    Raises:
        ConfigError: it is wrong; the message names file and key, and what to write instead.
    """
    try:
        data = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{place}: not valid TOML: {error}") from error
    return _scenario(Reader(place, "", data), name, seed)


def _scenario(file: Reader, name: str, seed: int | None) -> Scenario:
    intent = file.take("intent", TEXT)
    duration_s = file.take("duration", DURATION)
    step_s = file.take("step", DURATION, STEP_S)
    own_seed = file.take("seed", WHOLE, 1)
    note = file.take("note", TEXT, "")
    host = file.table("host", needed=True)
    blocks = file.tables("guest")
    limits = file.table("limits")
    events = file.tables("event")
    outages = file.tables("outage")
    file.done()
    for key, value_s, example in (("duration", duration_s, "10m"), ("step", step_s, "100ms")):
        if value_s <= 0:
            raise file.wrong(key, f'is 0; write how long, such as "{example}"')
    if not blocks:
        raise file.wrong("guest", 'a scenario has guests; write a block [[guest]] with name = "web"')
    seed = own_seed if seed is None else seed
    guests = _guests(blocks, random.Random(seed))  # noqa: S311 - chance that is the same every time
    return Scenario(
        name=name,
        intent=intent,
        note=note,
        duration_s=duration_s,
        step_s=step_s,
        seed=seed,
        host=host.struct(HostSpec),
        guests=guests,
        limits=_limits(limits),
        events=tuple(_event(block, {guest.name for guest in guests}) for block in events),
        outages=tuple(block.struct(Outage) for block in outages),
    )


def _guests(blocks: list[Reader], chance: random.Random) -> tuple[GuestSpec, ...]:
    guests: dict[str, GuestSpec] = {}
    for block in blocks:
        name = block.take("name", TEXT)
        count = block.take("count", WHOLE, None)
        if count is not None and count < 1:
            raise block.wrong("count", f"{count} guests are none; write 1 or more")
        if count is not None and count > MOST_GUESTS:
            raise block.wrong("count", f"{count} guests are more than the {MOST_GUESTS} that one block can have")
        for index in range(1 if count is None else count):
            own_name = name if count is None else f"{name}-{index}"
            if own_name in guests:
                raise block.wrong("name", f"there are two guests {own_name!r}; give each block its own name")
            guest = block.of_guest(index, chance).struct(GuestSpec, name=own_name)
            if guest.maximum_bytes <= guest.kernel_bytes:
                raise block.wrong("maximum", "is less than the guest's kernel takes; write more")
            guests[own_name] = guest
    return tuple(guests.values())


def _limits(table: Reader) -> Limits:
    rules = tuple(rule.struct(GuestRule) for rule in table.tables("rule"))
    defaults = table.table("guests").struct(GuestLimits)
    return table.struct(Limits, rules=rules, defaults=defaults)


def _event(block: Reader, guests: set[str]) -> Event:
    kind = block.word("what", EVENTS)
    event: Any = block.struct(EVENTS[kind])
    guest = getattr(event, "guest", None)
    if guest is not None and guest not in guests:
        raise block.wrong("guest", f"there is no guest {guest!r} in this scenario")
    return event  # type: ignore[no-any-return]
