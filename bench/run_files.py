"""Files of measured runs: a JSON list to which each run is added as it ends."""

from pathlib import Path
from typing import TypeVar

import click
import msgspec

__all__ = ["add", "read"]

R = TypeVar("R")


def read(file: Path, of: type[R], bench: str) -> list[R]:
    """Return the runs of a file.

    Raises:
        ClickException: it is none of that bench's.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[of])  # type: ignore[valid-type]
    except msgspec.DecodeError as problem:
        raise click.ClickException(f"{file} has no runs of {bench}: {problem}") from problem


def add(file: Path, run: R, bench: str) -> None:
    """Add a run to a file, or begin one."""
    file.write_bytes(msgspec.json.encode([*(read(file, type(run), bench) if file.exists() else ()), run]))
