"""Host memory as hypervisors with fixed assignments see it: what a guest has is taken, touched or not.

squeezed and qmemman are Xen's: there, free memory is what no domain was assigned. On KVM that is what guests on
normal pages can have, minus the sum of their current sizes, minus what the host itself uses; on an overcommitted
host it is negative until the law has taken enough.
"""

import msgspec

from memtide.model.base import Model
from memtide.model.derived import total_or_none
from memtide.model.snapshot import Snapshot

__all__ = ["Pool", "look"]


class Pool(Model, frozen=True, kw_only=True):
    """Who has how much, and what the host uses itself; kept for guests that do not answer."""

    sizes: dict[str, int] = {}
    """Current size by UUID."""
    own_bytes: int = 0
    """Memory in use on the host that is no guest's: used memory minus what the guests cost."""
    total_bytes: int = 0

    @property
    def free_bytes(self) -> int:
        """What nobody was assigned; may be negative."""
        return self.total_bytes - self.own_bytes - sum(self.sizes.values())


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
    used_bytes = memory.usable_total_bytes - memory.available_bytes
    return msgspec.structs.replace(pool, own_bytes=max(0, used_bytes - cost_bytes))
