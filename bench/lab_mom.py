"""Run oVirt MOM from its own source tree, fitted to the lab at run time: its code is no part of this project.

Its stock configuration and its stock rules (balloon and KSM) are taken as they are, with three changes made in a
temporary folder: the libvirt URI; the host's size, because MemTotal counts the huge pages by which the lab makes the
host small, and every threshold of the rules is a share of it; and ``pgrep``, because MOM looks for processes named
"qemu" and the lab's are named otherwise.
"""

import configparser
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from lab.paths import EMULATOR
from memtide.units import KIB

__all__ = ["Adaptation", "adapted"]

PROGRAM: Final = "momd.in"
CONFIGURATION: Final = "doc/mom-balloon+ksm.conf"
RULES: Final = ("doc/balloon.rules", "doc/ksm.rules")
HOST_TOTAL: Final = "Host.mem_available"
"""What the rules call the host's MemTotal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How to start it."""

    command: list[str]
    environment: Mapping[str, str]


def adapted(tree: Path, folder: Path, *, uri: str, usable_bytes: int) -> Adaptation:
    """Write what MOM needs to run here into ``folder``, and return how to start it.

    Raises:
        ClickException: ``tree`` is not its source tree.
    """
    missing = [name for name in (PROGRAM, CONFIGURATION, *RULES) if not (tree / name).is_file()]
    if missing:
        raise click.ClickException(f"{tree} is not oVirt MOM's source tree: {', '.join(missing)} is missing")
    rules = "\n".join((tree / name).read_text() for name in RULES)
    (folder / "rules").write_text(rules.replace(HOST_TOTAL, str(usable_bytes // KIB)))
    config = configparser.ConfigParser()
    config.read(tree / CONFIGURATION)
    config.set("main", "libvirt-hypervisor-uri", uri)
    config.set("main", "policy", str(folder / "rules"))
    with (folder / "mom.conf").open("w") as file:
        config.write(file)
    _pgrep(folder / "bin")
    # the tree is read, never written: no compiled files in it
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = [sys.executable, str(tree / PROGRAM), "-c", str(folder / "mom.conf")]
    return Adaptation(command=command, environment=environment)


def _pgrep(folder: Path) -> None:
    folder.mkdir()
    script = folder / "pgrep"
    script.write_text(f"#!/bin/sh\nexec {shutil.which('pgrep')} -f '^{EMULATOR}'\n")
    script.chmod(0o755)
