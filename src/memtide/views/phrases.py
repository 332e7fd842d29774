"""One sentence for every reason, as templates; ``words`` fills them.

A sentence follows a guest's name or a change of its memory, so it has no subject. A part in brackets is said only
when every number in it is known, a part in ``[? …]`` only when none of them is 0 either.
"""

from typing import Final

from memtide.model.base import Model
from memtide.model.reason import ReasonCode

__all__ = ["PHRASES", "Phrase"]


class Phrase(Model, frozen=True, kw_only=True):
    """How people are told of one reason."""

    doing: str
    """In a word or two what happens to the guest now, at most ten letters."""
    says: str
    """The sentence."""
    next: str = ""
    """What would change it; empty where nothing is to be said."""


RESERVE: Final = "[: {available_of_reserve} reserve available]"
SHORT_OF: Final = "[: {usable_bytes} usable, should have {line_bytes}]"
NO_FIGURES: Final = "memory can be taken as soon as it reports again"
WHEN_SHORT: Final = "memory is taken when the host has less than its reserve[ of {reserve_bytes}] left"

PHRASES: Final[dict[ReasonCode, Phrase]] = {
    ReasonCode.RELIEF: Phrase(
        doing="gets",
        says=f"running out{SHORT_OF}[?, growing {{growth_bps}}][?, swapped out {{swap_out_bytes}}]"
        "[; gets {share_of_wanted} it lacks]",
        next="nothing is taken from it for a few seconds; it gets more as long as it starves",
    ),
    ReasonCode.RETURN: Phrase(
        doing="gets back",
        says="host calm: what was taken goes back[ ({available_bytes} available, reserve {reserve_bytes})]",
        next=WHEN_SHORT,
    ),
    ReasonCode.ROOM: Phrase(
        doing="gets back",
        says="its slack went home; gets back room for the most it needed lately[: {peak_bytes}], which costs the host "
        "nothing until it is used",
        next=WHEN_SHORT,
    ),
    ReasonCode.SHARE: Phrase(
        doing="gets",
        says="all guests together need more than the host has; its share by weight is more than it has"
        "[: {share_of_need}]",
        next="it gets more as soon as the host has any: stop or move a guest, or give the host swap",
    ),
    ReasonCode.HOST_SHORT: Phrase(
        doing="gives",
        says=f"host short{RESERVE}[?; holds {{slack_bytes}} it does not need]",
        next="taking ends when the host has its reserve[ of {reserve_bytes}] back",
    ),
    ReasonCode.FOR_OTHERS: Phrase(
        doing="gives",
        says="other guests grow[: the host will lack {missing_bytes} of its reserve]"
        "[?; holds {slack_bytes} it does not need]",
        next="taking ends when no guest starves and the host has its reserve[ of {reserve_bytes}] back",
    ),
    ReasonCode.FOLLOW: Phrase(
        doing="gives",
        says="holds more than it wants[?: {slack_bytes} it does not need]",
        next="mode follow: it gets memory back as soon as it wants more",
    ),
    ReasonCode.OVERLOAD: Phrase(
        doing="gives",
        says="all guests together need more than the host has[: {available_bytes} available, emergency line "
        "{emergency_bytes}]; shared by weight[, this one gets {share_of_need}]",
        next="it gets memory again as soon as the host has any: stop or move a guest, or give the host swap",
    ),
    ReasonCode.AT_MAXIMUM: Phrase(
        doing="full size",
        says="has all the memory it may have"
        "[; running out all the same: {usable_bytes} usable, should have {line_bytes}]",
        next=f"only a higher maximum or ceiling could give it more; {WHEN_SHORT}",
    ),
    ReasonCode.CONTENT: Phrase(
        doing="content",
        says="nothing to do[: the host has {available_bytes} available, reserve {reserve_bytes}]",
        next=f"{WHEN_SHORT}, and given at once when the guest starves",
    ),
    ReasonCode.DEAD_BAND: Phrase(
        doing="content",
        says="could give too little to be worth moving[: {slack_bytes}][, at least {dead_band_bytes} are moved]",
        next="memory is taken when it holds more that it does not need",
    ),
    ReasonCode.MOVING: Phrase(
        doing="moving",
        says="on its way[ to {target_bytes}]",
        next="the next decision waits until it is there",
    ),
    ReasonCode.COOLING: Phrase(
        doing="relieved",
        says="was relieved a moment ago[: nothing is taken for {for_s}]",
        next="after that it is treated like any other guest",
    ),
    ReasonCode.NO_ROOM: Phrase(
        doing="starving",
        says=f"starving{SHORT_OF}[?, growing {{growth_bps}}], and the host has nothing left to give",
        next="it gets memory as soon as the host has any: stop or move a guest, or give the host swap",
    ),
    ReasonCode.NOTHING_RESIDENT: Phrase(
        doing="needs all",
        says="host short, but it needs all that it holds[ ({keep_bytes})]",
        next="memory is taken when it holds more than it needs",
    ),
    ReasonCode.STATS_STALE: Phrase(
        doing="old stats", says="its own figures are too old to act upon: nothing is taken", next=NO_FIGURES
    ),
    ReasonCode.STATS_NONE: Phrase(
        doing="no stats", says="reports no figures of its own yet: nothing is taken", next=NO_FIGURES
    ),
    ReasonCode.STATS_CONTRADICT: Phrase(
        doing="bad stats", says="its own figures contradict each other: nothing is taken", next=NO_FIGURES
    ),
    ReasonCode.BOOT_GRACE: Phrase(
        doing="starting",
        says="has only just started: nothing is taken until it has settled",
        next="after the grace (setting law.boot_grace) it is treated like any other guest",
    ),
    ReasonCode.NOT_RUNNING: Phrase(
        doing="not active", says="does not run: hands off", next="it is treated like any other guest when it runs again"
    ),
    ReasonCode.BUSY: Phrase(
        doing="busy",
        says="is being migrated, saved or copied: hands off",
        next="it is treated like any other guest when that is over",
    ),
    ReasonCode.NO_BALLOON: Phrase(
        doing="fixed",
        says="has no device by which its memory could change while it runs",
        next="<memballoon model='virtio'/> in its definition, from its next start on",
    ),
    ReasonCode.PINNED: Phrase(
        doing="pinned",
        says="its memory is pinned (passed-through device, locked memory or huge pages): taking it would give the "
        "host nothing",
        next="only another definition of the guest",
    ),
    ReasonCode.STUCK: Phrase(
        doing="stuck",
        says="did not follow its last target[ of {target_bytes}][: left alone for {for_s}]",
        next="then it is tried again; look inside the guest whether its virtio memory driver works",
    ),
    ReasonCode.EXEMPT: Phrase(
        doing="exempt",
        says="exempt: its owner or the settings say hands off",
        next="a rule or metadata that lets memtide manage it",
    ),
    ReasonCode.HELD: Phrase(
        doing="held",
        says="held at the size an operator asked for",
        next="when the hold ends, or when it starves",
    ),
    ReasonCode.FOREIGN: Phrase(
        doing="by others",
        says="somebody else changed its memory (virsh, another manager, or its own driver)[: left alone for {for_s}]",
        next="when that time is over, or when it starves; a rule with manage = false keeps memtide off for good",
    ),
    ReasonCode.ABSENT: Phrase(
        doing="no answer",
        says="did not answer[: {why}]",
        next="nothing is changed until it answers again",
    ),
    ReasonCode.STATS_PERIOD_MISSING: Phrase(
        doing="asked", says="was never asked for its figures[; asked now for one report every {period_s}]"
    ),
    ReasonCode.KSM_HOST_SHORT: Phrase(
        doing="scans",
        says=f"host short{RESERVE}; looking for identical pages",
        next="it ends when ksmd has looked at everything twice, later only while that still pays",
    ),
    ReasonCode.KSM_NEW_GUEST: Phrase(
        doing="scans",
        says="a guest is new here[: {guests}][; up to {new_bytes} to look through]",
        next="it ends when ksmd has looked at everything twice, later only while that still pays",
    ),
    ReasonCode.KSM_WORTH: Phrase(
        doing="scans",
        says="new or changed memory[ of {new_bytes}][, about {expected_bytes} of it likely to be merged]"
        "[, worth a scan of {cost_cpu_s} CPU by now]",
        next="it ends when ksmd has looked at everything twice, later only while that still pays",
    ),
    ReasonCode.KSM_LOOK_AGAIN: Phrase(
        doing="scans",
        says="a look whether guests have become more alike[; the last was {for_s} ago]",
        next="it ends when ksmd has looked at everything twice, later only while that still pays",
    ),
    ReasonCode.KSM_GONE: Phrase(
        doing="scans",
        says="a guest ended[: {guests}]; ksmd takes its pages off the books",
        next="it ends within seconds",
    ),
    ReasonCode.KSM_WATCHING: Phrase(
        doing="as found",
        says="memtide has only just begun to watch; KSM stays as it was found",
        next="ksmd goes through the guests as soon as they have settled",
    ),
    ReasonCode.KSM_CONVERGED: Phrase(
        doing="rests",
        says="all that can be merged is[; the last scan brought {found_bytes} for {found_cpu_s} CPU]; merged pages "
        "stay merged",
        next="ksmd scans again for a new guest, for new memory[ (now {new_bytes})] or when the host gets short"
        "[, and in {look_s} in any case]",
    ),
    ReasonCode.KSM_NO_GAIN: Phrase(
        doing="rests",
        says="scanning brought less than its CPU is worth[: {found_bytes} for {found_cpu_s} CPU]; merged pages stay "
        "merged",
        next="ksmd scans again for a new guest, for new memory[ (now {new_bytes})] or when the host gets short"
        "[, and in {look_s} in any case]",
    ),
    ReasonCode.KSM_NOTHING_TO_MERGE: Phrase(
        doing="rests",
        says="there are no two guests here whose memory could be merged",
        next="ksmd scans when there are",
    ),
    ReasonCode.KSM_CPU_SPENT: Phrase(
        doing="rests",
        says="ksmd has had its share of the CPU[: {max_cpu_ratio} of one CPU on average]",
        next="it goes on in a moment; the share is the setting ksm.max_cpu",
    ),
    ReasonCode.KSM_TENANTS: Phrase(
        doing="off",
        says="guests of different owners are here[: {owners}], and the settings keep them apart; what was merged stays "
        "merged until `memtide ksm unmerge`",
        next="the setting ksm.tenants",
    ),
    ReasonCode.KSM_OTHER_WRITER: Phrase(
        doing="by others",
        says="somebody else steers KSM[: {who}]; memtide leaves it alone[ for {for_s}]",
        next="memtide decides again when that program is gone or the time is over; for good: ksm.manage = false",
    ),
    ReasonCode.KSM_HELD: Phrase(
        doing="held",
        says="an operator set KSM by hand or had it undone; memtide leaves it[ for {for_s}]",
        next="when that time is over",
    ),
    ReasonCode.KSM_RUN_TWO: Phrase(
        doing="off",
        says="run is 2: somebody wants nothing merged",
        next="write 0 to /sys/kernel/mm/ksm/run, and memtide decides",
    ),
    ReasonCode.KSM_IDLE: Phrase(
        doing="rests",
        says="ksmd ran and looked at nothing: no guest lets its memory be merged",
        next="ksmd looks again for a new guest[, and in {look_s} in any case]; QEMU's mem-merge=off forbids it",
    ),
    ReasonCode.KSM_UNMANAGED: Phrase(
        doing="as found", says="the settings say: hands off KSM", next="the setting ksm.manage"
    ),
    ReasonCode.KSM_REFUSED: Phrase(
        doing="refused", says="the kernel refused the last change[: {why}]", next="memtide asks again once a minute"
    ),
    ReasonCode.OPERATOR: Phrase(
        doing="by hand",
        says="set by hand[ for {for_s}][: operator {who}][ (uid {uid}) asked]",
        next="when the hold ends, or when it starves",
    ),
    ReasonCode.RESTORE: Phrase(
        doing="restored", says="back to what it was before memtide[: operator {who}][ (uid {uid}) asked][; {note}]"
    ),
    ReasonCode.PEER: Phrase(
        doing="by law",
        says="as another system's law has it[: {law}][; the host has {free_bytes} free, should have {line_bytes}]"
        "[; the guest uses {used_bytes}][; should have {wanted_bytes}]",
        next="that law looks at it again[ every {period_s}]",
    ),
}
