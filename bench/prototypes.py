"""The three simple laws that real guests were measured with before memtide's own: the floor it has to beat.

Written from the lab notes ("Which law survives real guests"), as ``ports.Policy`` like any other law; they act at most
once a second. Not part of the product. Where the notes give no figure, the constant says that it is assumed.

- ``fixed`` and ``by-state``: take only what is resident and not needed::

      slack   = min(host cost - QEMU's own, current) - keep
      keep    = 1.02 demand + cushion + 5 s growth
      demand  = used + kernel's share, both of the guest's own figures of one report

  while the host's available memory is under a soft line: 1.3 times what is missing, in proportion to slack, no step
  limit. Relief first: a guest whose usable memory is under 3/4 cushion + 5 s growth, or that swaps out, gets
  max(what it lacks, cushion) at once while the host is above its hard line, and always when it swaps; then nothing is
  taken from it for 4 s. What was taken goes back slowly, when the host is well above the soft line. The cushion is
  128 MiB, or 128 / 64 / 32 MiB above soft / under soft / under hard.
- ``nominal``: every guest gets demand + 64 MiB; when the sum of all sizes would be more than the host has, all get the
  same part of it.

No weights, no fairness, no stuck guests, no KSM. Floors and who must not be touched are memtide's frame.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from memtide.model.action import Action, Reply
from memtide.model.base import Model
from memtide.model.decision import Decision
from memtide.model.guest import Guest
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers.common import Books, Numbers, Ruling, Subject, after, answered, conclude, is_due, subjects
from memtide.policy.peers.pool import QEMU_BYTES, Pool, look
from memtide.ports import Policy
from memtide.units import MIB

__all__ = ["PROTOTYPES", "Cushion", "Nominal", "Prototype", "by_state", "fixed"]

PERIOD_S: Final = 1.0
DEMAND_MARGIN: Final = 1.02
LOOK_AHEAD_S: Final = 5.0
OVERSHOOT: Final = 1.3
STARVING_SHARE: Final = 0.75
NO_TAKING_AFTER_RELIEF_S: Final = 4.0
NOMINAL_CUSHION_BYTES: Final = 64 * MIB
OVERHEAD_BYTES: Final = 64 * MIB
"""QEMU's own memory; 110 MiB under TCG."""
LEAST_MOVE_BYTES: Final = 1 * MIB
"""Assumed: less is not asked for."""
WELL_ABOVE_RATIO: Final = 1.5
"""Assumed for "well above the soft line"."""
RETURN_SHARE: Final = 0.1
"""Assumed for "slow": of what the host has above that, per second."""


class Cushion(Model, frozen=True, kw_only=True):
    """The usable memory left to a guest, by the host's state, and the lines of that state."""

    calm_bytes: int
    soft_bytes: int
    hard_bytes: int
    soft_ratio: float
    """Of the memory guests can have."""
    hard_ratio: float

    def for_host(self, available_bytes: int, total_bytes: int) -> int:
        """Return the cushion while the host has this available."""
        if available_bytes < self.hard_ratio * total_bytes:
            return self.hard_bytes
        return self.soft_bytes if available_bytes < self.soft_ratio * total_bytes else self.calm_bytes


FIXED: Final = Cushion(
    calm_bytes=128 * MIB, soft_bytes=128 * MIB, hard_bytes=128 * MIB, soft_ratio=700 / 6144, hard_ratio=250 / 6144
)
BY_STATE: Final = Cushion(
    calm_bytes=128 * MIB, soft_bytes=64 * MIB, hard_bytes=32 * MIB, soft_ratio=500 / 6144, hard_ratio=200 / 6144
)
"""The lines of the "roomy" runs on 6 GiB: soft 700 and hard 250 MiB, soft 500 and hard 200 MiB."""


class Track(Model, frozen=True, kw_only=True):
    """What a prototype knows of one guest after its last report."""

    updated_at_s: float
    current_bytes: int
    still: bool = True
    """Whether its size has not changed since the sample before."""
    kernel_bytes: int = 0
    """``current - MemTotal``, learned while the size stands still."""
    demand_bytes: int
    growth_bps: float = 0.0
    usable_bytes: int
    swap_out_total_bytes: int
    swapping: bool = False
    cool_until_s: float = 0.0


class PrototypeState(Model, frozen=True, kw_only=True):
    """What a prototype remembers."""

    due_s: float = 0.0
    tracks: dict[str, Track] = msgspec.field(default_factory=dict)
    pool: Pool = Pool()
    books: Books = Books()


class Prototype:
    """Resident, lazy, relief first; the cushion makes it ``fixed`` or ``by-state``."""

    def __init__(self, name: str, cushion: Cushion, *, overhead_bytes: int = OVERHEAD_BYTES) -> None:
        self.name = name
        self._cushion = cushion
        self._overhead_bytes = overhead_bytes

    def initial(self) -> PrototypeState:
        """Return the state of a law that has seen nothing yet."""
        return PrototypeState()

    def decide(self, state: PrototypeState, snapshot: Snapshot, limits: Limits) -> tuple[PrototypeState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s, memory = snapshot.taken_at_s, snapshot.host.memory
        total_bytes, available_bytes = memory.usable_total_bytes, memory.available_bytes
        soft_bytes = int(self._cushion.soft_ratio * total_bytes)
        ruling = Ruling(period_s=PERIOD_S, line_bytes=soft_bytes, free_bytes=available_bytes)
        if is_due(state.due_s, now_s, PERIOD_S):
            able, _ = subjects(snapshot, limits)
            tracks = _observed(state.tracks, snapshot)
            cushion_bytes = self._cushion.for_host(available_bytes, total_bytes)
            relief = _relief(able, tracks, cushion_bytes, hard=available_bytes < self._cushion.hard_ratio * total_bytes)
            for uuid in relief:
                cool_until_s = now_s + NO_TAKING_AFTER_RELIEF_S
                tracks[uuid] = msgspec.structs.replace(tracks[uuid], cool_until_s=cool_until_s)
            missing_bytes = soft_bytes - available_bytes
            others = {uuid: subject for uuid, subject in able.items() if uuid in tracks and uuid not in relief}
            slack = {uuid: self._slack(s, tracks[uuid], cushion_bytes, now_s) for uuid, s in others.items()}
            moves = relief | _taking(others, slack, missing_bytes)
            if not moves:
                moves = _returning(others, available_bytes - int(WELL_ABOVE_RATIO * soft_bytes))
            ruling = msgspec.structs.replace(ruling, targets=moves, numbers=_numbers(tracks, slack))
            due_s = after(state.due_s, now_s, PERIOD_S)
            state = msgspec.structs.replace(state, tracks=tracks, due_s=due_s)
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, books=books), decision

    def answered(self, state: PrototypeState, action: Action, reply: Reply) -> PrototypeState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))

    def _slack(self, subject: Subject, track: Track, cushion_bytes: int, now_s: float) -> int:
        """Return what the host would gain from a guest without hurting it."""
        cost_bytes = subject.guest.observed.host_cost_bytes
        if cost_bytes is None or now_s < track.cool_until_s:
            return 0
        keep_bytes = DEMAND_MARGIN * track.demand_bytes + cushion_bytes + LOOK_AHEAD_S * track.growth_bps
        held_bytes = min(cost_bytes - self._overhead_bytes, subject.current_bytes)
        return max(0, held_bytes - max(int(keep_bytes), subject.floor_bytes))


class Nominal:
    """Follow demand, by nominal sizes."""

    name = "nominal"

    def __init__(self, *, overhead_bytes: int = QEMU_BYTES) -> None:
        self._beyond_bytes = overhead_bytes - QEMU_BYTES
        """What QEMU takes beyond what ``Pool`` counts."""

    def initial(self) -> PrototypeState:
        """Return the state of a law that has seen nothing yet."""
        return PrototypeState()

    def decide(self, state: PrototypeState, snapshot: Snapshot, limits: Limits) -> tuple[PrototypeState, Decision]:
        """Return the new state, a verdict on every guest and the actions to take."""
        now_s = snapshot.taken_at_s
        pool = look(state.pool, snapshot)
        line_bytes = int(FIXED.soft_ratio * pool.total_bytes)
        ruling = Ruling(period_s=PERIOD_S, line_bytes=line_bytes, free_bytes=pool.free_bytes)
        if is_due(state.due_s, now_s, PERIOD_S):
            able, _ = subjects(snapshot, limits)
            tracks = _observed(state.tracks, snapshot)
            able = {uuid: subject for uuid, subject in able.items() if uuid in tracks}
            need = {uuid: tracks[uuid].demand_bytes + NOMINAL_CUSHION_BYTES for uuid in able}
            sizes_bytes = sum(subject.current_bytes - self._beyond_bytes for subject in able.values())
            budget_bytes = pool.free_bytes - line_bytes + sizes_bytes
            part = min(1.0, max(0, budget_bytes) / max(1, sum(need.values())))
            wanted = {uuid: _within(subject, int(part * need[uuid])) for uuid, subject in able.items()}
            ruling = msgspec.structs.replace(
                ruling, targets=_worth_it(able, wanted), numbers={uuid: {"wanted_bytes": need[uuid]} for uuid in able}
            )
            state = msgspec.structs.replace(state, tracks=tracks, due_s=after(state.due_s, now_s, PERIOD_S))
        books, decision = conclude(self.name, state.books, snapshot, limits, ruling)
        return msgspec.structs.replace(state, pool=pool, books=books), decision

    def answered(self, state: PrototypeState, action: Action, reply: Reply) -> PrototypeState:
        """Return the state that knows how the action was answered."""
        return msgspec.structs.replace(state, books=answered(state.books, action, reply))


def fixed(*, overhead_bytes: int = OVERHEAD_BYTES) -> Prototype:
    """Return the prototype with one cushion for every state of the host."""
    return Prototype("fixed", FIXED, overhead_bytes=overhead_bytes)


def by_state(*, overhead_bytes: int = OVERHEAD_BYTES) -> Prototype:
    """Return the prototype whose cushion shrinks with the host's state."""
    return Prototype("by-state", BY_STATE, overhead_bytes=overhead_bytes)


PROTOTYPES: Final[dict[str, Policy[Any]]] = {law.name: law for law in (fixed(), by_state(), Nominal())}
"""By name, with the overhead of a QEMU under KVM."""


def _observed(before: Mapping[str, Track], snapshot: Snapshot) -> dict[str, Track]:
    """Return the tracks after one more sample; those of guests that do not answer wait for them."""
    tracks = {absent.uuid: before[absent.uuid] for absent in snapshot.absent if absent.uuid in before}
    for guest in snapshot.guests:
        track = _track(before.get(guest.uuid), guest)
        if track is not None:
            tracks[guest.uuid] = track
    return tracks


def _track(before: Track | None, guest: Guest) -> Track | None:
    """Return the track after one more sample; a report whose time has not moved is no report."""
    reported, current_bytes = guest.reported, guest.observed.current_bytes
    if reported is None:
        return before
    still = before is None or before.current_bytes == current_bytes
    if before is not None and reported.updated_at_s == before.updated_at_s:
        return msgspec.structs.replace(before, current_bytes=current_bytes, still=still and before.still)
    kernel_bytes = before.kernel_bytes if before is not None else 0
    if still and (before is None or before.still):
        kernel_bytes = max(0, current_bytes - reported.total_bytes)
    demand_bytes = max(0, reported.used_bytes) + kernel_bytes
    out_bytes = reported.swap_out_bytes_total or 0
    elapsed_s = max(PERIOD_S, reported.updated_at_s - before.updated_at_s) if before is not None else PERIOD_S
    rise_bytes = demand_bytes - before.demand_bytes if before is not None else 0
    return Track(
        updated_at_s=reported.updated_at_s,
        current_bytes=current_bytes,
        still=still,
        kernel_bytes=kernel_bytes,
        demand_bytes=demand_bytes,
        growth_bps=max(0.0, rise_bytes / elapsed_s),
        usable_bytes=reported.usable_bytes,
        swap_out_total_bytes=out_bytes,
        swapping=before is not None and out_bytes > before.swap_out_total_bytes,
        cool_until_s=before.cool_until_s if before is not None else 0.0,
    )


def _relief(
    able: Mapping[str, Subject], tracks: Mapping[str, Track], cushion_bytes: int, *, hard: bool
) -> dict[str, int]:
    """Return the sizes of the guests that starve; under the hard line only of those that swap."""
    sizes = {}
    for uuid, subject in able.items():
        track = tracks.get(uuid)
        if track is None:
            continue
        ahead_bytes = LOOK_AHEAD_S * track.growth_bps
        starving = track.usable_bytes < STARVING_SHARE * cushion_bytes + ahead_bytes and not hard
        if starving or track.swapping:
            lacks_bytes = max(cushion_bytes + ahead_bytes - track.usable_bytes, cushion_bytes)
            sizes[uuid] = _within(subject, subject.current_bytes + int(lacks_bytes))
    return {uuid: size for uuid, size in sizes.items() if size > able[uuid].current_bytes}


def _taking(able: Mapping[str, Subject], slack: Mapping[str, int], missing_bytes: int) -> dict[str, int]:
    """Return the sizes of those with slack while the host is short, in proportion to it."""
    slack_bytes = sum(slack.values())
    if missing_bytes <= 0 or slack_bytes == 0:
        return {}
    part = min(1.0, OVERSHOOT * missing_bytes / slack_bytes)
    wanted = {uuid: able[uuid].current_bytes - int(part * slack[uuid]) for uuid in slack}
    return _worth_it(able, wanted)


def _returning(able: Mapping[str, Subject], spare_bytes: int) -> dict[str, int]:
    """Return the sizes of those that lack some of their maximum while the host has much to spare."""
    lack = {uuid: max(0, subject.ceiling_bytes - subject.current_bytes) for uuid, subject in able.items()}
    lack_bytes = sum(lack.values())
    if spare_bytes <= 0 or lack_bytes == 0:
        return {}
    part = min(1.0, RETURN_SHARE * spare_bytes / lack_bytes)
    return _worth_it(able, {uuid: able[uuid].current_bytes + int(part * lack[uuid]) for uuid in lack})


def _within(subject: Subject, size_bytes: int) -> int:
    """Return the size between the guest's floor and ceiling."""
    return min(subject.ceiling_bytes, max(subject.floor_bytes, size_bytes))


def _worth_it(able: Mapping[str, Subject], wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes that differ enough from what is, those that free memory first."""
    changes = {uuid: size - able[uuid].current_bytes for uuid, size in wanted.items()}
    kept = sorted((uuid for uuid in wanted if abs(changes[uuid]) >= LEAST_MOVE_BYTES), key=lambda uuid: changes[uuid])
    return {uuid: wanted[uuid] for uuid in kept}


def _numbers(tracks: Mapping[str, Track], slack: Mapping[str, int]) -> dict[str, Numbers]:
    """Return what the law went by, guest by guest."""
    return {
        uuid: {"used_bytes": track.demand_bytes, "usable_bytes": track.usable_bytes, "slack_bytes": slack.get(uuid, 0)}
        for uuid, track in tracks.items()
    }
