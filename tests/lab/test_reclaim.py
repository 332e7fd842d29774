"""How fast and how completely a short host gets back what its guests do not use."""

import time
from pathlib import Path

import pytest
from guests import WAIT_S, current_bytes, full_of_air, resident_bytes, set_current
from running import Daemon, wait_for

from lab import Lab
from memtide.units import GIB, MIB

pytestmark = pytest.mark.lab

PERIOD_S = 2.0


def test_reclaim_is_nearly_whole_within_ten_seconds(tmp_path: Path) -> None:
    """A host made short gets 90 % of what its guests hold and do not use back within ten seconds."""
    guests = [full_of_air(f"air-{i}") for i in range(8)]
    with Lab(guests, wait_s=WAIT_S) as lab:
        time.sleep(10)
        settings = '[host]\nreserve = "7GiB"\n[law]\nboot_grace = "0s"\n'
        with Daemon(tmp_path, "--act", "--uri", lab.uri, settings=settings) as daemon:
            wait_for("statistics", lambda: all(g["stats"] == "fresh" for g in (daemon.status() or {})["guests"]), 20)
            time.sleep(2 * PERIOD_S)
            before_bytes = resident_bytes(lab)
            lab.host.shrink_to(3 * GIB // 2)
            began_s = time.monotonic()
            course = []
            while time.monotonic() - began_s < 10:
                course.append((time.monotonic() - began_s, before_bytes - resident_bytes(lab)))
                time.sleep(0.5)
            log = daemon.log()
        # what could be had at all: every guest down to what it uses, by hand
        for guest in lab.guests:
            report = guest.report()
            set_current(lab, guest, current_bytes(lab, guest) - report.mem_available_bytes)
        time.sleep(5)
        possible_bytes = before_bytes - resident_bytes(lab)
        kills = sum(guest.report().oom_kills for guest in lab.guests)

    gained_bytes = course[-1][1]
    when_s = next((at_s for at_s, gained in course if gained >= 0.9 * possible_bytes), None)
    print(  # noqa: T201 - the note quotes it
        f"{gained_bytes / MIB:.0f} of {possible_bytes / MIB:.0f} MiB ({gained_bytes / possible_bytes:.0%}) in 10 s, "
        f"90 % after {when_s and round(when_s, 1)} s"
    )
    assert kills == 0
    assert gained_bytes >= 0.9 * possible_bytes
    assert all(e["why"] and e["result"] for e in log if e["kind"] != "event")
