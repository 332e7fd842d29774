"""The order in which people count names."""

import re

__all__ = ["natural"]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts vm-2 before vm-10."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
