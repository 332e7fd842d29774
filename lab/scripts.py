"""Ready demand for eight guests of 1 GiB on a host with about 4 GiB.

A booted guest has about 200 MiB resident before it holds anything (its kernel, QEMU, the translation cache), 1.6 GiB
for eight.  What the scripts need on top is at no time more than 1.7 GiB, so everything fits; but what they *leave*
resident (freed memory, page cache, past peaks) is 3.7 GiB, so a host where nobody takes memory back runs out within two
minutes.  The content compresses about 3:1, so that host swap on zram helps as it would in life: with incompressible
content a full zram only makes the host hang.
"""

from typing import Final

from lab.guest import GuestSpec

DEMO_HOST_AVAILABLE_BYTES: Final = 4 << 30

DEMO_SCRIPTS: Final = {
    # Three square waves over one minute, a third apart: one of them is high at a time.
    "wave-0": "grow 500MiB over 8s; hold 500MiB 11s; hold 60MiB 41s; loop",
    "wave-1": "hold 60MiB 20s; grow 500MiB over 8s; hold 500MiB 11s; hold 60MiB 21s; loop",
    "wave-2": "hold 60MiB 40s; grow 500MiB over 8s; hold 500MiB 11s; hold 60MiB 1s; loop",
    # The cheapest memory there is: touched once, free since, still resident on the host.
    "giant": "touchfree 700MiB 20s; hold 40MiB 10min; loop",
    "burster": "hold 40MiB 45s; burst 300MiB for 15s; loop",
    "filler": "hold 40MiB; cache 500MiB 90s; loop",
    "leaker": "leak 4MiB/s 70s; idle 20s; loop",
    "steady": "hold 250MiB hot 100MiB 10min; loop",
}


def demo(count: int = 8, size_bytes: int = 1 << 30) -> list[GuestSpec]:
    """The demo's guests; more than eight begin again with the first script, under the next number."""
    scripts = list(DEMO_SCRIPTS.items())
    specs = []
    for index in range(count):
        name, script = scripts[index % len(scripts)]
        lap = index // len(scripts)
        specs.append(
            GuestSpec(
                name=f"lab-{name}" + (f"-{lap}" if lap else ""),
                size_bytes=size_bytes,
                swap_bytes=size_bytes // 4,
                script=script,
                fill="mixed",
            )
        )
    return specs
