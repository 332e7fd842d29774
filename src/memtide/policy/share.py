"""Sharing an amount by weight: exact water-filling.

Maximise, lexicographically from the smallest, the weighted shares ``x_i / w_i`` subject to ``0 <= x_i <= cap_i``
and ``sum x_i = min(amount, sum cap_i)``. Whoever reaches its cap drops out and the rest share on: sort by
``cap / w`` and one pass is exact. Monotone: a larger amount, weight or cap never lowers one's own share.
(Min-funding revocation, Waldspurger, OSDI 2002, gives by shares per page; this is its one-step form.)
"""

from collections.abc import Mapping

from memtide.model.base import Model

__all__ = ["Claim", "fill"]


class Claim(Model, frozen=True, kw_only=True):
    """What one party may get at most, and its weight. Both are 0 or more; a weight of 0 gets nothing."""

    cap_bytes: int
    weight: float


def fill(amount_bytes: int, claims: Mapping[str, Claim]) -> dict[str, int]:
    """Return each claimant's share, whole bytes, never more than its cap; their sum is the amount or all caps."""
    live = {key: claim for key, claim in claims.items() if claim.cap_bytes > 0 and claim.weight > 0}
    shares = dict.fromkeys(claims, 0)
    left_bytes = max(0, amount_bytes)
    # the key breaks ties, so that equal claims are served in an order that does not depend on the caller's
    order = sorted(live, key=lambda key: (live[key].cap_bytes / live[key].weight, key))
    weight_left = sum(live[key].weight for key in order)
    for key in order:
        claim = live[key]
        # the sum of weights has rounding errors: nobody's part of the rest is more than the whole of it
        shares[key] = min(claim.cap_bytes, int(left_bytes * (claim.weight / max(claim.weight, weight_left))))
        left_bytes -= shares[key]
        weight_left -= claim.weight
    # rounding down leaves a byte or so each; it goes to whoever has room, the last served first
    for key in reversed(order):
        more_bytes = min(left_bytes, live[key].cap_bytes - shares[key])
        shares[key] += more_bytes
        left_bytes -= more_bytes
    return shares
