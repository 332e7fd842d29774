"""``memtide simulate``: laws, scenarios and the simulator put together. With ``wiring`` the only module that may."""

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from memtide.errors import UsageError
from memtide.model.limits import Mode
from memtide.policy.host_state import reserve_for
from memtide.policy.laws import LAWS
from memtide.sim.observe import observe_host
from memtide.sim.play import Trace, play
from memtide.sim.scenario import Scenario, find, names
from memtide.units import GIB
from memtide.views.simulation import PolicyView, ScenarioView, SimulationView

__all__ = ["check_laws", "policy_view", "run_law", "scenario", "scenarios", "simulate"]

Tell = Callable[[str, float], None]
"""Is told the law that is being run, and which share of its run is over."""
DIGITS: Final = 3


def scenarios() -> list[ScenarioView]:
    """Return the scenarios that memtide brings along."""
    return [_scenario_view(find(name)) for name in names()]


def scenario(name: str, *, seed: int | None = None) -> Scenario:
    """Return a scenario by name or path; see ``sim.scenario.find``."""
    return find(name, seed=seed)


def check_laws(wanted: Sequence[str]) -> list[str]:
    """Return the names of the laws to run: those wanted, each once, or all.

    Raises:
        UsageError: there is no such law.
    """
    for name in wanted:
        if name not in LAWS:
            alike = difflib.get_close_matches(name, LAWS, n=1)
            meant = f"; did you mean {alike[0]}?" if alike else ""
            raise UsageError(f"there is no law {name!r}{meant}", f"there are {', '.join(LAWS)}")
    return list(dict.fromkeys(wanted)) or list(LAWS)


def simulate(
    played: Scenario, laws: Sequence[str], *, lag_s: float = 0.0, mode: Mode | None = None, tell: Tell
) -> SimulationView:
    """Return how each law treats the scenario's guests and host."""
    policies = {
        name: policy_view(run_law(played, name, lag_s=lag_s, mode=mode, tell=partial(tell, name))) for name in laws
    }
    return SimulationView(scenario=played.name, lag_s=lag_s, policies=policies)


def run_law(
    played: Scenario,
    law: str,
    *,
    lag_s: float = 0.0,
    mode: Mode | None = None,
    tell: Callable[[float], None] = lambda _share: None,
) -> Trace:
    """Return the trace of one law, by its name, in a scenario's world.

    The line for "under reserve" is the same for all laws: memtide's reserve for this host and these limits.
    """
    world = played.world(lag_s=lag_s)
    limits = played.limits_for(mode)
    return play(
        world,
        LAWS[law].make(),
        limits,
        duration_s=played.duration_s,
        reserve_bytes=reserve_for(observe_host(world), limits),
        events=played.events,
        outages=played.outages,
        keep_ticks=False,
        tell=tell,
    )


def policy_view(trace: Trace) -> PolicyView:
    """Return a run's figures."""
    worst = max(trace.guests.values(), key=lambda guest: guest.shortage_gib_s)
    return PolicyView(
        shortage_gib_s=round(trace.shortage_gib_s, DIGITS),
        worst_guest=worst.guest.spec.name if worst.shortage_gib_s > 0 else None,
        worst_guest_shortage_gib_s=round(worst.shortage_gib_s, DIGITS),
        oom_kills=trace.oom_kills,
        host_under_reserve_s=round(trace.under_reserve_s, DIGITS),
        host_under_emergency_s=round(trace.under_line_s, DIGITS),
        host_least_available_gib=round(trace.least_available_bytes / GIB, DIGITS),
        moved_gib=round(trace.moved_bytes / GIB, DIGITS),
        reversals=trace.reversals,
        actions=trace.action_count,
        longest_relief_s=round(max(trace.reliefs_s, default=0.0), DIGITS),
        guest_swap_gib=round(trace.guest_swap_bytes / GIB, DIGITS),
        host_swap_gib=round(trace.host_swap_bytes / GIB, DIGITS),
        major_faults=trace.major_faults,
    )


def _scenario_view(one: Scenario) -> ScenarioView:
    return ScenarioView(
        name=one.name, intent=one.intent, note=one.note, duration_s=one.duration_s, guests=len(one.guests)
    )
