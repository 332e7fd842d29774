"""Guests for lab tests, and what libvirt itself says of them, memtide not asked."""

import libvirt

from lab import Guest, GuestSpec, Lab
from memtide.units import GIB, MIB

WAIT_S = 300.0
"""Another lab may run on this machine."""
SWAP_BYTES = 256 * MIB
"""Compressed, so the content must be such that it can be: hence `mixed`, and not `random`."""


def current_bytes(lab: Lab, guest: Guest) -> int:
    """Return the guest's memory now, by libvirt itself and not by memtide."""
    connection = libvirt.open(lab.uri)
    try:
        return connection.lookupByName(guest.name).info()[2] * 1024
    finally:
        connection.close()


def set_current(lab: Lab, guest: Guest, size_bytes: int) -> None:
    """Set the guest's memory by hand."""
    connection = libvirt.open(lab.uri)
    try:
        connection.lookupByName(guest.name).setMemoryFlags(size_bytes // 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    finally:
        connection.close()


def resident_bytes(lab: Lab) -> int:
    """Return what all guests hold of the host."""
    return sum(guest.resident_bytes() for guest in lab.guests if guest.alive)


def full_of_air(name: str, touched_mib: int = 600) -> GuestSpec:
    """Return a guest that touched much memory, freed it, and reports nothing until somebody asks."""
    script = f"touchfree {touched_mib}MiB 3s; hold 40MiB"
    return GuestSpec(name=name, size_bytes=GIB, script=script, swap_bytes=SWAP_BYTES, fill="mixed")
