"""Who else steers KSM: known by name and right, looked for seldom, never ourselves."""

import os
from pathlib import Path

import pytest

from memtide.sources.ksm_writers import PER_SAMPLE, SCAN_EVERY_S, KsmWriters

OWN_NAMESPACE = "         0          0 4294967295\n"
ROOT_CAPABILITIES = "000001ffffffffff"


class Proc:
    """A /proc with processes in it, that counts what is looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run("self", "memtide")

    def run(  # noqa: PLR0913 - what the kernel tells of a process
        self,
        pid: int | str,
        comm: str,
        *cmdline: str,
        uid: int = 0,
        capabilities: str = "0",
        state: str = "S (sleeping)",
        uid_map: str = OWN_NAMESPACE,
    ) -> None:
        """Start a process."""
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comm").write_text(f"{comm}\n")
        (folder / "cmdline").write_text("\0".join((*cmdline, "")))
        (folder / "uid_map").write_text(uid_map)
        (folder / "status").write_text(
            f"Name:\t{comm}\nState:\t{state}\nUid:\t1000\t{uid}\t1000\t1000\nCapEff:\t{capabilities:>016}\n"
        )


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A host with nobody on it but us."""
    return Proc(tmp_path)


def found(proc: Proc) -> tuple[str, ...]:
    """Look once, anew."""
    return KsmWriters(proc.root).sample(0)


@pytest.mark.parametrize(
    ("comm", "cmdline", "name"),
    [
        ("ksmtuned", ["/bin/bash", "/usr/sbin/ksmtuned"], "ksmtuned"),
        ("bash", ["bash", "-x", "/usr/sbin/ksmtuned"], "ksmtuned"),
        ("momd", ["/usr/bin/python3", "/usr/sbin/momd", "-c", "/etc/momd.conf"], "momd"),
        ("python3.11", ["python3.11", "-u", "/usr/share/vdsm/supervdsmd", "--sockfile", "x"], "supervdsmd"),
        ("virt-handler", ["virt-handler", "--port", "8443"], "virt-handler"),
        ("harvester-node-", ["harvester-node-manager"], "harvester-node-manager"),
        ("uksmd", ["/usr/bin/uksmd"], "uksmd"),
    ],
)
def test_writers_by_name(proc: Proc, comm: str, cmdline: list[str], name: str) -> None:
    """As programs, as scripts run as a command, and as scripts that an interpreter was given."""
    proc.run(10, comm, *cmdline)
    proc.run(11, comm, *cmdline)
    assert found(proc) == (name,)


@pytest.mark.parametrize(
    ("comm", "cmdline"),
    [
        ("tail", ["tail", "-f", "ksmtuned"]),
        ("vim", ["vim", "/usr/sbin/ksmtuned"]),
        ("python3", ["python3", "tool.py", "ksmtuned"]),
        ("harvester-node-", ["harvester-node-manager-webhook"]),
        ("ksmd", [""]),
        ("vdsmd", ["/usr/bin/python3", "/usr/share/vdsm/vdsmd"]),
        ("pvestatd", ["pvestatd"]),
    ],
)
def test_others_are_no_writers(proc: Proc, comm: str, cmdline: list[str]) -> None:
    """Who reads such a program, has part of its name, or writes nothing there."""
    proc.run(10, comm, *cmdline)
    assert found(proc) == ()


def test_only_who_may_write_counts(proc: Proc) -> None:
    """A user's own "ksmtuned", one made root of a namespace of its own, and one that has ended steer nothing."""
    proc.run(10, "ksmtuned", "ksmtuned", uid=1000)
    proc.run(11, "ksmtuned", "ksmtuned", uid=1000, capabilities=ROOT_CAPABILITIES, uid_map="0 1000 1\n")
    proc.run(12, "ksmtuned", "ksmtuned", state="Z (zombie)")
    assert found(proc) == ()
    # systemd's uksmd: a user of its own with CAP_DAC_OVERRIDE (and SYS_PTRACE, SYS_NICE)
    proc.run(13, "uksmd", "/usr/bin/uksmd", uid=61234, capabilities="880002")
    assert found(proc) == ("uksmd",)


def test_we_are_not_another(proc: Proc) -> None:
    """Whatever we are called."""
    proc.run(os.getpid(), "momd", "momd")
    assert found(proc) == ()


def test_looked_for_once_a_minute(proc: Proc) -> None:
    """Who comes or goes is noticed within a minute, and within it nothing is read."""
    proc.run(10, "ksmtuned", "ksmtuned")
    writers = KsmWriters(proc.root)
    assert writers.sample(0) == ("ksmtuned",)
    (proc.root / "proc/10/comm").write_text("sleep\n")
    proc.run(11, "momd", "momd")
    assert writers.sample(SCAN_EVERY_S - 1) == ("ksmtuned",)
    assert writers.sample(SCAN_EVERY_S) == ("momd",)


def test_a_crowd_is_gone_through_in_parts(proc: Proc) -> None:
    """The first scan tells at once; later ones look at so many a time, and what they find counts when all is seen."""
    crowd = range(10_000, 10_000 + 2 * PER_SAMPLE)
    for pid in crowd:
        proc.run(pid, "sleep", "sleep")
    proc.run(10, "ksmtuned", "ksmtuned")
    writers = KsmWriters(proc.root)
    assert writers.sample(0) == ("ksmtuned",)
    proc.run(10, "sleep", "sleep")
    seen = [writers.sample(SCAN_EVERY_S + 2 * tick) for tick in range(3)]
    assert seen == [("ksmtuned",), ("ksmtuned",), ()]
