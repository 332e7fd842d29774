"""Scenario files: those that memtide brings along, how one is read, and what is said of a wrong one."""

import re
from pathlib import Path

import msgspec
import pytest

from memtide.errors import ConfigError, UsageError
from memtide.model.limits import Mode
from memtide.policy.laws import LAWS
from memtide.runtime.simulate import policy_view, run_law
from memtide.sim import scenario_page
from memtide.sim.behaviours import Behaviour, Rebooting, Slow, Stuck
from memtide.sim.curve import flat
from memtide.sim.events import HugePages, Outage, SizeByHand
from memtide.sim.scenario import Scenario, find, names, parse
from memtide.sim.scenario_words import BEHAVIOURS, key_of
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.units import GIB, MIB

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scenarios.md"
SMALL = 'intent = "It works."\nduration = "20s"\n[host]\ntotal = "4GiB"\n'
GUEST = '[[guest]]\nname = "a"\n'


def read(text: str, seed: int | None = None) -> Scenario:
    """Return the scenario of a file of this content."""
    return parse(text.encode(), name="mine", place="mine.toml", seed=seed)


# --- those that memtide brings along ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_scenario_loads_and_says_in_one_sentence_what_it_shows(name: str) -> None:
    """One sentence of intent, guests that fit in the beginning, and a run that is long enough to mean something."""
    scenario = find(name)
    assert re.fullmatch(r"[A-Z][^.]*(\d\.\d[^.]*)*\.", scenario.intent), scenario.intent
    assert scenario.note
    assert 120 <= scenario.duration_s <= 3600
    world = scenario.world()
    here = {guest.spec.name for guest in world.guests.values()}
    assert here == {guest.name for guest in scenario.guests if not guest.start_at_s}


def test_there_are_the_scenarios_of_the_research_and_more() -> None:
    """Each of S1 to S18 that a simulator can show is named in a note; S15 is not simulated."""
    notes = " ".join(find(name).note for name in names())
    shown = {number for number in range(1, 19) if re.search(rf"\bS{number}\b", notes)}
    assert shown == set(range(1, 19)) - {15}
    assert len(names()) >= 30


@pytest.mark.parametrize("name", ["constant", "lost-reports", "diurnal"])
def test_the_same_seed_takes_the_same_course_and_another_does_not(name: str) -> None:
    """What is left to chance is the same for a seed: figures can be compared."""
    short = [msgspec.structs.replace(find(name, seed=seed), duration_s=120.0) for seed in (1, 1, 2)]
    figures = [policy_view(run_law(each, "qmemman")) for each in short]
    assert figures[0] == figures[1]
    assert figures[0] != figures[2]


def test_a_lag_reaches_the_law() -> None:
    """Every guest's figures come so much later, besides what the file says."""
    spec = read(SMALL + GUEST + 'stats_lag = "500ms"\n').world(lag_s=2.0).guest("a").spec
    assert spec.stats_lag_s == 2.5


@pytest.mark.parametrize("law", LAWS)
def test_every_law_can_be_played(law: str) -> None:
    """None raises, and each leaves every guest a size that it may have."""
    played = msgspec.structs.replace(find("hostile"), duration_s=60.0)
    for guest in run_law(played, law).world.guests.values():
        assert 0 < guest.memory.current_bytes <= guest.spec.maximum_bytes


# --- how a file is read -------------------------------------------------------------------------------------------


def test_sizes_curves_behaviours_limits_and_events() -> None:
    """Each kind of thing that a file may say is understood."""
    scenario = read(
        SMALL
        + """
        base = { shape = "points", points = [["0s", "512MiB"], ["10s", "1GiB"]] }
        [[guest]]
        name = "plain"
        anonymous = "100MiB"
        swap_speed = "30MiB/s"
        stats_period = "none"
        hot = "40%"
        behaviour = "stuck"
        [[guest]]
        name = "row"
        count = 2
        anonymous = { shape = "wave", low = "1MiB", high = "9MiB", period = "60s", high_for = "20s", phase_step = "5s" }
        behaviour = { kind = "rebooting", at = "3s" }
        [limits]
        mode = "follow"
        reserve = "1GiB"
        guests = { floor = "20%" }
        [[limits.rule]]
        match = "row-*"
        weight = 4
        floor = "64MiB"
        [[event]]
        what = "size-by-hand"
        guest = "row-1"
        at = "5s"
        every = "10s"
        size = "512MiB"
        [[event]]
        what = "huge-pages"
        at = "6s"
        size = "1GiB"
        [[outage]]
        from = "7s"
        to = "9s"
        """
    )
    plain, *row = scenario.guests
    assert scenario.host.base is not None
    assert scenario.host.base.at(5) == 768 * MIB
    assert plain.anonymous == flat(100 * MIB)
    assert (plain.swap_bps, plain.stats_period_s, plain.hot_ratio, plain.behaviour) == (30 * MIB, None, 0.4, Stuck())
    assert [guest.name for guest in row] == ["row-0", "row-1"]
    assert [guest.anonymous.phase_s for guest in row] == [0.0, 5.0]
    assert row[0].behaviour == Rebooting(at_s=3.0)
    assert scenario.limits.mode is Mode.FOLLOW
    assert scenario.limits.reserve_bytes == GIB
    assert scenario.limits.defaults.floor_ratio == 0.2
    assert (scenario.limits.rules[0].weight, scenario.limits.rules[0].floor_bytes) == (4.0, 64 * MIB)
    assert scenario.events == (
        SizeByHand(guest="row-1", at_s=5.0, every_s=10.0, size_bytes=512 * MIB),
        HugePages(at_s=6.0, size_bytes=GIB),
    )
    assert scenario.outages == (Outage(from_s=7.0, to_s=9.0),)


def test_chance_spreads_a_block_and_is_the_seeds() -> None:
    """Guests of one block are spread by chance, alike for one seed."""
    text = SMALL + GUEST + (
        'count = 3\nanonymous = { shape = "noise", low = "1MiB", high = "90MiB", every = "5s", phase_random = "60s" }\n'
    )  # fmt: skip
    first, again, other = read(text), read(text), read(text, seed=7)
    assert first == again
    assert len({guest.anonymous for guest in first.guests}) == 3
    assert first.guests != other.guests
    assert other.seed == 7


@pytest.mark.parametrize("of", [HostSpec, GuestSpec, *BEHAVIOURS.values()])
def test_no_two_fields_have_the_same_key_but_those_that_are_told_apart(of: type) -> None:
    """A key means one field: a new field of the simulator must not hide behind an old one."""
    keys = [key_of(field.name) for field in msgspec.structs.fields(of)]
    assert {key for key in keys if keys.count(key) > 1} <= {"base"}


def test_a_behaviour_without_unit_in_its_name_has_a_key_too() -> None:
    """``Slow.bps`` is written as ``speed``."""
    [guest] = read(SMALL + GUEST + 'behaviour = { kind = "slow", speed = "1MiB/s" }\n').guests
    assert guest.behaviour == Slow(bps=MIB)
    assert isinstance(guest.behaviour, Behaviour)


WRONG = {
    "intent": ('duration = "9s"\n[host]\ntotal = "4GiB"\n' + GUEST, "intent: is missing; write a text"),
    "no guests": (SMALL, "guest: a scenario has guests; write a block [[guest]]"),
    "no host": ('intent = "x"\nduration = "9s"\n' + GUEST, "host: is missing; write a section [host]"),
    "unit": (SMALL + 'swap = "12"\n' + GUEST, "host.swap: '12' has no unit; write one of B, KiB"),
    "kind": (SMALL + "swap = 12\n" + GUEST, 'host.swap: 12 is not it; write a size such as "512MiB"'),
    "key": (SMALL + GUEST + 'maxmum = "1GiB"\n', "guest[a].maxmum: there is no such key here; did you mean 'maximum'?"),
    "shape": (
        SMALL + GUEST + 'anonymous = { shape = "wavy" }\n',
        "guest[a].anonymous.shape: there is no 'wavy'; did you mean 'wave'?",
    ),
    "speed": (SMALL + GUEST + 'swap_speed = "3MiB"\n', "guest[a].swap_speed: '3MiB' is not it; write a speed such as"),
    "points": (
        SMALL + GUEST + 'anonymous = { shape = "points", points = [["9s", "1MiB"], ["3s", "1MiB"]] }\n',
        "guest[a].anonymous.points:",
    ),
    "behaviour": (SMALL + GUEST + 'behaviour = "stock"\n', "there is no 'stock'; did you mean 'stuck'?"),
    "twice": (SMALL + GUEST + GUEST, "guest[a].name: there are two guests 'a'"),
    "nobody": (
        SMALL + GUEST + '[[event]]\nwhat = "stop"\nguest = "b"\nat = "1s"\n',
        "event[0].guest: there is no guest 'b' in this scenario",
    ),
    "mode": (SMALL + GUEST + '[limits]\nmode = "fast"\n', "limits.mode: 'fast' is not it; write one of \"pressure\""),
    "host twice": ('intent = "x"\nduration = "9s"\nhost = 3\n' + GUEST, "host: is a section; write [host]"),
    "guest": ('intent = "x"\nduration = "9s"\n[host]\ntotal = "4GiB"\n[guest]\n', "begin each with [[guest]]"),
    "toml": ("intent = \n", "not valid TOML"),
    "standstill": (
        SMALL + GUEST + 'anonymous = { shape = "points", points = [["0s", "1MiB"]], repeat = "0s" }\n',
        "guest[a].anonymous: no such curve is possible",
    ),
    "tiny": (SMALL + GUEST + 'maximum = "10MiB"\n', "guest[a].maximum: is less than the guest's kernel takes"),
    "never": (SMALL.replace("20s", "0s") + GUEST, "duration: "),
    "step": ('step = "0s"\n' + SMALL + GUEST, "step: "),
    "count": (SMALL + GUEST + "count = 0\n", "guest[a].count: "),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_file_key_and_what_to_write(text: str, said: str) -> None:
    """One sentence says where the mistake is and what belongs there."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith("mine.toml: ")
    assert said in caught.value.message


def test_a_scenario_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    """A name is one of those brought along; a path is a file; anything else is told from them."""
    (tmp_path / "own.toml").write_text(SMALL + GUEST)
    assert find(str(tmp_path / "own.toml")).name == "own"
    with pytest.raises(UsageError, match="did you mean antiphase"):
        find("antifase")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        find(str(tmp_path / "other.toml"))


def test_the_reference_page_is_current() -> None:
    """`python -m memtide.sim.scenario_page > docs/reference/scenarios.md` was run after the last change."""
    assert PAGE.read_text() == scenario_page.page()
