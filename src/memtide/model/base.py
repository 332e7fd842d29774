"""What all model types have in common: frozen, built by keyword, and honest about what they do not know."""

from typing import TypeAlias

import msgspec

__all__ = ["Missing", "Model"]

Missing: TypeAlias = dict[str, str]
"""Field name -> why its value is ``None``, in words for people. Unknown is never 0."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every value that flows through memtide. Sizes are bytes, times seconds, ratios 0 to 1."""
