"""Does the host's swap still help, or does it hurt already?

Swap is the best place for pages that nobody uses and the worst for pages in use; which of the two the kernel is
swapping shows in the time that tasks wait for memory (PSI). The kernel's own average over ten seconds is too slow for
a host that fills at the speed of memory, so the sum of stalled time is averaged over three.
"""

import math
from typing import Final

from memtide.model.base import Model
from memtide.model.host import Host
from memtide.policy.constants import SWAP_HURTS_RATIO, SWAP_LEAST_RATIO

__all__ = ["Stalls", "look", "swap_worth_bytes"]

WINDOW_S: Final = 3.0


class Stalls(Model, frozen=True, kw_only=True):
    """How much of the time somebody waited for the host's memory."""

    total_us: int | None = None
    """Stalled time since boot; ``None``: the kernel does not say."""
    at_s: float = 0.0
    ratio: float = 0.0
    """Share of the last seconds, 0 to 1."""


def look(before: Stalls, host: Host) -> Stalls:
    """Return the stalls after one more reading of the host."""
    if host.pressure is None:
        return Stalls()
    total_us, at_s = host.pressure.some.total_us, host.taken_at_s
    elapsed_s = at_s - before.at_s
    if before.total_us is None or total_us < before.total_us or elapsed_s <= 0:
        return Stalls(total_us=total_us, at_s=at_s)
    stalled_ratio = min(1.0, (total_us - before.total_us) / 1e6 / elapsed_s)
    weight = 1 - math.exp(-elapsed_s / WINDOW_S)
    return Stalls(total_us=total_us, at_s=at_s, ratio=before.ratio + weight * (stalled_ratio - before.ratio))


def swap_worth_bytes(stalls: Stalls, host: Host) -> int:
    """Return how much of the host's free swap counts as memory: half, less while tasks wait, 0 when it is full.

    Half, because a page that turns out to be in use comes back; in steps it would make the law swing.
    """
    memory = host.memory
    free_bytes = max(0.0, memory.swap_free_bytes - SWAP_LEAST_RATIO * memory.swap_total_bytes)
    return int(free_bytes / 2 * max(0.0, 1 - stalls.ratio / SWAP_HURTS_RATIO))
