"""libvirt's events -> what the guest source must do, as a table; callbacks, in libvirt's thread, only hand over."""

import enum
from collections.abc import Callable
from typing import Final

from memtide.sources.libvirt.api import Connection, Domain, binding
from memtide.sources.libvirt.link import Link

__all__ = ["Happening", "Listener", "subscriber"]


class Happening(enum.StrEnum):
    """What an event means for us."""

    STARTED = "guest-started"
    STOPPED = "guest-stopped"
    REBOOTED = "guest-rebooted"
    CHANGED = "guest-changed"
    """How it is built, or its metadata."""
    MIGRATING = "guest-migrating"
    JOB_DONE = "guest-job-done"


Listener = Callable[[Happening, str, str], None]
"""Told what happened, and the guest's UUID and name."""

LIFECYCLE: Final = {
    0: Happening.CHANGED,  # defined
    2: Happening.STARTED,
    4: Happening.CHANGED,  # resumed
    5: Happening.STOPPED,
}
"""virDomainEventType -> what it means; others tell us nothing that a sample does not."""
OTHERS: Final = {
    "VIR_DOMAIN_EVENT_ID_REBOOT": Happening.REBOOTED,
    "VIR_DOMAIN_EVENT_ID_DEVICE_ADDED": Happening.CHANGED,
    "VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED": Happening.CHANGED,
    "VIR_DOMAIN_EVENT_ID_METADATA_CHANGE": Happening.CHANGED,
    "VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION": Happening.MIGRATING,
    "VIR_DOMAIN_EVENT_ID_JOB_COMPLETED": Happening.JOB_DONE,
}


def subscriber(listener: Listener) -> Callable[[Connection, Link], None]:
    """Return what registers a listener with each new connection."""

    def subscribe(connection: Connection, link: Link) -> None:
        libvirt = binding()

        def tell(happening: Happening, domain: Domain) -> None:
            link.post(listener, happening, domain.UUIDString(), domain.name())

        def lifecycle(_connection: Connection, domain: Domain, event: int, _detail: int, _opaque: object) -> None:
            if event in LIFECYCLE:
                tell(LIFECYCLE[event], domain)

        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)
        for name, happening in OTHERS.items():
            # the default binds this round's value: the loop's own would be the last for all
            def other(_connection: Connection, domain: Domain, *_rest: object, what: Happening = happening) -> None:
                tell(what, domain)

            connection.domainEventRegisterAny(None, getattr(libvirt, name), other, None)

    return subscribe
