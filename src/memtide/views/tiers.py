"""Which step of the law a decision comes from, and the line it was decided at.

One row a reason: the tier, and a sentence with the threshold, filled with the decision's own numbers like every other
sentence (``words``). Reasons of a guest that is left alone have no tier.
"""

from collections.abc import Mapping
from typing import Final

from memtide.model.base import Model
from memtide.model.reason import Reason, ReasonCode
from memtide.views.words import fill, number_text

__all__ = ["TIERS", "Tier", "figures", "threshold", "tier"]


class Tier(Model, frozen=True, kw_only=True):
    """One step of the law, as people are told of it."""

    name: str
    line: str
    """What is compared with what; a part in brackets is said only when its numbers are known."""


NEED: Final = Tier(
    name="need",
    line="all needs above what the host has over its emergency line[ of {emergency_bytes}][: its share by weight "
    "{weight} is {share_bytes} of {need_bytes}]",
)
"""Both ways: who has more than its share gives, who has less gets."""

TIERS: Final[dict[ReasonCode, Tier]] = {
    ReasonCode.RELIEF: Tier(
        name="relief",
        line="usable memory under its line[: {usable_bytes} under {line_bytes}][; the line is three quarters of a "
        "cushion and {horizon_s} of growth at {growth_bps}]",
    ),
    ReasonCode.HOST_SHORT: Tier(
        name="slack",
        line="available memory under the reserve[: {available_bytes} under {reserve_bytes}]"
        "[; nothing below {keep_bytes}, nothing smaller than {dead_band_bytes}]",
    ),
    ReasonCode.FOR_OTHERS: Tier(
        name="slack",
        line="available memory soon under the reserve[: {available_bytes} now, {missing_bytes} of {reserve_bytes} will "
        "be missing][; nothing below {keep_bytes}, nothing smaller than {dead_band_bytes}]",
    ),
    ReasonCode.OVERLOAD: NEED,
    ReasonCode.SHARE: NEED,
    ReasonCode.ROOM: Tier(
        name="room",
        line="less room than the most it needed lately[: {peak_bytes} and a cushion make {room_bytes}]",
    ),
    ReasonCode.RETURN: Tier(
        name="surplus",
        line="available memory a quarter above the reserve[: {available_bytes} available, reserve {reserve_bytes}]",
    ),
    ReasonCode.FOLLOW: Tier(
        name="want",
        line="mode follow: more resident and free than it wants[: {slack_bytes} idle, nothing below {keep_bytes}]",
    ),
    ReasonCode.STUCK: Tier(name="withdrawal", line="no progress for ten seconds[ towards {target_bytes}]"),
}
"""In the order in which the law goes through them, but for the last, which takes a target back."""


def tier(reason: Reason) -> str | None:
    """Return the name of the step, or ``None`` where the law does nothing."""
    row = TIERS.get(reason.code)
    return None if row is None else row.name


def threshold(reason: Reason) -> str:
    """Return what was compared with what, in words and numbers; empty where the law does nothing."""
    row = TIERS.get(reason.code)
    return "" if row is None else fill(row.line, reason.numbers)


def figures(numbers: Mapping[str, float | str]) -> str:
    """Return all numbers of a decision: ``available 527 MiB, reserve 649 MiB, state soft``."""
    return ", ".join(f"{_label(name)} {number_text(name, number)}" for name, number in numbers.items())


def _label(name: str) -> str:
    """Return a number's name without its unit, which is printed with the number."""
    stem, _, unit = name.rpartition("_")
    return (stem if unit in {"bytes", "bps", "s", "ratio"} else name).replace("_", " ")
