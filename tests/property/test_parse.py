"""Parsers are total: whatever bytes come, they answer."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtide.errors import SourceError
from memtide.sources import parse, parse_process
from memtide.sources.cgroup import HostLimit, guest_memory_file
from memtide.sources.memory import HugePages, host_memory

PARSERS = [getattr(room, name) for room in (parse, parse_process) for name in room.__all__ if name.startswith("parse_")]
HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"
REAL = sorted({path.read_bytes() for path in HOSTS.glob("*/*/**/*") if path.is_file()})


def answer(parser: Callable[[bytes], object], data: bytes) -> object:
    """Call a parser; the one documented exception is an answer too."""
    with contextlib.suppress(SourceError):
        return parser(data)
    assert parser is parse.parse_meminfo, "only meminfo may refuse"
    return None


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A real file with a piece cut out and another put in."""
    data = draw(st.sampled_from(REAL))
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    digits = st.integers(0, 10**30).map(lambda number: str(number).encode())
    return data[:start] + draw(st.binary(max_size=40) | digits) + data[end:]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@given(data=st.binary() | torn())
def test_no_bytes_make_a_parser_fall(parser: Callable[[bytes], object], data: bytes) -> None:
    """Arbitrary bytes and torn real files never raise."""
    answer(parser, data)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_endless_numbers_are_no_numbers(parser: Callable[[bytes], object]) -> None:
    """Python refuses to read more than 4300 digits; a parser must not get that far."""
    for data in REAL:
        answer(parser, data.replace(b"1", b"1" * 5000))


@given(path=st.text() | st.from_regex(r"(/[a-z.-]{0,12}){0,6}"))
def test_any_cgroup_path_has_a_file_or_none(path: str) -> None:
    """Looking for a guest's scope never fails, and what is found is below the cgroup mount."""
    file = guest_memory_file(parse_process.CgroupPaths(v1_memory=path, v2=path))
    assert file is None or file.startswith("sys/fs/cgroup/")


BYTES = st.integers(0, 1 << 45)


@given(total=BYTES, available=BYTES, arc=st.none() | BYTES, limit=st.none() | BYTES, charged=BYTES, cache=BYTES)
def test_available_stays_within_what_there_is(  # noqa: PLR0913  one argument for each figure
    *, total: int, available: int, arc: int | None, limit: int | None, charged: int, cache: int
) -> None:
    """Neither ZFS nor a limit makes more memory available than there is, nor less than none."""
    meminfo = parse.Meminfo(
        total_bytes=total,
        free_bytes=min(available, total),
        available_bytes=min(available, total),
        cached_bytes=0,
        shmem_bytes=0,
        swap_total_bytes=0,
        swap_free_bytes=0,
        huge_pages_bytes=0,
        huge_pages_free_bytes=0,
    )
    cgroup = parse.CgroupMemory(cached_bytes=cache, shmem_bytes=0, reclaimable_bytes=cache)
    host_limit = None if limit is None else HostLimit(limit_bytes=limit, charged_bytes=charged, memory=cgroup)
    host = host_memory(meminfo, HugePages(total_bytes=0, free_bytes=0), arc_reclaimable_bytes=arc, limit=host_limit)
    assert 0 <= host.available_bytes <= host.total_bytes <= total
    assert 0 <= host.free_bytes <= host.total_bytes
