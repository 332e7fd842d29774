"""What memtide can see of a simulated world: the same values that the real sources make."""

from typing import Final

from memtide.model.guest import Guest, GuestState, GuestTraits, Observed, Reported
from memtide.model.host import Host, HostMemory
from memtide.model.pressure import Pressure
from memtide.model.snapshot import Absent, GuestSample
from memtide.sim.guest import SimGuest
from memtide.sim.host import PAGE_BYTES
from memtide.sim.ksm_files import NO_KSM
from memtide.sim.spec import KsmKernel
from memtide.sim.world import World

__all__ = ["NO_ANSWER", "observe_guests", "observe_host"]

NO_ANSWER: Final = "the simulated QEMU does not answer"
NOT_SIMULATED: Final = "the simulator has none"
MISSING: Final = dict.fromkeys(("cgroup_bytes", "pid"), NOT_SIMULATED)
PER_PROCESS: Final = ("merged_bytes", "ksm_zero_bytes", "ksm_profit_bytes")
MISSING_BY_KERNEL: Final = {
    KsmKernel.NEW: MISSING,
    KsmKernel.OLD: MISSING | dict.fromkeys(PER_PROCESS, "the simulated kernel is 5.10: it does not say"),
    KsmKernel.NONE: MISSING | dict.fromkeys(PER_PROCESS, NO_KSM),
}
HOST_MISSING: Final = {"refaults_total": NOT_SIMULATED}


def observe_host(world: World) -> Host:
    """Return what the simulated host's kernel measures now."""
    memory, ksm = world.memory, world.ksm.read(world.now_s)
    return Host(
        counters_at_s=world.now_s,
        taken_at_s=world.now_s,
        memory=HostMemory(
            total_bytes=memory.spec.total_bytes,
            available_bytes=memory.available_bytes,
            free_bytes=memory.free_bytes,
            cached_bytes=memory.spec.cache_bytes,
            shmem_bytes=0,
            huge_pages_total_bytes=memory.huge_pages_bytes,
            huge_pages_free_bytes=memory.huge_pages_bytes,
            swap_total_bytes=memory.spec.swap_bytes,
            swap_free_bytes=memory.swap_free_bytes,
        ),
        pressure=Pressure(some=world.some.read(), full=world.full.read()),
        ksm=ksm,
        ksm_writers=tuple(world.ksm.writers),
        swap_in_pages_total=memory.swap_in_bytes_total // PAGE_BYTES,
        swap_out_pages_total=memory.swap_out_bytes_total // PAGE_BYTES,
        major_faults_total=memory.swap_in_bytes_total // PAGE_BYTES,
        oom_kills_total=world.oom_kills_total,
        missing=HOST_MISSING if ksm is not None else HOST_MISSING | {"ksm": NO_KSM},
    )


def observe_guests(world: World) -> GuestSample:
    """Return the guests that answer now, and those that are there and do not."""
    answering, absent = [], []
    elapsed_s = world.elapsed_s
    for uuid, guest in world.guests.items():
        if guest.spec.behaviour.answers(elapsed_s):
            answering.append(_guest(uuid, guest, world))
        else:
            absent.append(Absent(uuid=uuid, name=guest.spec.name, reason=NO_ANSWER))
    return GuestSample(guests=tuple(answering), absent=tuple(absent))


def _guest(uuid: str, guest: SimGuest, world: World) -> Guest:
    spec, reported = guest.spec, guest.reports.latest
    missing = MISSING_BY_KERNEL[world.memory.spec.ksm_kernel]
    why_not = _why_no_report(guest, reported)
    if why_not is not None:
        missing, reported = missing | {"reported": why_not}, None
    return Guest(
        uuid=uuid,
        name=spec.name,
        state=GuestState.RUNNING,
        observed=_observed(guest, world),
        reported=reported,
        traits=_traits(guest),
        since_s=guest.since_s,
        busy=spec.behaviour.busy(world.elapsed_s),
        missing=missing,
    )


def _observed(guest: SimGuest, world: World) -> Observed:
    """Return what the host measures; the value of last time where nothing moved, which is cheap at 1000 guests."""
    memory, before = guest.memory, guest.observed
    current_bytes, rss_bytes = memory.current_bytes, memory.rss_bytes
    if (
        before is not None
        and before.current_bytes == current_bytes
        and before.rss_bytes == rss_bytes
        and before.swapped_bytes == memory.host_swapped_bytes
        and not world.ksm.is_active
    ):
        return before
    ksm = world.ksm.of(memory)
    is_counted = world.memory.spec.ksm_kernel is KsmKernel.NEW
    guest.observed = Observed(
        maximum_bytes=guest.spec.maximum_bytes,
        current_bytes=current_bytes,
        rss_bytes=rss_bytes,
        swapped_bytes=memory.host_swapped_bytes,
        merged_bytes=ksm.merged_bytes if is_counted else None,
        ksm_zero_bytes=ksm.zero_bytes if is_counted else None,
        ksm_profit_bytes=ksm.profit_bytes if is_counted else None,
        pss_bytes=rss_bytes - ksm.saved_bytes,
        pss_at_s=world.now_s,
    )
    return guest.observed


def _traits(guest: SimGuest) -> GuestTraits:
    """Return how it is built; the value of last time, but for the stats period."""
    if guest.traits is None or guest.traits.stats_period_s != guest.reports.period_s:
        spec = guest.spec
        guest.traits = GuestTraits(
            has_balloon=spec.has_balloon,
            stats_period_s=guest.reports.period_s,
            deflates_on_oom=spec.deflates_on_oom,
            reports_free_pages=spec.reports_free_pages,
            passthrough=spec.pinned,
            mergeable=spec.mergeable,
            huge_pages=spec.huge_pages,
            shared_memory=spec.shared_memory,
            owner=spec.owner,
        )
    return guest.traits


def _why_no_report(guest: SimGuest, said: Reported | None) -> str | None:
    """Return why there is no report to believe, or ``None``."""
    if said is not None:
        # what libvirt's source refuses too: such figures never reach a law
        fits = said.usable_bytes <= said.total_bytes <= guest.spec.maximum_bytes
        return None if fits else "the guest contradicts itself"
    if not guest.spec.has_balloon:
        return "the guest has no balloon device"
    return "the guest never reported: it has no driver, or one without statistics"
