"""The README's `./run`: eight real guests at 200 %, and nobody is killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import MEMTIDE

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]


def test_the_demo_moves_memory_and_kills_nobody(tmp_path: Path) -> None:
    """Memory that guests do not use comes home and guests get their room back; every action has reason and outcome.

    Nobody need starve for it: relief is proved in test_promises.
    """
    places = {"MEMTIDE_DEMO_STATE": str(tmp_path / "state"), "MEMTIDE_DEMO_CONTROL": str(tmp_path / "control")}
    demo = subprocess.run(
        [sys.executable, "-m", "lab", "demo", "--for", "75s"],
        cwd=ROOT, env=os.environ | places, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stderr
    log = subprocess.run(
        [MEMTIDE, "log", "--json", "-n", "10000", "--state", tmp_path / "state", "--control", tmp_path / "control"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    entries = [json.loads(line) for line in log.stdout.splitlines()]
    actions = [entry for entry in entries if entry["kind"] != "event"]

    assert all(action["why"] and action["closed_at_s"] for action in actions)
    assert any(a["reason"] in {"room", "relief"} and (a["moved_bytes"] or 0) > 0 for a in actions)
    assert any((a["moved_bytes"] or 0) < 0 and (a["host_gained_bytes"] or 0) > 0 for a in actions)
    fares = demo.stdout[demo.stdout.index("What the guests say") :].splitlines()
    guests = [line.split() for line in fares if line.startswith("  lab-")]
    assert len(guests) == 8
    assert {guest[1] for guest in guests} == {"0"}, fares
    assert "host OOM kills: 0" in fares
