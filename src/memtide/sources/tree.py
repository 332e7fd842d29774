"""The guests of a host without libvirt: what their QEMUs' own command lines say, and what the kernel says of them.

For a look at a captured tree, or at a host on which no daemon runs. Sizes a guest has now are not among it: only
its QEMU knows them, so the guest counts as large as it may become.
"""

import itertools
import re
from pathlib import Path
from typing import Final

import msgspec

from memtide.model.base import Missing
from memtide.model.guest import Guest, GuestState, GuestTraits, Observed
from memtide.sources.files import KernelFiles
from memtide.sources.process import ProcessFacts, ProcessReader
from memtide.units import GIB, KIB, MIB

__all__ = ["guests_of_tree", "parse_qemu_guest", "uptime_s"]

_NAME: Final = re.compile(r"(?:^|,)(?:guest=)?([^,=]+)(?:,|\Z)")
_NAME_MOST: Final = 64
_SIZE: Final = re.compile(r"(?:^|,)(?:size=)?(\d{1,12})([kKmMgG]?)(?:,|\Z)")
_UNITS: Final = {"k": KIB, "": MIB, "m": MIB, "g": GIB}
_UPTIME: Final = re.compile(rb"(\d{1,12}\.\d{1,4}) ")


def guests_of_tree(root: Path, *, pss: bool) -> tuple[Guest, ...]:
    """Return the guests whose QEMU processes are found below ``root``, running as far as one can see.

    Args:
        root: ``/``, or a captured tree.
        pss: read their proportional set sizes too, which takes a second for a big guest that lives.
    """
    reader, files = ProcessReader(root), KernelFiles(root, keep_open=False)
    guests = []
    for uuid, qemu in reader.find_all().items():
        words = files.value(f"proc/{qemu.pid}/cmdline", lambda data: data.decode(errors="replace").split("\0"))
        facts = reader.facts(qemu)
        missing: Missing = {}
        pss_bytes = reader.pss_bytes(qemu, missing) if pss else None
        if words is None or facts.rss_bytes is None:
            # it ended between two looks
            continue
        guest = parse_qemu_guest(uuid, qemu.pid, words, facts)
        guests.append(
            msgspec.structs.replace(guest, observed=msgspec.structs.replace(guest.observed, pss_bytes=pss_bytes))
        )
    return tuple(guests)


def parse_qemu_guest(uuid: str, pid: int, words: list[str], facts: ProcessFacts) -> Guest:
    """Return a guest by its QEMU's command line; what that does not say is as QEMU has it by default."""
    options = [(option.lstrip("-"), value) for option, value in itertools.pairwise(words) if option.startswith("-")]
    said = dict(reversed(options))
    maximum_bytes = _memory_bytes(said.get("m", ""))
    backing = " ".join(value for option, value in options if option in {"object", "mem-path", "machine"})
    mapped = "mem-path" in said or "hugepages" in backing
    return Guest(
        uuid=uuid,
        name=_name(said.get("name", "")) or uuid,
        state=GuestState.RUNNING,
        observed=Observed(
            maximum_bytes=maximum_bytes,
            current_bytes=maximum_bytes,
            pid=pid,
            **{field: value for field, value in msgspec.structs.asdict(facts).items() if field != "missing"},
        ),
        traits=GuestTraits(
            has_balloon="virtio-balloon" in " ".join(words),
            huge_pages=mapped and ("huge" in said.get("mem-path", "") or "huge" in backing),
            shared_memory=re.search(r'share"?[=:](on|yes|true)', backing) is not None,
            locked="mem-lock=on" in said.get("overcommit", ""),
            passthrough=any(value.startswith(("vfio-pci", '{"driver":"vfio-pci"')) for _, value in options),
            mergeable="mem-merge=off" not in backing,
        ),
        missing=facts.missing | {"reported": "no libvirt was asked", "current_bytes": "only its QEMU knows"},
    )


def uptime_s(root: Path) -> float | None:
    """Return how long the host has been up; ``None`` when its /proc/uptime is not there."""
    return KernelFiles(root, keep_open=False).value("proc/uptime", _parse_uptime)


def _parse_uptime(data: bytes) -> float | None:
    match = _UPTIME.match(data)
    return float(match[1]) if match else None


def _name(text: str) -> str:
    """Return the name in what ``-name`` says, fit for a terminal; empty: there is none.

    Whoever starts a process chooses its command line, so nothing that would move the cursor or the text gets through.
    """
    match = _NAME.search(text)
    return "".join(filter(str.isprintable, match[1]))[:_NAME_MOST].strip() if match else ""


def _memory_bytes(text: str) -> int:
    """Return what ``-m`` says; QEMU's own default is 128 MiB."""
    match = _SIZE.search(text)
    return 128 * MIB if match is None else int(match[1]) * _UNITS[match[2].lower()]
