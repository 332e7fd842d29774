"""What is remembered of a guest between ticks, and how it becomes a ``Guest``."""

from dataclasses import dataclass
from typing import Final

import msgspec

from memtide.model.base import Missing
from memtide.model.guest import Guest, GuestTraits
from memtide.sources.libvirt.api import Domain, Stats
from memtide.sources.libvirt.events import Happening
from memtide.sources.libvirt.stats import parse_observed, parse_reported, parse_state
from memtide.sources.process import ProcessFacts, Qemu

__all__ = ["Known", "guest_of"]

MIGRATION_SILENT_S: Final = 30.0
"""A migration that was not heard of for so long is over, or never ended."""
LEFT_OUT: Final = "libvirt left it out of its reply: its monitor is busy or hangs"


@dataclass(slots=True)
class Known:
    """One guest, as long as libvirt knows it."""

    domain: Domain
    name: str
    seen_at_s: float
    traits: GuestTraits | None = None
    """``None``: to be read."""
    since_s: float | None = None
    migrating_at_s: float = 0.0
    """When a running migration was last heard of."""
    told: bool = False
    """The log knows of that migration."""
    why_absent: str = LEFT_OUT

    def take_note(self, what: Happening, now_s: float) -> None:
        """Change what an event has made wrong."""
        if what in {Happening.STARTED, Happening.REBOOTED}:
            self.since_s = now_s
        if what in {Happening.STARTED, Happening.CHANGED}:
            self.traits = None
        if what is Happening.MIGRATING:
            self.migrating_at_s = now_s
        if what is Happening.JOB_DONE:
            self.migrating_at_s = 0.0


def guest_of(
    uuid: str, known: Known, stats: Stats, process: tuple[Qemu, ProcessFacts] | None, now_s: float
) -> Guest | None:
    """Return the guest as it is now; ``None``, with the reason in ``known``, when too little is known of it."""
    observed = parse_observed(stats)
    if observed is None or known.traits is None:
        if known.traits is not None:
            known.why_absent = LEFT_OUT
        return None
    missing: Missing = {}
    if process is not None:
        qemu, facts = process
        observed = msgspec.structs.replace(
            observed,
            pid=qemu.pid,
            cgroup_bytes=facts.cgroup_bytes,
            swapped_bytes=facts.swapped_bytes,
            merged_bytes=facts.merged_bytes,
        )
        missing |= {name: why for name, why in facts.missing.items() if name != "rss_bytes"}
    else:
        missing |= dict.fromkeys(("pid", "cgroup_bytes", "swapped_bytes", "merged_bytes"), "its process was not found")
    if observed.rss_bytes is None:
        missing["rss_bytes"] = "libvirt does not say"
    state, busy = parse_state(stats)
    if now_s - known.migrating_at_s < MIGRATION_SILENT_S:
        busy = "migration"
    return Guest(
        uuid=uuid,
        name=known.name,
        state=state,
        observed=observed,
        traits=known.traits,
        reported=parse_reported(stats, observed, missing),
        since_s=known.since_s,
        busy=busy,
        missing=missing,
    )
