"""How long something that was set by hand may be held."""

from typing import Final

from memtide.errors import UsageError
from memtide.units import format_duration

__all__ = ["check_hold"]

HOLD_MOST_S: Final = 30 * 86400.0


def check_hold(for_s: float) -> None:
    """Refuse a hold that is none, or one for good.

    Raises:
        UsageError: not more than 0 s, or more than thirty days.
    """
    # a comparison that NaN fails too: Python's JSON reader lets it in
    if not 0 < for_s <= HOLD_MOST_S:
        raise UsageError(
            f"it can be held for at most {format_duration(HOLD_MOST_S)}, and for more than 0 s",
            "what should hold for good belongs into the settings (a floor or a ceiling; ksm.manage)",
        )
