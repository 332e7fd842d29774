"""Originals: kept before a change, given back without hurting anybody."""

from make import GIB, MIB, START_S, guest

from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Change, ChangeKind
from memtide.runtime.ledger import undo

BECAUSE = Reason(code=ReasonCode.RESTORE)


def original(size_bytes: int) -> Change:
    """Return the original size of guest a."""
    return Change(kind=ChangeKind.MEMORY, key="uuid-a", name="a", original=str(size_bytes), at_s=START_S)


def test_a_guest_gets_its_original_back() -> None:
    """What was taken is given."""
    action = undo(original(GIB), BECAUSE, guest(current_bytes=500 * MIB))

    assert (action.from_bytes, action.to_bytes) == (500 * MIB, GIB)


def test_nobody_is_restored_into_its_oom_killer() -> None:
    """A guest that was small once, was grown, and uses it now, keeps what it uses."""
    action = undo(original(300 * MIB), BECAUSE, guest(current_bytes=GIB, used_bytes=700 * MIB))

    assert action.to_bytes == 40 * MIB + 700 * MIB + 64 * MIB
