"""``bench.laws`` from end to end on a small scenario: what it runs, keeps and says; and that the oracle is one."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.laws import Job, main, read_known, run

TURNS = """
intent = "Two guests take turns on a host that holds one of them at a time."
duration = "120s"
[host]
total = "4GiB"
swap = "2GiB"
[[guest]]
name = "turn"
count = 2
maximum = "3GiB"
swap = "1GiB"
anonymous = { shape = "wave", low = "100MiB", high = "2GiB", period = "80s", high_for = "25s", ramp = "5s", phase = "10s", phase_step = "40s" }
"""  # noqa: E501 - a curve is a table in one line
TOO_MUCH = """
intent = "Two guests need more than there is."
duration = "90s"
[host]
total = "4GiB"
[[guest]]
name = "gold"
maximum = "3GiB"
swap = "2GiB"
anonymous = { shape = "points", points = [["10s", "500MiB"], ["30s", "2GiB"]] }
[[guest]]
name = "lead"
maximum = "3GiB"
swap = "2GiB"
anonymous = { shape = "points", points = [["10s", "500MiB"], ["30s", "2GiB"]] }
[[limits.rule]]
match = "gold"
weight = 4
"""


@pytest.fixture
def turns(tmp_path: Path) -> str:
    """Return the path of a scenario in which demand moves."""
    path = tmp_path / "turns.toml"
    path.write_text(TURNS)
    return str(path)


def test_an_oracle_lets_nobody_lack_anything_where_all_of_it_fits(turns: str) -> None:
    """It has each guest's need there in time and the host at its reserve, whatever the lag; nobody at all does not."""
    for lag_s in (0.0, 5.0):
        _, oracle = run(Job(turns, lag_s, "oracle"))
        assert oracle.is_whole
        assert oracle.under_reserve_s < 1
        assert oracle.moved_gib > 1
    _, alone = run(Job(turns, 0.0, "none"))
    assert alone.under_line_s > 10


def test_an_oracle_in_overload_keeps_the_host_up_and_spares_the_heavier(tmp_path: Path) -> None:
    """What cannot fit is taken from the lighter guest first, and the host stays near its line, not at nothing."""
    path = tmp_path / "much.toml"
    path.write_text(TOO_MUCH)
    _, oracle = run(Job(str(path), 0.0, "oracle"))
    assert oracle.oom_kills == 0
    assert oracle.by_weight[1.0] > 2 * oracle.by_weight[4.0]
    assert oracle.shortage_gib_s > 5


def test_what_was_found_is_kept_and_taken_again(turns: str, tmp_path: Path) -> None:
    """A law can be run alone beside the figures of the others of an earlier run."""
    known, out = tmp_path / "known.json", tmp_path / "page.md"
    common = ["--scenario", turns, "--lag", "2", "--processes", "1", "--known", str(known)]
    first = CliRunner().invoke(main, [*common, "--law", "none", "--law", "oracle"], catch_exceptions=False)
    assert "tide" not in first.stdout.split("## turns")[1]
    CliRunner().invoke(main, [*common, "--law", "tide", "--out", str(out)], catch_exceptions=False)
    assert {job.law for job in read_known(known)} == {"none", "oracle", "tide"}
    page = out.read_text()
    assert [line.split()[1] for line in page.splitlines() if line.startswith("| ")][-3:] == ["tide", "none", "oracle"]
    assert "**tide**: reached " in page
