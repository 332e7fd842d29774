"""The law's constants, one table, each with its reason. What an operator may change is in ``Limits`` instead."""

from typing import Final

from memtide.model.decision import HostState
from memtide.units import MIB

__all__ = [
    "ASK_AGAIN_S",
    "COOL_AFTER_RELIEF_S",
    "CUSHION_BYTES",
    "DEAD_BAND_BYTES",
    "DEAD_BAND_RATIO",
    "DEMAND_MARGIN",
    "DWELL_AFTER_CACHE_S",
    "DWELL_BEFORE_RETURN_S",
    "FALL_AHEAD_S",
    "FLOOR_OVER_KERNEL_BYTES",
    "FOLLOW_BURST_BYTES",
    "FOLLOW_STEP_BYTES",
    "FOLLOW_STEP_RATIO",
    "FOLLOW_WANT_RATIO",
    "FOREIGN_HOLD_S",
    "GROWING_BPS",
    "GROWING_KEEPS_S",
    "GROWTH_FADE",
    "HOT_CACHE_HALF_LIFE_S",
    "HOT_CACHE_STEP_BYTES",
    "HOT_CACHE_STEP_RATIO",
    "KERNEL_SHARE_DEFAULT_BYTES",
    "KERNEL_SHARE_DEFAULT_RATIO",
    "KSM_CALM_RATIO",
    "KSM_CALM_SLEEP_MS",
    "KSM_HIT_DEFAULT",
    "KSM_LEAST_BYTES",
    "KSM_LOOK_COST_CPU_S",
    "KSM_LOOK_FIRST_S",
    "KSM_LOOK_LAST_S",
    "KSM_LOOK_RATIO",
    "KSM_PRICE_CPU_PER_GIB",
    "KSM_QUIET_BYTES",
    "KSM_QUIET_FACTOR",
    "KSM_QUIET_S",
    "KSM_SETTLED_S",
    "KSM_SLEEP_MS",
    "KSM_SWEEP_S",
    "KSM_WORTH_BYTES_PER_CPU_S",
    "LOOK_AHEAD_S",
    "MOST_AT_ONCE_BYTES",
    "OVERLOAD_AFTER_NO_SWAP_S",
    "OVERLOAD_AFTER_S",
    "OVERLOAD_AHEAD_S",
    "OVERLOAD_OVER_AFTER_S",
    "OVERSHOOT",
    "PEAK_WINDOW_S",
    "PROBATION_BYTES",
    "QEMU_OVERHEAD_BYTES",
    "REACTION_S",
    "REREAD_NOISE_BPS",
    "RETURN_SHARE",
    "ROOM_AFTER_S",
    "STARVING_SHARE",
    "STATS_LATE_PERIODS",
    "STATS_LATE_S",
    "SWAP_DEBT_HALF_LIFE_S",
    "SWAP_HURTS_RATIO",
    "SWAP_LEAST_RATIO",
    "SWAP_NOISE_BYTES",
    "TRUST_MOVE_S",
]

# --- what a guest keeps ---------------------------------------------------------------------------------
CUSHION_BYTES: Final = {
    HostState.HIGH: 192 * MIB,
    HostState.SOFT: 128 * MIB,
    HostState.HARD: 64 * MIB,
    HostState.LOW: 32 * MIB,
}
"""Usable memory left to a guest that gives. One fixed cushion either never acts on a tight host or lets
guests swap on a roomy one (lab-notes, "Which law survives real guests"); by state it does neither. In free memory
that was never touched it costs the host nothing."""
DEMAND_MARGIN: Final = 1.02
"""Estimates of demand are a little low while a guest works; the prototype's value."""
LOOK_AHEAD_S: Final = 5.0
"""Report, tick, decision and the balloon's own time: growth within it must already be there. Reports that come later
than usual lengthen it."""
REACTION_S: Final = 4.0
"""Two ticks, of the above what is left after the report: what a guest will have touched before the law can act on
the next look. The host must have that much beyond its reserve; the rest of what guests may use costs it nothing yet."""
FALL_AHEAD_S: Final = 2.0
"""A guest that is freeing memory is believed to have gone on for as long since its report; an error costs only room."""
PEAK_WINDOW_S: Final = 900.0
"""Of two windows: a guest keeps room for the most it needed in the last quarter to half of an hour. Batch jobs and
backups come oftener than that or rarely enough to be relieved when they come."""
GROWTH_FADE: Final = 0.6
"""A guest that grew a report ago probably goes on: growth rises at once and fades by this per report."""
GROWING_BPS: Final = 4 * MIB
GROWING_KEEPS_S: Final = 15.0
"""A guest that grows faster keeps so much of its growth out of its slack, or the next tick would give it back. A leak
of years' standing gives the rest all the same."""
SWAP_DEBT_HALF_LIFE_S: Final = 600.0
"""What a guest swapped out is demand it cannot show, until it is forgotten: dead pages in swap must stop counting."""
SWAP_NOISE_BYTES: Final = 1 * MIB
"""Swap traffic in one report below this is housekeeping of the guest's kernel."""
HOT_CACHE_STEP_BYTES: Final = 32 * MIB
HOT_CACHE_STEP_RATIO: Final = 0.03
"""Charged to demand per report in which dropped cache is read again: the larger of the two. A cache of 1 GiB is
believed after half a minute of reading."""
HOT_CACHE_HALF_LIFE_S: Final = 1800.0
"""A guest that no longer reads its files has its cache counted as spare again after an hour or so."""
REREAD_NOISE_BPS: Final = 1 * MIB
"""256 major faults a second: starting a program is less, and soon over."""
STARVING_SHARE: Final = 0.75
"""Of the next worse state's cushion: a guest under it starves. Taking stops a whole rung above, so a guest
just squeezed is not at once relieved."""
FLOOR_OVER_KERNEL_BYTES: Final = 64 * MIB
"""No floor leaves a guest less than this beside its kernel."""
KERNEL_SHARE_DEFAULT_RATIO: Final = 0.03
KERNEL_SHARE_DEFAULT_BYTES: Final = 64 * MIB
"""Memory that the guest's kernel and firmware keep outside MemTotal, until it is learned in quiet."""
QEMU_OVERHEAD_BYTES: Final = 64 * MIB
"""Part of a QEMU process that is not guest memory, until it is learned: about 45 MiB with KVM, 110 MiB under TCG."""

# --- how far statistics are trusted ----------------------------------------------------------------------
STATS_LATE_PERIODS: Final = 3.0
STATS_LATE_S: Final = 10.0
"""Fresh until the larger of the two: libvirt's figures are 5-7 s old in practice at a period of 5 s."""

# --- how memory is taken and given ---------------------------------------------------------------------
OVERSHOOT: Final = 1.3
"""Take this much of what is missing: not all that is asked comes back, and coming back in one go is calmer."""
DEAD_BAND_BYTES: Final = {
    HostState.HIGH: 64 * MIB,
    HostState.SOFT: 48 * MIB,
    HostState.HARD: 16 * MIB,
    HostState.LOW: 8 * MIB,
}
DEAD_BAND_RATIO: Final = 0.01
"""Changes under the larger of the two (the share is of the guest's maximum) are not worth splitting pages for; the
shorter the host, the more they are. A starving guest has none."""
COOL_AFTER_RELIEF_S: Final = 6.0
"""Three ticks: what was just given to a starving guest is not taken back before it could be used."""
MOST_AT_ONCE_BYTES: Final = 256 * MIB
"""From one guest in one tick, unless more is missing: one larger move is calmer than many small ones, and what nobody
misses yet need not move."""
TRUST_MOVE_S: Final = 3.0
"""A guest that was asked and has not moved for so long is not counted on any more, so that others are asked in time;
only after ten seconds is it called stuck."""
ROOM_AFTER_S: Final = 4.0
"""A guest's room goes back so long after the last of its slack was taken: one move up for a slope of moves down."""
PROBATION_BYTES: Final = 128 * MIB
"""A guest that stood still before is asked for so much, on top of what the others give, until it has moved."""
OVERLOAD_AHEAD_S: Final = 10.0
"""Guests that go on growing so long must fit, or their room is taken before they use it: a driver takes 1.5 GiB/s of
memory that was never touched (HyperAlloc), and guests at 200 % have many GiB of it."""
OVERLOAD_AFTER_S: Final = 2.0
"""It must seem so for so long. Reports of guests that grow and of guests that shrink come at different moments, and
for a second or two their sum is nobody's need: a false overload made real guests thrash for minutes."""
OVERLOAD_AFTER_NO_SWAP_S: Final = 1.0
"""The same on a host whose swap does not count: the kernel kills next, and a false overload is the lesser evil."""
OVERLOAD_OVER_AFTER_S: Final = 10.0
"""All needs must have fitted for so long before guests get their room back."""
SWAP_HURTS_RATIO: Final = 0.4
"""Swap counts as memory less the more of the time tasks wait, and not at all from here on. It takes what nobody uses,
and then is a better victim than any guest's need by 10 to 100 times (lab-notes); the kernel alone, in "tight", had 4 %
while its guests were nearly as quick as ever."""
SWAP_LEAST_RATIO: Final = 0.25
"""Nor does it when only this share of it is free: a full swap means that the kernel kills guests."""
DWELL_BEFORE_RETURN_S: Final = 30.0
"""What was taken stays taken so long, so that a host at its line does not move memory to and fro."""
DWELL_AFTER_CACHE_S: Final = 300.0
"""The same where page cache was taken: what goes back is filled with files again, and would go to and fro."""
RETURN_SHARE: Final = 0.25
"""Of what the host has above its lines, handed back per tick: fast when there is much, never a jump."""
FOLLOW_STEP_BYTES: Final = 128 * MIB
FOLLOW_STEP_RATIO: Final = 0.03
"""Follow mode takes without need, so it takes slowly: the larger of the two per tick."""
FOLLOW_WANT_RATIO: Final = 1.15
"""Of demand: the comfort of follow mode (Hyper-V: 20 %, qmemman: 30 %; relief is quick, so less will do)."""
FOLLOW_BURST_BYTES: Final = 256 * MIB
"""What a guest wants beyond that: room for one burst. Half of it is the band in which nothing is taken."""

FOREIGN_HOLD_S: Final = 600.0
"""As long as a size set with ``memtide set`` holds: two managers that undo each other's work are worse than none."""

# --- what is refused -------------------------------------------------------------------------------------
ASK_AGAIN_S: Final = 60.0
"""A guest without a working driver, or a kernel that refuses, is asked once a minute, not once a tick."""

# --- KSM -------------------------------------------------------------------------------------------------
KSM_PRICE_CPU_PER_GIB: Final = {
    HostState.HIGH: 0.125,
    HostState.SOFT: 2.0,
    HostState.HARD: 8.0,
    HostState.LOW: 30.0,
}
"""What a GiB that could be merged and is not costs per second, in CPU seconds of ksmd. In calm it is what KSM
as a whole must be worth (8 GiB a core, ``memtide ksm``). The worst two are "now"."""
KSM_QUIET_S: Final = 25.0
KSM_QUIET_BYTES: Final = 1 * MIB
KSM_QUIET_FACTOR: Final = 8.0
"""When no more than so little became new for so long, the price is so many times higher: what has come to rest stays
merged, what still changes is soon parted again."""
KSM_WORTH_BYTES_PER_CPU_S: Final = {
    HostState.HIGH: 8 * MIB,
    HostState.SOFT: 4 * MIB,
    HostState.HARD: 2 * MIB,
    HostState.LOW: 1 * MIB,
}
"""A sweep that merged less per CPU second was not worth it. ksmd merges some 400 MiB/s of what it has never seen."""
KSM_HIT_DEFAULT: Final = 0.5
"""Of new memory so much is expected to be merged, until sweeps have shown it."""
KSM_LEAST_BYTES: Final = 16 * MIB
"""What is less is no reason to begin, and tells nothing."""
KSM_LOOK_COST_CPU_S: Final = 2e-6
"""A page looked at, until it was measured; in the lab 0.7 us when merged already, 4 us alone, 8 us when merged then."""
KSM_SETTLED_S: Final = {
    HostState.HIGH: 10.0,
    HostState.SOFT: 5.0,
    HostState.HARD: 2.0,
    HostState.LOW: 0.0,
}
"""A new guest is gone through after so long: while it boots it still writes what would be merged."""
KSM_SWEEP_S: Final = 25.0
"""A sweep of a calm host takes about so long: a guest is merged within a minute, to stop a tick late costs little."""
KSM_CALM_RATIO: Final = 0.3
"""And no more than this share of a CPU."""
KSM_SLEEP_MS: Final = 10
"""Between two batches at full speed: short, so that batches are, and a write to ``run`` need not wait."""
KSM_CALM_SLEEP_MS: Final = 100
"""The same in calm: ten times as many pages in one go cost a tenth less each."""
KSM_LOOK_FIRST_S: Final = 900.0
KSM_LOOK_LAST_S: Final = 6 * 3600.0
"""Without a sign ksmd looks again after the first; twice as late each time it found nothing, up to the last."""
KSM_LOOK_RATIO: Final = 0.005
"""Looks without a sign take at most this share of a CPU: on a large host one takes minutes, and they are rarer."""
