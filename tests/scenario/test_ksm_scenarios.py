"""KSM's governor on simulated hosts: one sentence of intent each, then the scenario that proves it."""

import functools

import msgspec
import pytest

from memtide.model.action import SetKsm
from memtide.model.decision import HostState
from memtide.model.derived import ksm_profit_bytes
from memtide.model.limits import Limits
from memtide.model.reason import ReasonCode
from memtide.policy.tide import Tide
from memtide.sim.play import Tick, Trace, play
from memtide.sim.scenario import Scenario, find
from memtide.units import MIB


def run(scenario: Scenario, limits: Limits | None = None) -> Trace:
    """Return what becomes of a scenario under memtide's law."""
    limits = limits or scenario.limits
    return play(scenario.world(), Tide(), limits, duration_s=scenario.duration_s, events=scenario.events)


@functools.cache
def played(name: str) -> Trace:
    """Return the scenario of that name, played once for all tests."""
    return run(find(name))


def switches(trace: Trace) -> list[tuple[float, SetKsm]]:
    """Return what was written to KSM's files, and how many seconds after the beginning."""
    began_s = trace.ticks[0].snapshot.taken_at_s
    return [
        (tick.snapshot.taken_at_s - began_s, action)
        for tick in trace.ticks
        for action, _ in tick.replies
        if isinstance(action, SetKsm)
    ]


def saved_mib(tick: Tick) -> int:
    """Return what the kernel says is saved."""
    ksm = tick.snapshot.host.ksm
    assert ksm is not None
    return ksm.pages_sharing * ksm.page_size_bytes // MIB


def cpu_s(tick: Tick) -> float:
    """Return what ksmd used until then."""
    ksm = tick.snapshot.host.ksm
    assert ksm is not None
    assert ksm.ksmd_cpu_s_total is not None
    return ksm.ksmd_cpu_s_total


def pages_per_ms(action: SetKsm) -> float:
    """Return how many pages ksmd looks at for each millisecond it sleeps."""
    return int(action.files["pages_to_scan"]) / int(action.files["sleep_millisecs"])


def at(trace: Trace, seconds: float) -> Tick:
    """Return the first tick so long after the beginning."""
    began_s = trace.ticks[0].snapshot.taken_at_s
    return next(tick for tick in trace.ticks if tick.snapshot.taken_at_s - began_s >= seconds)


def test_every_wave_of_guests_is_merged_within_a_minute() -> None:
    """Guests that come in waves are merged within 60 s of their coming."""
    trace = played("ksm-waves")

    assert saved_mib(at(trace, 60)) >= 0.95 * 3 * 195
    assert saved_mib(at(trace, 180)) >= 0.95 * 5 * 195
    assert saved_mib(at(trace, 360)) >= 0.95 * 7 * 195


def test_waves_cost_a_tenth_of_scanning_all_the_time() -> None:
    """The same waves with ksmd always on at the article's speed save no more and cost ten times the CPU."""
    scenario = find("ksm-waves")
    host = msgspec.structs.replace(scenario.host, ksm_run=1, ksm_pages_to_scan=1250, ksm_sleep_millisecs=1)
    unmanaged = msgspec.structs.replace(scenario.limits, manage_ksm=False)
    always = run(msgspec.structs.replace(scenario, host=host), unmanaged)
    ours = played("ksm-waves")

    assert saved_mib(ours.ticks[-1]) >= 0.95 * saved_mib(always.ticks[-1])
    assert cpu_s(ours.ticks[-1]) <= 0.1 * cpu_s(always.ticks[-1])


def test_a_converged_host_costs_next_to_nothing_and_is_looked_at_again() -> None:
    """Without any sign ksmd takes less than a hundredth of a core, and still finds what became alike unseen."""
    trace = played("ksm-converged")
    settled, end = at(trace, 60), trace.ticks[-1]

    assert cpu_s(end) - cpu_s(settled) < 0.01 * (end.snapshot.taken_at_s - settled.snapshot.taken_at_s)
    assert saved_mib(end) > saved_mib(settled) + 500
    assert {action.reason.code for _, action in switches(trace)} >= {ReasonCode.KSM_LOOK_AGAIN}


def test_guests_that_are_like_no_other_are_looked_through_once() -> None:
    """What brings nothing is not repeated, and its negative profit stays visible."""
    trace = played("ksm-useless")
    ksm = trace.ticks[-1].snapshot.host.ksm
    verdict = trace.ticks[-1].decision.ksm

    assert ksm is not None
    assert verdict is not None
    assert verdict.reason.code is ReasonCode.KSM_NO_GAIN
    assert [action.files["run"] for _, action in switches(trace)] == ["1", "0"]
    assert (ksm_profit_bytes(ksm) or 0) < 0


def test_a_short_host_scans_at_full_speed_from_the_same_tick_on() -> None:
    """The tick that finds the host short starts ksmd, many times faster than a calm one does."""
    trace = played("ksm-pressure")
    short = next(tick for tick in trace.ticks if tick.decision.state is not HostState.HIGH)
    began = next(tick for tick in trace.ticks if any(isinstance(a, SetKsm) for a, _ in tick.replies))
    calm = switches(played("ksm-waves"))[0][1]
    (_, fast), *_ = switches(trace)

    assert began.snapshot.taken_at_s - short.snapshot.taken_at_s <= 2.0
    assert pages_per_ms(fast) >= 10 * pages_per_ms(calm)
    assert saved_mib(trace.ticks[-1]) >= 0.95 * 5 * 400


def test_a_guest_that_reboots_is_merged_anew() -> None:
    """Its resident memory does not change, and still ksmd wakes for it."""
    trace = played("ksm-reboot")
    woke = [(s, a) for s, a in switches(trace) if a.reason.code is ReasonCode.KSM_NEW_GUEST and s > 200]

    assert woke[0][0] < 4 * 60 + 30
    assert woke[0][1].reason.numbers["guests"] == "reboots"
    assert saved_mib(trace.ticks[-1]) >= 0.95 * 4 * 300


def test_guests_of_different_owners_are_not_merged_where_the_settings_keep_them_apart() -> None:
    """In tenant mode nothing is merged and the owners are named; without it they are merged like all others."""
    apart = played("ksm-tenants")
    verdict = apart.ticks[-1].decision.ksm

    assert verdict is not None
    assert (verdict.reason.code, verdict.reason.numbers["owners"]) == (ReasonCode.KSM_TENANTS, "blue, red")
    assert saved_mib(apart.ticks[-1]) == 0
    assert saved_mib(run(find("ksm-tenants"), Limits()).ticks[-1]) > 0


def test_memtide_yields_to_another_program_and_names_it() -> None:
    """From the minute ksmtuned writes, memtide writes nothing more."""
    trace = played("ksm-ksmtuned")
    verdict = trace.ticks[-1].decision.ksm

    assert verdict is not None
    assert verdict.reason.code is ReasonCode.KSM_OTHER_WRITER
    assert "ksmtuned" in str(verdict.reason.numbers["who"])
    assert all(s < 3 * 60 for s, _ in switches(trace))


def test_an_old_kernel_is_served_as_well() -> None:
    """Without counts of looks and breaks, without profit and smart scan, both waves are merged."""
    trace = played("ksm-old-kernel")

    assert saved_mib(trace.ticks[-1]) >= 0.95 * 5 * 300
    assert not any("smart_scan" in action.files for _, action in switches(trace))


def test_a_kernel_without_ksm_is_asked_for_nothing() -> None:
    """No KSM, no verdict on it, no write; the rest of the law works."""
    trace = played("ksm-none")

    assert switches(trace) == []
    assert trace.ticks[-1].decision.ksm is None
    assert trace.oom_kills == 0


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_share_of_the_cpu_holds(share: float) -> None:
    """However short the host is, ksmd has no more than its share on average, five per cent over ten minutes."""
    scenario = find("ksm-ksmtuned")
    limits = Limits(ksm_max_cpu_ratio=share, reserve_ratio=0.9)
    host = msgspec.structs.replace(scenario.host, ksm_scan_pps=scenario.host.ksm_scan_pps / 4)
    trace = run(msgspec.structs.replace(scenario, host=host, events=()), limits)

    assert trace.ticks[30].decision.state is not HostState.HIGH
    assert cpu_s(trace.ticks[-1]) <= 1.05 * share * 600
    assert cpu_s(trace.ticks[-1]) > 0
