"""The law of Qubes OS's qmemman: every guest 1.3 times what it uses, what is left shared in proportion to that.

Source: QubesOS/qubes-core-admin 1ad5f9b (2026-08), ``qubes/qmemman/algo.py`` and ``systemstate.py``. Written from the
formulas.

Theory. ``A`` is a guest's memory or, when larger, its last target; ``F`` the host's free memory less 50 MiB::

    used = MemTotal - MemFree - Buffers - Cached + swap used
    pref = max(min(1.3 used, max), 200 MiB)                 avail = F - sum (pref - A)
    avail > 0:   T = 0.999 pref (1 + avail / sum pref), at most max; what is over goes in equal parts to the others
    avail <= 0:  guests with A > pref by 10 MiB or more get pref; S = F - what they give; if S >= 0 the guests under
                 pref get T = 0.999 (A + pref / (sum of their pref) S), at most max

What donors give is subtracted in S: the next balance hands it on, when it is there. It balances whenever a guest
reports, and acts only if the host's free memory is 15 MiB under its 50, or a guest under pref would gain more than
15 MiB, or all changes and what the host has off its 50 MiB are more than 150 MiB together. Donors go first. Others get
theirs only while the host keeps 0.9 * 50 MiB; the first that does not fit gets the rest, and donors that were asked
before and have not moved since are left out, until they do or need more than they have.

What differs here. Free memory is what no guest was assigned (``pool``): Xen's notion, on KVM negative at first. Swap
used is not among a balloon's figures: swapped out less swapped in since the guest was first seen (or rebooted)
stands in. The domain of the host is not balanced. The floor and ceiling are the operator's; Qubes has 200 MiB for
all, which a guest smaller than that does not get here. Qubes waits half a second for donors; here the next tick comes.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.guest import Guest, Reported
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Numbers, Ruling, Subject, answered, conclude, subjects
from memtide.policy.peers.pool import Pool, look
from memtide.units import MIB

__all__ = ["Domain", "Qmemman", "QmemmanState", "balance", "fitting", "is_significant"]

CACHE_FACTOR: Final = 1.3
PREF_LEAST_BYTES: Final = 200 * MIB
ROUNDING: Final = 0.999
HOST_FREE_BYTES: Final = 50 * MIB
HOST_FREE_SHARE: Final = 0.9
"""Of it that must be left when a guest is given memory."""
LEAST_DONATION_BYTES: Final = 10 * MIB
LEAST_TRANSFER_BYTES: Final = 150 * MIB
LEAST_GAIN_UNDER_PREF_BYTES: Final = 15 * MIB
LATE_BYTES: Final = HOST_FREE_BYTES // 4
"""A donor further above its target than this has not done what it was asked."""
FORGIVEN_BYTES: Final = HOST_FREE_BYTES // 2


class Meminfo(Model, frozen=True, kw_only=True):
    """What one guest last reported, and what the law remembers of it."""

    at_s: float
    used_bytes: int
    """Without swap."""
    swap_bytes: int = 0
    """Swapped out less swapped in since it was first seen."""
    swap_in_bytes_total: int | None
    swap_out_bytes_total: int | None


class Domain(Model, frozen=True, kw_only=True):
    """One guest in the balance."""

    used_bytes: int
    pref_bytes: int
    current_bytes: int
    actual_bytes: int
    """Its memory, or its last target when that is larger: what it has or may take at any time."""
    floor_bytes: int
    maximum_bytes: int
    target_bytes: int
    """The size last asked for."""


class QmemmanState(Model, frozen=True, kw_only=True):
    """What qmemman holds between two reports."""

    meminfo: dict[str, Meminfo] = {}
    no_progress: frozenset[str] = frozenset()
    current: dict[str, int] = {}
    """Each guest's memory at the last balance."""
    pool: Pool = Pool()
    books: Books = Books()


class Qmemman:
    """The law as a ``ports.Policy``."""

    name = "qmemman"

    def initial(self) -> QmemmanState:
        """Return the state of a law that has seen nothing yet."""
        return QmemmanState()

    def decide(self, state: QmemmanState, snapshot: Snapshot, limits: Limits) -> tuple[QmemmanState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        pool = look(state.pool, snapshot)
        meminfo = _reports(state.meminfo, snapshot)
        able, _ = subjects(snapshot, limits)
        domains = {
            uuid: _domain(subject, meminfo[uuid], state.books.targets.get(uuid, subject.current_bytes))
            for uuid, subject in able.items()
            if uuid in meminfo
        }
        # what guests were given and have not taken yet is theirs
        promised_bytes = sum(domain.actual_bytes - domain.current_bytes for domain in domains.values())
        free_bytes = pool.free_bytes - promised_bytes
        blamed = frozenset(uuid for uuid in state.no_progress if uuid in domains and _still_stuck(domains[uuid]))
        ruling = Ruling(
            period_s=limits.period_s, line_bytes=HOST_FREE_BYTES, free_bytes=free_bytes, pending_bytes=-promised_bytes
        )
        if meminfo != state.meminfo:
            wanted = balance(
                free_bytes - HOST_FREE_BYTES, {uuid: d for uuid, d in domains.items() if uuid not in blamed}
            )
            sent: dict[str, int] = {}
            if is_significant(wanted, domains, free_bytes):
                sent, complete = fitting(wanted, domains, free_bytes)
                if not complete:
                    blamed |= _unmoved(wanted, domains, state.current)
            ruling = msgspec.structs.replace(
                ruling,
                targets={uuid: size for uuid, size in sent.items() if size != domains[uuid].target_bytes},
                numbers={uuid: _numbers(domain, wanted.get(uuid)) for uuid, domain in domains.items()},
            )
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        current = {uuid: domain.current_bytes for uuid, domain in domains.items()}
        new = QmemmanState(meminfo=meminfo, no_progress=blamed, current=current, pool=pool, books=books)
        return new, decision

    def answered(self, state: QmemmanState, action: Action, reply: Reply) -> QmemmanState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))


def balance(free_bytes: int, domains: Mapping[str, Domain]) -> dict[str, int]:
    """Return everybody's new size, donors first, when this much is free beyond what the host keeps."""
    needed_bytes = sum(domain.pref_bytes - domain.actual_bytes for domain in domains.values())
    sizes = (
        _with_enough(free_bytes - needed_bytes, domains)
        if free_bytes > needed_bytes
        else _with_too_little(free_bytes, domains)
    )
    bounded = {
        uuid: max(size, min(domains[uuid].floor_bytes, domains[uuid].actual_bytes)) for uuid, size in sizes.items()
    }
    return dict(sorted(bounded.items(), key=lambda item: item[1] >= domains[item[0]].actual_bytes))


def _with_enough(spare_bytes: int, domains: Mapping[str, Domain]) -> dict[str, int]:
    """Return pref and a proportional share of what is left over; a stable sort keeps equals in order."""
    all_pref_bytes = max(1, sum(domain.pref_bytes for domain in domains.values()))
    sizes = {
        uuid: int(ROUNDING * (d.pref_bytes + d.pref_bytes / all_pref_bytes * spare_bytes))
        for uuid, d in domains.items()
    }
    takers = [uuid for uuid, size in sizes.items() if size <= domains[uuid].maximum_bytes]
    over_bytes = sum(max(0, size - domains[uuid].maximum_bytes) for uuid, size in sizes.items())
    sizes = {uuid: min(size, domains[uuid].maximum_bytes) for uuid, size in sizes.items()}
    while over_bytes > 0 and takers:
        bonus_bytes = int(ROUNDING * over_bytes / len(takers))
        over_bytes = 0
        for uuid in list(takers):
            room_bytes = domains[uuid].maximum_bytes - sizes[uuid]
            sizes[uuid] += min(bonus_bytes, room_bytes)
            if bonus_bytes >= room_bytes:
                over_bytes += bonus_bytes - room_bytes
                takers.remove(uuid)
    return sizes


def _with_too_little(free_bytes: int, domains: Mapping[str, Domain]) -> dict[str, int]:
    """Return pref for those above it, and for those under it what is free in proportion to pref."""
    under = {u: d for u, d in domains.items() if d.actual_bytes <= d.pref_bytes and d.actual_bytes < d.maximum_bytes}
    gifts = {u: d.actual_bytes - d.pref_bytes for u, d in domains.items() if u not in under}
    donors = {uuid: domains[uuid].pref_bytes for uuid, gift in gifts.items() if gift >= LEAST_DONATION_BYTES}
    left_bytes = free_bytes - sum(gifts[uuid] for uuid in donors)
    if left_bytes < 0:
        return donors
    pref_bytes = sum(domain.pref_bytes for domain in under.values())
    return donors | {
        uuid: min(int(ROUNDING * (d.actual_bytes + d.pref_bytes / pref_bytes * left_bytes)), d.maximum_bytes)
        for uuid, d in under.items()
    }


def is_significant(wanted: Mapping[str, int], domains: Mapping[str, Domain], free_bytes: int) -> bool:
    """Say whether these sizes are worth asking for."""
    if HOST_FREE_BYTES - free_bytes > LEAST_GAIN_UNDER_PREF_BYTES:
        return True
    changes = {uuid: size - domains[uuid].target_bytes for uuid, size in wanted.items()}
    under = (uuid for uuid in changes if 0 < domains[uuid].target_bytes < domains[uuid].pref_bytes)
    if any(changes[uuid] > LEAST_GAIN_UNDER_PREF_BYTES for uuid in under):
        return True
    moved_bytes = sum(abs(change) for change in changes.values()) + abs(free_bytes - HOST_FREE_BYTES)
    return moved_bytes > LEAST_TRANSFER_BYTES


def fitting(wanted: Mapping[str, int], domains: Mapping[str, Domain], free_bytes: int) -> tuple[dict[str, int], bool]:
    """Return the sizes that can be asked for now, and whether that is all of them."""
    sent: dict[str, int] = {}
    for uuid, size in wanted.items():
        grows_bytes = size - domains[uuid].actual_bytes
        if grows_bytes > 0 and free_bytes - grows_bytes < HOST_FREE_SHARE * HOST_FREE_BYTES:
            rest_bytes = free_bytes - HOST_FREE_BYTES
            return sent | ({uuid: domains[uuid].actual_bytes + rest_bytes} if rest_bytes > 0 else {}), False
        free_bytes -= max(0, grows_bytes)
        sent[uuid] = size
    return sent, True


def _domain(subject: Subject, said: Meminfo, target_bytes: int) -> Domain:
    used_bytes = said.used_bytes + said.swap_bytes
    least_bytes = max(PREF_LEAST_BYTES, subject.floor_bytes)
    return Domain(
        used_bytes=used_bytes,
        pref_bytes=min(max(int(CACHE_FACTOR * used_bytes), least_bytes), subject.ceiling_bytes),
        current_bytes=subject.current_bytes,
        actual_bytes=max(subject.current_bytes, target_bytes),
        floor_bytes=subject.floor_bytes,
        maximum_bytes=subject.ceiling_bytes,
        target_bytes=target_bytes,
    )


def _numbers(domain: Domain, wanted_bytes: int | None) -> Numbers:
    wanted: Numbers = {} if wanted_bytes is None else {"wanted_bytes": wanted_bytes}
    return {"used_bytes": domain.used_bytes, "pref_bytes": domain.pref_bytes} | wanted


def _still_stuck(domain: Domain) -> bool:
    """Say whether a guest that was left out stays so: it has not done what it was asked, nor needs more."""
    return domain.actual_bytes > domain.target_bytes + FORGIVEN_BYTES and domain.actual_bytes >= domain.pref_bytes


def _unmoved(wanted: Mapping[str, int], domains: Mapping[str, Domain], before: Mapping[str, int]) -> frozenset[str]:
    """Return the donors that were asked before and have not moved since the last look."""
    return frozenset(
        uuid
        for uuid, size in wanted.items()
        if size < domains[uuid].actual_bytes
        and domains[uuid].actual_bytes > domains[uuid].target_bytes + LATE_BYTES
        and domains[uuid].current_bytes == before.get(uuid)
    )


def _reports(before: Mapping[str, Meminfo], snapshot: Snapshot) -> dict[str, Meminfo]:
    """Return what every guest last reported; what it said before stands until it says something new."""
    known = {absent.uuid for absent in snapshot.absent} | {guest.uuid for guest in snapshot.guests}
    kept = {uuid: said for uuid, said in before.items() if uuid in known}
    fresh = ((guest.uuid, _report(before.get(guest.uuid), guest)) for guest in snapshot.guests)
    return kept | {uuid: said for uuid, said in fresh if said is not None}


def _report(before: Meminfo | None, guest: Guest) -> Meminfo | None:
    """Return what a guest reports now; ``None`` when that is nothing new or not enough."""
    said = guest.reported
    if said is None or said.unused_bytes is None or said.disk_caches_bytes is None:
        return None
    if before is not None and said.updated_at_s == before.at_s:
        return None
    # a driver that gives memory back when its guest runs out leaves MemTotal as it is: what was taken looks used
    taken_bytes = guest.observed.maximum_bytes - guest.observed.current_bytes if guest.traits.deflates_on_oom else 0
    return Meminfo(
        at_s=said.updated_at_s,
        used_bytes=max(0, said.total_bytes - said.unused_bytes - said.disk_caches_bytes - taken_bytes),
        swap_bytes=0 if before is None else _swap_bytes(before, said),
        swap_in_bytes_total=said.swap_in_bytes_total,
        swap_out_bytes_total=said.swap_out_bytes_total,
    )


def _swap_bytes(before: Meminfo, said: Reported) -> int:
    """Return the swap in use after a report; 0 again after a reboot, when the counters fall."""
    counters = (
        before.swap_in_bytes_total,
        said.swap_in_bytes_total,
        before.swap_out_bytes_total,
        said.swap_out_bytes_total,
    )
    known = [counter for counter in counters if counter is not None]
    if len(known) < len(counters):
        return before.swap_bytes
    in_before, in_now, out_before, out_now = known
    if in_now < in_before or out_now < out_before:
        return 0
    return max(0, before.swap_bytes + (out_now - out_before) - (in_now - in_before))
