"""The law of Proxmox VE's automatic ballooning: hold the host at 80 % used, share what is above the minimum by shares.

Source: proxmox/pve-manager (14a22df, 2026-08), ``PVE/AutoBalloon.pm`` and ``PVE/Service/pvestatd.pm``. Written from
the formulas.

Theory. ``b`` is a guest's memory, ``min`` and ``max`` its bounds, ``s`` its shares (default 1000), every 10 s::

    G = floor(host total * target/100 - host used),   host used = total - MemAvailable
    |G| <= 10 MiB: nothing
    grow:   share G out among the guests under pressure; if that got nowhere, among all
    shrink: share G out among the comfortable guests;    if that got nowhere, among all
    comfortable: guest MemFree > 0.25 min and b >= min

    share out, until nothing moves:
      d = clamp(min + int((sum(b - min) + rest) / sum(s) * s), min, max)
      b moves towards d by 100 MiB at most (counted from where it stood at first), the change is taken off the rest;
      a guest that would have to move up in a shrink, or is where it should be, drops out

A guest above its share moves down in a grow, too: that is how shares are enforced. Guests under pressure are cut when
the comfortable ones have no more to give, whatever they need.

What differs here. The host's total is what guests on normal pages can have. The minimum (``balloon`` in a guest's
configuration) is the operator's floor; a guest without one is left alone, as there. Shares are 1000 times the weight.
KSM is another daemon's business there (ksm-control-daemon: the law of ``ksmtuned``).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Ruling, Subject, after, answered, conclude, is_due, subjects
from memtide.units import MIB

__all__ = ["Proxmox", "ProxmoxState", "goal_bytes", "targets_for"]

PERIOD_S: Final = 10.0
"""pvestatd's loop."""
TARGET_PERCENT: Final = 80
"""The node's ``ballooning-target``."""
MAX_CHANGE_BYTES: Final = 100 * MIB
LEAST_GOAL_BYTES: Final = 10 * MIB
COMFORTABLE_RATIO: Final = 0.25
"""Free memory of a comfortable guest, of its minimum."""
DEFAULT_SHARES: Final = 1000


class ProxmoxState(Model, frozen=True, kw_only=True):
    """The law has no memory beyond its clock."""

    due_s: float = 0.0
    books: Books = Books()


class Proxmox:
    """The law as a ``ports.Policy``.

    Args:
        target_percent: how much of the host may be used, 0 to 100.
        name: what this variant is called.
    """

    def __init__(self, target_percent: int = TARGET_PERCENT, name: str = "proxmox") -> None:
        self.name = name
        self._target_percent = target_percent

    def initial(self) -> ProxmoxState:
        """Return the state of a law that has seen nothing yet."""
        return ProxmoxState()

    def decide(self, state: ProxmoxState, snapshot: Snapshot, limits: Limits) -> tuple[ProxmoxState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s, memory = snapshot.taken_at_s, snapshot.host.memory
        goal = goal_bytes(memory.usable_total_bytes, memory.available_bytes, self._target_percent)
        line_bytes = memory.available_bytes - goal
        ruling = Ruling(period_s=PERIOD_S, line_bytes=line_bytes, free_bytes=memory.available_bytes)
        if is_due(state.due_s, now_s, PERIOD_S):
            able, _ = subjects(snapshot, limits)
            able = {uuid: subject for uuid, subject in able.items() if subject.floor_bytes > 0 and subject.weight > 0}
            wanted = targets_for(able, goal)
            ruling = msgspec.structs.replace(
                ruling,
                targets={uuid: size for uuid, size in wanted.items() if size != able[uuid].current_bytes},
                numbers={
                    uuid: {
                        "goal_bytes": goal,
                        "unused_bytes": _unused_bytes(subject),
                        "shares": DEFAULT_SHARES * subject.weight,
                        "wanted_bytes": wanted.get(uuid, subject.current_bytes),
                    }
                    for uuid, subject in able.items()
                },
            )
            state = msgspec.structs.replace(state, due_s=after(state.due_s, now_s, PERIOD_S))
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, books=books), decision

    def answered(self, state: ProxmoxState, action: Action, reply: Reply) -> ProxmoxState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))


def goal_bytes(total_bytes: int, available_bytes: int, target_percent: int) -> int:
    """Return what guests should take more of the host (positive) or give it (negative)."""
    return int(total_bytes * target_percent / 100 - (total_bytes - available_bytes))


def targets_for(able: Mapping[str, Subject], goal: int) -> dict[str, int]:
    """Return the sizes of the guests that move."""
    if abs(goal) <= LEAST_GOAL_BYTES:
        return {}
    first = {uuid: subject for uuid, subject in able.items() if _comfortable(subject) is (goal < 0)}
    sizes, rest = _share_out({}, first, goal)
    got_nowhere = rest >= goal if goal > 0 else rest <= goal
    return _share_out(sizes, able, rest)[0] if got_nowhere else sizes


def _unused_bytes(subject: Subject) -> int:
    """Return the guest's MemFree, 0 when it does not say: such a guest counts as pressed."""
    reported = subject.guest.reported
    return 0 if reported is None or reported.unused_bytes is None else reported.unused_bytes


def _comfortable(subject: Subject) -> bool:
    roomy = _unused_bytes(subject) > COMFORTABLE_RATIO * subject.floor_bytes
    return roomy and subject.current_bytes >= subject.floor_bytes


def _share_out(before: dict[str, int], able: Mapping[str, Subject], goal: int) -> tuple[dict[str, int], int]:
    """Return all new sizes when this much is shared out among these guests, and what is left of it."""
    sizes, left = dict(before), dict(able)
    rest, moved = goal, True
    # ends: without a guest that drops out, the next pass finds the same sizes and moves nothing
    while left and rest and moved:
        moved = False
        shares = sum(DEFAULT_SHARES * subject.weight for subject in left.values())
        above_bytes = sum(sizes.get(u, s.current_bytes) - s.floor_bytes for u, s in left.items())
        each = (above_bytes + rest) / shares
        for uuid, subject in list(left.items()):
            wanted_bytes = subject.floor_bytes + int(each * DEFAULT_SHARES * subject.weight)
            wanted_bytes = max(subject.floor_bytes, min(subject.ceiling_bytes, wanted_bytes))
            way_bytes = wanted_bytes - subject.current_bytes
            if way_bytes == 0 or (way_bytes > 0 and goal < 0):
                del left[uuid]
                continue
            size = subject.current_bytes + max(-MAX_CHANGE_BYTES, min(MAX_CHANGE_BYTES, way_bytes))
            change_bytes = size - sizes.get(uuid, subject.current_bytes)
            sizes[uuid] = size
            rest -= change_bytes
            moved = moved or change_bytes != 0
    return sizes, rest
