"""A process that runs one of the prototype laws, or ksmtuned's, on real guests through memtide's own parts and loop.

    .venv/bin/python -m bench.lab_policy by-state URI FOLDER

`bench.lab` starts it. The law is the only difference from `memtide run --act`, and the period, a second.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.prototypes import Nominal, by_state, fixed
from memtide.policy.peers.ksmtuned import Ksmtuned
from memtide.ports import Policy
from memtide.runtime import wiring
from memtide.runtime.options import RunOptions
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import load
from memtide.units import MIB

TCG_OVERHEAD_BYTES: Final = 110 * MIB
"""QEMU's own part of what a guest costs the host, its translation cache included."""
LAWS: Final[Mapping[str, Policy[Any]]] = {
    "fixed": fixed(overhead_bytes=TCG_OVERHEAD_BYTES),
    "by-state": by_state(overhead_bytes=TCG_OVERHEAD_BYTES),
    "nominal": Nominal(overhead_bytes=TCG_OVERHEAD_BYTES),
    "ksmtuned": Ksmtuned(),
}
SETTINGS: Final = '[law]\nperiod = "1s"\n'


async def run(name: str, uri: str, folder: Path) -> None:
    """Let the law act until SIGTERM."""
    config = folder / "memtide.toml"
    config.write_text(SETTINGS)
    options = RunOptions(acting=True, uri=uri, state=folder / "state", control=folder / "control", config=config)
    loaded = load(options.config, overrides(options))
    async with wiring.assembled(loaded.settings, simulate=False, policy=LAWS[name]) as parts:
        service = Service(parts, loaded, options)

        def end() -> None:
            service.loop.stopping.set()
            service.loop.wake.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        await parts.guests.start(service.notify)
        await service.loop.run(for_s=None, on_tick=service.ticked)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
