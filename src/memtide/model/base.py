"""What all model types have in common: frozen, built by keyword, and honest about what they do not know."""

from typing import TypeAlias

import msgspec

__all__ = ["Missing", "Model"]

Missing: TypeAlias = dict[str, str]
"""Field name -> why its value is ``None``, in words for people. Unknown is never 0."""


class Model(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of every value that flows through memtide. Sizes are bytes, times seconds, ratios 0 to 1.

    ``gc=False``: values are trees that are built bottom up and never changed, so they cannot form cycles, and a tick
    over a thousand guests is spared the collector's walks over tens of thousands of them.
    """
