"""What the governor concluded, with the numbers that its sentence needs."""

from memtide.model.decision import KsmVerdict
from memtide.model.ksm import Ksm
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.ksm.track import KsmTrack, cost_cpu_s, expected_bytes, look_after_s

__all__ = ["verdict_on"]

Numbers = dict[str, int | float | str]


def verdict_on(track: KsmTrack, ksm: Ksm, now_s: float, limits: Limits, why_rest: Reason | None) -> KsmVerdict:
    """Return the verdict.

    Args:
        track: after this tick.
        ksm: this tick's reading.
        now_s: this tick's time.
        limits: what the operator wants.
        why_rest: why nothing may be begun; ``None``: the governor is free.
    """
    resting = why_rest is None and track.sweep is None and track.swept_at_s is not None
    look_again_at_s = (track.swept_at_s or 0.0) + look_after_s(track, ksm) if resting else None
    reason = why_rest or _reason(track, ksm, now_s, limits, look_again_at_s)
    return KsmVerdict(
        reason=reason,
        scanning=track.sweep is not None and reason.code is not ReasonCode.KSM_CPU_SPENT,
        since_s=track.since_s,
        new_bytes=track.signs.new_bytes,
        expected_bytes=expected_bytes(track),
        cost_cpu_s=cost_cpu_s(track, ksm, ReasonCode.KSM_WORTH if track.sweep is None else track.sweep.cause),
        found_bytes=track.found_bytes,
        found_cpu_s=track.found_cpu_s,
        look_again_at_s=look_again_at_s,
        max_cpu_ratio=limits.ksm_max_cpu_ratio,
    )


def _reason(track: KsmTrack, ksm: Ksm, now_s: float, limits: Limits, look_again_at_s: float | None) -> Reason:
    if track.sweep is None:
        return Reason(code=track.rests, numbers=_of_rest(track, now_s, look_again_at_s))
    if track.account.paused:
        return Reason(code=ReasonCode.KSM_CPU_SPENT, numbers={"max_cpu_ratio": limits.ksm_max_cpu_ratio})
    sweep = track.sweep
    numbers: Numbers = {
        "new_bytes": sweep.new_bytes,
        "expected_bytes": sweep.expected_bytes,
        "cost_cpu_s": cost_cpu_s(track, ksm, sweep.cause),
    }
    if sweep.guests:
        numbers["guests"] = ", ".join(sweep.guests)
    if track.swept_at_s is not None:
        numbers["for_s"] = max(0.0, sweep.first.at_s - track.swept_at_s)
    return Reason(code=sweep.cause, numbers=numbers)


def _of_rest(track: KsmTrack, now_s: float, look_again_at_s: float | None) -> Numbers:
    numbers: Numbers = {"new_bytes": track.signs.new_bytes}
    if track.found_bytes is not None and track.found_cpu_s is not None:
        numbers |= {"found_bytes": track.found_bytes, "found_cpu_s": track.found_cpu_s}
    if look_again_at_s is not None:
        numbers["look_s"] = max(0.0, look_again_at_s - now_s)
    return numbers
