"""The KSM law of 2009 that ksmtuned, MOM and Proxmox VE have in common; they differ in period and inputs only.

With ``M`` the host's memory, ``F`` what is free of it, ``C`` the memory of all QEMU processes::

    line  = 0.20 M
    C + line < M and F > line    ksmd stops (run=0, merged pages stay merged)
    else                         ksmd scans: pages_to_scan +300 if F < line, -50 otherwise, within 64..1250
                                 sleep = 10 ms * 16 GiB / M

Written files are remembered until the kernel's own were read again, because KSM is read only now and then.
"""

from typing import Final

import msgspec

from memtide.model.action import Action, Reply, Result, SetKsm
from memtide.model.base import Model
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.model.reason import Reason, ReasonCode
from memtide.units import GIB

__all__ = ["FREE_RATIO", "KsmBooks", "KsmView", "ksm_answered", "steer"]

FREE_RATIO: Final = 0.20
"""MOM ``ksm_free_percent``, ksmtuned ``KSM_THRES_COEF=20``."""
PAGES_BOOST: Final = 300
PAGES_DECAY: Final = -50
PAGES_MIN: Final = 64
PAGES_MAX: Final = 1250
"""MOM ``ksm_pages_boost``, ``ksm_pages_decay``, ``ksm_npages_min``, ``ksm_npages_max``; ksmtuned ``KSM_NPAGES_*``."""
SLEEP_MS: Final = 10
SLEEP_FOR_BYTES: Final = 16 * GIB
"""MOM ``ksm_sleep_ms_baseline``, ksmtuned ``KSM_SLEEP_MSEC``: the sleep on a host of 16 GiB."""


class KsmBooks(Model, frozen=True, kw_only=True):
    """What was last written, until it can be read."""

    files: dict[str, str] = {}
    at_s: float = 0.0
    pages: int | None = None
    """The law's own count of pages per scan; ``None``: it goes on from what the kernel has."""


class KsmView(Model, frozen=True, kw_only=True):
    """What a law knows of KSM's case."""

    law: str
    committed_bytes: int
    """``C`` above, as this law counts it."""
    free_bytes: int
    """``F`` above."""
    sleep_min_ms: int = 0
    """The shortest sleep it ever writes."""


def steer(books: KsmBooks, host: Host, view: KsmView) -> tuple[KsmBooks, SetKsm | None]:
    """Return the new books and what to write, ``None`` when it stands so already or the host has no KSM."""
    total_bytes = host.memory.usable_total_bytes
    if host.ksm is None or total_bytes == 0:
        return books, None
    line_bytes = FREE_RATIO * total_bytes
    before = _standing(books, host, host.ksm)
    if view.committed_bytes + line_bytes < total_bytes and view.free_bytes > line_bytes:
        wanted = {"run": "0"}
    else:
        sleep_ms = max(view.sleep_min_ms, int(SLEEP_MS * SLEEP_FOR_BYTES / total_bytes))
        wanted = {"sleep_millisecs": str(sleep_ms), "run": "1"}
        last = before.get("pages_to_scan") if books.pages is None else books.pages
        if last is not None:
            delta = PAGES_BOOST if view.free_bytes < line_bytes else PAGES_DECAY
            pages = min(PAGES_MAX, max(PAGES_MIN, int(last) + delta))
            wanted = {"pages_to_scan": str(pages)} | wanted
            books = msgspec.structs.replace(books, pages=None if books.pages is None else pages)
    files = {name: value for name, value in wanted.items() if before.get(name) != value}
    if not files:
        return books, None
    action = SetKsm(
        files=files,
        before={name: before[name] for name in files if name in before},
        reason=Reason(
            code=ReasonCode.PEER,
            numbers={
                "law": view.law,
                "free_bytes": view.free_bytes,
                "line_bytes": int(line_bytes),
                "committed_bytes": view.committed_bytes,
            },
        ),
    )
    return msgspec.structs.replace(books, files=books.files | files, at_s=host.taken_at_s), action


def ksm_answered(books: KsmBooks, action: Action, reply: Reply) -> KsmBooks:
    """Return the books after an answer: what was not written is read again."""
    if isinstance(action, SetKsm) and reply.result is not Result.DONE:
        return KsmBooks(pages=books.pages)
    return books


def _standing(books: KsmBooks, host: Host, ksm: Ksm) -> dict[str, str]:
    """Return what the files hold: what was read, or written since."""
    read = {"pages_to_scan": ksm.pages_to_scan, "sleep_millisecs": ksm.sleep_millisecs, "run": ksm.run}
    known = {name: str(value) for name, value in read.items() if value is not None}
    return known | books.files if books.at_s >= host.counters_at_s else known
