"""Captured and composed hosts, read as one sample: each tree gives its numbers, and says what it cannot give."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memtide.errors import SourceError
from memtide.model.host import Host, NumaNode
from memtide.model.pressure import Pressure
from memtide.sources.host import HostReader
from memtide.units import GIB, KIB, MIB

HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"
NOW_S = 1_700_000_000.0


def sample(tree: str) -> Host:
    """Read one tree, whose pages are 4 KiB whatever the machine under test has."""
    reader = HostReader(HOSTS / tree, page_size_bytes=4 * KIB)
    try:
        return reader.sample(NOW_S)
    finally:
        reader.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A host that a test may change."""
    return Path(shutil.copytree(HOSTS / "kernel-5.10", tmp_path / "host"))


@pytest.fixture
def reader(tree: Path) -> Iterator[HostReader]:
    """A reader of that host, closed in the end."""
    reader = HostReader(tree)
    yield reader
    reader.close()


def test_the_article_host_saves_13_6_gib() -> None:
    """The seed's host: pages_sharing is what KSM saves, with nothing subtracted."""
    host = sample("article")
    assert round(host.memory.total_bytes / GIB) == 94
    assert round(host.memory.available_bytes / GIB, 1) == 3.4
    assert host.memory.free_bytes == 572 * MIB
    assert host.memory.shmem_bytes == 937 * MIB
    assert host.ksm is not None
    assert (host.ksm.pages_shared, host.ksm.pages_sharing) == (1700529, 3574747)
    assert round(host.ksm.pages_sharing * host.ksm.page_size_bytes / GIB, 2) == 13.64
    assert host.ksm.ksmd_cpu_s_total == 73_000.0


def test_captured_machine() -> None:
    """A real 6.18 host: nothing is missing, no limit, no ZFS."""
    host = sample("this-machine")
    assert host.taken_at_s == NOW_S
    assert host.memory.total_bytes == 24684092 * KIB
    assert host.memory.limit_bytes is None
    assert host.memory.arc_reclaimable_bytes is None
    assert isinstance(host.pressure, Pressure)
    assert host.numa == (NumaNode(node=0, total_bytes=24684092 * KIB, free_bytes=host.numa[0].free_bytes),)
    assert host.ksm is not None
    assert (host.ksm.advisor_mode, host.ksm.merge_across_nodes) == ("none", True)
    assert host.missing == host.ksm.missing == {}


def test_counters_of_vmstat() -> None:
    """Each counter reaches its own field, refaults as the sum of both kinds."""
    host = sample("kernel-5.10")
    assert (host.swap_in_pages_total, host.swap_out_pages_total) == (11, 222)
    assert (host.major_faults_total, host.oom_kills_total) == (3333, 4)
    assert host.refaults_total == 1200 + 34567


def test_old_ksm_lacks_what_came_later() -> None:
    """Linux 5.10 has no advisor, no profit and no zero pages: unknown, each with the file's name."""
    ksm = sample("kernel-5.10").ksm
    assert ksm is not None
    assert (ksm.run, ksm.pages_sharing, ksm.full_scans, ksm.ksmd_cpu_s_total) == (1, 9000, 12, 45.67)
    assert (ksm.max_page_sharing, ksm.use_zero_pages) == (256, False)
    later = {
        "pages_scanned": ("pages_scanned", "6.6"),
        "pages_skipped": ("pages_skipped", "6.7"),
        "zero_pages": ("ksm_zero_pages", "6.6"),
        "general_profit_bytes": ("general_profit", "6.4"),
        "smart_scan": ("smart_scan", "6.7"),
        "advisor_mode": ("advisor_mode", "6.8"),
        "advisor_target_scan_time_s": ("advisor_target_scan_time", "6.8"),
        "advisor_max_cpu_ratio": ("advisor_max_cpu", "6.8"),
    }
    assert ksm.missing == {
        field: f"there is no /sys/kernel/mm/ksm/{file} (it came with Linux {since})"
        for field, (file, since) in later.items()
    } | {"cow_breaks_total": "/proc/vmstat of this kernel does not count it (it came with Linux 5.18)"}
    assert {field for field in ksm.__struct_fields__ if getattr(ksm, field) is None} == ksm.missing.keys()


def test_every_figure_of_a_new_ksm() -> None:
    """A 6.18's files all have their field, percent as a ratio, and the writes that part pages are among them."""
    ksm = sample("this-machine").ksm
    assert ksm is not None
    assert (ksm.pages_scanned, ksm.pages_skipped, ksm.max_page_sharing) == (71284, 9312, 256)
    assert (ksm.smart_scan, ksm.use_zero_pages, ksm.advisor_mode) == (True, False, "none")
    assert (ksm.advisor_target_scan_time_s, ksm.advisor_max_cpu_ratio) == (200, 0.7)
    assert f"\ncow_ksm {ksm.cow_breaks_total}\n" in (HOSTS / "this-machine/proc/vmstat").read_text()
    assert [field for field in ksm.__struct_fields__ if getattr(ksm, field) is None] == []


def test_profit_can_be_a_loss(tmp_path: Path) -> None:
    """KSM whose bookkeeping costs more than it saves says so by a negative number, and it stays one."""
    tree = Path(shutil.copytree(HOSTS / "this-machine", tmp_path / "host"))
    (tree / "sys/kernel/mm/ksm/general_profit").write_text("-73400320\n")
    ksm = HostReader(tree).sample(NOW_S).ksm
    assert ksm is not None
    assert ksm.general_profit_bytes == -70 * MIB
    assert ksm.missing == {}


@pytest.mark.parametrize(
    ("file", "text"), [("pages_sharing", "-5"), ("pages_shared", "-1"), ("run", "3"), ("run", "-1")]
)
def test_a_counter_that_cannot_be_is_unknown(tree: Path, file: str, text: str) -> None:
    """KSM's counters have no sign and run is 0, 1 or 2: what else a damaged tree says is no number, with the reason."""
    (tree / "sys/kernel/mm/ksm" / file).write_text(f"{text}\n")
    host = HostReader(tree).sample(NOW_S)

    assert host.ksm is None
    assert f"/sys/kernel/mm/ksm/{file} says nothing that memtide understands" in host.missing["ksm"]


def test_a_lesser_counter_that_cannot_be_leaves_the_rest(tree: Path) -> None:
    """One odd file is one unknown."""
    (tree / "sys/kernel/mm/ksm/pages_unshared").write_text("-7\n")
    ksm = HostReader(tree).sample(NOW_S).ksm

    assert ksm is not None
    assert ksm.pages_unshared is None
    assert "b'-7" in ksm.missing["pages_unshared"]


@pytest.mark.parametrize(("kind", "says"), [("pipe", "is no file"), ("zeros", "is too large")])
def test_what_is_no_kernel_file_makes_nobody_wait(tree: Path, kind: str, says: str) -> None:
    """A pipe that nobody writes to, or a file without an end, is unknown with its reason."""
    path = tree / "sys/kernel/mm/ksm/pages_sharing"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    host = HostReader(tree).sample(NOW_S)

    assert host.ksm is None
    assert f"/sys/kernel/mm/ksm/pages_sharing {says}" in host.missing["ksm"]


def test_pages_of_64_kib(tree: Path) -> None:
    """The size of a page is the host's, not a guess: on 64 KiB pages 9000 saved ones are 562 MiB."""
    ksm = HostReader(tree, page_size_bytes=64 * KIB).sample(NOW_S).ksm
    assert ksm is not None
    assert ksm.pages_sharing * ksm.page_size_bytes == 9000 * 64 * KIB
    live = HostReader().sample(NOW_S).ksm
    assert live is None or live.page_size_bytes == os.sysconf("SC_PAGE_SIZE")


def test_ksm_is_read_every_time_and_the_rest_now_and_then(tree: Path, reader: HostReader) -> None:
    """A sweep may be over in seconds, so KSM and its CPU have the sample's own time; counters keep theirs."""
    reader.sample(NOW_S)
    for name, value in {"run": "0", "pages_sharing": "9100", "pages_to_scan": "777"}.items():
        (tree / "sys/kernel/mm/ksm" / name).write_text(f"{value}\n")
    stat = (tree / "proc/37/stat").read_text()
    (tree / "proc/37/stat").write_text(stat.replace(" 4567 ", " 4767 "))
    (tree / "proc/vmstat").write_text(
        (tree / "proc/vmstat").read_text().replace("pswpin 11", "pswpin 12") + "cow_ksm 5\n"
    )
    host = reader.sample(NOW_S + 2)
    assert host.ksm is not None
    assert (host.ksm.taken_at_s, host.ksm.ksmd_cpu_s_total) == (NOW_S + 2, 47.67)
    assert (host.ksm.run, host.ksm.pages_sharing, host.ksm.pages_to_scan) == (0, 9100, 777)
    assert host.ksm.cow_breaks_total == 5
    assert (host.counters_at_s, host.swap_in_pages_total) == (NOW_S, 11)
    assert reader.sample(NOW_S + 10).swap_in_pages_total == 12


def test_own_service_limit_is_not_the_host_limit() -> None:
    """A memtide in a service with MemoryMax=256M still sees all of the host's 32 GiB."""
    host = sample("kernel-5.10")
    assert (HOSTS / "kernel-5.10/sys/fs/cgroup/system.slice/memtide.service/memory.max").exists()
    assert (host.memory.total_bytes, host.memory.limit_bytes) == (32 * GIB, None)
    assert host.missing == {}


def test_own_cgroup_namespace_is_not_a_container() -> None:
    """A unit with a cgroup namespace of its own has its 256 MiB on top, but PID 1 is outside: not the host's limit."""
    host = sample("unit-cgroup-namespace")
    assert (HOSTS / "unit-cgroup-namespace/sys/fs/cgroup/memory/memory.limit_in_bytes").read_text() == "268435456\n"
    assert (host.memory.total_bytes, host.memory.limit_bytes) == (24684092 * KIB, None)


def test_container_of_8_gib_on_cgroup_v2() -> None:
    """In a container the limit is the host: 8 - 5 GiB charged + 1.75 GiB of droppable cache are available."""
    memory = sample("container-cgroup-v2").memory
    assert (memory.total_bytes, memory.limit_bytes) == (8 * GIB, 8 * GIB)
    assert memory.available_bytes == 3 * GIB + 1792 * MIB
    assert (memory.free_bytes, memory.cached_bytes, memory.shmem_bytes) == (3 * GIB, 2 * GIB, 256 * MIB)


def test_captured_container_on_cgroup_v1() -> None:
    """The same on a real container of 2 GiB; it cannot see ksmd and says so."""
    host = sample("container-cgroup-v1")
    assert (host.memory.total_bytes, host.memory.limit_bytes) == (2 * GIB, 2 * GIB)
    assert 1900 * MIB < host.memory.available_bytes < 2 * GIB
    assert host.ksm is not None
    assert host.ksm.ksmd_cpu_s_total is None
    assert "ksmd" in host.ksm.missing["ksmd_cpu_s_total"]


def test_container_without_namespace_finds_its_limit_on_top(tree: Path) -> None:
    """Without a cgroup namespace PID 1's path leads to a mount that begins further down."""
    (tree / "proc/1/cgroup").write_text("4:memory:/docker/0123abcd\n0::/\n")
    folder = tree / "sys/fs/cgroup/memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{4 * GIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{GIB}\n")
    shutil.copy(HOSTS / "container-cgroup-v1/sys/fs/cgroup/memory/memory.stat", folder)
    assert HostReader(tree).sample(NOW_S).memory.limit_bytes == 4 * GIB


def test_smallest_limit_on_the_way_counts(tree: Path, reader: HostReader) -> None:
    """A limit above PID 1's own holds too, and one that is raised later is noticed."""
    (tree / "proc/1/cgroup").write_text("0::/outer/inner\n")
    for folder, limit_bytes in (("outer", 6 * GIB), ("outer/inner", 7 * GIB)):
        path = tree / "sys/fs/cgroup" / folder
        path.mkdir()
        (path / "memory.max").write_text(f"{limit_bytes}\n")
        (path / "memory.current").write_text(f"{GIB}\n")
        (path / "memory.stat").write_text("file 0\nshmem 0\nactive_file 0\ninactive_file 0\n")
    assert reader.sample(NOW_S).memory.limit_bytes == 6 * GIB
    (tree / "sys/fs/cgroup/outer/memory.max").write_text("max\n")
    assert reader.sample(NOW_S).memory.limit_bytes == 7 * GIB


def test_unreadable_limit_is_told(tree: Path) -> None:
    """Where PID 1 is hidden from us (hidepid), whether there is a limit is unknown, and the reason names the file."""
    (tree / "proc/1/cgroup").unlink()
    host = HostReader(tree).sample(NOW_S)
    assert host.memory.limit_bytes is None
    assert host.missing["limit_bytes"] == "there is no /proc/1/cgroup"


def test_zfs_cache_is_available() -> None:
    """40 of 62 GiB are ARC: what is above its minimum is added, so the host is not short."""
    memory = sample("zfs").memory
    assert memory.arc_reclaimable_bytes == 40 * GIB - 2080374784
    assert memory.available_bytes == 6 * GIB + 40 * GIB - 2080374784


def test_broken_zfs_figures_are_told(tree: Path) -> None:
    """ZFS that is there but says nothing sensible is unknown with a reason; no ZFS at all is not."""
    arcstats = tree / "proc/spl/kstat/zfs/arcstats"
    arcstats.parent.mkdir(parents=True)
    arcstats.write_text("name type data\n")
    host = HostReader(tree).sample(NOW_S)
    assert host.memory.arc_reclaimable_bytes is None
    assert "arcstats" in host.missing["arc_reclaimable_bytes"]


def test_huge_pages_of_all_sizes() -> None:
    """16 of 1 GiB and 512 of 2 MiB: meminfo's own lines know only the latter."""
    memory = sample("huge-pages").memory
    assert memory.huge_pages_total_bytes == 17 * GIB
    assert memory.huge_pages_free_bytes == 6 * GIB + 200 * MIB
    assert memory.usable_total_bytes == 47 * GIB
    assert memory.available_bytes == 20 * GIB


def test_huge_pages_are_not_part_of_a_limit(tree: Path) -> None:
    """A cgroup's limit covers normal pages only: with 17 GiB of huge pages, 8 GiB stay usable, not 0."""
    shutil.copytree(HOSTS / "container-cgroup-v2", tree, dirs_exist_ok=True)
    shutil.copytree(HOSTS / "huge-pages", tree, dirs_exist_ok=True)
    (tree / "proc/1/cgroup").write_text("0::/\n")
    memory = HostReader(tree).sample(NOW_S).memory
    assert memory.usable_total_bytes == 8 * GIB


def test_without_sysfs_huge_pages_come_from_meminfo(tree: Path) -> None:
    """The total of all sizes is in meminfo; of free ones it knows the default size only, which is the safe side."""
    shutil.copy(HOSTS / "huge-pages/proc/meminfo", tree / "proc/meminfo")
    memory = HostReader(tree).sample(NOW_S).memory
    assert (memory.huge_pages_total_bytes, memory.huge_pages_free_bytes) == (17 * GIB, 200 * MIB)


def test_numa_nodes_in_order() -> None:
    """Nodes by number (10 after 1), one without memory included."""
    assert sample("two-nodes").numa == (
        NumaNode(node=0, total_bytes=64 * GIB, free_bytes=5 * GIB),
        NumaNode(node=1, total_bytes=64 * GIB, free_bytes=15 * GIB),
        NumaNode(node=10, total_bytes=0, free_bytes=0),
    )


@pytest.mark.parametrize(
    ("tree_name", "field", "file"),
    [("no-psi", "pressure", "/proc/pressure/memory"), ("no-ksm", "ksm", "/sys/kernel/mm/ksm/run")],
)
def test_kernels_without_it_say_so(tree_name: str, field: str, file: str) -> None:
    """No PSI or no KSM is unknown with the file's name, and costs nothing else."""
    host = sample(tree_name)
    assert getattr(host, field) is None
    assert host.missing == {field: f"there is no {file}"}
    assert host.memory.available_bytes == 9 * GIB


def test_missing_vmstat_names_every_counter(tree: Path) -> None:
    """Every counter that could not be read has its own reason."""
    (tree / "proc/vmstat").unlink()
    host = HostReader(tree).sample(NOW_S)
    assert host.refaults_total is host.swap_in_pages_total is host.oom_kills_total is None
    assert set(host.missing.values()) == {"there is no /proc/vmstat"}
    assert len(host.missing) == 5


def test_long_files_are_read_to_their_end(tree: Path) -> None:
    """What the kernel hands out in several pieces is put together."""
    (tree / "proc/vmstat").write_text("".join(f"numa_hit_{number} 1\n" for number in range(10_000)) + "pswpin 7\n")
    assert HostReader(tree).sample(NOW_S).swap_in_pages_total == 7


def test_no_meminfo_no_host(tree: Path) -> None:
    """Without meminfo there is no sample at all."""
    (tree / "proc/meminfo").unlink()
    with pytest.raises(SourceError, match="/proc/meminfo"):
        HostReader(tree).sample(NOW_S)


def test_ksmd_is_found_again(tree: Path, reader: HostReader) -> None:
    """When ksmd is no longer where it was, it is looked for once more; a user's process of that name is not it."""
    stat = (tree / "proc/37/stat").read_text()
    assert reader.sample(NOW_S).ksm.ksmd_cpu_s_total == 45.67
    reader.close()
    (tree / "proc/37/stat").write_text(stat.replace("(ksmd)", "(kswapd0)"))
    for pid, parent in ((38, 1), (40, 2)):
        (tree / f"proc/{pid}").mkdir()
        (tree / f"proc/{pid}/stat").write_text(
            stat.replace("37 ", f"{pid} ", 1).replace("S 2", f"S {parent}").replace(" 4567 ", f" {pid * 100} ")
        )
    assert reader.sample(NOW_S).ksm.ksmd_cpu_s_total == 40.0


def open_files() -> set[Path]:
    """Return what this process holds open."""
    return set(Path("/proc/self/fd").iterdir())


def test_files_stay_open_and_fresh(tree: Path, reader: HostReader) -> None:
    """A second sample opens nothing anew, and still reads what is there now."""
    reader.sample(NOW_S)
    before = open_files()
    (tree / "proc/pressure/memory").write_text("some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n")
    assert reader.sample(NOW_S).pressure.some.avg10_ratio == 0.5
    assert open_files() == before
    reader.close()
    assert len(open_files()) < len(before)


def test_this_machine_agrees_with_its_kernel() -> None:
    """The live host: the same MemTotal as sysconf, and plausible figures."""
    reader = HostReader()
    host = reader.sample(time.time())
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    if host.memory.limit_bytes is None:
        assert host.memory.total_bytes == pages * page_bytes
    assert 0 < host.memory.available_bytes < host.memory.total_bytes
    assert host.memory.free_bytes < host.memory.total_bytes
    assert host.major_faults_total is None or host.major_faults_total > 0
    later = reader.sample(time.time())
    assert (later.major_faults_total or 0) >= (host.major_faults_total or 0)
    reader.close()
