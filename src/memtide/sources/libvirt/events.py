"""libvirt's events -> what the guest source must do, as a table; callbacks, in libvirt's thread, only hand over."""

import enum
from collections.abc import Callable
from typing import Final

from memtide.sources.libvirt.api import Connection, Domain, binding
from memtide.sources.libvirt.link import Link, Subscribe

__all__ = ["STOPPED", "Happening", "Listener", "subscriber"]


class Happening(enum.StrEnum):
    """What an event means for us."""

    STARTED = "guest-started"
    STOPPED = "guest-stopped"
    REBOOTED = "guest-rebooted"
    CHANGED = "guest-changed"
    """How it is built, its metadata, or the job that libvirt does with it."""
    MIGRATING = "guest-migrating"


Listener = Callable[[Happening, Domain, str], None]
"""Told what happened, to which guest, and what to say of it (``{name}`` is for the guest's); empty: nothing."""

STOPPED: Final = "{name} stopped"
HOW_IT_STOPPED: Final = {
    1: "{name} was ended from outside",
    2: "{name} crashed",
    3: "{name} was migrated to another host",
    4: "{name} was saved and stopped",
    5: "{name} failed: its QEMU ended or was killed",
}
"""virDomainEventStoppedDetailType."""
LIFECYCLE: Final = {
    0: (Happening.CHANGED, ""),  # defined
    2: (Happening.STARTED, "{name} started"),
    4: (Happening.CHANGED, ""),  # resumed
    5: (Happening.STOPPED, STOPPED),
}
"""virDomainEventType -> what it means; others tell us nothing that a sample does not."""
OTHERS: Final = {
    "REBOOT": (Happening.REBOOTED, "{name} rebooted"),
    "DEVICE_ADDED": (Happening.CHANGED, ""),
    "DEVICE_REMOVED": (Happening.CHANGED, ""),
    "METADATA_CHANGE": (Happening.CHANGED, ""),
    # QEMU says so of a save and a snapshot as well: to it, all are migrations
    "MIGRATION_ITERATION": (
        Happening.MIGRATING,
        "{name} is being migrated, saved or copied; memtide keeps its hands off",
    ),
    "JOB_COMPLETED": (Happening.CHANGED, ""),
}


def subscriber(listener: Listener) -> Subscribe:
    """Return what registers a listener with each new connection."""

    def subscribe(connection: Connection, link: Link) -> list[int]:
        libvirt = binding()

        def lifecycle(source: Connection, domain: Domain, event: int, detail: int, _opaque: object) -> None:
            if event in LIFECYCLE:
                what, text = LIFECYCLE[event]
                text = HOW_IT_STOPPED.get(detail, text) if what is Happening.STOPPED else text
                link.post(source, listener, what, domain, text)

        def other(source: Connection, domain: Domain, *rest: object) -> None:
            what, text = OTHERS[str(rest[-1])]
            link.post(source, listener, what, domain, text)

        registered = [connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)]
        for name in OTHERS:
            number = getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}")
            registered.append(connection.domainEventRegisterAny(None, number, other, name))
        return registered

    return subscribe
