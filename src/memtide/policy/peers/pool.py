"""Host memory as hypervisors with fixed assignments see it: what a guest has is taken, touched or not.

squeezed and qmemman are Xen's: there, free memory is what no domain was assigned. On KVM that is what guests on
normal pages can have, minus the sum of their current sizes and of what their QEMUs take besides, minus what the host
itself uses. On an overcommitted host it is negative until the law has taken enough. Xen's own domain has a fixed size;
here the host's own use counts in whole steps, so that its small changes do not move all guests all the time.
"""

from typing import Final

import msgspec

from memtide.model.base import Model
from memtide.model.derived import total_or_none
from memtide.model.snapshot import Snapshot
from memtide.units import MIB

__all__ = ["QEMU_BYTES", "Pool", "look"]

QEMU_BYTES: Final = 64 * MIB
"""What a QEMU takes beside its guest's memory (with KVM)."""
OWN_STEP_BYTES: Final = 128 * MIB
OWN_SLACK_BYTES: Final = 2 * OWN_STEP_BYTES
"""The host's share shrinks only when it uses so much less."""


class Pool(Model, frozen=True, kw_only=True):
    """Who has how much, and what the host uses itself; kept for guests that do not answer."""

    sizes: dict[str, int] = {}
    """Current size by UUID."""
    own_bytes: int = 0
    """The host's own share: memory in use that is no guest's, in whole steps."""
    total_bytes: int = 0

    @property
    def free_bytes(self) -> int:
        """What nobody was assigned; may be negative."""
        return self.total_bytes - self.own_bytes - sum(size + QEMU_BYTES for size in self.sizes.values())


def look(before: Pool, snapshot: Snapshot) -> Pool:
    """Return the pool after one more snapshot. Guests on huge pages have their memory elsewhere."""
    memory = snapshot.host.memory
    guests = [guest for guest in snapshot.guests if not guest.traits.huge_pages]
    unheard = {absent.uuid for absent in snapshot.absent}
    pool = msgspec.structs.replace(
        before,
        sizes={uuid: size for uuid, size in before.sizes.items() if uuid in unheard}
        | {guest.uuid: guest.observed.current_bytes for guest in guests},
        total_bytes=memory.usable_total_bytes,
    )
    cost_bytes = total_or_none(guest.observed.host_cost_bytes for guest in guests)
    if cost_bytes is None or unheard:
        return pool
    own_bytes = max(0, memory.usable_total_bytes - memory.available_bytes - cost_bytes)
    if pool.own_bytes - OWN_SLACK_BYTES <= own_bytes <= pool.own_bytes:
        return pool
    return msgspec.structs.replace(pool, own_bytes=-(-own_bytes // OWN_STEP_BYTES) * OWN_STEP_BYTES)
