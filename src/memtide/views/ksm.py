"""``memtide ksm``: what KSM saves and costs, whether that is worth it, and what would change it."""

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from memtide.model.base import Missing
from memtide.model.derived import (
    guest_saving_bytes,
    guests_cost,
    ksm_merged_bytes,
    ksm_parted_bytes,
    ksm_profit_bytes,
    ksm_saved_bytes,
    ksmd_cpu_ratio,
    ksmd_cpu_since_boot_ratio,
    merged_once_bytes,
    rate_per_s,
    total_or_none,
)
from memtide.model.guest import Guest
from memtide.model.host import HostMemory
from memtide.model.ksm import Ksm, settings_of
from memtide.views.ksm_advice import advice, owners, why_not
from memtide.views.ksm_schema import (
    HANDS_OFF,
    KsmAccount,
    KsmCpu,
    KsmGuest,
    KsmPoint,
    KsmReport,
    KsmSetting,
    KsmSteering,
)
from memtide.views.ksm_verdict import Judgement, Weights, has_none, judge, unread
from memtide.views.live import KsmScene
from memtide.views.order import natural
from memtide.views.words import doing, sentence, what_next

__all__ = ["ksm_report"]

WATCHED_LEAST_S: Final = 600.0
"""An average over less is no average of bursts that are minutes apart."""
CPU_LEAST_S: Final = 1.0
"""A gain over less CPU than this is noise."""
COUNTED: Final = frozenset({"rss_bytes", "merged_bytes", "ksm_zero_bytes", "ksm_profit_bytes", "pss_bytes"})
"""What is shown of a guest."""
LEFT_TO_MEMTIDE: Final = frozenset({"dear", "nothing", "off"})
"""Verdicts that scanning more or less would change."""
# in the order in which they are shown
SETTINGS: Final = (
    "run",
    "pages_to_scan",
    "sleep_millisecs",
    "smart_scan",
    "use_zero_pages",
    "merge_across_nodes",
    "max_page_sharing",
    "advisor_mode",
)


def ksm_report(scene: KsmScene) -> KsmReport:
    """Return all there is to tell of one moment."""
    scene = msgspec.structs.replace(scene, guests=tuple(sorted(scene.guests, key=lambda guest: natural(guest.name))))
    ksm, memory = scene.host.ksm, scene.host.memory
    missing: Missing = dict(ksm.missing) if ksm else {}
    cpu = _cpu(scene, missing)
    parted_bytes = None if ksm is None else _parted(scene, ksm, missing)
    account = _account(scene, parted_bytes or 0, missing)
    cpu_ratio = _cpu_ratio(cpu, ksm)
    if cpu_ratio is None:
        missing["ksmd_cpu_ratio"] = missing["cpu.now_ratio"]
    room_bytes = max(0, memory.available_bytes - scene.reserve_bytes)
    weights = None if ksm is None else _weights(ksm, memory, cpu_ratio, room_bytes, missing)
    saved_bytes = None if weights is None else weights.saved_bytes
    profit_bytes = None if weights is None else weights.profit_bytes
    verdict = _verdict(scene, weights, missing)
    return KsmReport(
        host=scene.host_name,
        daemon=scene.daemon,
        taken_at_s=scene.host.taken_at_s,
        verdict=verdict.code,
        headline=verdict.headline,
        do=verdict.do,
        run=None if ksm is None else ksm.run,
        saved_bytes=saved_bytes,
        parted_bytes=parted_bytes,
        merged_bytes=None if ksm is None else ksm_merged_bytes(ksm),
        zero_bytes=_pages(ksm, "zero_pages"),
        shared_bytes=_pages(ksm, "pages_shared"),
        unshared_bytes=_pages(ksm, "pages_unshared"),
        volatile_bytes=_pages(ksm, "pages_volatile"),
        bookkeeping_bytes=None if weights is None else weights.bookkeeping_bytes,
        profit_bytes=profit_bytes,
        full_scans=None if ksm is None else ksm.full_scans,
        ksmd_cpu_ratio=cpu_ratio,
        worth_cpu_ratio=None if weights is None else weights.worth_cpu_ratio,
        profit_per_cpu_s_bytes=_per_cpu_s(profit_bytes, cpu.total_s),
        gained_per_cpu_s_bytes=_gained_per_cpu_s(scene),
        cpu=cpu,
        cost_of_stopping_bytes=saved_bytes,
        available_bytes=memory.available_bytes,
        reserve_bytes=scene.reserve_bytes,
        room_bytes=room_bytes,
        steering=_steering(scene),
        other_writers=scene.host.ksm_writers,
        owners=owners(scene.guests),
        account=account,
        guests=tuple(_guest(guest, scene.host.taken_at_s) for guest in scene.guests),
        advice=advice(scene),
        settings=() if ksm is None else _settings(ksm, scene.originals),
        history=_history(_readings(scene)),
        missing=missing,
    )


def _weights(ksm: Ksm, memory: HostMemory, cpu_ratio: float | None, room_bytes: int, missing: Missing) -> Weights:
    saved_bytes, profit_bytes = ksm_saved_bytes(ksm), _profit(ksm, missing)
    return Weights(
        ksm=ksm,
        saved_bytes=saved_bytes,
        profit_bytes=profit_bytes,
        bookkeeping_bytes=None if profit_bytes is None else saved_bytes - profit_bytes,
        cpu_ratio=cpu_ratio,
        available_bytes=memory.available_bytes,
        room_bytes=room_bytes,
        missing=missing,
    )


def _verdict(scene: KsmScene, weights: Weights | None, missing: Missing) -> Judgement:
    if weights is not None:
        verdict = judge(weights)
        # who steers does by itself what could be advised; ksmd's line says what and why
        return verdict._replace(do="") if _steers(scene) and verdict.code in LEFT_TO_MEMTIDE else verdict
    why = missing["ksm"] = _why_unread(scene)
    return unread(why)


def _why_unread(scene: KsmScene) -> str:
    return scene.host.missing.get("ksm", "nobody says why KSM could not be read")


def _steers(scene: KsmScene) -> bool:
    verdict = scene.verdict
    return scene.acting and verdict is not None and verdict.reason.code not in HANDS_OFF


# --- memory -----------------------------------------------------------------------------------------------------


def _pages(ksm: Ksm | None, name: str) -> int | None:
    pages: int | None = getattr(ksm, name, None)
    return None if ksm is None or pages is None else pages * ksm.page_size_bytes


def _profit(ksm: Ksm, missing: Missing) -> int | None:
    profit_bytes = ksm_profit_bytes(ksm)
    if profit_bytes is not None:
        # it was computed where the kernel's own is missing
        missing.pop("general_profit_bytes", None)
        return profit_bytes
    lacking = [name for name in ("pages_unshared", "pages_volatile") if getattr(ksm, name) is None]
    missing["profit_bytes"] = missing.get(lacking[0], f"{lacking[0]} is not known")
    return None


def _parted(scene: KsmScene, ksm: Ksm, missing: Missing) -> int | None:
    parted_bytes = ksm_parted_bytes(scene.past.breaks_at_scan, ksm)
    if parted_bytes is None:
        missing["parted_bytes"] = missing.get("cow_breaks_total", "nobody saw ksmd end a full scan yet")
    return parted_bytes


def _account(scene: KsmScene, parted_bytes: int, missing: Missing) -> KsmAccount | None:
    ksm, memory = scene.host.ksm, scene.host.memory
    known = ksm is not None or has_none(_why_unread(scene))
    # guests on huge pages have their memory outside of what is counted here, and RSS leaves it out too
    cost = guests_cost(scene.guests, ksm, parted_bytes) if known and not scene.absent else None
    used_bytes = memory.usable_total_bytes - memory.available_bytes
    if not scene.guests and not scene.absent:
        missing["account"] = "no guests were found"
        return None
    if cost is None:
        who = f"{scene.absent} did not answer" if scene.absent else "what some guest costs the host is unknown"
        missing["account.guests_cost_bytes"] = who if known else "what KSM saves is unknown"
    if not known:
        missing["account.saved_bytes"] = _why_unread(scene)
    pss_bytes = None if scene.absent else total_or_none(guest.observed.pss_bytes for guest in scene.guests)
    return KsmAccount(
        basis=None if cost is None else cost.basis,
        guests=len(scene.guests) + scene.absent,
        guests_held_bytes=None if cost is None else cost.held_bytes,
        saved_bytes=merged_once_bytes(ksm, parted_bytes) if known else None,
        guests_cost_bytes=None if cost is None else cost.cost_bytes,
        other_bytes=None if cost is None else used_bytes - cost.cost_bytes,
        used_bytes=used_bytes,
        guests_pss_bytes=pss_bytes,
    )


# --- CPU and the past -------------------------------------------------------------------------------------------


def _readings(scene: KsmScene) -> tuple[Ksm, ...]:
    """Return what is remembered, and now."""
    now = scene.host.ksm
    past = scene.past.readings
    return past if now is None or (past and past[-1].taken_at_s >= now.taken_at_s) else (*past, now)


def _cpu(scene: KsmScene, missing: Missing) -> KsmCpu:
    ksm, readings = scene.host.ksm, _readings(scene)
    watched_s = readings[-1].taken_at_s - readings[0].taken_at_s if readings else 0.0
    now_ratio = ksmd_cpu_ratio(scene.previous_host, scene.host)
    if now_ratio is None:
        missing["cpu.now_ratio"] = missing.get("ksmd_cpu_s_total", "it takes two readings, and this is one")
    return KsmCpu(
        now_ratio=now_ratio,
        watched_ratio=_cpu_between(readings[0], readings[-1]) if readings else None,
        watched_s=watched_s,
        since_boot_ratio=None if ksm is None else ksmd_cpu_since_boot_ratio(ksm, scene.uptime_s),
        total_s=None if ksm is None else ksm.ksmd_cpu_s_total,
    )


def _cpu_between(before: Ksm, now: Ksm) -> float | None:
    return rate_per_s(before.ksmd_cpu_s_total, now.ksmd_cpu_s_total, now.taken_at_s - before.taken_at_s)


def _cpu_ratio(cpu: KsmCpu, ksm: Ksm | None) -> float | None:
    """Return what the verdict is made with: the longest average that is about the present."""
    watched = cpu.watched_ratio if cpu.watched_s >= WATCHED_LEAST_S else None
    known = next((ratio for ratio in (watched, cpu.now_ratio, cpu.since_boot_ratio) if ratio is not None), None)
    # who does not scan takes nothing, whoever can see ksmd's time
    return 0.0 if known is None and ksm is not None and ksm.run == 0 else known


def _per_cpu_s(profit_bytes: int | None, cpu_s: float | None) -> int | None:
    return None if profit_bytes is None or cpu_s is None or cpu_s < CPU_LEAST_S else int(profit_bytes / cpu_s)


def _gained_per_cpu_s(scene: KsmScene) -> int | None:
    readings = _readings(scene)
    if not readings:
        return None
    first, last = readings[0], readings[-1]
    profits = ksm_profit_bytes(first), ksm_profit_bytes(last)
    if None in profits or first.ksmd_cpu_s_total is None or last.ksmd_cpu_s_total is None:
        return None
    return _per_cpu_s((profits[1] or 0) - (profits[0] or 0), last.ksmd_cpu_s_total - first.ksmd_cpu_s_total)


def _history(readings: Sequence[Ksm]) -> tuple[KsmPoint, ...]:
    befores = itertools.chain([None], readings)
    return tuple(
        KsmPoint(
            at_s=now.taken_at_s,
            saved_bytes=ksm_saved_bytes(now),
            profit_bytes=ksm_profit_bytes(now),
            ksmd_cpu_ratio=None if before is None else _cpu_between(before, now),
        )
        for before, now in zip(befores, readings, strict=False)
    )


# --- steering, guests, settings ---------------------------------------------------------------------------------


def _steering(scene: KsmScene) -> KsmSteering | None:
    verdict, now_s = scene.verdict, scene.host.taken_at_s
    if verdict is None:
        return None
    look_at_s = verdict.look_again_at_s
    return KsmSteering(
        doing=doing(verdict.reason.code, acting=scene.acting),
        reason=verdict.reason.code.value,
        why=sentence(verdict.reason),
        next=what_next(verdict.reason),
        scanning=verdict.scanning,
        for_s=max(0.0, now_s - verdict.since_s),
        new_bytes=verdict.new_bytes,
        expected_bytes=verdict.expected_bytes,
        cost_cpu_s=verdict.cost_cpu_s,
        found_bytes=verdict.found_bytes,
        found_cpu_s=verdict.found_cpu_s,
        look_again_in_s=None if look_at_s is None else max(0.0, look_at_s - now_s),
        max_cpu_ratio=verdict.max_cpu_ratio,
    )


def _guest(guest: Guest, now_s: float) -> KsmGuest:
    observed, reason = guest.observed, why_not(guest)
    saving_bytes = guest_saving_bytes(guest)
    age_known = saving_bytes is not None and observed.pss_at_s is not None
    return KsmGuest(
        name=guest.name,
        uuid=guest.uuid,
        resident_bytes=observed.rss_bytes,
        merged_bytes=observed.merged_bytes,
        saving_bytes=saving_bytes,
        saving_age_s=max(0.0, now_s - (observed.pss_at_s or 0.0)) if age_known else None,
        zero_bytes=observed.ksm_zero_bytes,
        profit_bytes=observed.ksm_profit_bytes,
        why_not=reason,
        unmergeable_bytes=None if reason is None else observed.current_bytes,
        owner=guest.traits.owner,
        missing={field: why for field, why in guest.missing.items() if field in COUNTED},
    )


def _settings(ksm: Ksm, originals: dict[str, str]) -> tuple[KsmSetting, ...]:
    read = settings_of(ksm)
    return tuple(
        KsmSetting(name=name, value=read[name], original=originals.get(name)) for name in SETTINGS if name in read
    )
