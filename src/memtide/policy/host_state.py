"""The host's reserve and the four states that hang on it: high, soft, hard, low.

With ``R`` the reserve and ``S`` the available memory: high ``S >= R``, soft ``S < R``, hard ``S < R/2``,
low ``S < R/4``. Worse at once; better only when ``S`` has been a quarter above the line for some seconds (the
ladder and its hysteresis are VMware ESX's: Waldspurger, OSDI 2002). Pressure can only make a state worse, and
only while memory is anywhere near short: a limited cgroup's stalls leak into the host's figure.
"""

from typing import Final

from memtide.model.base import Model
from memtide.model.decision import HostState
from memtide.model.derived import ksm_saved_bytes
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.policy.stalls import Stalls, look
from memtide.units import MIB

__all__ = ["WORSE", "HostTrack", "line_bytes", "observe_host", "reserve_for"]

LADDER: Final = (HostState.HIGH, HostState.SOFT, HostState.HARD, HostState.LOW)
WORSE: Final = dict(zip(LADDER, (*LADDER[1:], LADDER[-1]), strict=True))
"""The next worse state; the worst is its own."""
LINE_SHARE: Final = {HostState.HIGH: 1.0, HostState.SOFT: 0.5, HostState.HARD: 0.25, HostState.LOW: 0.0}
"""The share of the reserve down to which a state lasts."""

RESERVE_BASE_BYTES: Final = 512 * MIB
RESERVE_RATIO: Final = 0.03
RESERVE_MOST_RATIO: Final = 0.15
"""Auto reserve: 512 MiB + 3 % of what guests can have, at most 15 %. MOM and Proxmox keep 20 %; on a
64 GiB host this is 2.4 GiB instead of 12.8."""

KSM_STORM_RATIO: Final = 0.02
"""Of what KSM saves, added to it: guests that write to what was merged (an upgrade of all twins at once) need that much
again within seconds."""

BETTER_BY: Final = 1.25
BETTER_FOR_S: Final = {HostState.HIGH: 10.0, HostState.SOFT: 4.0, HostState.HARD: 4.0}
"""By the better state: memory is handed back only after a calm that lasts, smaller cushions end sooner."""

# (some_avg10 over, full_avg10 over, while available is under so many reserves) -> at least this state
PRESSURE_ROWS: Final = (
    (0.10, 1.0, 1.5, HostState.SOFT),
    (1.0, 0.05, 1.0, HostState.HARD),
)


class HostTrack(Model, frozen=True, kw_only=True):
    """The host's state and since when."""

    state: HostState = HostState.HIGH
    since_s: float = 0.0
    better_since_s: float | None = None
    """Since when a better state's line is exceeded by a quarter."""
    stalls: Stalls = Stalls()


def reserve_for(host: Host, limits: Limits) -> int:
    """Return the host memory never granted, in bytes: the operator's figure, or the auto formula."""
    usable_bytes = host.memory.usable_total_bytes
    if limits.reserve_bytes is not None:
        return min(limits.reserve_bytes, usable_bytes)
    if limits.reserve_ratio is not None:
        return int(usable_bytes * limits.reserve_ratio)
    own_bytes = min(RESERVE_BASE_BYTES + RESERVE_RATIO * usable_bytes, RESERVE_MOST_RATIO * usable_bytes)
    return int(own_bytes + KSM_STORM_RATIO * (0 if host.ksm is None else ksm_saved_bytes(host.ksm)))


def line_bytes(state: HostState, reserve_bytes: int) -> int:
    """Return the available memory under which a state gives way to the next worse one."""
    return int(reserve_bytes * LINE_SHARE[state])


def observe_host(track: HostTrack, host: Host, reserve_bytes: int) -> HostTrack:
    """Return the track after one more reading."""
    now_s, stalls = host.taken_at_s, look(track.stalls, host)
    if now_s < track.since_s:  # the clock was set back
        track = HostTrack(state=track.state, since_s=now_s)
    now_rank = LADDER.index(_state_now(host, reserve_bytes, scale=1.0))
    rank = LADDER.index(track.state)
    if track.since_s == 0.0 or now_rank > rank:
        return HostTrack(state=LADDER[now_rank], since_s=now_s, stalls=stalls)
    calm_rank = LADDER.index(_state_now(host, reserve_bytes, scale=BETTER_BY))
    if calm_rank >= rank:
        return HostTrack(state=track.state, since_s=track.since_s, stalls=stalls)
    better_since_s = now_s if track.better_since_s is None else min(now_s, track.better_since_s)
    if now_s - better_since_s < BETTER_FOR_S[LADDER[calm_rank]]:
        return HostTrack(state=track.state, since_s=track.since_s, better_since_s=better_since_s, stalls=stalls)
    return HostTrack(state=LADDER[calm_rank], since_s=now_s, stalls=stalls)


def _state_now(host: Host, reserve_bytes: int, *, scale: float) -> HostState:
    """Return the state that this reading alone shows, with every line raised by ``scale``."""
    available_bytes = host.memory.available_bytes
    by_memory = next(s for s in LADDER if s is LADDER[-1] or available_bytes >= reserve_bytes * LINE_SHARE[s] * scale)
    by_pressure = HostState.HIGH
    if host.pressure is not None:
        some_ratio = host.pressure.some.avg10_ratio
        full_ratio = host.pressure.full.avg10_ratio if host.pressure.full is not None else 0.0
        for some_over, full_over, near, state in PRESSURE_ROWS:
            if available_bytes < near * reserve_bytes and (some_ratio > some_over or full_ratio > full_over):
                by_pressure = state
    return max(by_memory, by_pressure, key=LADDER.index)
