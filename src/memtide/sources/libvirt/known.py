"""What is remembered of a guest between ticks, and how it becomes a ``Guest``."""

from dataclasses import dataclass
from typing import Final

import msgspec

from memtide.model.base import Missing
from memtide.model.guest import Guest, GuestTraits
from memtide.sources.libvirt.api import Domain, Stats
from memtide.sources.libvirt.events import Happening
from memtide.sources.libvirt.stats import parse_observed, parse_reported, parse_state
from memtide.sources.process import Qemu
from memtide.sources.processes import GuestProcess, started_at_s

__all__ = ["LEFT_OUT", "Known", "guest_of"]

LEFT_OUT: Final = "libvirt left it out of its reply: its monitor is busy or hangs"
OF_KERNEL: Final = ("cgroup_bytes", "swapped_bytes", "merged_bytes", "ksm_zero_bytes", "ksm_profit_bytes")
OF_PROCESS: Final = ("pid", *OF_KERNEL, "pss_bytes", "pss_at_s")


@dataclass(slots=True)
class Known:
    """One guest, as long as libvirt knows it."""

    domain: Domain
    """Of the present connection."""
    name: str
    since_s: float
    seen_at_s: float | None = None
    traits: GuestTraits | None = None
    job: str | None = None
    """What libvirt itself is doing with it (a migration), so that hands must be off."""
    unread: bool = True
    """Traits and job must be read, again or at last."""
    unreadable: str = ""
    """Why they could not be read."""
    pid: int | None = None

    def take_note(self, what: Happening, now_s: float) -> None:
        """Change what an event has made wrong."""
        if what in {Happening.STARTED, Happening.REBOOTED}:
            self.since_s = now_s
        if what is Happening.MIGRATING:
            self.unread |= self.job is None  # it may as well be a save or a snapshot
            self.job = self.job or "migration"
        elif what is not Happening.REBOOTED:
            self.unread = True

    def runs_as(self, qemu: Qemu) -> None:
        """Take note of its process: it tells when the guest started, also when we did not hear of that."""
        if qemu.pid != self.pid:
            started_s = started_at_s(qemu)
            self.since_s = started_s if self.pid is None and self.seen_at_s is None else max(self.since_s, started_s)
            self.pid = qemu.pid


def guest_of(uuid: str, known: Known, stats: Stats, process: GuestProcess | None) -> Guest | None:
    """Return the guest as it is now; ``None`` when libvirt says too little of it this time."""
    observed = parse_observed(stats)
    if observed is None or known.traits is None:
        return None
    missing: Missing = {}
    if process is not None:
        facts, pss = process.facts, process.pss
        observed = msgspec.structs.replace(
            observed,
            pid=process.qemu.pid,
            pss_bytes=pss.pss_bytes,
            pss_at_s=pss.pss_at_s,
            **{name: getattr(facts, name) for name in OF_KERNEL},
        )
        missing |= {name: why for name, why in facts.missing.items() if name != "rss_bytes"} | pss.missing
    else:
        missing |= dict.fromkeys(OF_PROCESS, "its process was not found")
    if observed.rss_bytes is None:
        missing["rss_bytes"] = "libvirt does not say"
    state, busy = parse_state(stats)
    return Guest(
        uuid=uuid,
        name=known.name,
        state=state,
        observed=observed,
        traits=known.traits,
        reported=parse_reported(stats, observed, missing),
        since_s=known.since_s,
        busy=known.job or busy,
        missing=missing,
    )
