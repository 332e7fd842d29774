"""What a guest swapped out and would use if it had the memory.

After swapping out, a guest's MemAvailable rises and it looks comfortable; without this debt a law would shrink it
further (Qubes' qmemman counts swap used for the same reason; the balloon's figures have only traffic, so the debt is
added up from that). It is forgotten with a half-life, because dead pages in swap must stop counting some time.
"""

from memtide.model.base import Model
from memtide.model.guest import Reported
from memtide.policy.constants import SWAP_DEBT_HALF_LIFE_S
from memtide.policy.counters import PAGE_BYTES, risen

__all__ = ["SwapDebt", "add_up"]


class SwapDebt(Model, frozen=True, kw_only=True):
    """A guest's swap traffic and what it makes of its demand."""

    debt_bytes: float = 0.0
    out_bytes: int = 0
    """Swapped out in the last report interval."""
    in_bytes: int = 0
    known_bytes: int = 0
    """All that was ever seen swapped out: the debt cannot exceed it."""
    out_total_bytes: int | None = None
    in_total_bytes: int | None = None


def add_up(before: SwapDebt, reported: Reported, interval_s: float, maximum_bytes: int) -> SwapDebt:
    """Return the debt after one more report; no guest owes more than its maximum."""
    out_bytes = risen(before.out_total_bytes, reported.swap_out_bytes_total)
    in_bytes = risen(before.in_total_bytes, reported.swap_in_bytes_total)
    quiet = not (out_bytes or in_bytes or before.debt_bytes or before.out_bytes or before.in_bytes)
    if quiet and before.out_total_bytes == reported.swap_out_bytes_total:
        return before
    known_bytes = min(before.known_bytes + out_bytes, maximum_bytes)
    fade = 2.0 ** (-interval_s / SWAP_DEBT_HALF_LIFE_S)
    owed_bytes = before.debt_bytes * fade + out_bytes - in_bytes
    # what goes out and comes back in one interval did not fit: a guest that thrashes shows it neither as use nor as net
    debt_bytes = min(max(owed_bytes, min(out_bytes, in_bytes)), float(known_bytes))
    # less debt than a page is none
    return SwapDebt(
        debt_bytes=debt_bytes if debt_bytes >= PAGE_BYTES else 0.0,
        out_bytes=out_bytes,
        in_bytes=in_bytes,
        known_bytes=known_bytes,
        out_total_bytes=reported.swap_out_bytes_total,
        in_total_bytes=reported.swap_in_bytes_total,
    )
