"""What the parsers make of the kernel's own text, line by line."""

import pytest

from memtide.errors import SourceError
from memtide.model.pressure import Pressure, Stall
from memtide.sources.parse import (
    UNLIMITED,
    CgroupMemory,
    parse_arc_reclaimable,
    parse_cgroup_memory,
    parse_choice,
    parse_cow_breaks,
    parse_limit,
    parse_meminfo,
    parse_node_meminfo,
    parse_number,
    parse_percent,
    parse_pressure,
    parse_switch,
    parse_vmstat,
)

MEMINFO = b"""\
MemTotal:       24684092 kB
MemFree:        23755240 kB
MemAvailable:   23702524 kB
Cached:            88576 kB
SwapCached:            7 kB
SwapTotal:          1024 kB
SwapFree:            512 kB
Shmem:              8856 kB
"""
HUGE = b"HugePages_Total:      10\nHugePages_Free:        4\nHugepagesize:       2048 kB\n"


def test_meminfo_is_read_in_bytes() -> None:
    """The kernel's kB are KiB, and SwapCached is not taken for Cached."""
    meminfo = parse_meminfo(MEMINFO)
    assert meminfo.total_bytes == 24684092 * 1024
    assert meminfo.available_bytes == 23702524 * 1024
    assert meminfo.cached_bytes == 88576 * 1024
    assert (meminfo.swap_total_bytes, meminfo.swap_free_bytes) == (1024 * 1024, 512 * 1024)


def test_kernel_without_huge_pages_has_none() -> None:
    """A kernel that writes no huge page lines has no huge pages."""
    meminfo = parse_meminfo(MEMINFO)
    assert (meminfo.huge_pages_bytes, meminfo.huge_pages_free_bytes) == (0, 0)


def test_hugetlb_line_covers_all_sizes() -> None:
    """The Hugetlb line wins over the default size's pool; without it the pool is all we know."""
    assert parse_meminfo(MEMINFO + HUGE).huge_pages_bytes == 10 * 2048 * 1024
    assert parse_meminfo(MEMINFO + HUGE + b"Hugetlb:         1068976 kB\n").huge_pages_bytes == 1068976 * 1024


@pytest.mark.parametrize("line", ["MemTotal", "MemAvailable", "SwapFree"])
def test_meminfo_without_a_needed_line_is_refused_by_name(line: str) -> None:
    """A host whose memory is not told cannot be judged, and the error says what was missing."""
    data = b"".join(row for row in MEMINFO.splitlines(keepends=True) if not row.startswith(line.encode()))
    with pytest.raises(SourceError, match=line):
        parse_meminfo(data)


def test_refaults_of_old_and_new_kernels() -> None:
    """One counter until 5.9, two since: both end up in refaults_total."""
    assert parse_vmstat(b"workingset_refault 7\n") == {"refaults_total": 7}
    assert parse_vmstat(b"workingset_refault_anon 3\nworkingset_refault_file 4\n") == {"refaults_total": 7}


def test_vmstat_leaves_out_what_is_not_written() -> None:
    """A counter that the kernel does not have is absent, not 0, and names are matched whole."""
    assert parse_vmstat(b"pswpin 1\nzswpin 5\npswpin_something 9\noom_kill 0\n") == {
        "swap_in_pages_total": 1,
        "oom_kills_total": 0,
    }


def test_pages_parted_by_writes() -> None:
    """The line of that name alone, wherever it stands; before Linux 5.18 there is none, which is not 0."""
    assert parse_cow_breaks(b"ksm_swpin_copy 9\ncow_ksm 1274838\nzswpin 5\n") == 1274838
    assert parse_cow_breaks(b"my_cow_ksm 3\nksm_swpin_copy 9\n") is None


def test_pressure_is_a_ratio() -> None:
    """Percent become ratios; microseconds stay."""
    data = b"some avg10=12.50 avg60=1.00 avg300=0.00 total=42\nfull avg10=100.00 avg60=0.50 avg300=0.00 total=7\n"
    assert parse_pressure(data) == Pressure(
        some=Stall(avg10_ratio=0.125, avg60_ratio=0.01, avg300_ratio=0.0, total_us=42),
        full=Stall(avg10_ratio=1.0, avg60_ratio=0.005, avg300_ratio=0.0, total_us=7),
    )


def test_pressure_without_full_is_still_pressure() -> None:
    """A file with only the some line counts; one without it does not."""
    some = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert parse_pressure(some) is not None
    assert parse_pressure(some.replace(b"some", b"full")) is None


def test_numbers_are_signed_and_alone() -> None:
    """general_profit can be negative; a file with two numbers is not one number."""
    assert parse_number(b"-1234567\n") == -1234567
    assert parse_number(b"1 2\n") is None
    assert parse_number(b"") is None


def test_switch_knows_two_values() -> None:
    """0 and 1 are a switch; anything else is not understood."""
    assert (parse_switch(b"0\n"), parse_switch(b"1\n"), parse_switch(b"2\n")) == (False, True, None)


def test_percent_is_a_ratio() -> None:
    """The advisor's limit of 70 is 0.7 of a CPU."""
    assert parse_percent(b"70\n") == 0.7
    assert parse_percent(b"70%\n") is None


def test_choice_is_the_one_in_brackets() -> None:
    """The kernel lists all choices and marks one."""
    assert parse_choice(b"[none] scan-time\n") == "none"
    assert parse_choice(b"none [scan-time]\n") == "scan-time"
    assert parse_choice(b"none scan-time\n") is None


def test_limits_compare_whatever_the_cgroup_version() -> None:
    """No limit is larger than every limit, in v2's word and in v1's number."""
    assert parse_limit(b"max\n") == UNLIMITED
    assert parse_limit(b"8589934592\n") == 8 << 30
    assert parse_limit(b"9223372036854771712\n") == 9223372036854771712
    assert parse_limit(b"lots\n") is None


def test_cgroup_memory_of_both_versions() -> None:
    """v1 counts children only in its total_* lines; v2 always does."""
    v2 = b"anon 5\nfile 100\nshmem 10\ninactive_file 60\nactive_file 30\n"
    v1 = b"cache 1\nshmem 1\ninactive_file 1\nactive_file 1\n" + b"".join(
        b"total_" + row for row in (b"cache 100\n", b"shmem 10\n", b"inactive_file 60\n", b"active_file 30\n")
    )
    wanted = CgroupMemory(cached_bytes=100, shmem_bytes=10, reclaimable_bytes=90)
    assert parse_cgroup_memory(v2) == wanted
    assert parse_cgroup_memory(v1) == wanted
    assert parse_cgroup_memory(b"anon 5\n") is None


def test_node_meminfo() -> None:
    """A node's lines carry its number in front."""
    assert parse_node_meminfo(b"Node 0 MemTotal:        100 kB\nNode 0 MemFree:          40 kB\n") == (102400, 40960)
    assert parse_node_meminfo(b"Node 0 MemTotal:        100 kB\n") is None


def test_arc_gives_back_down_to_its_minimum() -> None:
    """What is above c_min can be had; a cache below it gives nothing; arc_meta's size is not the size."""
    head = b"13 1 0x01 96 26112 1 2\nname                            type data\n"
    arc = (
        head
        + b"c_min                           4    %d\nmeta_size    4    1\nsize                            4    %d\n"
    )
    assert parse_arc_reclaimable(arc % (100, 1000)) == 900
    assert parse_arc_reclaimable(arc % (1000, 100)) == 0
    assert parse_arc_reclaimable(head) is None
