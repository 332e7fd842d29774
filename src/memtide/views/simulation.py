"""What ``memtide simulate`` says: how each law treated the same host and guests, in figures and in words.

The order of laws: nobody killed first, then the least shortage of all guests together. A law keeps the host as safe
as another when the host was under its reserve no longer, but for a hundredth of the run or two rounds.
"""

from collections.abc import Mapping
from typing import Final

from memtide.model.base import Model
from memtide.units import format_duration

__all__ = ["PolicyView", "ScenarioView", "SimulationView", "kindest", "same_shortage", "shortage_text", "verdict"]

TIE_GIB_S: Final = 1.0
TIE_RATIO: Final = 0.01
"""Shortages closer than this are the same (the larger of the two counts)."""
SAFE_RATIO: Final = 0.01
SAFE_S: Final = 4.0
WHOLE_GIB_S: Final = 0.05
"""Less shortage than this is none: nobody suffered."""


class ScenarioView(Model, frozen=True, kw_only=True):
    """One line of ``memtide simulate --list --json``."""

    name: str
    intent: str
    note: str
    duration_s: float
    guests: int


class PolicyView(Model, frozen=True, kw_only=True):
    """What came of one law. Shortage is the integral of memory that was used, or wanted, and not there: GiB x s."""

    shortage_gib_s: float
    worst_guest: str | None
    """Who lacked most; null when nobody lacked anything."""
    worst_guest_shortage_gib_s: float
    oom_kills: int
    """Processes killed inside guests, and guests killed by the host."""
    host_under_reserve_s: float
    host_under_emergency_s: float
    """How long the host had less than a quarter of its reserve."""
    host_least_available_gib: float
    moved_gib: float
    """How far guests' memory was moved, both directions."""
    reversals: int
    """How often a guest's memory began to move the other way."""
    actions: int
    longest_relief_s: float
    """The longest time that a guest lacked memory without a break."""
    guest_swap_gib: float
    """What guests wrote to and read from their own swap."""
    host_swap_gib: float
    major_faults: int


class SimulationView(Model, frozen=True, kw_only=True):
    """``memtide simulate --json``."""

    scenario: str
    lag_s: float
    policies: dict[str, PolicyView]
    """By the law's name, in the order asked for."""


def same_shortage(one_gib_s: float, other_gib_s: float) -> bool:
    """Say whether two shortages are the same for a user."""
    return abs(one_gib_s - other_gib_s) <= max(TIE_GIB_S, TIE_RATIO * max(one_gib_s, other_gib_s))


def kindest(policies: Mapping[str, PolicyView]) -> list[str]:
    """Return the law that was kindest to the guests, and those that were as kind, in the order given."""
    kills = min(view.oom_kills for view in policies.values())
    alive = {name: view for name, view in policies.items() if view.oom_kills == kills}
    least_gib_s = min(view.shortage_gib_s for view in alive.values())
    return [name for name, view in alive.items() if same_shortage(view.shortage_gib_s, least_gib_s)]


def shortage_text(view: PolicyView) -> str:
    """Return in a few words who suffered, and how much."""
    killed = f"{view.oom_kills} killed for want of memory" if view.oom_kills else ""
    if view.worst_guest is None or view.shortage_gib_s < WHOLE_GIB_S:
        return killed or "nobody lacked memory"
    share = "" if view.worst_guest_shortage_gib_s >= view.shortage_gib_s else f" of {view.shortage_gib_s:,.1f} in all"
    lacked = f"{view.worst_guest} lacked most: {view.worst_guest_shortage_gib_s:,.1f} GiB·s{share}"
    waited = f", relief took up to {format_duration(view.longest_relief_s)}"
    return ", ".join(part for part in (f"{lacked}{waited}", killed) if part)


def verdict(view: SimulationView, duration_s: float) -> list[str]:
    """Return who suffered under each law, and which law was kindest while it kept the host as safe as any."""
    policies = view.policies
    lines = [f"{name}: {shortage_text(policy)}; {_host_text(policy)}" for name, policy in policies.items()]
    if len(policies) == 1:
        return lines
    best_s = min(policy.host_under_reserve_s for policy in policies.values())
    safe_s = best_s + max(SAFE_S, SAFE_RATIO * duration_s)
    safe = {name: policy for name, policy in policies.items() if policy.host_under_reserve_s <= safe_s}
    kind = kindest(safe)
    lines += ["", f"kindest while the host is as safe as under any: {_names(kind)}"]
    lines += [
        f"{name} was kinder, and left the host {format_duration(policies[name].host_under_reserve_s)} under its reserve"
        for name in kindest(policies)
        if name not in safe and not same_shortage(policies[name].shortage_gib_s, policies[kind[0]].shortage_gib_s)
    ]
    return lines


def _host_text(policy: PolicyView) -> str:
    if policy.host_under_reserve_s == 0:
        return "the host always had its reserve"
    text = f"the host had less than its reserve for {format_duration(policy.host_under_reserve_s)}"
    if policy.host_under_emergency_s:
        text += f" (less than a quarter of it for {format_duration(policy.host_under_emergency_s)})"
    return text


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
