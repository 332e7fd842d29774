"""One scenario for each safeguard of the law: a few guests, a short host, and the figure that shows what it is for."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from make import START_S as START
from make import guest, snapshot
from mixed import holding, mixed

from memtide.model.action import SetMemory
from memtide.model.guest import Reported
from memtide.model.limits import GuestLimits, Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.host_state import reserve_for
from memtide.policy.tide import Tide
from memtide.sim.behaviours import Behaviour, Lying, Stuck
from memtide.sim.curve import Curve, flat, noise, wave
from memtide.sim.events import HugePages
from memtide.sim.observe import observe_host
from memtide.sim.play import Trace, play
from memtide.sim.scenario import find
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import START_S, World
from memtide.units import GIB, MIB

SWAP = 512 * MIB


class Mute(Behaviour, frozen=True, kw_only=True):
    """Reports no more from one moment on."""

    at_s: float

    def report(self, honest: Reported) -> Reported | None:
        """Return the truth, until then."""
        return honest if honest.updated_at_s - START_S < self.at_s else None


class Late(Behaviour, frozen=True, kw_only=True):
    """Its driver works on its target only from one moment on."""

    at_s: float

    def follows_target(self, elapsed_s: float) -> bool:
        """Say whether it has begun."""
        return elapsed_s >= self.at_s

    def steady_until_s(self, elapsed_s: float) -> float:
        """Return when it begins."""
        return self.at_s if elapsed_s < self.at_s else float("inf")


def air(name: str, freed_mib: int = 600, used_mib: int = 40, **more: Any) -> GuestSpec:
    """Return a guest that touched memory, freed it, and idles."""
    usual = {"anonymous": flat(used_mib * MIB), "freed_bytes": freed_mib * MIB, "swap_bytes": SWAP}
    return GuestSpec(name=name, **usual | more)


def idle(count: int, freed_mib: int) -> list[GuestSpec]:
    """Return so many of them."""
    return [air(f"idle-{i}", freed_mib) for i in range(count)]


def line(*points: tuple[float, int], repeat_s: float | None = None) -> Curve:
    """Return a curve through (seconds, MiB)."""
    return Curve(points=tuple((float(time_s), size_mib * MIB) for time_s, size_mib in points), repeat_s=repeat_s)


def rising(to_mib: int, *, for_s: float, **more: Any) -> GuestSpec:
    """Return a guest of 400 MiB that rises from 100 MiB, 20 s after the beginning."""
    usual = {"name": "rising", "current_bytes": 400 * MIB, "swap_bytes": SWAP}
    return GuestSpec(**usual | {"anonymous": line((0, 100), (20, 100), (20 + for_s, to_mib))} | more)


def run(world: World, duration_s: float, reserve_mib: int, events: Sequence[Any] = (), **allowed: Any) -> Trace:
    """Let the law act on a world whose host keeps such a reserve."""
    limits = Limits(**{"boot_grace_s": 0.0, "reserve_bytes": reserve_mib * MIB} | allowed)
    return play(world, Tide(), limits, duration_s=duration_s, reserve_bytes=reserve_mib * MIB, events=events)


def moves(trace: Trace, name: str | None = None, after_s: float = 0.0) -> int:
    """Return how often a guest's memory was asked to change; ``None``: any guest's."""
    return sum(
        isinstance(action, SetMemory) and name in {None, action.name}
        for tick in trace.ticks
        if tick.snapshot.taken_at_s - START_S >= after_s
        for action, _ in tick.replies
    )


def falls_silent_and_grows() -> float:
    """A guest reports for ten seconds, then never again, and uses what it had free; then the host runs short."""
    silent = air("silent", anonymous=line((0, 60), (12, 60), (20, 500)), behaviour=Mute(at_s=10))
    short = [HugePages(at_s=30, size_bytes=1500 * MIB)]
    return run(holding([silent, *idle(2, 600)], 1100), 120, 1000, short)["silent"].shortage_gib_s


def says_it_is_small() -> float:
    """A guest of 1 GiB says that it has 300 MiB and uses 50 of them, and uses 600."""
    lies = {"total_bytes": 300 * MIB, "usable_bytes": 250 * MIB, "unused_bytes": 250 * MIB}
    quiet = {"swap_out_bytes_total": 0, "swap_in_bytes_total": 0}
    liar = GuestSpec(name="liar", anonymous=flat(600 * MIB), swap_bytes=SWAP, behaviour=Lying(figures=lies | quiet))
    return run(holding([liar, air("idle")], 100), 60, 600)["liar"].shortage_gib_s


def has_grown_since_its_only_report() -> float:
    """A guest said once that it idles, has grown since, and the daemon starts five seconds later on a short host."""
    grown = air("grown", anonymous=line((0, 60), (1, 60), (3, 600)), behaviour=Mute(at_s=0.5))
    world = holding([grown, air("idle", 100)], 100)
    world.advance(4)
    return run(world, 30, 600)["grown"].shortage_gib_s


def boots_rests_and_works() -> float:
    """A guest starts, boots with a peak, rests for some seconds, and then begins its work."""
    work = line((4, 50), (6, 700), (8, 700), (9, 100), (16, 100), (17, 800))
    young = GuestSpec(name="young", start_at_s=4, anonymous=work, swap_bytes=SWAP)
    trace = run(holding([young, air("idle", 300)], 1000), 60, 800, boot_grace_s=30.0)
    return trace["young"].shortage_gib_s


def is_pinned() -> float:
    """A guest with a device passed through beside one that has as much to give."""
    return moves(run(holding([air("pinned", pinned=True), air("idle")], 100), 60, 900), "pinned")


def idles_with_a_floor() -> float:
    """Two guests use a tenth of their floor of 700 MiB on a host that has nothing."""
    floor = GuestLimits(floor_bytes=700 * MIB)
    trace = run(holding(idle(2, 600), 100), 60, 900, defaults=floor)
    return max(0.0, 700 - min(move.to_bytes for move in trace.moves) / MIB)


def _size_given(*seen: Snapshot) -> float:
    """Return the size in MiB that a guest has in the end of these looks, if it does at once as it is told."""
    law, limits = Tide(), Limits(reserve_bytes=GIB)
    state = law.initial()
    for snapshot_ in seen:
        state, decision = law.decide(state, snapshot_, limits)
    sizes = [action.to_bytes for action in decision.actions if isinstance(action, SetMemory)]
    return max(sizes, default=seen[-1].guests[0].observed.current_bytes) / MIB


def swaps_out_what_it_uses() -> float:
    """Between two reports a guest of 500 MiB that uses 300 swapped out 200 more, and looks comfortable."""
    usual = {"current_bytes": 500 * MIB, "used_bytes": 300 * MIB}
    seen = [
        snapshot(
            guest("g", at_s=START + 2 * i, swap_out_bytes_total=200 * MIB * i, **usual),
            at_s=START + 2 * i,
            available_bytes=1100 * MIB,
        )
        for i in range(2)
    ]
    return max(0.0, 540 - _size_given(*seen))


def starves_on_a_short_host() -> float:
    """A guest that began to grow has next to nothing left, on a host at 60 % of its reserve."""
    seen = [
        snapshot(
            guest("g", at_s=START + 2 * i, current_bytes=500 * MIB, used_bytes=(250 + 180 * i) * MIB),
            at_s=START + 2 * i,
            available_bytes=600 * MIB,
        )
        for i in range(2)
    ]
    return max(0.0, 700 - _size_given(*seen))


def gives_all_it_can() -> float:
    """A guest that uses 140 MiB and has touched all of its 1 GiB gives to a host that has nothing at all."""
    seen = [
        snapshot(guest("g", at_s=START + 2 * i, resident_bytes=GIB), at_s=START + 2 * i, available_bytes=0)
        for i in range(2)
    ]
    return max(0.0, 170 - _size_given(*seen))


def reads_its_files_again() -> float:
    """A guest reads 500 MiB of files again and again; the others have little to give."""
    reader = GuestSpec(name="reader", anonymous=flat(200 * MIB), hot_cache=flat(500 * MIB), swap_bytes=SWAP)
    return run(holding([reader, *idle(2, 100)], 100), 200, 500)["reader"].shortage_gib_s


def grows_beyond_its_size() -> float:
    """A guest of 400 MiB grows to 900 in ten seconds; its reports come two seconds late."""
    world = holding([rising(900, for_s=10, stats_lag_s=2.0), *idle(2, 300)], 500)
    return run(world, 60, 800)["rising"].shortage_gib_s


def two_want_more_than_there_is() -> float:
    """Two guests want 1.8 GiB of a host that has 0.7; its emergency line is at 0.25."""
    guests = [rising(900, for_s=6, name=f"rising-{i}") for i in range(2)]
    return run(holding(guests, 700), 60, 1000).under_line_s


def breathes() -> float:
    """Four guests go up and down by at most 30 MiB on a short host."""
    guests = [air(f"breathing-{i}", 200, anonymous=noise(200 * MIB, 230 * MIB, every_s=5, seed=i)) for i in range(4)]
    return moves(run(holding(guests, 100), 120, 1000), after_s=20)


def does_not_follow() -> float:
    """A guest full of air ignores every target for two minutes."""
    world = holding([air("stuck", 700, behaviour=Stuck()), air("idle", 50)], 300)
    return moves(run(world, 120, 700), "stuck")


def others_give_instead() -> float:
    """The guest that has most to give does not follow, and the host itself grows three times."""
    guests = [air("stuck", 850, behaviour=Stuck()), *idle(4, 300)]
    base = line((0, 512), (5, 800), (44, 800), (45, 1100), (116, 1100), (117, 1400))
    return run(holding(guests, 1000, base=base), 150, 900).under_reserve_s


def follows_late() -> float:
    """A guest ignores its target for half a minute, and begins to follow it just before it needs the memory."""
    late = air("late", 700, anonymous=line((0, 40), (30, 40), (32, 900)), behaviour=Late(at_s=30))
    return run(holding([late], 300), 60, 600)["late"].shortage_gib_s


def has_a_large_qemu() -> float:
    """Three guests whose QEMU takes 400 MiB itself look as if they had as much to give."""
    guests = [air(f"large-{i}", 0, 100, overhead_bytes=400 * MIB) for i in range(3)]
    return moves(run(holding(guests, 300), 120, 700))


def comes_and_goes() -> float:
    """Two guests need much in turns, and between two turns what they left behind is taken."""
    guests = [
        air(f"turn-{i}", 0, anonymous=wave(60 * MIB, 600 * MIB, period_s=80, high_s=30, ramp_s=2, phase_s=40.0 * i))
        for i in range(2)
    ]
    return run(World(HostSpec(total_bytes=2084 * MIB), guests), 320, 700).shortage_gib_s


def fills_its_room() -> float:
    """Two guests touch 840 MiB each in six seconds, all of it memory that they have and never used."""
    guests = [air(f"filling-{i}", 0, anonymous=line((0, 60), (20, 60), (26, 900))) for i in range(2)]
    return run(holding([*guests, *idle(4, 600)], 1100), 60, 900).under_reserve_s


def _leaks(left_mib: int, *, swap_mib: int = 0) -> Trace:
    """Four guests leak from 100 to 900 MiB on a host that has not got as much."""
    guests = [
        GuestSpec(name=f"leak-{i}", swap_bytes=GIB, anonymous=line((0, 100), (10, 100), (60, 900))) for i in range(4)
    ]
    return run(holding(guests, left_mib, swap_mib=swap_mib), 120, 400)


def leaks_kill() -> float:
    """The host has no swap."""
    return _leaks(2000).world.oom_kills_total


def gold_and_lead() -> float:
    """Eight guests need more than the host has, and two of them have four times the weight of the others."""
    scenario = find("weights")
    return play(scenario.world(), Tide(), scenario.limits, duration_s=240, keep_ticks=False)["gold-0"].shortage_gib_s


def leaks_into_swap() -> float:
    """The host has 4 GiB of swap."""
    return _leaks(1500, swap_mib=4096).host_swap_bytes / MIB


def breathes_at_its_line() -> float:
    """The host itself goes up and down by 58 MiB around its reserve, and nobody has anything to give."""
    base = wave(512 * MIB, 570 * MIB, period_s=8, high_s=3, ramp_s=1)
    states = [tick.decision.state for tick in run(holding(idle(2, 0), 700, base=base), 200, 710).ticks]
    return sum(before is not after for before, after in pairwise(states))


def keeps_its_total() -> float:
    """Four guests whose driver deflates on OOM have 500 MiB each to give; the host grows by as much once."""
    guests = [air(f"keeping-{i}", 500, 100, deflates_on_oom=True) for i in range(4)]
    base = line((0, 512), (60, 512), (61, 1000))
    return run(holding(guests, 100, base=base), 200, 700).action_count


def _tight() -> Trace:
    """The lab's tight setting: half of ten guests are high while the other half are low, with nothing to spare."""
    scenario = find("lab-tight")
    world = scenario.world()
    reserve_bytes = reserve_for(observe_host(world), scenario.limits)
    return play(world, Tide(), scenario.limits, duration_s=420, reserve_bytes=reserve_bytes, keep_ticks=False)


def lab_tight() -> float:
    """See ``_tight``."""
    return _tight().reversals


def lab_tight_line() -> float:
    """See ``_tight``."""
    return _tight().under_line_s


def _mixed(seed: int) -> Trace:
    world, limits = mixed(seed)
    reserve_bytes = limits.reserve_bytes or 0
    return play(world, Tide(), limits, duration_s=120, reserve_bytes=reserve_bytes, keep_ticks=False)


def mixed_shortage(seed: int) -> Callable[[], float]:
    """Return the same with the guests' shortage as its figure."""

    def scenario() -> float:
        return _mixed(seed).shortage_gib_s

    scenario.__doc__ = f"A host by chance, number {seed}: two to five guests of all kinds."
    return scenario


def mixed_line(seed: int) -> Callable[[], float]:
    """Return the scenario of a few guests of all kinds, found by search; the figure is time in emergency."""

    def scenario() -> float:
        return _mixed(seed).under_line_s

    scenario.__doc__ = f"A host by chance, number {seed}: two to five guests of all kinds."
    return scenario
