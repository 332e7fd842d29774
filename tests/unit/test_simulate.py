"""``memtide simulate``: table, words and JSON; progress; what is said of names that do not exist."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memtide.errors import ConfigError, UsageError
from memtide.faces.cli import simulate_text
from memtide.faces.cli.simulate import simulate
from memtide.faces.cli.simulate_text import Progress
from memtide.policy.laws import LAWS
from memtide.sim.scenario import names
from memtide.views.simulation import PolicyView, SimulationView, kindest, verdict

FIGURES = {
    "shortage_gib_s",
    "worst_guest",
    "worst_guest_shortage_gib_s",
    "oom_kills",
    "host_under_reserve_s",
    "host_under_emergency_s",
    "host_least_available_gib",
    "moved_gib",
    "reversals",
    "actions",
    "longest_relief_s",
    "guest_swap_gib",
    "host_swap_gib",
    "major_faults",
}
FILE = """
intent = "Two guests need more than there is."
duration = "60s"
[host]
total = "3GiB"
swap = "2GiB"
[[guest]]
name = "heavy"
maximum = "2GiB"
swap = "1GiB"
anonymous = { shape = "points", points = [["5s", "300MiB"], ["20s", "1700MiB"]] }
[[guest]]
name = "light"
maximum = "2GiB"
swap = "1GiB"
anonymous = { shape = "points", points = [["5s", "300MiB"], ["20s", "1500MiB"]] }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a scenario of one's own."""
    path = tmp_path / "own.toml"
    path.write_text(FILE)
    return path


def said(*arguments: str | Path) -> str:
    """Return what the command prints when all is well."""
    result = CliRunner().invoke(simulate, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def figures(**changed: Any) -> PolicyView:
    """Return the figures of a law under which all was well, but for these."""
    well: dict[str, Any] = dict.fromkeys(FIGURES, 0) | {"worst_guest": None}
    return PolicyView(**(well | changed))


def view(**policies: PolicyView) -> SimulationView:
    """Return what came of some laws."""
    return SimulationView(scenario="some", lag_s=0.0, policies=policies)


# --- the command --------------------------------------------------------------------------------------------------


def test_the_json_is_as_promised(file: Path) -> None:
    """Scenario, lag, and the figures of each law in the order asked for."""
    content = json.loads(said(file, "--policy", "none", "--policy", "tide", "--lag", "2s", "--json"))
    assert set(content) == {"scenario", "lag_s", "policies"}
    assert (content["scenario"], content["lag_s"]) == ("own", 2.0)
    assert list(content["policies"]) == ["none", "tide"]
    for each in content["policies"].values():
        assert set(each) == FIGURES


def test_all_laws_are_played_unless_told(file: Path) -> None:
    """Who asks for none gets memtide's beside all others, each once."""
    assert list(json.loads(said(file, "--json"))["policies"]) == list(LAWS)


def test_the_table_has_the_laws_as_rows_and_words_below(file: Path) -> None:
    """A person reads who suffered how much, and which law was kindest."""
    text = said(file, "--policy", "tide", "--policy", "squeezed")
    rows = [line.split()[0] for line in text.splitlines() if line]
    assert rows.index("LAW") < rows.index("tide") < rows.index("squeezed")
    assert "Two guests need more than there is." in text
    assert "lacked most" in text
    assert "kindest while the host is as safe as under any: " in text
    assert "\x1b" not in text


def test_the_mode_is_passed_on() -> None:
    """Mode ``follow`` takes slack that mode ``pressure`` leaves."""
    arguments = ("idle-burst", "--policy", "tide", "--json")
    assert said(*arguments, "--mode", "follow") != said(*arguments)


def test_the_seed_is_passed_on(file: Path) -> None:
    """Another seed is another course; the same one is the same."""
    noise = 'anonymous = { shape = "noise", low = "300MiB", high = "1500MiB", every = "5s" }'
    file.write_text(f'{FILE}[[guest]]\nname = "noisy"\nmaximum = "2GiB"\nswap = "1GiB"\n{noise}\n')
    two, again, three = (said(file, "--policy", "none", "--seed", seed, "--json") for seed in ("2", "2", "3"))
    assert two == again
    assert two != three


def test_the_list_names_every_scenario_with_its_intent() -> None:
    """For people a name and a sentence, for programs the same as JSON."""
    text = said("--list")
    listed = json.loads(said("--list", "--json"))
    assert [each["name"] for each in listed] == names()
    for each in listed:
        assert each["name"] in text
        assert each["intent"].split()[0] in text
        assert set(each) == {"name", "intent", "note", "duration_s", "guests"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["antifase"], "there is no scenario 'antifase'; did you mean antiphase?"),
        (["antiphase", "--policy", "squeesed"], "there is no law 'squeesed'; did you mean squeezed?"),
        ([], "which scenario?"),
        (["/nowhere/at.toml"], "the scenario /nowhere/at.toml cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_name_is_a_wrong_command_line(arguments: list[str], says: str) -> None:
    """Status 2, what is wrong, and what to do next."""
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(simulate, arguments, catch_exceptions=False)
    assert caught.value.message == says
    assert caught.value.exit_status == 2


def test_a_wrong_file_is_a_wrong_setting(file: Path) -> None:
    """Status 3, and the place of the mistake."""
    file.write_text(FILE.replace("maximum", "maximal"))
    with pytest.raises(ConfigError, match=r"own.toml: guest\[heavy\]\.maximal: .*did you mean 'maximum'") as caught:
        CliRunner().invoke(simulate, [str(file)], catch_exceptions=False)
    assert caught.value.exit_status == 3


def test_progress_comes_after_two_seconds_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits long is told which law is being played, on stderr, each law once when nobody watches."""
    now_s = [0.0]
    monkeypatch.setattr(simulate_text.time, "monotonic", lambda: now_s[0])
    with Progress("some", 2) as progress:
        progress.tell("tide", 0.5)
        now_s[0] = 3.0
        progress.tell("mom", 0.1)
        progress.tell("mom", 0.2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "some: law mom, 2 of 2\n"


# --- the words ----------------------------------------------------------------------------------------------------


def test_the_kindest_law_kills_nobody_and_then_has_the_least_shortage() -> None:
    """A kill is worse than any shortage; shortages within 1 % or 1 GiB s are the same."""
    policies = {
        "killer": figures(oom_kills=1),
        "harsh": figures(shortage_gib_s=50.0),
        "kind": figures(shortage_gib_s=3.0),
        "alike": figures(shortage_gib_s=3.9),
    }
    assert kindest(policies) == ["kind", "alike"]
    assert kindest({"a": figures(shortage_gib_s=1000.0), "b": figures(shortage_gib_s=1009.0)}) == ["a", "b"]


def test_a_law_that_leaves_the_host_short_is_not_called_kindest() -> None:
    """It is named as kinder, with what that cost the host."""
    safe = figures(shortage_gib_s=8.0, worst_guest="web", worst_guest_shortage_gib_s=8.0, longest_relief_s=4.0)
    lines = verdict(view(safe=safe, careless=figures(host_under_reserve_s=300.0, host_under_emergency_s=9.0)), 600.0)
    host = "the host had less than its reserve for 5m 0s (less than a quarter of it for 9.0 s)"
    assert lines == [
        "safe: web lacked most: 8.0 GiB·s, relief took up to 4.0 s; the host always had its reserve",
        f"careless: nobody lacked memory; {host}",
        "",
        "kindest while the host is as safe as under any: safe",
        "careless was kinder, and left the host 5m 0s under its reserve",
    ]


def test_a_law_alone_is_not_compared() -> None:
    """One law has no rival: only what it did is said."""
    killed = figures(oom_kills=2, shortage_gib_s=9.0, worst_guest="db", worst_guest_shortage_gib_s=4.0)
    [only] = verdict(view(mom=killed), 600.0)
    lacked = "mom: db lacked most: 4.0 GiB·s of 9.0 in all, relief took up to 0.0 s"
    assert only.startswith(f"{lacked}, 2 killed for want of memory; ")
