"""What the guests of the comparison do: two settings, each a demand whose sum is the same at every moment.

Half of the guests are high while the others are low, with ten-second ramps between, so the memory has to move from one
half to the other twice a period. Nominal sizes are more than twice the host; what is needed fits, but only if memory
that a guest has freed comes back to the host. A booted guest costs the host about 220 MiB before it holds anything.
"""

from dataclasses import dataclass
from typing import Final

from lab.guest import Fill, GuestSpec
from memtide.units import GIB, MIB

__all__ = ["HOST_SWAP_BYTES", "PERIOD_S", "SETTINGS", "WARM_UP_S", "Setting"]

RAMP_S: Final = 10
FLAT_S: Final = 25
PERIOD_S: Final = 2 * (RAMP_S + FLAT_S)
WARM_UP_S: Final = 20.0
"""From the beginning of the scripts to the beginning of the measurement: the first ramp is every law's alike."""
HOST_SWAP_BYTES: Final = 4 * GIB
GUEST_SWAP_SHARE: Final = 4
"""A guest's own compressed swap is its size divided by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Guests and the host they must share."""

    name: str
    intent: str
    guests: int
    size_bytes: int
    low_bytes: int
    high_bytes: int
    host_bytes: int
    """The host's MemAvailable before the guests boot."""

    @property
    def overcommit_ratio(self) -> float:
        """Return the guests' nominal sizes over the host's memory."""
        return self.guests * self.size_bytes / self.host_bytes

    @property
    def mean_bytes(self) -> float:
        """Return what a guest wants to hold on average."""
        return (self.low_bytes + self.high_bytes) / 2

    def specs(self, fill: Fill, stats_period_s: int | None) -> list[GuestSpec]:
        """Return the guests to boot; their scripts come later, all at once, when the manager runs."""
        spec = GuestSpec(
            size_bytes=self.size_bytes,
            fill=fill,
            swap_bytes=self.size_bytes // GUEST_SWAP_SHARE,
            stats_period_s=stats_period_s,
        )
        return [spec] * self.guests

    def script(self, index: int) -> str:
        """Return what a guest does: even ones begin high, odd ones low."""
        low, high = (f"{size // MIB}MiB" for size in (self.low_bytes, self.high_bytes))
        first, then = (high, low) if index % 2 == 0 else (low, high)
        halves = (f"grow {size} over {RAMP_S}s; hold {size} {FLAT_S}s" for size in (first, then))
        return "; ".join((*halves, "loop"))


SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting(
            name="roomy",
            intent="what is needed at any time just fits",
            guests=8,
            size_bytes=3 * GIB // 2,
            low_bytes=60 * MIB,
            high_bytes=700 * MIB,
            host_bytes=6 * GIB,
        ),
        Setting(
            name="tight",
            intent="it fits with nothing to spare",
            guests=10,
            size_bytes=GIB,
            low_bytes=60 * MIB,
            high_bytes=300 * MIB,
            host_bytes=42 * GIB // 10,
        ),
    )
}
