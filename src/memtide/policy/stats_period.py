"""A guest that was never asked reports nothing: libvirt adds a balloon but no stats period.

The period is set live where it is missing, kept where somebody set one, and armed again where reports dried up
(a reset guest forgets it with older QEMU).
"""

from memtide.model.action import SetStatsPeriod
from memtide.model.guest import Guest, GuestState, StatsState
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.constants import ASK_AGAIN_S

__all__ = ["missing_period"]


def missing_period(guest: Guest, stats: StatsState, limits: Limits, *, since_asked_s: float) -> SetStatsPeriod | None:
    """Return the request to make, or ``None`` when nothing is missing or it was made a moment ago."""
    traits = guest.traits
    askable = guest.state is GuestState.RUNNING and traits.has_balloon and guest.busy is None
    if limits.stats_period_s is None or not askable or since_asked_s < ASK_AGAIN_S:
        return None
    if traits.stats_period_s:
        if stats is not StatsState.STALE:
            return None
        code, to_s = ReasonCode.STATS_STALE, traits.stats_period_s
    else:
        code, to_s = ReasonCode.STATS_PERIOD_MISSING, limits.stats_period_s
    return SetStatsPeriod(
        uuid=guest.uuid,
        name=guest.name,
        from_s=traits.stats_period_s,
        to_s=to_s,
        reason=Reason(code=code, numbers={"period_s": to_s}),
    )
