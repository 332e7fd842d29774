"""Which kinds of pages the simulated ksmd comes by, at which visits it looks at them, and what a visit costs."""

import enum
from typing import Final, NamedTuple

__all__ = [
    "AGAIN", "ALIKE", "FIRST_WORK", "LOOKS", "MERGED_WORK", "MERGE_WORK", "OLDEST", "SEEN", "SKIP_WORK", "ZERO",
    "Cohort", "Kind", "Price",
]  # fmt: skip

LOOKS: Final = frozenset({1, 2, 3, 4, 6, 9, 14, 23, 32})
"""The visits in which ``smart_scan`` lets ksmd look at a page that is not merged; after the fourth it is passed over
once, then 2, 4, and from then on 8 times (mm/ksm.c, ``skip_age``)."""
OLDEST: Final = 31
AGAIN: Final = 23
"""After the last age comes this one again."""


class Kind(enum.IntEnum):
    """What a page that is not merged is."""

    OTHER = 0
    """Like no other page."""
    NEW_ALIKE = 1
    """One of its image's, and ksmd has no checksum of it, or an old one."""
    ALIKE = 2
    NEW_ZERO = 3
    """Full of zeros."""
    ZERO = 4


SEEN: Final = {Kind.NEW_ALIKE: Kind.ALIKE, Kind.NEW_ZERO: Kind.ZERO}
ALIKE: Final = (Kind.NEW_ALIKE, Kind.ALIKE)
ZERO: Final = (Kind.NEW_ZERO, Kind.ZERO)
Cohort = tuple[Kind, int, bool]
"""Kind, how many visits, and whether it stands in the tree of pages without a partner."""


class Price(NamedTuple):
    """What the rest of a process costs ksmd in this round."""

    work: float
    """In looks at a page without a partner."""
    looks: float
    """Pages that count as scanned."""
    skips: float


MERGED_WORK: Final = 0.27 / 1.5
FIRST_WORK: Final = 0.27 / 0.8
MERGE_WORK: Final = 0.27 / 0.12
SKIP_WORK: Final = 0.27 / 4
"""Work in looks at a page that is searched for in vain; measured: 1.5 million merged pages in a CPU second, 0.8 million
first visits (checksum only), 0.27 million searched in vain, 0.12 million merged."""
