"""When memtide keeps its hands off KSM, and why: a table read from the top, as ``eligibility`` is for guests."""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.derived import guests_owners
from memtide.model.ksm import Ksm, settings_of
from memtide.model.limits import Limits, Tenants
from memtide.model.reason import KSM_HANDS_OFF as HANDS_OFF
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.constants import ASK_AGAIN_S, FOREIGN_HOLD_S
from memtide.policy.ksm.signs import Signs, can_merge

__all__ = ["HANDS_OFF", "Books", "by_hand", "refused", "watch", "why_rest", "wrote", "wrote_partly"]

WATCHED: Final = ("run", "sleep_millisecs", "smart_scan", "use_zero_pages", "advisor_mode")
WATCHED_PAGES: Final = ("pages_to_scan",)
WATCHED_ADVISED: Final = ("advisor_max_cpu", "advisor_target_scan_time")
"""Settings that another writer would change; of the last two rows one, by who sets ksmd's speed."""
UNMERGE: Final = 2
LEAST_GUESTS: Final = 2


class Books(Model, frozen=True, kw_only=True):
    """What the files should hold, so that a change by somebody else is seen."""

    expected: dict[str, str] = {}
    """As last read, or written by us since."""
    wrote_at_s: float = 0.0
    """The last reading before it; only a later one can show it."""
    foreign: str = ""
    """The last change that was not ours, in words."""
    foreign_until_s: float = 0.0
    held_until_s: float = 0.0
    """An operator wrote KSM's files through memtide."""
    retry_at_s: float = 0.0
    """The kernel refused; it is not asked again before."""
    refusal: str = ""
    """In its words."""
    asked: dict[str, str] = {}
    """What was written and only partly taken; the next reading tells which part."""
    refused: frozenset[str] = frozenset()
    """Files that did not take what was written: left alone until memtide starts anew."""
    started: bool = False
    """ksmd runs because we started it, so we have to stop it."""


def _watched(ksm: Ksm) -> dict[str, str]:
    """Return what the watched files hold; what the kernel's advisor sets itself is left out."""
    names = WATCHED + (WATCHED_PAGES if ksm.advisor_mode in {None, "none"} else WATCHED_ADVISED)
    read = settings_of(ksm)
    return {name: read[name] for name in names if name in read}


def watch(books: Books, ksm: Ksm, now_s: float) -> Books:
    """Return the books after one more reading; a setting that changed by itself was changed by somebody else."""
    if ksm.taken_at_s and 0.0 <= books.wrote_at_s - ksm.taken_at_s <= ASK_AGAIN_S:  # more: a clock was set back
        return books
    read = _watched(ksm)
    changed = {name: was for name, was in books.expected.items() if read.get(name, was) != was}
    if changed.get("run") == str(UNMERGE):  # who wrote 2 allows merging again
        del changed["run"]
    books = msgspec.structs.replace(books, expected=books.expected | read)
    if books.asked:
        held = settings_of(ksm)
        not_taken = {name for name, text in books.asked.items() if held.get(name, text) != text} - {"run"}
        books = msgspec.structs.replace(books, asked={}, refused=books.refused | not_taken)
    if not changed:
        return books
    words = ", ".join(f"{name} {was} -> {read[name]}" for name, was in changed.items())
    return msgspec.structs.replace(
        books,
        foreign=words,
        foreign_until_s=now_s + FOREIGN_HOLD_S,
        started=books.started and "run" not in changed,
    )


def wrote(books: Books, files: Mapping[str, str], read_at_s: float) -> Books:
    """Return the books after a write of ours that was done."""
    return msgspec.structs.replace(
        books,
        expected=books.expected | dict(files),
        wrote_at_s=read_at_s,
        started=files.get("run", str(int(books.started))) == "1",
    )


def wrote_partly(books: Books, files: Mapping[str, str], read_at_s: float) -> Books:
    """Return the books after a write of ours of which only a part was done: the next reading tells which."""
    return msgspec.structs.replace(wrote(books, files, read_at_s), expected={}, asked=dict(files))


def refused(books: Books, why: str, read_at_s: float) -> Books:
    """Return the books after a write that was not done, or of which nobody knows."""
    return msgspec.structs.replace(
        books, expected={}, wrote_at_s=read_at_s, retry_at_s=read_at_s + ASK_AGAIN_S, refusal=why
    )


def by_hand(books: Books, reason: Reason, read_at_s: float) -> Books:
    """Return the books after an operator's write through memtide: his settings, and his ksmd if it runs."""
    for_s = reason.numbers.get("for_s", FOREIGN_HOLD_S)
    hold_s = min(FOREIGN_HOLD_S, for_s) if isinstance(for_s, int | float) else FOREIGN_HOLD_S
    return msgspec.structs.replace(books, held_until_s=read_at_s + hold_s, started=False)


def why_rest(books: Books, snapshot: Snapshot, signs: Signs, limits: Limits) -> Reason | None:
    """Return why ksmd is not memtide's to start now; ``None``: it is."""
    now_s = snapshot.taken_at_s
    whose = guests_owners(filter(can_merge, snapshot.guests))
    writers = snapshot.host.ksm_writers
    unmerged = snapshot.host.ksm is not None and snapshot.host.ksm.run == UNMERGE
    # a deadline further off than it can be was set by a clock that was wrong
    by_hand_s = books.held_until_s - now_s if books.held_until_s - now_s <= FOREIGN_HOLD_S else 0.0
    held_for_s = max(by_hand_s, (limits.ksm_held_until_s or 0.0) - now_s)
    rows: tuple[tuple[bool, ReasonCode, dict[str, int | float | str]], ...] = (
        (not limits.manage_ksm, ReasonCode.KSM_UNMANAGED, {}),
        (held_for_s > 0, ReasonCode.KSM_HELD, {"for_s": held_for_s}),
        (bool(writers), ReasonCode.KSM_OTHER_WRITER, {"who": ", ".join(writers)}),
        (
            0 < books.foreign_until_s - now_s <= FOREIGN_HOLD_S,
            ReasonCode.KSM_OTHER_WRITER,
            {"who": books.foreign, "for_s": books.foreign_until_s - now_s},
        ),
        (unmerged, ReasonCode.KSM_RUN_TWO, {}),
        (0 < books.retry_at_s - now_s <= ASK_AGAIN_S, ReasonCode.KSM_REFUSED, {"why": books.refusal}),
        (
            limits.ksm_tenants is Tenants.APART and len(whose) > 1,
            ReasonCode.KSM_TENANTS,
            {"owners": ", ".join(whose)},
        ),
        (len(signs.guests) < LEAST_GUESTS, ReasonCode.KSM_NOTHING_TO_MERGE, {"mergeable": len(signs.guests)}),
    )
    return next((Reason(code=code, numbers=numbers) for holds, code, numbers in rows if holds), None)
