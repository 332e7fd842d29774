"""What happens in a run of the KSM comparison, and when: the same for every manager, to the second.

`roomy`: eight guests of one image come in four waves; each gives memory up and takes it again, shifted against the
others; one is reset, one is ended and replaced; then all keep still, and the last tenth is the calm in which a
converged KSM should cost nothing. `short`: the host is made so small that the first two guests use it up.
Times are for ten minutes and scale with the length of the run.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lab.guest import GuestSpec
from memtide.units import GIB, MIB

__all__ = ["CALM_FROM", "SETTINGS", "Event", "Kind", "Setting", "churn_script"]

NOMINAL_S: Final = 600.0
HOLD_MIB: Final = 240
HOT: Final = "hot 8MiB"
STILL: Final = f"hold {HOLD_MIB}MiB {HOT}"
LEAST_GIVEN_MIB: Final = 40
GIVEN_STEP_MIB: Final = 10
GIVEN_SIZES: Final = 5
CHURN_PERIOD_S: Final = 180.0
CHURN_FROM_S: Final = 195.0
CALM_FROM: Final = 0.9
"""The share of a run after which it is calm."""


class Kind(StrEnum):
    """What can happen."""

    BOOT = "boot"
    CHURN = "churn"
    RESET = "reset"
    REPLACE = "replace"
    STILL = "still"
    CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happens."""

    at_s: float
    """From the first boot."""
    kind: Kind
    guest: int = 0
    """Which guest, by its place; of a boot: the first of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Guests, the host they share, and what happens at which second of ten minutes."""

    name: str
    intent: str
    events: tuple[Event, ...]
    sample_every_s: float
    host_bytes: int | None = None
    """The host's MemAvailable before the first boot; ``None``: as it is."""
    host_swap_bytes: int = 0

    def planned(self, minutes: float) -> list[Event]:
        """Return what happens in a run of that length, in order."""
        ratio = minutes * 60 / NOMINAL_S
        events = (Event(at_s=event.at_s * ratio, kind=event.kind, guest=event.guest) for event in self.events)
        return sorted(events, key=lambda event: event.at_s)

    def spec(self) -> GuestSpec:
        """Return what each guest is made of."""
        return GuestSpec(size_bytes=512 * MIB, script=STILL, fill="image", touch="read")


def churn_script(guest: int, minutes: float) -> str:
    """Return how a guest gives 40 to 80 MiB up for a while, again and again."""
    ratio = minutes * 60 / NOMINAL_S
    low = HOLD_MIB - LEAST_GIVEN_MIB - guest % GIVEN_SIZES * GIVEN_STEP_MIB
    ramp_s, away_s = 5 * ratio, 20 * ratio
    steps = (
        f"grow {low}MiB {HOT} over {ramp_s:g}s",
        f"hold {low}MiB {HOT} {away_s:g}s",
        f"grow {HOLD_MIB}MiB {HOT} over {ramp_s:g}s",
        f"{STILL} {CHURN_PERIOD_S * ratio - away_s - 2 * ramp_s:g}s",
    )
    return "; ".join((*steps, "loop"))


SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting(
            name="roomy",
            intent="8 guests of one image in four waves, with churn, on a host with memory to spare",
            sample_every_s=1.0,
            events=(
                *(Event(at_s=45.0 * wave, kind=Kind.BOOT, guest=2 * wave) for wave in range(4)),
                *(
                    Event(at_s=CHURN_FROM_S + CHURN_PERIOD_S * guest / 8, kind=Kind.CHURN, guest=guest)
                    for guest in range(8)
                ),
                Event(at_s=180.0, kind=Kind.CHECK),
                Event(at_s=345.0, kind=Kind.CHECK),
                Event(at_s=360.0, kind=Kind.RESET, guest=1),
                Event(at_s=450.0, kind=Kind.REPLACE, guest=2),
                Event(at_s=480.0, kind=Kind.STILL),
                Event(at_s=530.0, kind=Kind.CHECK),
            ),
        ),
        Setting(
            name="short",
            intent="the first two guests use up the host's memory, then two more come",
            sample_every_s=0.25,
            host_bytes=1100 * MIB,
            host_swap_bytes=2 * GIB,
            events=(Event(at_s=0.0, kind=Kind.BOOT), Event(at_s=225.0, kind=Kind.BOOT, guest=2)),
        ),
    )
}
