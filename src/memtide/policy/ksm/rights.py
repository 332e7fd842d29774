"""When memtide keeps its hands off KSM, and why: a table read from the top, as ``eligibility`` is for guests."""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.ksm import Ksm, settings_of
from memtide.model.limits import Limits, Tenants
from memtide.model.reason import Reason, ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.constants import FOREIGN_HOLD_S
from memtide.policy.ksm.signs import Signs, can_merge

__all__ = ["HANDS_OFF", "Books", "owners", "unsure", "watch", "why_rest", "wrote"]

WATCHED: Final = ("run", "pages_to_scan", "sleep_millisecs", "smart_scan", "use_zero_pages", "advisor_mode")
"""Settings that another writer would change."""
HANDS_OFF: Final = frozenset(
    {
        ReasonCode.KSM_UNMANAGED,
        ReasonCode.KSM_OTHER_WRITER,
        ReasonCode.KSM_HELD,
        ReasonCode.KSM_REFUSED,
        ReasonCode.KSM_WATCHING,
    }
)
"""Nothing is written, not even a stop."""
UNMERGE: Final = 2
UNMERGED: Final = "run is 2, so that nothing is merged; write 0 to let memtide decide"
"""No kernel begins like that: somebody wanted it."""
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


def _watched(ksm: Ksm) -> dict[str, str]:
    """Return what the watched files hold; what the kernel's advisor sets itself is left out."""
    advised = ksm.advisor_mode not in {None, "none"}
    read = settings_of(ksm)
    return {name: read[name] for name in WATCHED if name in read and not (advised and name == "pages_to_scan")}


def watch(books: Books, ksm: Ksm, now_s: float) -> Books:
    """Return the books after one more reading; a setting that changed by itself was changed by somebody else."""
    if 0.0 < ksm.taken_at_s <= books.wrote_at_s:
        return books
    read = _watched(ksm)
    changed = [f"{name} {was} -> {read[name]}" for name, was in books.expected.items() if read.get(name, was) != was]
    books = msgspec.structs.replace(books, expected=books.expected | read)
    if not changed:
        return books
    return msgspec.structs.replace(books, foreign=", ".join(changed), foreign_until_s=now_s + FOREIGN_HOLD_S)


def wrote(books: Books, files: Mapping[str, str], now_s: float) -> Books:
    """Return the books after a write of ours that was done."""
    return msgspec.structs.replace(books, expected=books.expected | dict(files), wrote_at_s=now_s)


def unsure(books: Books, read_at_s: float) -> Books:
    """Return the books after a write of which only a part was done, or nobody knows: the next reading will tell."""
    return msgspec.structs.replace(books, expected={}, wrote_at_s=read_at_s)


def owners(snapshot: Snapshot) -> tuple[str, ...]:
    """Return who owns the guests whose pages could be merged, as far as that is known."""
    return tuple(sorted({g.traits.owner for g in snapshot.guests if g.traits.owner is not None and can_merge(g)}))


def why_rest(books: Books, snapshot: Snapshot, signs: Signs, limits: Limits) -> Reason | None:
    """Return why ksmd is not memtide's to start now; ``None``: it is."""
    now_s = snapshot.taken_at_s
    whose = owners(snapshot)
    writers = snapshot.host.ksm_writers
    unmerged = snapshot.host.ksm is not None and snapshot.host.ksm.run == UNMERGE
    held_until_s = max(books.held_until_s, limits.ksm_held_until_s or 0.0)
    rows: tuple[tuple[bool, ReasonCode, dict[str, int | float | str]], ...] = (
        (not limits.manage_ksm, ReasonCode.KSM_UNMANAGED, {}),
        (held_until_s > now_s, ReasonCode.KSM_HELD, {"for_s": held_until_s - now_s}),
        (bool(writers), ReasonCode.KSM_OTHER_WRITER, {"who": ", ".join(writers)}),
        (
            0 < books.foreign_until_s - now_s <= FOREIGN_HOLD_S,
            ReasonCode.KSM_OTHER_WRITER,
            {"who": books.foreign, "for_s": books.foreign_until_s - now_s},
        ),
        (unmerged, ReasonCode.KSM_OTHER_WRITER, {"who": UNMERGED}),
        (books.retry_at_s > now_s, ReasonCode.KSM_REFUSED, {}),
        (
            limits.ksm_tenants is Tenants.APART and len(whose) > 1,
            ReasonCode.KSM_TENANTS,
            {"owners": ", ".join(whose)},
        ),
        (len(signs.guests) < LEAST_GUESTS, ReasonCode.KSM_NOTHING_TO_MERGE, {}),
    )
    return next((Reason(code=code, numbers=numbers) for holds, code, numbers in rows if holds), None)
