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
    "DWELL_BEFORE_RETURN_S",
    "FLOOR_OVER_KERNEL_BYTES",
    "FOLLOW_BURST_BYTES",
    "FOLLOW_STEP_BYTES",
    "FOLLOW_STEP_RATIO",
    "FOLLOW_WANT_RATIO",
    "GROWING_BPS",
    "GROWTH_FADE",
    "KERNEL_SHARE_DEFAULT_BYTES",
    "KERNEL_SHARE_DEFAULT_RATIO",
    "KSM_CALM_S",
    "LOOK_AHEAD_S",
    "OVERSHOOT",
    "QEMU_OVERHEAD_BYTES",
    "RETURN_SHARE",
    "STARVING_SHARE",
    "STATS_LATE_PERIODS",
    "STATS_LATE_S",
    "SWAP_DEBT_HALF_LIFE_S",
    "SWAP_NOISE_BYTES",
    "USED_SOON_S",
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
"""Report, tick, decision and the balloon's own time: growth within it must already be there."""
USED_SOON_S: Final = 4.0
"""Two ticks: what a relieved guest will have touched before the law can see it. The rest of what it is given is room
that costs the host nothing yet."""
GROWTH_FADE: Final = 0.6
"""A guest that grew a report ago probably goes on: growth rises at once and fades by this per report."""
GROWING_BPS: Final = 4 * MIB
"""A guest that grows faster gives nothing until its growth has faded, some five reports later."""
SWAP_DEBT_HALF_LIFE_S: Final = 600.0
"""What a guest swapped out is demand it cannot show, until it is forgotten: dead pages in swap must stop counting."""
SWAP_NOISE_BYTES: Final = 1 * MIB
"""Swap traffic in one report below this is housekeeping of the guest's kernel."""
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
DEAD_BAND_BYTES: Final = 16 * MIB
DEAD_BAND_RATIO: Final = 0.01
"""Changes under the larger of the two are not worth splitting pages for, unless a guest starves."""
COOL_AFTER_RELIEF_S: Final = 6.0
"""Three ticks: what was just given to a starving guest is not taken back before it could be used."""
DWELL_BEFORE_RETURN_S: Final = 30.0
"""What was taken stays taken so long, so that a host at its line does not move memory to and fro."""
RETURN_SHARE: Final = 0.25
"""Of what the host has above its lines, handed back per tick: fast when there is much, never a jump."""
FOLLOW_STEP_BYTES: Final = 128 * MIB
FOLLOW_STEP_RATIO: Final = 0.03
"""Follow mode takes without need, so it takes slowly: the larger of the two per tick."""
FOLLOW_WANT_RATIO: Final = 0.13
"""With the margin of 2 % this makes the 15 % above demand that a guest wants."""
FOLLOW_BURST_BYTES: Final = 256 * MIB
"""What a guest wants beyond its demand and 15 %: room for one burst (Hyper-V's buffer is 20 %)."""

# --- what is refused -------------------------------------------------------------------------------------
ASK_AGAIN_S: Final = 60.0
"""A guest without a working driver, or a kernel that refuses, is asked once a minute, not once a tick."""

# --- KSM -------------------------------------------------------------------------------------------------
KSM_CALM_S: Final = 120.0
"""Scanning stops when the host was calm for so long; merged pages stay merged."""
