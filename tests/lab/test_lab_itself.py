"""The lab boots real guests, does what it says to them, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from lab import GuestSpec, Lab, LabError, clean, locked, processes
from lab.host import available_bytes
from lab.paths import RUN

MIB = 1 << 20
WAIT_S = 600.0  # another lab may be running on this machine
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.lab

SPECS = [
    GuestSpec(size_bytes=512 * MIB, script="hold 40MiB", swap_bytes=256 * MIB, fill="mixed", stats_period_s=1),
    GuestSpec(size_bytes=512 * MIB),
]


def traces() -> dict[str, object]:
    """Whatever a lab could leave on a machine (its cache may stay)."""
    return {
        "processes": processes.ours(),
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if "libvirt" in line],
        "directories": [str(path) for path in (RUN, Path("/run/libvirt"), Path("/var/lib/libvirt")) if path.exists()],
        "huge pages": HUGE_PAGES.read_text(),
        "swaps": Path("/proc/swaps").read_text(),
    }


def settled_traces() -> dict[str, object]:
    """The traces with no lab running and a crashed one's cleaned up."""
    with locked(WAIT_S):
        clean()
        return traces()


CRASHING = """
import time
from lab import GuestSpec, Lab
from lab.host import available_bytes
with Lab([GuestSpec(size_bytes=256 << 20)], wait_s=600) as lab:
    lab.host.shrink_to(available_bytes() - (256 << 20))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_nothing_is_left_of_a_lab_that_was_ended(number: signal.Signals) -> None:
    """An ended lab cleans up, a killed one is cleaned by the command.  Runs before the shared lab takes the lock."""
    before = settled_traces()
    with subprocess.Popen([sys.executable, "-c", CRASHING], stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert traces() != before
            process.send_signal(number)
            process.wait(30)
        finally:
            process.kill()
    if number is signal.SIGKILL:
        assert processes.ours()
        subprocess.run([sys.executable, "-m", "lab", "clean"], cwd=ROOT, check=True)
    assert traces() == before


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two guests for all tests below; nothing is left when they are done."""
    before = settled_traces()
    with Lab(SPECS, progress=print, wait_s=WAIT_S) as running:
        yield running
    assert traces() == before


def domain(lab: Lab, name: str) -> libvirt.virDomain:
    """The domain, through a fresh connection."""
    return libvirt.open(lab.uri).lookupByName(name)


def test_guests_run_and_follow_their_scripts(lab: Lab) -> None:
    """Both are in libvirt, and the scripted one holds what its script says."""
    assert {d.name() for d in libvirt.open(lab.uri).listAllDomains()} == {"lab-0", "lab-1"}
    report = lab.guests[0].wait_for(lambda r: r.anon_bytes == 40 * MIB and r.rounds > 0, limit_s=20)
    assert 400 * MIB < report.mem_total_bytes < 512 * MIB
    assert report.touch_p50_ms is not None
    assert report.swap_total_bytes == pytest.approx(256 * MIB, rel=0.01)
    assert (report.oom_kills, report.workload_kills) == (0, 0)


def test_only_one_lab_at_a_time(lab: Lab) -> None:
    """A second lab is refused by a sentence that names the holder."""
    assert lab.guests
    with pytest.raises(LabError, match=f"process {os.getpid()}"), Lab([GuestSpec()]):
        pass


def test_a_command_changes_what_is_held_and_the_host_pays(lab: Lab) -> None:
    """A live command arrives, and held memory is resident on the host."""
    guest = lab.guests[1]
    before_bytes = guest.resident_bytes()
    guest.command("hold 200MiB hot 20MiB")
    report = guest.wait_for(lambda r: r.anon_bytes == 200 * MIB, limit_s=30)
    assert report.hot_bytes == 20 * MIB
    assert guest.resident_bytes() > before_bytes + 150 * MIB
    guest.command("idle")
    guest.wait_for(lambda r: r.anon_bytes == 0, limit_s=10)


def test_page_cache_grows_in_the_guest_only(lab: Lab) -> None:
    """Reading the disk fills the guest's page cache."""
    guest = lab.guests[1]
    guest.command("cache 100MiB")
    report = guest.wait_for(lambda r: r.cached_bytes > 100 * MIB, limit_s=30)
    assert report.cache_read_bytes >= 100 * MIB


def test_freed_memory_stays_resident_on_the_host(lab: Lab) -> None:
    """Touched and freed: nothing for the guest, everything for the host."""
    guest = lab.guests[1]
    guest.command("touchfree 250MiB 5s; idle")
    guest.wait_for(lambda r: r.step == 2, limit_s=30)
    assert guest.report().anon_bytes == 0
    assert guest.resident_bytes() > 300 * MIB


def test_shrinking_by_libvirt_arrives_in_the_guest(lab: Lab) -> None:
    """Libvirt's setMemory makes the guest smaller, and as big as before again."""
    guest = lab.guests[1]
    total_bytes = guest.report().mem_total_bytes
    domain(lab, guest.name).setMemoryFlags(384 * 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.wait_for(lambda r: r.mem_total_bytes <= total_bytes - 120 * MIB, limit_s=30)
    assert domain(lab, guest.name).memoryStats()["actual"] == 384 * 1024
    domain(lab, guest.name).setMemoryFlags(512 * 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.wait_for(lambda r: r.mem_total_bytes == total_bytes, limit_s=30)


def test_a_squeezed_guest_swaps_and_says_so(lab: Lab) -> None:
    """Holding more than there is swaps, and swap and pressure are reported."""
    guest = lab.guests[0]
    guest.command("hold 600MiB")
    report = guest.wait_for(lambda r: r.swap_used_bytes > 50 * MIB, limit_s=90)
    assert report.swap_out_pages > 0
    assert report.psi_some_us is not None
    guest.command("idle")
    guest.wait_for(lambda r: r.anon_bytes == 0, limit_s=60)


def test_an_oom_kill_in_the_guest_is_counted_and_survived(lab: Lab) -> None:
    """Without swap the holder is killed, counted and started again."""
    guest = lab.guests[1]
    guest.command("hold 700MiB")
    report = guest.wait_for(lambda r: r.workload_kills > 0, limit_s=90)
    assert report.oom_kills > 0
    guest.command("hold 20MiB")
    guest.wait_for(lambda r: r.anon_bytes == 20 * MIB, limit_s=30)


def test_guests_outlive_libvirtd_and_are_found_again(lab: Lab) -> None:
    """A kill -9 of libvirtd touches no guest; the next one finds them with their statistics."""
    pids = [guest.pid for guest in lab.guests]
    lab.libvirtd.kill()
    with pytest.raises(libvirt.libvirtError):
        libvirt.open(lab.uri)
    lab.guests[1].command("hold 30MiB")
    lab.libvirtd.start()
    assert {d.name() for d in libvirt.open(lab.uri).listAllDomains()} == {"lab-0", "lab-1"}
    assert [guest.pid for guest in lab.guests] == pids
    deadline = time.monotonic() + 15
    while "usable" not in domain(lab, "lab-0").memoryStats():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_stopped_guest_falls_silent_and_comes_back(lab: Lab) -> None:
    """SIGSTOP is a hung QEMU: no reports until SIGCONT."""
    guest = lab.guests[1]
    guest.stop_process()
    time.sleep(2.5)
    silent_since_s = guest.report().received_s
    assert time.monotonic() - silent_since_s > 1.5
    guest.cont_process()
    guest.wait_for(lambda r: r.received_s > silent_since_s, limit_s=15)


def test_a_reset_guest_gets_its_script_back(lab: Lab) -> None:
    """A rebooted guest follows its last script again."""
    guest = lab.guests[1]
    guest.command("hold 50MiB")
    uptime_s = guest.report().uptime_s
    guest.reset()
    guest.wait_for(lambda r: r.uptime_s < uptime_s and r.anon_bytes == 50 * MIB, limit_s=60)


def test_the_host_is_made_small_and_given_back(lab: Lab) -> None:
    """Huge pages come and go; leaving too little is refused."""
    original = HUGE_PAGES.read_text()
    before_bytes = available_bytes()
    achieved_bytes = lab.host.shrink_to(before_bytes - 256 * MIB)
    assert achieved_bytes == pytest.approx(before_bytes - 256 * MIB, abs=64 * MIB)
    lab.host.restore()
    assert HUGE_PAGES.read_text() == original
    with pytest.raises(LabError, match="refusing to leave 100 MiB"):
        lab.host.shrink_to(100 * MIB)


def test_a_killed_guest_is_told_as_gone(lab: Lab) -> None:
    """Last of the shared lab's tests; its end is tested with one guest dead and one hung."""
    dead, hung = lab.guests
    dead.kill()
    deadline = time.monotonic() + 10
    while dead.alive:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(LabError, match="lab-0"):
        dead.command("idle", limit_s=3)
    hung.stop_process()
