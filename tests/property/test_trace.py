"""Whatever a trace can hold comes back as it was, and whatever bytes a file holds end in frames or in one error."""

import enum
import functools
import gzip
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memtide.errors import SourceError
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.model.trace import Frame, TraceHeader
from memtide.sources.replay import CutShort, TraceFile, parse_frame, parse_header, split_lines, unpacked

HEADER = TraceHeader(memtide="0", host_name="h", uri="u", began_at_s=0.0, period_s=2.0)
LINE = msgspec.json.encode(HEADER)

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    # JSON has no infinity, and integers are as large as the kernel's counters
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-(2**63), 2**64 - 1),
    str: st.text(st.characters(codec="utf-8"), max_size=8),
    bool: st.booleans(),
    type(None): st.none(),
}


@functools.cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return any value of a type that the model uses; of a Struct every field is given."""
    if kind in PLAIN:
        return PLAIN[kind]
    of = tuple(values(part) for part in get_args(kind) if part is not Ellipsis)
    origin = get_origin(kind)
    if origin in {Union, UnionType}:
        return st.one_of(*of)
    if origin is tuple:
        return st.lists(of[0], max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(*of, max_size=2)
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items() if name[0] != "_"})


@given(values(Snapshot), st.none() | values(Limits), st.none() | values(Decision))
def test_a_frame_comes_back_as_it_was(snapshot: Snapshot, limits: Limits | None, decision: Decision | None) -> None:
    """Every number, reason and name, to the last digit."""
    frame = Frame(snapshot=snapshot, limits=limits, decision=decision)

    assert parse_frame(msgspec.json.encode(frame)) == (frame, True)


@given(st.binary())
def test_any_line_is_a_frame_or_an_error(line: bytes) -> None:
    """Nothing else comes out of a line that somebody else wrote."""
    for parse in (parse_frame, parse_header):
        with pytest.raises(SourceError):
            parse(line)


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.booleans())
def test_lines_do_not_depend_on_how_a_file_is_cut(lines: list[bytes], cuts: list[int], packed: bool) -> None:  # noqa: FBT001 - an example's
    """Whole lines come back whole, in whatever chunks the disk gives them, compressed or not."""
    lines = [line.replace(b"\n", b"") for line in lines]
    content = LINE + b"\n" + b"".join(line + b"\n" for line in lines)
    content = gzip.compress(content) if packed else content
    chunks, at = [], 0
    while at < len(content):
        size = cuts[len(chunks) % len(cuts)]
        chunks.append(content[at : at + size])
        at += size
    # the two bytes that say "gzip" come in one chunk from every disk
    chunks = [b"".join(chunks[:2]), *chunks[2:]]

    assert list(split_lines(unpacked(chunks))) == [LINE, *lines]


@given(st.integers(0, 400), st.sampled_from(range(8)))
def test_a_flipped_bit_is_frames_or_an_error(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    """A damaged file never shows as anything but fewer frames, an error, or a number that reads as a number."""
    line = msgspec.json.encode(HEADER) + b"\n"
    content = bytearray(gzip.compress(line + b'{"snapshot":1}\n' * 5))
    content[at % len(content)] ^= 1 << bit
    path: Path = tmp_path_factory.mktemp("t") / "t.gz"
    path.write_bytes(bytes(content))
    try:
        list(TraceFile(path).frames())
    except SourceError:
        return


@given(st.binary(max_size=30), st.integers(0, 30))
def test_a_cut_is_noticed(content: bytes, left: int) -> None:
    """A gzip file without its end is cut short, wherever it was cut."""
    whole = gzip.compress(content)
    with pytest.raises(CutShort):
        list(unpacked([whole[: max(2, min(left, len(whole) - 1))]]))
