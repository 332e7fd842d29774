"""Every safeguard of the law, how a test switches it off, and a scenario in which it matters.

The switches are here and not in the product: each replaces a constant, a row of a table or a function of ``policy/``.
Each scenario returns one figure that should be small. ``tests/scenario/test_safeguards.py`` plays it twice: with the
safeguard it stays under the bound, without it goes over. docs/why/proof.md has the table.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import safeguard_worlds as worlds

from memtide.model.decision import HostState
from memtide.model.guest import Guest
from memtide.model.reason import ReasonCode
from memtide.policy import assess, demand, eligibility, swap_debt
from memtide.policy.assess import Track
from memtide.policy.demand import Estimate
from memtide.policy.hot_cache import HotCache
from memtide.policy.overload import Overload
from memtide.policy.share import Claim
from memtide.policy.swap_debt import SwapDebt

__all__ = ["SAFEGUARDS", "Safeguard"]

Switch = tuple[tuple[str, Any], ...]


class Safeguard(NamedTuple):
    """One safeguard of the law."""

    promise: str
    """What it is for, one sentence for people."""
    off: Switch
    """What to replace by what, so that it is gone; names begin below ``memtide``."""
    scenario: Callable[[], float]
    """Plays a scenario and returns the figure that the safeguard keeps small."""
    figure: str
    """What that is, with its unit."""
    most: float
    """With the safeguard the figure is not larger than this; without it is."""


def always(value: object) -> Callable[..., object]:
    """Return a function that answers this to everything."""
    return lambda *_args, **_more: value


NEVER: Final = always(0)


def figure(value: object) -> property:
    """Return a property that is always this."""
    return property(lambda _self: value)


def in_all_states(value: float) -> dict[HostState, float]:
    """Return a table by host state with one value throughout."""
    return dict.fromkeys(HostState, value)


def without(code: ReasonCode) -> Switch:
    """Return the switch that takes one row out of the table of guests that nothing is taken from."""
    return (("policy.eligibility.SPARED", tuple(row for row in eligibility.SPARED if row[0] is not code)),)


def every_look_counts(before: Estimate | None, guest: Guest, now_s: float) -> Estimate:
    """Take a report whose time has not moved for a new one."""
    if before is not None and guest.reported is not None and guest.reported.updated_at_s == before.updated_at_s:
        before = msgspec.structs.replace(before, updated_at_s=before.updated_at_s - 1)
    return demand.estimate(before, guest, now_s)


def no_debt(*what: Any) -> SwapDebt:
    """Count swap traffic, but owe nothing."""
    return msgspec.structs.replace(swap_debt.add_up(*what), debt_bytes=0.0)


_holds = assess._holds


def nominal(guest: Guest, track: Track, leaving_bytes: int, now_s: float) -> tuple[int | None, int, int, int]:
    """Believe that all memory a guest has costs the host something."""
    whole_bytes = guest.observed.current_bytes + track.course.overhead_bytes
    observed = msgspec.structs.replace(guest.observed, rss_bytes=whole_bytes)
    return _holds(msgspec.structs.replace(guest, observed=observed), track, leaving_bytes, now_s)


SAFEGUARDS: Final[dict[str, Safeguard]] = {
    "freshness gate": Safeguard(
        "Nothing is taken from a guest whose statistics stopped: it may have grown since.",
        without(ReasonCode.STATS_STALE),
        worlds.falls_silent_and_grows, "its shortage, GiB.s", 0.1,
    ),
    "contradiction gate": Safeguard(
        "Nothing is taken from a guest whose MemTotal fits no accounting: its use cannot be known.",
        without(ReasonCode.STATS_CONTRADICT),
        worlds.says_it_is_small, "its shortage, GiB.s", 0.1,
    ),
    "two reports": Safeguard(
        "Nothing is taken on one report, which shows no growth.",
        (("policy.eligibility.SPARED", eligibility.SPARED[:-1]),),
        worlds.has_grown_since_its_only_report, "its shortage, GiB.s", 0.1,
    ),
    "report dedup": Safeguard(
        "A report whose time has not moved is no report: looking twice at one shows nothing new.",
        (("policy.assess.estimate", every_look_counts),),
        worlds.has_grown_since_its_only_report, "its shortage, GiB.s", 0.1,
    ),
    "boot grace": Safeguard(
        "A guest that just started is not judged by the pause between its boot and its work.",
        without(ReasonCode.BOOT_GRACE),
        worlds.boots_rests_and_works, "its shortage, GiB.s", 0.05,
    ),
    "pinned guests": Safeguard(
        "A guest whose memory a device pins is not asked: taking from it gives the host nothing.",
        without(ReasonCode.PINNED),
        worlds.is_pinned, "moves asked of it", 0,
    ),
    "floor": Safeguard(
        "No guest goes below its floor, however little it uses.",
        (("policy.assess._floor", always(0)),),
        worlds.idles_with_a_floor, "MiB under the floor", 0,
    ),
    "swap debt": Safeguard(
        "A guest that swapped looks comfortable and is not: what it swapped out is its demand still.",
        (("policy.demand.add_up", no_debt),),
        worlds.swaps_out_what_it_uses, "MiB that it is given less than it uses and swapped", 0,
    ),
    "hot cache": Safeguard(
        "Files that a guest reads again and again are not taken for memory to spare.",
        (("policy.demand.learn", always(HotCache())),),
        worlds.reads_its_files_again, "its shortage, GiB.s", 10,
    ),
    "growth look-ahead": Safeguard(
        "Growth is looked ahead of until the next decision can help.",
        (("policy.assess.LOOK_AHEAD_S", 0.0), ("policy.assess.REACTION_S", 0.0)),
        worlds.grows_beyond_its_size, "its shortage, GiB.s", 0.1,
    ),
    "relief": Safeguard(
        "A starving guest is relieved at once, also on a host that is under half its reserve.",
        (("policy.tide.relieve", always(({}, 0))),),
        worlds.mixed_line(8), "seconds under the emergency line", 40,
    ),
    "relief before the reserve": Safeguard(
        "Relief may use the reserve, down to the emergency line.",
        (("policy.plan.Room.for_relief_bytes",
          property(lambda room: max(0, room.available_bytes - room.growing_bytes - room.reserve_bytes))),),
        worlds.starves_on_a_short_host, "MiB that it has less than it soon needs", 0,
    ),
    "emergency line": Safeguard(
        "Below a quarter of the reserve nobody grows: the host is not filled to its last page.",
        (("policy.plan.Room.emergency_bytes", figure(0)),),
        worlds.two_want_more_than_there_is, "seconds under the line", 5,
    ),
    "cushion": Safeguard(
        "A guest that gives keeps usable memory for what it does next.",
        (("policy.assess.CUSHION_BYTES", in_all_states(0)),),
        worlds.gives_all_it_can, "MiB that it keeps less than its use and 30 MiB", 0,
    ),
    "dead band": Safeguard(
        "Small changes are left alone: they are not worth splitting pages for.",
        (("policy.assess.DEAD_BAND_BYTES", in_all_states(0)), ("policy.assess.DEAD_BAND_RATIO", 0.0)),
        worlds.breathes, "moves after the first 20 s", 30,
    ),
    "growing guests spared": Safeguard(
        "A growing guest keeps what it is about to grow into, or the next tick would give it back.",
        (("policy.taking.GROWING_BPS", math.inf),),
        worlds.lab_tight, "reversals", 150,
    ),
    "stuck excluded": Safeguard(
        "A guest that does not follow is left alone, each time for longer.",
        (("policy.cooperation.Course.stuck", NEVER),),
        worlds.does_not_follow, "moves asked of it", 12,
    ),
    "probation": Safeguard(
        "What a guest that stood still before is asked for is not counted on.",
        (("policy.cooperation.Course.on_probation", figure(0)),),
        worlds.others_give_instead, "seconds under the reserve", 8,
    ),
    "withdrawal": Safeguard(
        "A target that a stuck guest cannot reach is taken back, so that it is not reached when it hurts.",
        (("policy.tide._withdrawals", always(())),),
        worlds.follows_late, "its shortage, GiB.s", 0.05,
    ),
    "overhead learned": Safeguard(
        "What did not come back is learned as the guest's own, and not asked for again.",
        (("policy.cooperation._learn", lambda course, _guest, _found: course),),
        worlds.mixed_shortage(0), "shortage, GiB.s", 3,
    ),
    "resident accounting": Safeguard(
        "Only memory that costs the host something is taken.",
        (("policy.assess._holds", nominal),),
        worlds.mixed_line(39), "seconds under the emergency line", 15,
    ),
    "room lent back": Safeguard(
        "A guest whose slack was taken gets its room back, so that it need not ask for every rise.",
        (("policy.tide.lend_room", always({})),),
        worlds.comes_and_goes, "shortage, GiB.s", 0.05,
    ),
    "forecast of touching": Safeguard(
        "What growing guests are about to touch is taken from others before it is missing.",
        (("policy.assess.Case.touching_bytes", figure(0)),),
        worlds.fills_its_room, "seconds under the reserve", 3.5,
    ),
    "overload": Safeguard(
        "When needs are more than there is they are shared out, before the host's kernel kills a guest.",
        (("policy.tide.look", always(Overload())),),
        worlds.leaks_kill, "guests killed by the host", 0,
    ),
    "weights in overload": Safeguard(
        "In overload the heavier guest keeps what it needs.",
        (("policy.overload.Claim", lambda cap_bytes, weight: Claim(cap_bytes=cap_bytes, weight=min(weight, 1.0))),),
        worlds.gold_and_lead, "shortage of a guest of weight 4, GiB.s", 1,
    ),
    "overload ahead": Safeguard(
        "Overload begins before the last byte is gone: to take room takes time.",
        (("policy.overload.OVERLOAD_AHEAD_S", 0.0),),
        worlds.mixed_line(37), "seconds under the emergency line", 30,
    ),
    "host state hysteresis": Safeguard(
        "A host at its line does not change its state with every breath.",
        (("policy.host_state.BETTER_BY", 1.0), ("policy.host_state.BETTER_FOR_S", in_all_states(0.0))),
        worlds.breathes_at_its_line, "changes of state in 200 s", 10,
    ),
    "both balloon accountings": Safeguard(
        "A guest that keeps its MemTotal does not look full when it gave.",
        (("policy.demand._keeps_total", NEVER),),
        worlds.keeps_its_total, "moves", 8,
    ),
    "swap worth": Safeguard(
        "The host's swap stops counting as memory when tasks wait for it.",
        (("policy.stalls.SWAP_HURTS_RATIO", math.inf),),
        worlds.leaks_into_swap, "host swap traffic, MiB", 8000,
    ),
    "last swap": Safeguard(
        "The last quarter of the host's swap does not count as memory: a full one means that guests are killed.",
        (("policy.stalls.SWAP_LEAST_RATIO", 0.0),),
        worlds.mixed_line(42), "seconds under the emergency line", 8,
    ),
    "tick frequency": Safeguard(
        "A short host is looked at oftener.",
        (("sim.play.PERIOD_SHARE", in_all_states(1.0)),),
        worlds.lab_tight_line, "seconds under the emergency line", 1,
    ),
}  # fmt: skip
