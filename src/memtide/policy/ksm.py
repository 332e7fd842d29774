"""When ksmd scans: on when the host is short, off when it was calm for a while.

Merged pages stay merged while ksmd rests (run=0); run=2 would unmerge everything at once and is never written
here. While the host is short it scans faster: the kernel's default of 100 pages every 20 ms takes minutes to find
what guests of one image share, and a host that is so short does not have them. First form: the saving is not weighed
against ksmd's CPU yet.
"""

from memtide.model.action import SetKsm
from memtide.model.decision import HostState
from memtide.model.host import Host
from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.constants import KSM_CALM_S, KSM_FAST_PAGES
from memtide.policy.host_state import HostTrack

__all__ = ["steer_ksm"]


def steer_ksm(host: Host, track: HostTrack, reserve_bytes: int, limits: Limits) -> SetKsm | None:
    """Return the switch to write, or ``None`` to leave KSM as it is."""
    if not limits.manage_ksm or host.ksm is None:
        return None
    short = track.state is not HostState.HIGH
    calm_s = host.taken_at_s - track.since_s
    wanted: dict[str, str] = {}
    if short and host.ksm.run == 0:
        wanted["run"] = "1"
    elif not short and host.ksm.run == 1 and calm_s >= KSM_CALM_S:
        wanted["run"] = "0"
    by_hand = host.ksm.advisor_mode in {None, "none"}
    slow = by_hand and host.ksm.pages_to_scan is not None and host.ksm.pages_to_scan < KSM_FAST_PAGES
    if slow and short:
        wanted["pages_to_scan"] = str(KSM_FAST_PAGES)
    if not wanted:
        return None
    before = {"run": str(host.ksm.run), "pages_to_scan": str(host.ksm.pages_to_scan)}
    code = ReasonCode.KSM_HOST_SHORT if short else ReasonCode.KSM_CONVERGED
    numbers = {
        "available_bytes": host.memory.available_bytes,
        "reserve_bytes": reserve_bytes,
        "state": track.state.value,
        "for_s": calm_s,
    }
    return SetKsm(
        files=wanted,
        before={name: before[name] for name in wanted},
        reason=Reason(code=code, numbers=numbers),
    )
