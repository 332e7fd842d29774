"""KSM on a host made by hand: for tests of the report and of its text."""

from typing import Any

import make_live

from memtide.model.decision import KsmVerdict
from memtide.model.guest import Guest, GuestTraits, Observed
from memtide.model.host import NumaNode
from memtide.model.ksm import Ksm
from memtide.model.reason import Reason, ReasonCode
from memtide.units import GIB, MIB
from memtide.views.live import KsmPast, KsmScene

NOW_S = make_live.NOW_S
PAGE = 4096


def guest(name: str, *, rss_bytes: int = 2 * GIB, owner: str | None = None, **more: Any) -> Guest:
    """Return a guest of 4 GiB; what KSM counts of it and how it is built by name."""
    traits = {key: more.pop(key) for key in tuple(more) if key in GuestTraits.__struct_fields__}
    values = {"maximum_bytes": 4 * GIB, "current_bytes": 4 * GIB, "rss_bytes": rss_bytes}
    return make_live.guest(
        name,
        observed=Observed(**values | more),
        traits=GuestTraits(has_balloon=True, owner=owner, **traits),
    )


def verdict(code: ReasonCode = ReasonCode.KSM_CONVERGED, **more: Any) -> KsmVerdict:
    """Return ksmd at rest after a sweep that brought 75 MiB for 1.9 s of CPU."""
    numbers = {"found_bytes": 75 * MIB, "found_cpu_s": 1.9, "new_bytes": 40 * MIB, "look_s": 7200.0}
    values = {
        "reason": Reason(code=code, numbers=numbers),
        "scanning": False,
        "since_s": NOW_S - 754,
        "look_again_at_s": NOW_S + 7200,
        "max_cpu_ratio": 0.7,
    }
    return KsmVerdict(**values | more)


def reading(minutes_ago: float, *, cpu_s: float, sharing_bytes: int, **more: Any) -> Ksm:
    """Return KSM as it was some minutes ago."""
    pages = sharing_bytes // PAGE
    values = {"run": 0, "pages_shared": pages // 6, "pages_sharing": pages, "pages_unshared": 2 * pages}
    return make_live.ksm(
        at_s=NOW_S - 60 * minutes_ago, cpu_s=cpu_s, **values | {"pages_volatile": 1000, "full_scans": 12} | more
    )


def scene(**more: Any) -> KsmScene:
    """Return a host after three hours: KSM grew to 5.2 GiB within one, and ksmd rests since."""
    past = tuple(
        reading(180 - n, cpu_s=min(n, 60) * 9.0, sharing_bytes=int(5.2 * GIB * min(1.0, n / 60))) for n in range(180)
    )
    ksm = reading(0, cpu_s=540.0, sharing_bytes=int(5.2 * GIB), cow_breaks_total=100_000, max_page_sharing=256)
    guests = (
        guest("vm-10", merged_bytes=1400 * MIB, pss_bytes=GIB, pss_at_s=NOW_S - 200, ksm_profit_bytes=900 * MIB),
        guest("vm-2", merged_bytes=1300 * MIB, pss_bytes=1100 * MIB, pss_at_s=NOW_S - 20, ksm_zero_bytes=50 * MIB),
        guest("db", merged_bytes=10 * MIB, pss_bytes=2 * GIB, pss_at_s=NOW_S - 20, ksm_profit_bytes=-8 * MIB),
        guest("vm-3", huge_pages=True, rss_bytes=200 * MIB),
        guest("vm-7", huge_pages=True, rss_bytes=200 * MIB),
        guest("quiet", mergeable=False),
    )
    values = {
        "host_name": "virt5v",
        "daemon": True,
        "host": make_live.host(ksm=ksm),
        "guests": guests,
        "reserve_bytes": GIB,
        "previous_host": make_live.host(at_s=NOW_S - 2, ksm=reading(1 / 30, cpu_s=540.0, sharing_bytes=5 * GIB)),
        "verdict": verdict(),
        "past": KsmPast(readings=past, breaks_at_scan=24_400),
        "originals": {"run": "1"},
    }
    return KsmScene(**values | more)


def two_nodes() -> tuple[NumaNode, ...]:
    """Return two nodes of 8 GiB."""
    return tuple(NumaNode(node=n, total_bytes=8 * GIB, free_bytes=GIB) for n in range(2))
