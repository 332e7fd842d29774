"""The governor: when ksmd sweeps and when it rests.

Theory. Merged pages stay merged while ksmd rests, so scanning is worth something only when there is something new to
merge. What waits to be merged costs memory every second; a sweep costs CPU once. As with renting skis before buying
them, the one who buys when the rent paid equals the price never pays more than twice what hindsight would have
(Karlin, Manasse, Rudolph, Sleator 1988)::

    owed += price(host state) x expected bytes x seconds        CPU seconds
    sweep when owed >= what a sweep costs

``expected bytes`` is what is new (``signs``) times the share of such memory that earlier sweeps merged. The price is
the less memory the host has the higher: in the worst state anything is worth a sweep at once. Guests that have only
just come are gone through as soon as they have settled, if that is likely to be worth it: all of their memory is new.
Without any sign ksmd looks again after a quarter of an hour, and twice as late each time it found nothing, up to six
hours.

A sweep (``sweep``) ends when everything was looked at twice. Its speed (``speed``) follows the host's need, within a
share of the CPU that an account holds it to. Who may steer at all is a table (``rights``).
"""

from typing import Final

import msgspec

from memtide.model.action import Reply, Result, SetKsm
from memtide.model.decision import HostState, KsmVerdict
from memtide.model.derived import ksm_tracked_pages
from memtide.model.ksm import Ksm, settings_of
from memtide.model.limits import Limits
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.constants import (
    KSM_CALM_RATIO,
    KSM_LEAST_BYTES,
    KSM_LOOK_FIRST_S,
    KSM_LOOK_LAST_S,
    KSM_PRICE_CPU_PER_GIB,
    KSM_QUIET_BYTES,
    KSM_QUIET_FACTOR,
    KSM_QUIET_S,
    KSM_SETTLED_S,
    KSM_SWEEP_S,
    KSM_WORTH_BYTES_PER_CPU_S,
)
from memtide.policy.ksm import rights, signs
from memtide.policy.ksm.rights import HANDS_OFF
from memtide.policy.ksm.signs import Known
from memtide.policy.ksm.speed import files_for, refilled
from memtide.policy.ksm.sweep import Sweep, advance, is_over, is_stalled, mark, set_back
from memtide.policy.ksm.track import (
    KsmTrack,
    cost_cpu_s,
    expected_bytes,
    kind_of,
    look_after_s,
    look_cost_cpu_s,
    planned_looks,
)
from memtide.policy.ksm.verdict import verdict_on
from memtide.units import GIB

__all__ = ["KsmTrack", "answered", "steer"]

LEARN: Final = 0.5
"""The weight of the latest sweep in what is learned of all."""
MOSTLY: Final = 0.7
"""A sweep tells about one kind of new memory when so much of what it had to look through was of that kind."""
POOR: Final = 0.25
"""New guests that merged less than such a part of what others did may have their twins among what was passed over."""
BY_HAND: Final = frozenset({ReasonCode.OPERATOR, ReasonCode.RESTORE})


def steer(
    track: KsmTrack, snapshot: Snapshot, state: HostState, limits: Limits
) -> tuple[KsmTrack, KsmVerdict | None, SetKsm | None]:
    """Return the new track, the verdict on KSM and what to write; both ``None`` on a host without KSM."""
    ksm, now_s = snapshot.host.ksm, snapshot.taken_at_s
    if ksm is None:
        return track, None, None
    track = _observe(track, snapshot, ksm, limits)
    why_rest = rights.why_rest(track.books, snapshot, track.signs, limits)
    if why_rest is not None and why_rest.code is ReasonCode.KSM_NOTHING_TO_MERGE and track.signs.gone:
        why_rest = None  # what ended is still on ksmd's books
    before = track.sweep
    if why_rest is not None:
        track = msgspec.structs.replace(track, sweep=None)
    elif track.sweep is not None:
        track = _go_on(track, ksm, state, limits)
    if why_rest is None and track.sweep is None:
        track = _consider(track, ksm, state, limits, now_s)
    if (before is None) != (track.sweep is None) or track.since_s == 0.0:
        track = msgspec.structs.replace(track, since_s=now_s)
    verdict = verdict_on(track, ksm, now_s, limits, why_rest)
    action = _end_own(track, ksm, verdict) if verdict.reason.code in HANDS_OFF else _action(track, ksm, verdict)
    return track, verdict, action


def answered(track: KsmTrack, action: SetKsm, reply: Reply) -> KsmTrack:
    """Return the track that knows how a write was answered, its own or an operator's."""
    read_at_s, books = track.read_at_s, track.books
    if reply.result is Result.DONE:
        books = rights.wrote(books, action.files, read_at_s)
    elif reply.result is Result.PARTIAL:
        books = rights.wrote_partly(books, action.files, read_at_s)
    elif reply.result in {Result.REFUSED, Result.NO_ANSWER}:
        books = rights.refused(books, reply.detail, read_at_s)
    else:
        return track
    if action.reason.code in BY_HAND and reply.result in {Result.DONE, Result.PARTIAL}:
        books = rights.by_hand(books, action.reason, read_at_s)
    return msgspec.structs.replace(track, books=books)


# --- what is known ---------------------------------------------------------------------------------------------


def _observe(track: KsmTrack, snapshot: Snapshot, ksm: Ksm, limits: Limits) -> KsmTrack:
    """Return the track after one more snapshot; time that a clock took back is not counted."""
    seen = signs.look(track.signs, snapshot, ksm)
    return msgspec.structs.replace(
        track,
        read_at_s=ksm.taken_at_s,
        signs=seen,
        books=rights.watch(track.books, ksm, snapshot.taken_at_s),
        account=refilled(track.account, ksm, limits.ksm_max_cpu_ratio),
    )


# --- beginning and ending ------------------------------------------------------------------------------------------


def _consider(track: KsmTrack, ksm: Ksm, state: HostState, limits: Limits, now_s: float) -> KsmTrack:
    """Begin a sweep if there is a reason to."""
    likely_bytes = expected_bytes(track)
    # a guest that still boots is not waited for
    settled = track.signs.newcomers(now_s, KSM_SETTLED_S[state])
    unsettled_bytes = track.signs.unseen_bytes - sum(known.new_bytes for known in settled)
    waiting_bytes = likely_bytes - track.grown_hit_ratio * unsettled_bytes
    elapsed_s = max(0.0, now_s - track.at_s) if track.at_s else 0.0
    track = _stirred(track, now_s)
    quiet = now_s - track.stirred_at_s >= KSM_QUIET_S
    price = KSM_PRICE_CPU_PER_GIB[state] * (KSM_QUIET_FACTOR if quiet else 1.0)
    owed_cpu_s = track.owed_cpu_s + price * waiting_bytes / GIB * elapsed_s
    track = msgspec.structs.replace(track, owed_cpu_s=owed_cpu_s, at_s=now_s)
    cause, guests = _cause(track, ksm, state, now_s, settled)
    if cause is None:
        return track
    full_speed, start, most_ratio = state is not HostState.HIGH, mark(ksm), limits.ksm_max_cpu_ratio
    sweep = Sweep(
        cause=cause,
        guests=guests,
        full_speed=full_speed,
        files=_files(track, ksm, most_ratio, cause, full_speed=full_speed),
        most_ratio=most_ratio,
        grown_bytes=track.signs.grown_bytes,
        broken_bytes=track.signs.broken_bytes,
        expected_bytes=likely_bytes,
        before=track.signs.guests,
        breaks_at=ksm.cow_breaks_total,
        first=start,
        last=start,
        lowest_pages=start.saved_pages,
    )
    return msgspec.structs.replace(track, sweep=sweep)


def _stirred(track: KsmTrack, now_s: float) -> KsmTrack:
    """Return the track that knows when memory last became new."""
    new_bytes = track.signs.new_bytes
    if abs(new_bytes - track.stirred_bytes) < KSM_QUIET_BYTES and track.stirred_at_s <= now_s:
        return track
    return msgspec.structs.replace(track, stirred_bytes=new_bytes, stirred_at_s=now_s)


def _cause(
    track: KsmTrack, ksm: Ksm, state: HostState, now_s: float, newcomers: tuple[Known, ...]
) -> tuple[ReasonCode | None, tuple[str, ...]]:
    """Return the first reason to sweep that holds, and the names of the guests it is about."""
    found = track.signs
    likely_bytes = track.grown_hit_ratio * sum(known.new_bytes for known in newcomers)
    # a guest that starts over and over, or never found a twin, waits until it has come to be worth a sweep
    pays = likely_bytes >= cost_cpu_s(track, ksm, ReasonCode.KSM_NEW_GUEST) * KSM_WORTH_BYTES_PER_CPU_S[state]
    looked_s = None if track.swept_at_s is None else now_s - track.swept_at_s
    worth = expected_bytes(track) >= KSM_LEAST_BYTES and track.owed_cpu_s >= cost_cpu_s(track, ksm)
    by_state = ReasonCode.KSM_WORTH if state is HostState.HIGH else ReasonCode.KSM_HOST_SHORT
    due = looked_s is not None and not 0 <= looked_s < look_after_s(track, ksm)
    rows: tuple[tuple[bool, ReasonCode, tuple[str, ...]], ...] = (
        (
            bool(newcomers) and pays and len(found.guests) > 1,
            ReasonCode.KSM_NEW_GUEST,
            tuple(known.name for known in newcomers),
        ),
        (worth, by_state, ()),
        (track.closer or due, ReasonCode.KSM_LOOK_AGAIN, ()),
        (bool(found.gone) and ksm_tracked_pages(ksm) > 0, ReasonCode.KSM_GONE, found.gone),
    )
    return next(((cause, guests) for holds, cause, guests in rows if holds), (None, ()))


def _go_on(track: KsmTrack, ksm: Ksm, state: HostState, limits: Limits) -> KsmTrack:
    """Go on with the sweep, faster once the host is short, or end it."""
    if track.sweep is None or ksm.taken_at_s == track.sweep.last.at_s:
        return track
    if ksm.taken_at_s < track.sweep.last.at_s:
        return msgspec.structs.replace(track, sweep=set_back(track.sweep, ksm.taken_at_s))
    sweep, most_ratio = advance(track.sweep, ksm, state), limits.ksm_max_cpu_ratio
    full_speed = sweep.full_speed or state is not HostState.HIGH
    if (full_speed, most_ratio) != (sweep.full_speed, sweep.most_ratio):
        files = _files(track, ksm, most_ratio, sweep.cause, full_speed=full_speed)
        sweep = msgspec.structs.replace(sweep, full_speed=full_speed, most_ratio=most_ratio, files=files)
    if is_stalled(sweep, ksm):
        return _gave_up(track, sweep, ksm)
    if not is_over(sweep, ksm):
        return msgspec.structs.replace(track, sweep=sweep)
    if sweep.cause is ReasonCode.KSM_GONE:
        return msgspec.structs.replace(track, sweep=None, signs=msgspec.structs.replace(track.signs, gone=()))
    return _learn(track, sweep, ksm, state)


def _gave_up(track: KsmTrack, sweep: Sweep, ksm: Ksm) -> KsmTrack:
    """Return the track after a sweep in which ksmd looked at nothing: there is nothing to learn from it."""
    return msgspec.structs.replace(_at_rest(track, sweep, ksm, worth=False), rests=ReasonCode.KSM_IDLE)


def _at_rest(track: KsmTrack, sweep: Sweep, ksm: Ksm, *, worth: bool) -> KsmTrack:
    """Return the track after a sweep, whatever came of it: what it went through is new no more."""
    return msgspec.structs.replace(
        track,
        sweep=None,
        rests=ReasonCode.KSM_CONVERGED if worth else ReasonCode.KSM_NO_GAIN,
        signs=signs.swept(track.signs, sweep.before, sweep.breaks_at, ksm),
        owed_cpu_s=0.0,
        at_s=ksm.taken_at_s,
        swept_at_s=ksm.taken_at_s,
        look_after_s=KSM_LOOK_FIRST_S if worth else min(KSM_LOOK_LAST_S, 2 * track.look_after_s),
    )


def _learn(track: KsmTrack, sweep: Sweep, ksm: Ksm, state: HostState) -> KsmTrack:
    """Return the track that has learned from a whole sweep."""
    found_bytes = sweep.found_pages * ksm.page_size_bytes
    worth = sweep.cpu_s is None or found_bytes >= sweep.cpu_s * KSM_WORTH_BYTES_PER_CPU_S[state]
    costs = track.look_costs_cpu_s
    if sweep.looks and sweep.cpu_s:
        kind, cost = kind_of(sweep.cause), sweep.cpu_s / sweep.looks
        costs = costs | {kind: costs.get(kind, cost) + LEARN * (cost - costs.get(kind, cost))}
    passed_over = sweep.last.skipped_pages > sweep.first.skipped_pages
    return msgspec.structs.replace(
        _at_rest(track, sweep, ksm, worth=worth),
        found_bytes=found_bytes,
        found_cpu_s=sweep.cpu_s,
        grown_hit_ratio=_hit_ratio(track.grown_hit_ratio, sweep.grown_bytes, found_bytes, sweep),
        broken_hit_ratio=_hit_ratio(track.broken_hit_ratio, sweep.broken_bytes, found_bytes, sweep),
        look_costs_cpu_s=costs,
        closer=sweep.cause is ReasonCode.KSM_NEW_GUEST
        and passed_over
        and found_bytes < POOR * track.grown_hit_ratio * sweep.grown_bytes,
    )


def _hit_ratio(ratio: float, part_bytes: int, found_bytes: int, sweep: Sweep) -> float:
    """Return what is learned of one kind of new memory: from sweeps that had little of the other kind."""
    if part_bytes < max(KSM_LEAST_BYTES, MOSTLY * sweep.new_bytes):
        return ratio
    return ratio + LEARN * (min(1.0, found_bytes / sweep.new_bytes) - ratio)


# --- what is written --------------------------------------------------------------------------------------------------


def _files(track: KsmTrack, ksm: Ksm, most_ratio: float, cause: ReasonCode, *, full_speed: bool) -> dict[str, str]:
    """Return the settings of a sweep: how fast, and whether pages that never found a partner are looked at."""
    pages_per_s = None
    if not full_speed:
        most_ratio = min(most_ratio, KSM_CALM_RATIO)
        pages_per_s = planned_looks(track, ksm) / KSM_SWEEP_S
    cost = look_cost_cpu_s(track, cause)
    files = files_for(ksm, pages_per_s=pages_per_s, most_ratio=most_ratio, cost_cpu_s=cost)
    if ksm.use_zero_pages is not None and ksm.zero_pages is not None:
        # else a kernel before 6.6 would not count them; and a huge page of zeros is freed whole, where without this
        # ksmd splits it and comes back to it in vain
        files["use_zero_pages"] = "1"
    if ksm.smart_scan is not None:
        # a look without a sign is for pages that found no twin for long, too
        files["smart_scan"] = "0" if cause is ReasonCode.KSM_LOOK_AGAIN else "1"
    return files


def _end_own(track: KsmTrack, ksm: Ksm, verdict: KsmVerdict) -> SetKsm | None:
    """Return the stop of a ksmd that we had started, before hands are taken off it; else nothing."""
    if not track.books.started or ksm.run != 1 or verdict.reason.code is ReasonCode.KSM_REFUSED:
        return None
    return SetKsm(files={"run": "0"}, before={"run": "1"}, reason=verdict.reason)


def _action(track: KsmTrack, ksm: Ksm, verdict: KsmVerdict) -> SetKsm | None:
    """Return what to write, ``None`` when it stands so already: speed first, then the switch."""
    wanted = {} if track.sweep is None or not verdict.scanning else track.sweep.files
    wanted = wanted | {"run": "1" if verdict.scanning else "0"}
    standing = settings_of(ksm) | track.books.expected
    refused = track.books.refused
    files = {name: text for name, text in wanted.items() if standing.get(name) != text and name not in refused}
    if not files:
        return None
    before = {name: standing[name] for name in files if name in standing}
    return SetKsm(files=files, before=before, reason=verdict.reason)
