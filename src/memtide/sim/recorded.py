"""A recorded host as a simulated one: what its guests needed, whatever law it was under, as curves over time.

What a guest needs is taken from figures that no law changes much: by its own report what it could not give away
(total - usable) and its file cache, plus what it swapped out since the recording began; what was resident from the
host. A guest that never reported needs what was resident. It is an estimate, and ``ASSUMED`` says what it rests on.
"""

import glob
import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from memtide.model.derived import used_bytes
from memtide.model.guest import Guest
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.sim.behaviours import Behaviour, Silent
from memtide.sim.curve import Curve
from memtide.sim.events import StopGuest
from memtide.sim.host import WATERMARK_BYTES, WATERMARK_SHARE
from memtide.sim.memory import MIN_FREE_BYTES
from memtide.sim.scenario import Scenario
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.units import MIB

__all__ = ["ASSUMED", "RecordedWorld"]

ASSUMED: Final = (
    "each guest needs what it reported as used and what it swapped out meanwhile, at the same moments under every law",
    "a guest that never reported needs what was resident",
    "file caches are read once: to lose them costs a guest nothing",
    "a guest that swapped has a swap as large as its memory, the others have none",
    "the host's own use of memory is what it was, and its swap is compressed memory",
    "the operator's will is that of the last tick, and no guest has just been started",
)
DEFAULT_OVERHEAD_BYTES: Final = 64 * MIB
DEFAULT_KERNEL_BYTES: Final = 40 * MIB
SWAP_COMPRESSION: Final = 3.0
"""How many swapped bytes one byte of memory holds, as in the lab."""
GRAIN_BYTES: Final = MIB
"""Curves are rounded to this: a size that only trembles lets the simulator rest."""
LEAST_S: Final = 10.0
"""A shorter recording shows nothing."""

Points = list[tuple[float, int]]


class _GuestTrack:
    """What one guest needed, gathered tick by tick."""

    def __init__(self, guest: Guest, at_s: float) -> None:
        self.first = self.last = guest
        self.began_s = at_s
        self.seen_s = at_s
        self._used: Points = []
        self._cache: Points = []
        self._resident: Points = []
        self._kernel_bytes: list[int] = []
        self._spare_bytes: list[int] = []
        """Touched beyond what its own figures explain: QEMU's own, and what was freed since."""
        self._debt_bytes = 0
        self._least_debt_bytes = 0
        self._debts: list[int] = []
        self._swapped = False

    def see(self, guest: Guest, at_s: float) -> None:
        before, self.last, self.seen_s = self.last, guest, at_s
        cost_bytes = guest.observed.host_cost_bytes
        if cost_bytes is not None:
            self._resident.append((at_s, cost_bytes))
        used, said = used_bytes(guest), guest.reported
        fresh = said is not None and (before.reported is None or said.updated_at_s != before.reported.updated_at_s)
        if said is None or used is None or not (fresh or not self._used):
            return
        self._count_swap(before, guest)
        cache_bytes = said.disk_caches_bytes or 0
        self._used.append((at_s, max(0, used - MIN_FREE_BYTES)))
        self._debts.append(self._debt_bytes)
        self._cache.append((at_s, cache_bytes))
        whole_bytes = guest.observed.maximum_bytes if guest.traits.deflates_on_oom else guest.observed.current_bytes
        self._kernel_bytes.append(max(0, whole_bytes - said.total_bytes))
        if cost_bytes is not None:
            touched_bytes = cost_bytes + (guest.observed.swapped_bytes or 0)
            explained_bytes = self._kernel_bytes[-1] + self._used[-1][1] + cache_bytes
            self._spare_bytes.append(touched_bytes - explained_bytes)

    def _count_swap(self, before: Guest, now: Guest) -> None:
        """Follow what it has in its swap; counters that fell were reset, and so was what they counted."""
        if before.reported is None or now.reported is None:
            return
        counts = [
            (report.swap_out_bytes_total or 0, report.swap_in_bytes_total or 0)
            for report in (before.reported, now.reported)
        ]
        out_bytes, in_bytes = (after - earlier for earlier, after in zip(*counts, strict=True))
        if out_bytes < 0 or in_bytes < 0:
            return
        self._swapped = self._swapped or out_bytes + in_bytes > 0
        self._debt_bytes += out_bytes - in_bytes
        self._least_debt_bytes = min(self._least_debt_bytes, self._debt_bytes)

    def spec(self, name: str, began_s: float) -> GuestSpec:
        """Return it as a simulated guest of a world that begins at ``began_s``."""
        observed, traits = self.first.observed, self.last.traits
        maximum_bytes = self.last.observed.maximum_bytes
        kernel_bytes = int(statistics.median(self._kernel_bytes)) if self._kernel_bytes else DEFAULT_KERNEL_BYTES
        kernel_bytes = min(kernel_bytes, maximum_bytes // 2)
        overhead_bytes = min(DEFAULT_OVERHEAD_BYTES, max(0, min(self._spare_bytes, default=DEFAULT_OVERHEAD_BYTES)))
        room_bytes = max(0, maximum_bytes - kernel_bytes - 2 * MIN_FREE_BYTES)
        needs = self._needs(kernel_bytes + overhead_bytes, room_bytes)
        caches = [(at_s, min(size_bytes, room_bytes)) for at_s, size_bytes in self._cache]
        freed_bytes = max(0, self._spare_bytes[0] - overhead_bytes) if self._spare_bytes else 0
        return GuestSpec(
            name=name,
            maximum_bytes=maximum_bytes,
            current_bytes=min(observed.current_bytes, maximum_bytes),
            anonymous=_curve(needs, began_s),
            cold_cache=_curve(caches, began_s),
            freed_bytes=freed_bytes,
            kernel_bytes=kernel_bytes,
            overhead_bytes=overhead_bytes,
            swap_bytes=maximum_bytes if self._swapped else 0,
            has_balloon=traits.has_balloon,
            deflates_on_oom=traits.deflates_on_oom,
            reports_free_pages=traits.reports_free_pages,
            pinned=traits.passthrough or traits.locked,
            stats_period_s=traits.stats_period_s,
            start_at_s=max(0.0, self.began_s - began_s),
            behaviour=Behaviour() if self._used else Silent(),
        )

    def _needs(self, own_bytes: int, room_bytes: int) -> Points:
        """Return what its programs held, never more than it has room for."""
        if not self._used:
            return [(at_s, max(0, min(cost_bytes - own_bytes, room_bytes))) for at_s, cost_bytes in self._resident]
        return [
            (at_s, min(room_bytes, held_bytes + debt_bytes - self._least_debt_bytes))
            for (at_s, held_bytes), debt_bytes in zip(self._used, self._debts, strict=True)
        ]


class RecordedWorld:
    """Gathers a recording tick by tick and returns it as a scenario."""

    def __init__(self) -> None:
        self._tracks: dict[str, _GuestTrack] = {}
        self._base: Points = []
        self._total_bytes = 0
        self._began_s: float | None = None
        self._ended_s = 0.0
        self._ends: dict[str, float] = {}
        self._swap_bytes = 0
        self._limits = Limits()

    def see(self, snapshot: Snapshot, limits: Limits) -> None:
        """Take note of a tick."""
        at_s, memory = snapshot.taken_at_s, snapshot.host.memory
        swapped_bytes = sum(guest.observed.swapped_bytes or 0 for guest in snapshot.guests)
        if self._began_s is None:
            self._began_s = at_s
            self._swap_bytes = memory.swap_free_bytes + swapped_bytes
        self._ended_s, self._limits = at_s, limits
        self._total_bytes = max(self._total_bytes, memory.usable_total_bytes)
        if not snapshot.absent:
            cost_bytes = sum(_cost_bytes(guest) for guest in snapshot.guests)
            # of those that are absent nobody knows what they cost; the host's own would take the blame
            in_zram_bytes = int(swapped_bytes / SWAP_COMPRESSION)
            self._base.append((at_s, memory.available_bytes + cost_bytes + in_zram_bytes))
        for guest in snapshot.guests:
            if guest.uuid not in self._tracks:
                self._tracks[guest.uuid] = _GuestTrack(guest, at_s)
            self._tracks[guest.uuid].see(guest, at_s)
        there = {one.uuid for one in snapshot.guests} | {one.uuid for one in snapshot.absent}
        self._ends = {uuid: self._ends.get(uuid, at_s) for uuid in self._tracks if uuid not in there}

    def scenario(self, name: str) -> Scenario | None:
        """Return what was gathered; ``None``: it is too short, or without guests."""
        began_s = self._began_s
        if began_s is None or self._ended_s - began_s < LEAST_S or not self._tracks or not self._base:
            return None
        names = self._names()
        total_bytes = self._total_bytes
        watermark_bytes = min(WATERMARK_BYTES, total_bytes // WATERMARK_SHARE)
        base = [(at_s, total_bytes - watermark_bytes - others_bytes) for at_s, others_bytes in self._base]
        return Scenario(
            name=name,
            intent="What the recorded guests needed, under each law.",
            duration_s=self._ended_s - began_s,
            host=HostSpec(
                total_bytes=total_bytes,
                base=_curve(base, began_s),
                swap_bytes=self._swap_bytes,
                swap_compression=SWAP_COMPRESSION,
            ),
            guests=tuple(track.spec(names[uuid], began_s) for uuid, track in self._tracks.items()),
            limits=_by_name(self._limits, names),
            events=tuple(StopGuest(at_s=at_s - began_s, guest=names[uuid]) for uuid, at_s in self._ends.items()),
        )

    def _names(self) -> dict[str, str]:
        """Return a name for each guest, two of the same name told apart."""
        names: dict[str, str] = {}
        for uuid, track in self._tracks.items():
            name, number = track.last.name, 1
            while name in names.values():
                number += 1
                name = f"{track.last.name} ({number})"
            names[uuid] = name
        return names


def _cost_bytes(guest: Guest) -> int:
    cost_bytes = guest.observed.host_cost_bytes
    return guest.observed.current_bytes if cost_bytes is None else cost_bytes


def _curve(points: Sequence[tuple[float, int]], began_s: float) -> Curve:
    """Return points as a curve, without those that only repeat their neighbours."""
    kept: Points = []
    for at_s, size_bytes in points:
        point = (max(0.0, at_s - began_s), size_bytes // GRAIN_BYTES * GRAIN_BYTES)
        if kept and point[0] <= kept[-1][0]:
            continue
        if len(kept) > 1 and point[1] == kept[-1][1] == kept[-2][1]:
            kept.pop()
        kept.append(point)
    return Curve(points=tuple(kept) or ((0.0, 0),))


def _by_name(limits: Limits, names: dict[str, str]) -> Limits:
    """Return limits whose rules and holds name simulated guests: their UUIDs are others."""
    rules = tuple(
        msgspec.structs.replace(rule, match=glob.escape(names[rule.match])) if rule.match in names else rule
        for rule in limits.rules
    )
    return msgspec.structs.replace(limits, rules=rules, holds={})
