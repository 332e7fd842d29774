"""What the parsers make of the files of one process."""

import pytest

from memtide.sources.parse_process import (
    CgroupPaths,
    ProcessMemory,
    parse_cgroup_paths,
    parse_process_memory,
    parse_process_stat,
    parse_qemu_uuid,
)

UUID = "89a1a157-ab8e-4130-b7cd-04f2e9bd3569"
STAT = "12471 (%s) S 1 12470 12470 0 -1 138412352 1 0 2 0 900 100 0 0 20 0 4 0 328681 1503 1589 18446744073709551615"


@pytest.mark.parametrize("name", ["qemu-system-x86", "a b", "x) S 1 2", "(((", ""])
def test_stat_survives_any_process_name(name: str) -> None:
    """A process may put spaces and brackets in its name; the fields behind it must not move."""
    stat = parse_process_stat((STAT % name).encode())
    assert stat is not None
    assert (stat.name, stat.parent, stat.cpu_ticks, stat.started_ticks) == (name, 1, 1000, 328681)


def test_status_of_a_process_with_memory() -> None:
    """VmRSS and VmSwap in bytes."""
    data = b"Name:\tqemu\nVmHWM:\t    9 kB\nVmRSS:\t  620680 kB\nVmSwap:\t       8 kB\n"
    assert parse_process_memory(data) == ProcessMemory(rss_bytes=620680 * 1024, swapped_bytes=8192)


def test_kernel_threads_and_zombies_have_no_memory() -> None:
    """Without VmRSS nothing is said, rather than 0."""
    assert parse_process_memory(b"Name:\tksmd\nState:\tS (sleeping)\n") is None


def test_cgroup_paths_of_a_machine_with_both_versions() -> None:
    """The memory controller's own line and the unified one are told apart."""
    assert parse_cgroup_paths(b"5:devices:/a\n4:cpu,memory:/m\n1:name=systemd:/memory\n0::/u:v\n") == CgroupPaths(
        v1_memory="/m", v2="/u:v"
    )
    assert parse_cgroup_paths(b"0::/\n") == CgroupPaths(v2="/")
    assert parse_cgroup_paths(b"5:devices:/a\n") is None


@pytest.mark.parametrize("program", ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/kvm"])
def test_qemu_is_known_by_name_and_option(program: str) -> None:
    """Every usual name of QEMU counts, and a UUID in capitals is the same UUID."""
    assert parse_qemu_uuid(f"{program}\0-name\0guest=a\0-uuid\0{UUID.upper()}\0-m\000512\0".encode()) == UUID


@pytest.mark.parametrize(
    "argv",
    [
        ["/usr/bin/swtpm", "socket", "-uuid", UUID],
        ["/usr/bin/virsh", "dominfo", "-uuid", UUID],
        ["/usr/bin/qemu-img", "info", f"/images/{UUID}.qcow2"],
        ["/usr/bin/qemu-system-x86_64", "-uuid"],
        ["/usr/bin/qemu-system-x86_64", "-uuid", "not-a-uuid"],
        [""],
    ],
)
def test_other_processes_are_no_guest(argv: list[str]) -> None:
    """Neither the UUID alone nor the name alone makes a guest."""
    assert parse_qemu_uuid("\0".join([*argv, ""]).encode()) is None
