"""What the parsers make of the files of one process."""

import pytest

from memtide.sources.parse_process import (
    CgroupPaths,
    Credentials,
    ProcessKsm,
    ProcessMemory,
    parse_cgroup_paths,
    parse_credentials,
    parse_process_ksm,
    parse_process_memory,
    parse_process_stat,
    parse_program,
    parse_pss,
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


def test_ksm_of_a_process_is_signed_and_comes_in_parts() -> None:
    """Lines that a kernel does not write are unknown, not 0; the words of later kernels are no numbers."""
    data = (
        b"ksm_rmap_items 700\nksm_zero_pages 0\nksm_merging_pages 900\nksm_process_profit -44800\nksm_mergeable: yes\n"
    )
    assert parse_process_ksm(data) == ProcessKsm(merging_pages=900, zero_pages=0, profit_bytes=-44800)
    assert parse_process_ksm(b"ksm_rmp_items 700\n") == ProcessKsm()


def test_pss_is_the_whole_line() -> None:
    """Not one of its parts, nor the swapped share."""
    assert parse_pss(b"Rss: 9 kB\nPss:                 385 kB\nPss_Dirty: 112 kB\nSwapPss: 3 kB\n") == 385 * 1024
    assert parse_pss(b"Rss: 9 kB\nPss_Dirty: 112 kB\n") is None


def test_credentials_are_the_effective_ones() -> None:
    """Of four user ids the second counts, of the capabilities number 1; a zombie has none."""
    status = b"State:\tS (sleeping)\nUid:\t1\t%d\t3\t4\nCapPrm:\t0000000000000002\nCapEff:\t00000000%08x\n"
    assert parse_credentials(status % (0, 2)) == Credentials(effective_uid=0, overrides_files=True)
    assert parse_credentials(status % (7, 0xFFFD)) == Credentials(effective_uid=7, overrides_files=False)
    assert parse_credentials((status % (0, 2)).replace(b"S (", b"Z (")) is None


def test_program_and_script() -> None:
    """The script is the first argument that is no option."""
    assert parse_program(b"/bin/bash\0-x\0/usr/sbin/ksmtuned\0a\0") == ("bash", "ksmtuned")
    assert parse_program(b"uksmd\0") == ("uksmd", "")
    assert parse_program(b"") == ("", "")
