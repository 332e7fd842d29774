"""Facts of a QEMU process, from captured trees and from a process of our own."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from memtide.sources.cgroup import guest_memory_file
from memtide.sources.parse_process import CgroupPaths
from memtide.sources.process import ProcessReader, Qemu
from memtide.units import GIB, KIB, MIB

HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"
UUID = "0b1e0f2c-5a0d-4a52-9d0e-6a8d4b0c1217"
GUEST = Qemu(uuid=UUID, pid=4321, started_ticks=123456)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A host with one guest that a test may change."""
    return Path(shutil.copytree(HOSTS / "kernel-5.10", tmp_path / "host"))


def test_guests_are_found_by_uuid() -> None:
    """The QEMU is found and its swtpm, which carries the same UUID, is not."""
    assert ProcessReader(HOSTS / "kernel-5.10").find_all() == {UUID: GUEST}


def test_facts_of_a_guest_in_its_scope() -> None:
    """Resident, swapped and charged memory in bytes; what 5.10 cannot tell is named."""
    facts = ProcessReader(HOSTS / "kernel-5.10").facts(GUEST)
    assert (facts.rss_bytes, facts.swapped_bytes) == (6 * GIB, 512 * MIB)
    assert facts.cgroup_bytes == 6 * GIB + 123 * MIB
    assert facts.merged_bytes is facts.ksm_zero_bytes is facts.ksm_profit_bytes is None
    assert facts.missing == {
        "merged_bytes": "there is no /proc/4321/ksm_merging_pages",
        "ksm_zero_bytes": "there is no /proc/4321/ksm_stat (it came with Linux 6.6)",
        "ksm_profit_bytes": "there is no /proc/4321/ksm_stat (it came with Linux 6.4)",
    }


def test_captured_guest_outside_a_scope() -> None:
    """A guest in somebody's session has no cgroup figure: the session's would be everybody's."""
    reader = ProcessReader(HOSTS / "this-machine", page_size_bytes=4 * KIB)
    (qemu,) = reader.find_all().values()
    facts = reader.facts(qemu)
    assert facts.rss_bytes is not None
    assert facts.rss_bytes > 100 * MIB
    assert facts.merged_bytes == facts.ksm_zero_bytes == facts.ksm_profit_bytes == 0
    assert facts.cgroup_bytes is None
    assert facts.missing == {"cgroup_bytes": "the guest has no cgroup of its own: it is in /user.slice/session-1.scope"}


def test_merged_memory_is_in_bytes(tree: Path) -> None:
    """KSM counts pages of the host's own size."""
    (tree / "proc/4321/ksm_merging_pages").write_text("1000\n")
    assert ProcessReader(tree, page_size_bytes=16 * KIB).facts(GUEST).merged_bytes == 16_000 * KIB


@pytest.mark.parametrize(
    ("stat", "figures"),
    [
        ("ksm_rmp_items 700", (1000, None, None)),  # 6.1
        ("ksm_rmap_items 700\nksm_merging_pages 900\nksm_process_profit -44800", (900, None, -44800)),  # 6.4
        ("ksm_zero_pages 3\nksm_merging_pages 900\nksm_process_profit 5\nksm_merge_any: no", (900, 3, 5)),  # 6.12
    ],
)
def test_ksm_of_a_guest_on_kernels_in_turn(
    tree: Path, stat: str, figures: tuple[int | None, int | None, int | None]
) -> None:
    """ksm_stat's lines came one by one: what it lacks is in an older file or unknown; profit is signed."""
    (tree / "proc/4321/ksm_merging_pages").write_text("1000\n")
    (tree / "proc/4321/ksm_stat").write_text(f"{stat}\n")
    facts = ProcessReader(tree, page_size_bytes=64 * KIB).facts(GUEST)
    pages = [None if size is None else size // (64 * KIB) for size in (facts.merged_bytes, facts.ksm_zero_bytes)]
    assert (*pages, facts.ksm_profit_bytes) == figures
    unknown = {field for field in ("ksm_zero_bytes", "ksm_profit_bytes") if getattr(facts, field) is None}
    assert facts.missing.keys() == unknown
    assert all("/proc/4321/ksm_stat" in why for why in facts.missing.values())


def test_proportional_set_size(tree: Path) -> None:
    """``Pss`` itself in bytes, not its parts; and never of a process that only has the guest's number."""
    (tree / "proc/4321/smaps_rollup").write_text(
        "1-2 ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 700 kB\nPss_Anon: 9 kB\n"
    )
    reader = ProcessReader(tree)
    missing: dict[str, str] = {}
    assert reader.pss_bytes(GUEST, missing) == 700 * KIB
    assert missing == {}
    assert reader.pss_bytes(msgspec.structs.replace(GUEST, started_ticks=99), missing) is None
    assert missing == {"pss_bytes": "process 4321, the guest's QEMU, is gone"}


def test_no_proportional_set_size_says_what_it_takes(tree: Path) -> None:
    """Without the rights or the file, the reason names both."""
    missing: dict[str, str] = {}
    assert ProcessReader(tree).pss_bytes(GUEST, missing) is None
    assert missing == {
        "pss_bytes": "there is no /proc/4321/smaps_rollup; it takes root or CAP_SYS_PTRACE, and Linux 4.14"
    }


def test_another_process_with_the_same_pid_is_not_the_guest(tree: Path) -> None:
    """A pid used again by a process that started later tells nothing about the guest."""
    facts = ProcessReader(tree).facts(msgspec.structs.replace(GUEST, started_ticks=99))
    assert facts.rss_bytes is facts.swapped_bytes is facts.cgroup_bytes is facts.merged_bytes is None
    assert set(facts.missing.values()) == {"process 4321, the guest's QEMU, is gone"}
    assert facts.missing.keys() == {name for name in facts.__struct_fields__ if name != "missing"}


def test_a_fork_of_qemu_is_not_the_guest(tree: Path) -> None:
    """Of two processes with the guest's command line the older one is the guest."""
    shutil.copytree(tree / "proc/4321", tree / "proc/77")
    stat = (tree / "proc/77/stat").read_text()
    (tree / "proc/77/stat").write_text(stat.replace("4321 ", "77 ", 1).replace(" 123456 ", " 200000 "))
    assert ProcessReader(tree).find_all() == {UUID: GUEST}


@pytest.mark.parametrize(
    ("paths", "file"),
    [
        (
            CgroupPaths(v2=r"/machine.slice/machine-qemu\x2d1\x2da.scope/libvirt/emulator"),
            r"sys/fs/cgroup/machine.slice/machine-qemu\x2d1\x2da.scope/memory.current",
        ),
        (
            CgroupPaths(v1_memory=r"/machine.slice/machine-qemu\x2d1\x2da.scope", v2="/"),
            r"sys/fs/cgroup/memory/machine.slice/machine-qemu\x2d1\x2da.scope/memory.usage_in_bytes",
        ),
        (
            CgroupPaths(v1_memory="/machine/qemu-1-a.libvirt-qemu/emulator"),
            "sys/fs/cgroup/memory/machine/qemu-1-a.libvirt-qemu/memory.usage_in_bytes",
        ),
        (CgroupPaths(v2="/system.slice/libvirtd.service"), None),
        (CgroupPaths(v2="/user.slice/user-1000.slice/session-2.scope"), None),
        (CgroupPaths(v2="/"), None),
    ],
)
def test_only_a_machine_scope_counts(paths: CgroupPaths, file: str | None) -> None:
    """The scope's own file is read, not a thread group's below it; libvirtd's service is nobody's scope."""
    assert guest_memory_file(paths) == file


def test_a_real_process_is_found_followed_and_gone(tmp_path: Path) -> None:
    """A process of ours with a QEMU's name and option: found, its memory read, then gone, then never mistaken."""
    program = tmp_path / "qemu-system-test"
    program.symlink_to(sys.executable)
    code = "import time; held = bytearray(30_000_000); print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [program, "-c", code, "-uuid", UUID], stdout=subprocess.PIPE, env={**os.environ, "PYTHONHOME": sys.base_prefix}
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        reader = ProcessReader()
        qemu = reader.find_all()[UUID]
        assert qemu.pid == process.pid
        facts = reader.facts(qemu)
        assert facts.rss_bytes is not None
        assert 30_000_000 < facts.rss_bytes < 200_000_000
        assert "cgroup_bytes" in facts.missing
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert reader.facts(qemu).rss_bytes is None
    assert UUID not in reader.find_all()
