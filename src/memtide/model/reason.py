"""Why something was decided: a code and its numbers. Prose is made of it in ``views``."""

import enum
from typing import Final

from memtide.model.base import Model

__all__ = ["KSM_HANDS_OFF", "Reason", "ReasonCode"]


class ReasonCode(enum.StrEnum):
    """Every reason memtide can have. Views hold one sentence for each; a test keeps the two in step."""

    # a guest gets memory
    RELIEF = "relief"
    """The guest starves: little usable memory left for its growth, or it swaps."""
    RETURN = "return"
    """The host is well above its reserve again; what was taken goes back."""
    SHARE = "share"
    """The needs of all are more than the host has; its share by weight is more than it has."""
    ROOM = "room"
    """Its slack went home; it gets back room that costs the host nothing until it is touched."""
    # a guest gives memory
    HOST_SHORT = "host-short"
    """Available memory is under the reserve; the guest holds resident memory it does not need."""
    FOR_OTHERS = "for-others"
    """Another guest starves and the host has nothing left to give."""
    FOLLOW = "follow"
    """Follow mode: the guest holds more than it wants."""
    OVERLOAD = "overload"
    """The needs of all are more than the host has, and are shared by weight."""
    # a guest is left alone
    AT_MAXIMUM = "at-maximum"
    CONTENT = "content"
    """Nothing to take that would help the host, nothing to give that would help the guest."""
    DEAD_BAND = "dead-band"
    """The change is too small to be worth moving memory."""
    MOVING = "moving"
    """The last change is still under way."""
    COOLING = "cooling"
    """The guest was relieved a moment ago; nothing is taken from it for a while."""
    NO_ROOM = "no-room"
    """The guest starves and the host is at its emergency line."""
    NOTHING_RESIDENT = "nothing-resident"
    """The host is short, but this guest holds no memory that is both resident and unused."""
    # hands off
    STATS_STALE = "stats-stale"
    STATS_NONE = "stats-none"
    STATS_CONTRADICT = "stats-contradict"
    BOOT_GRACE = "boot-grace"
    NOT_RUNNING = "not-running"
    BUSY = "busy"
    NO_BALLOON = "no-balloon"
    PINNED = "pinned"
    """A passed-through device, locked memory or huge pages: taking memory would give the host nothing."""
    STUCK = "stuck"
    """The guest did not follow its last targets."""
    EXEMPT = "exempt"
    """The operator or the owner said: never."""
    HELD = "held"
    """An operator set this size by hand."""
    FOREIGN = "foreign"
    """Somebody else changed its size, or it took memory back by itself."""
    ABSENT = "absent"
    # statistics, KSM, operator
    STATS_PERIOD_MISSING = "stats-period-missing"
    KSM_HOST_SHORT = "ksm-host-short"
    """The host needs memory: ksmd scans as fast as it may, as long as that brings something."""
    KSM_NEW_GUEST = "ksm-new-guest"
    """A guest started or rebooted: nothing of it is merged yet."""
    KSM_WORTH = "ksm-worth"
    """What new or changed memory is likely to bring has been worth a scan for long enough."""
    KSM_LOOK_AGAIN = "ksm-look-again"
    """Nobody knows of anything new; a look now and then finds what cannot be seen from outside."""
    KSM_GONE = "ksm-gone"
    """A guest ended: ksmd must come by once to take its pages off the books."""
    KSM_WATCHING = "ksm-watching"
    """Nothing is known of the guests yet: KSM stays as it was found."""
    KSM_CONVERGED = "ksm-converged"
    """All that can be merged is; ksmd rests."""
    KSM_NO_GAIN = "ksm-no-gain"
    """Scanning brought less than its CPU is worth; ksmd rests."""
    KSM_NOTHING_TO_MERGE = "ksm-nothing-to-merge"
    """There are not two guests whose memory could be merged."""
    KSM_CPU_SPENT = "ksm-cpu-spent"
    """ksmd has had its share of the CPU for now."""
    KSM_TENANTS = "ksm-tenants"
    """Guests of several owners are here, and the settings keep them apart."""
    KSM_OTHER_WRITER = "ksm-other-writer"
    """Another program steers KSM; memtide does not fight it."""
    KSM_RUN_TWO = "ksm-run-2"
    """``run`` is 2, which no kernel begins with: somebody wants nothing merged."""
    KSM_IDLE = "ksm-idle"
    """ksmd ran and looked at nothing: no process lets its memory be merged."""
    KSM_HELD = "ksm-held"
    """An operator set KSM by hand, or had its merging undone; memtide leaves it until the time is over."""
    KSM_UNMANAGED = "ksm-unmanaged"
    """The settings say: hands off KSM."""
    KSM_REFUSED = "ksm-refused"
    """The kernel refused the last change; it is asked again once a minute."""
    OPERATOR = "operator"
    RESTORE = "restore"
    # another law than memtide's own
    PEER = "peer-law"
    """Another system's law decided; its name and its own inputs are the numbers."""


KSM_HANDS_OFF: Final = frozenset(
    {
        ReasonCode.KSM_UNMANAGED,
        ReasonCode.KSM_OTHER_WRITER,
        ReasonCode.KSM_RUN_TWO,
        ReasonCode.KSM_HELD,
        ReasonCode.KSM_REFUSED,
        ReasonCode.KSM_WATCHING,
    }
)
"""With these nothing of KSM is written but the end of a sweep of our own."""


class Reason(Model, frozen=True, kw_only=True):
    """A reason with the numbers it was decided on, unit in each name (``available_bytes``, ``growth_bps``)."""

    code: ReasonCode
    numbers: dict[str, int | float | str] = {}
