"""When ksmd scans: on when the host is short, off when it was calm for a while.

Merged pages stay merged while ksmd rests (run=0); run=2 would unmerge everything at once and is never written
here. First form: it neither tunes the speed nor weighs the saving against ksmd's CPU.
"""

from memtide.model.action import SetKsm
from memtide.model.decision import HostState
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.constants import KSM_CALM_S
from memtide.policy.host_state import HostTrack

__all__ = ["steer_ksm"]


def steer_ksm(host: Host, track: HostTrack, reserve_bytes: int, limits: Limits) -> SetKsm | None:
    """Return the switch to write, or ``None`` to leave KSM as it is."""
    if not limits.manage_ksm or host.ksm is None:
        return None
    short = track.state is not HostState.HIGH
    calm_s = host.taken_at_s - track.since_s
    if short and host.ksm.run == 0:
        wanted, code = "1", ReasonCode.KSM_HOST_SHORT
    elif not short and host.ksm.run == 1 and calm_s >= KSM_CALM_S:
        wanted, code = "0", ReasonCode.KSM_HOST_CALM
    else:
        return None
    numbers = {
        "available_bytes": host.memory.available_bytes,
        "reserve_bytes": reserve_bytes,
        "state": track.state.value,
        "for_s": calm_s,
    }
    return SetKsm(
        files={"run": wanted},
        before={"run": str(host.ksm.run)},
        reason=Reason(code=code, numbers=numbers),
    )
