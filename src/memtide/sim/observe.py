"""What memtide can see of a simulated world: the same values that the real sources make."""

from typing import Final

from memtide.model.guest import Guest, GuestState, GuestTraits, Observed
from memtide.model.host import Host, HostMemory
from memtide.model.ksm import Ksm
from memtide.model.pressure import Pressure
from memtide.model.snapshot import Absent, GuestSample
from memtide.sim.guest import SimGuest
from memtide.sim.host import PAGE_BYTES
from memtide.sim.world import World

__all__ = ["NO_ANSWER", "observe_guests", "observe_host"]

NO_ANSWER: Final = "the simulated QEMU does not answer"
NOT_SIMULATED: Final = "the simulator has none"


def observe_host(world: World) -> Host:
    """Return what the simulated host's kernel measures now."""
    memory = world.memory
    return Host(
        counters_at_s=world.now_s,
        taken_at_s=world.now_s,
        memory=HostMemory(
            total_bytes=memory.spec.total_bytes,
            available_bytes=memory.available_bytes,
            free_bytes=memory.free_bytes,
            cached_bytes=0,
            shmem_bytes=0,
            huge_pages_total_bytes=memory.huge_pages_bytes,
            huge_pages_free_bytes=memory.huge_pages_bytes,
            swap_total_bytes=memory.spec.swap_bytes,
            swap_free_bytes=memory.swap_free_bytes,
        ),
        pressure=Pressure(some=world.some.read(), full=world.full.read()),
        ksm=_ksm(world),
        swap_in_pages_total=memory.swap_in_bytes_total // PAGE_BYTES,
        swap_out_pages_total=memory.swap_out_bytes_total // PAGE_BYTES,
        major_faults_total=memory.swap_in_bytes_total // PAGE_BYTES,
        oom_kills_total=world.oom_kills_total,
        missing={"refaults_total": NOT_SIMULATED},
    )


def _ksm(world: World) -> Ksm:
    unknown = (
        "pages_unshared", "pages_volatile", "full_scans", "zero_pages", "general_profit_bytes",
        "merge_across_nodes", "advisor_mode", "ksmd_cpu_s_total",
    )  # fmt: skip
    return Ksm(
        page_size_bytes=PAGE_BYTES,
        run=int(world.ksm_files["run"]),
        pages_shared=0,
        pages_sharing=0,
        pages_to_scan=int(world.ksm_files["pages_to_scan"]),
        sleep_millisecs=int(world.ksm_files["sleep_millisecs"]),
        missing=dict.fromkeys(unknown, NOT_SIMULATED),
    )


def observe_guests(world: World) -> GuestSample:
    """Return the guests that answer now, and those that are there and do not."""
    answering, absent = [], []
    for uuid, guest in world.guests.items():
        if guest.spec.behaviour.answers(world.elapsed_s):
            answering.append(_guest(uuid, guest))
        else:
            absent.append(Absent(uuid=uuid, name=guest.spec.name, reason=NO_ANSWER))
    return GuestSample(guests=tuple(answering), absent=tuple(absent))


def _guest(uuid: str, guest: SimGuest) -> Guest:
    spec, memory = guest.spec, guest.memory
    missing = dict.fromkeys(("cgroup_bytes", "merged_bytes", "pid"), NOT_SIMULATED)
    why_not = _why_no_report(guest)
    if why_not is not None:
        missing["reported"] = why_not
    return Guest(
        uuid=uuid,
        name=spec.name,
        state=GuestState.RUNNING,
        observed=Observed(
            maximum_bytes=spec.maximum_bytes,
            current_bytes=memory.current_bytes,
            rss_bytes=memory.rss_bytes,
            swapped_bytes=memory.host_swapped_bytes,
        ),
        reported=guest.reports.latest if why_not is None else None,
        traits=GuestTraits(
            has_balloon=spec.has_balloon,
            stats_period_s=guest.reports.period_s,
            deflates_on_oom=spec.deflates_on_oom,
        ),
        since_s=guest.since_s,
        missing=missing,
    )


def _why_no_report(guest: SimGuest) -> str | None:
    """Return why there is no report to believe, or ``None``."""
    said = guest.reports.latest
    if said is not None:
        # what libvirt's source refuses too: such figures never reach a law
        fits = said.usable_bytes <= said.total_bytes <= guest.spec.maximum_bytes
        return None if fits else "the guest contradicts itself"
    if not guest.spec.has_balloon:
        return "the guest has no balloon device"
    return "the guest never reported: it has no driver, or one without statistics"
