"""A recorded trace, read back: bytes -> lines -> frames.

A trace is somebody else's file. Whatever is in it, reading ends in frames or in one SourceError that says where; the
one mistake that is borne is a missing end, as after a kill: what is whole is used, and ``cut_short`` says so.
"""

import contextlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from memtide.errors import PermissionDeniedError, SourceError, UsageError
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.model.trace import FORMAT, SCHEMA_VERSION, Frame, TraceHeader
from memtide.units import MIB

__all__ = ["CutShort", "TraceFile", "parse_frame", "parse_header", "split_lines", "unpacked"]

CHUNK_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = MIB
"""Decompressed so much at a time: a small file can hold a very large one."""
LINE_MOST_BYTES: Final = 64 * MIB
"""Ten thousand guests take a fifth of it."""
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP: Final = 31
"""zlib's word for "the gzip format" (zlib.h, inflateInit2)."""
MAKE_ONE: Final = "`memtide record` writes traces"


class _RawFrame(Model, frozen=True, kw_only=True):
    """A tick whose decision was not looked at yet."""

    snapshot: Snapshot
    limits: Limits | None = None
    decision: msgspec.Raw = msgspec.Raw(b"null")


_FRAME: Final = msgspec.json.Decoder(_RawFrame)
_DECISION: Final = msgspec.json.Decoder(Decision | None)
_HEADER: Final = msgspec.json.Decoder(TraceHeader)


class CutShort(EOFError):  # noqa: N818 - no failure: the frames before it are good
    """The bytes end in the middle of something."""


class _Kind(Model, frozen=True, kw_only=True):
    """What every header of every version has."""

    format: str
    schema: int


_KIND: Final = msgspec.json.Decoder(_Kind)


def parse_header(untrusted: bytes) -> TraceHeader:
    """Return what the first line says.

    Raises:
        SourceError: it is no trace, or one that a newer memtide wrote.
    """
    try:
        kind = _KIND.decode(untrusted)
        if kind.format != FORMAT:
            raise SourceError("it is not a memtide trace", MAKE_ONE)
        if kind.schema > SCHEMA_VERSION:
            raise SourceError(
                f"it was written by a newer memtide (schema {kind.schema}; this one knows {SCHEMA_VERSION})",
                "replay it with the newer memtide",
            )
        return _HEADER.decode(untrusted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError("it is not a memtide trace", MAKE_ONE) from error


def parse_frame(untrusted: bytes) -> tuple[Frame, bool]:
    """Return the tick that a line holds, and whether its decision, if there is one, can be understood.

    Laws change faster than what they are told: a decision of another memtide may be in words unknown here. It is
    left out, and the tick can still be replayed.

    Raises:
        SourceError: the line is no such thing; the message says where in it.
    """
    try:
        raw = _FRAME.decode(untrusted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"it is damaged: {error}") from error
    try:
        decision, understood = _DECISION.decode(raw.decision), True
    except (msgspec.DecodeError, UnicodeDecodeError):
        decision, understood = None, False
    return Frame(snapshot=raw.snapshot, limits=raw.limits, decision=decision), understood


def unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return the content of a gzip file, or of a plain one, piece by piece.

    Raises:
        SourceError: the compressed bytes are damaged.
        CutShort: they end before their end; all that could be had was returned before.
    """
    inflate = None
    first = True
    for chunk in chunks:
        if first and chunk.startswith(GZIP_MAGIC):
            inflate = zlib.decompressobj(wbits=GZIP)
        first = False
        if inflate is None:
            yield chunk
            continue
        left = chunk
        while left:
            if inflate.eof:
                raise SourceError("it is damaged: something follows its end")
            try:
                piece = inflate.decompress(left, PIECE_BYTES)
            except zlib.error as error:
                raise SourceError(f"it is damaged: {error}") from error
            left = inflate.unused_data or inflate.unconsumed_tail
            yield piece
    if inflate is not None and not inflate.eof:
        raise CutShort


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Return whole lines without their ends.

    Raises:
        SourceError: a line has no end in sight.
        CutShort: the last line has no end.
    """
    rest: list[bytes] = []
    rest_bytes = 0
    for piece in pieces:
        *whole, tail = piece.split(b"\n")
        if whole:
            yield b"".join((*rest, whole[0]))
            yield from whole[1:]
            rest, rest_bytes = [], 0
        rest.append(tail)
        rest_bytes += len(tail)
        if rest_bytes > LINE_MOST_BYTES:
            raise SourceError("a line of it is longer than any tick can be", MAKE_ONE)
    if rest_bytes:
        raise CutShort


class TraceFile:
    """A trace on the disk, read anew each time it is asked for its frames, so that it may be of any length.

    Args:
        path: the file.

    Raises:
        UsageError: there is no such file.
        PermissionDeniedError: this user may not read it.
        SourceError: it is no trace, or a newer memtide wrote it.
    """

    whole: Final = True
    """Every tick is in it, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_short = False
        """The file ends in the middle of a tick, as after a kill; known once all frames were read."""
        self.left_out = 0
        """Decisions that cannot be understood; known once all frames were read."""
        with _named(path):
            try:
                first = next(split_lines(unpacked(_chunks(path))), b"")
            except CutShort:
                first = b""
            self.header = parse_header(first)

    def frames(self) -> Iterator[Frame]:
        """Return the ticks in order.

        Raises:
            SourceError: the file is damaged; the message says at which tick.
        """
        tick = self.left_out = 0
        try:
            lines = split_lines(unpacked(_chunks(self.path)))
            with _named(self.path):
                next(lines)
            for tick, line in enumerate(lines, start=1):  # noqa: B007 - told when the file ends too soon
                frame, understood = parse_frame(line)
                self.left_out += not understood
                yield frame
        except CutShort:
            self.cut_short = True
        except SourceError as error:
            raise SourceError(f"{self.path}, tick {tick}: {error.message}", error.hint) from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"there is no trace {path}", MAKE_ONE) from error
    except PermissionError as error:
        raise PermissionDeniedError(f"{path} may not be read by this user") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except SourceError as error:
        raise SourceError(f"{path}: {error.message}", error.hint) from error
