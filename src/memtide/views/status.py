"""The state of the host and its guests at one moment: what ``status``, the live screen and every other face show."""

from memtide.model.base import Missing
from memtide.model.decision import KsmVerdict, Verdict
from memtide.model.derived import (
    ksm_merged_bytes,
    ksm_profit_bytes,
    ksm_saved_bytes,
    ksmd_cpu_ratio,
    overcommit_ratio,
    rate_per_s,
    total_or_none,
    used_bytes,
)
from memtide.model.guest import Guest
from memtide.model.host import Host
from memtide.model.ksm import Ksm
from memtide.model.pressure import Pressure
from memtide.views.live import Live
from memtide.views.order import natural
from memtide.views.schema import (
    DaemonView,
    GuestView,
    HostView,
    KsmView,
    OvercommitView,
    PressureView,
    StatusView,
    SwapView,
    TotalsView,
)
from memtide.views.tiers import threshold, tier
from memtide.views.words import doing, sentence, state_means

__all__ = ["status"]


def status(live: Live) -> StatusView:
    """Return what is to be shown of this moment."""
    return StatusView(host=_host(live), guests=_guests(live), daemon=_daemon(live))


# --- host -------------------------------------------------------------------------------------------------------


def _host(live: Live) -> HostView:
    host, decision = live.snapshot.host, live.decision
    memory, budget = host.memory, decision.budget
    overcommit, missing = _overcommit(live)
    return HostView(
        name=live.host_name,
        total_bytes=memory.total_bytes,
        usable_total_bytes=memory.usable_total_bytes,
        available_bytes=memory.available_bytes,
        reserve_bytes=budget.reserve_bytes,
        headroom_bytes=budget.headroom_bytes,
        missing_bytes=budget.missing_bytes,
        pending_bytes=budget.pending_bytes,
        huge_pages_bytes=memory.huge_pages_total_bytes,
        state=decision.state.value,
        state_for_s=max(0.0, live.now_s - decision.state_since_s),
        means=state_means(decision.state, mode=decision.mode, acting=live.acting),
        pressure=None if host.pressure is None else _pressure(host.pressure),
        overcommit=overcommit,
        ksm=None if host.ksm is None else _ksm(live, host.ksm, decision.ksm),
        swap=_swap(live.previous_host, host),
        oom_kills_total=host.oom_kills_total,
        missing=host.missing | missing,
    )


def _pressure(pressure: Pressure) -> PressureView:
    some, full = pressure.some, pressure.full
    return PressureView(
        some_avg10_ratio=some.avg10_ratio,
        some_avg60_ratio=some.avg60_ratio,
        some_avg300_ratio=some.avg300_ratio,
        full_avg10_ratio=None if full is None else full.avg10_ratio,
        full_avg60_ratio=None if full is None else full.avg60_ratio,
        full_avg300_ratio=None if full is None else full.avg300_ratio,
    )


def _ksm(live: Live, ksm: Ksm, verdict: KsmVerdict | None) -> KsmView:
    host = live.snapshot.host
    return KsmView(
        run=ksm.run,
        saved_bytes=ksm_saved_bytes(ksm),
        merged_bytes=ksm_merged_bytes(ksm),
        profit_bytes=ksm_profit_bytes(ksm),
        ksmd_cpu_ratio=ksmd_cpu_ratio(live.previous_host, host),
        full_scans=ksm.full_scans,
        other_writers=host.ksm_writers,
        doing=None if verdict is None else doing(verdict.reason.code, acting=live.acting),
        reason=None if verdict is None else verdict.reason.code.value,
        why=None if verdict is None else sentence(verdict.reason),
    )


def _swap(before: Host | None, host: Host) -> SwapView:
    elapsed_s = 0.0 if before is None else host.counters_at_s - before.counters_at_s
    # KSM's figures carry the page size; a kernel without KSM leaves the rates unknown rather than guessed
    page_bytes = None if host.ksm is None else host.ksm.page_size_bytes

    def bps(pages_before: int | None, pages_now: int | None) -> float | None:
        pages_per_s = rate_per_s(pages_before, pages_now, elapsed_s)
        return None if pages_per_s is None or page_bytes is None else pages_per_s * page_bytes

    return SwapView(
        total_bytes=host.memory.swap_total_bytes,
        used_bytes=host.memory.swap_total_bytes - host.memory.swap_free_bytes,
        in_bps=None if before is None else bps(before.swap_in_pages_total, host.swap_in_pages_total),
        out_bps=None if before is None else bps(before.swap_out_pages_total, host.swap_out_pages_total),
    )


def _overcommit(live: Live) -> tuple[OvercommitView, Missing]:
    memory, reserve_bytes = live.snapshot.host.memory, live.decision.budget.reserve_bytes
    absent = len(live.snapshot.absent)
    unknown = [None] if absent else []
    guests = [guest for guest in live.snapshot.guests if not guest.traits.huge_pages]

    def ratio(sizes: list[int] | list[int | None]) -> float | None:
        return overcommit_ratio(total_or_none([*sizes, *unknown]), memory, reserve_bytes)

    view = OvercommitView(
        configured_ratio=ratio([guest.observed.maximum_bytes for guest in guests]),
        granted_ratio=ratio([guest.observed.current_bytes for guest in guests]),
        resident_ratio=ratio([guest.observed.host_cost_bytes for guest in guests]),
    )
    if absent:
        return view, {"overcommit": f"{absent} {'guest' if absent == 1 else 'guests'} did not answer"}
    if view.configured_ratio is None:
        return view, {"overcommit": "the reserve leaves guests nothing"}
    if view.resident_ratio is None:
        return view, {"overcommit.resident_ratio": "what some guest costs the host is unknown"}
    return view, {}


# --- guests and daemon ------------------------------------------------------------------------------------------


def _guests(live: Live) -> tuple[GuestView, ...]:
    sampled = {guest.uuid: guest for guest in live.snapshot.guests}
    views = (_guest(live, verdict, sampled.get(verdict.uuid)) for verdict in live.decision.verdicts)
    return tuple(sorted(views, key=lambda view: natural(view.name)))


def _guest(live: Live, verdict: Verdict, guest: Guest | None) -> GuestView:
    reported = guest.reported if guest else None
    hold = live.limits.holds.get(verdict.uuid)
    held_for_s = None if hold is None or hold.until_s <= live.now_s else hold.until_s - live.now_s
    return GuestView(
        name=verdict.name,
        uuid=verdict.uuid,
        state=guest.state.value if guest else "unknown",
        maximum_bytes=guest.observed.maximum_bytes if guest else None,
        current_bytes=guest.observed.current_bytes if guest else None,
        target_bytes=verdict.target_bytes,
        used_bytes=used_bytes(guest) if guest else None,
        usable_bytes=reported.usable_bytes if reported else None,
        host_cost_bytes=guest.observed.host_cost_bytes if guest else None,
        stats=verdict.stats.value,
        stats_age_s=max(0.0, live.now_s - reported.updated_at_s) if reported else None,
        demand_bytes=verdict.demand_bytes,
        floor_bytes=verdict.floor_bytes,
        keep_bytes=verdict.keep_bytes,
        slack_bytes=verdict.slack_bytes,
        growth_bps=verdict.growth_bps,
        weight=verdict.weight,
        starving=verdict.starving,
        doing=doing(verdict.reason.code, acting=live.acting),
        reason=verdict.reason.code.value,
        why=sentence(verdict.reason),
        tier=tier(verdict.reason),
        threshold=threshold(verdict.reason),
        held_for_s=held_for_s,
        owner=guest.traits.owner if guest else None,
        missing=guest.missing if guest else {"maximum_bytes": sentence(verdict.reason)},
    )


def _daemon(live: Live) -> DaemonView:
    totals = live.totals
    return DaemonView(
        version=live.version,
        policy=live.decision.policy,
        mode=live.decision.mode,
        acting=live.acting,
        uri=live.uri,
        started_at_s=live.started_at_s,
        taken_at_s=live.snapshot.taken_at_s,
        age_s=max(0.0, live.now_s - live.snapshot.taken_at_s),
        period_s=live.limits.period_s,
        paused_for_s=None if live.paused_until_s is None else max(0.0, live.paused_until_s - live.now_s),
        troubles=live.troubles,
        totals=TotalsView(
            actions=totals.actions,
            failures=totals.failures,
            taken_bytes=totals.taken_bytes,
            given_bytes=totals.given_bytes,
            host_gained_bytes=totals.host_gained_bytes,
            reliefs=totals.reliefs,
            kills=totals.kills,
        ),
    )
