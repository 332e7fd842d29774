"""Putting back what was changed when no daemon runs: after a crash, or before memtide is removed."""

import asyncio

import msgspec

from memtide.errors import ControlError
from memtide.model.action import Outcome
from memtide.model.reason import Reason, ReasonCode
from memtide.runtime import wiring
from memtide.runtime.options import RunOptions
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import Loaded, load

__all__ = ["offline"]


def offline(vm: str | None, options: RunOptions) -> list[Outcome]:
    """Put back one guest's original size (name or UUID), or everything (``None``).

    Raises:
        MemtideError: the store or libvirt cannot be reached, or the guest was never changed; what could not be put
            back stays on record.
    """
    acting = msgspec.structs.replace(options, acting=True)
    loaded = load(acting.config, overrides(acting))
    if options.uri is None:
        # the guests are where the daemon found them, whatever the settings say by now
        acting = msgspec.structs.replace(acting, uri=asyncio.run(_left_uri(loaded)))
        loaded = load(acting.config, overrides(acting))
    return asyncio.run(_offline(vm, acting, loaded))


async def _left_uri(loaded: Loaded) -> str | None:
    async with wiring.assembled(loaded.settings, simulate=False) as parts:
        return (await parts.store.kept()).get(wiring.URI_FACT)


async def _offline(vm: str | None, options: RunOptions, loaded: Loaded) -> list[Outcome]:
    async with wiring.assembled(loaded.settings, simulate=False) as parts:
        changes = parts.ledger.changes()
        uuid = next((c.key for c in changes if vm in {c.key, c.name}), None)
        if vm is not None and uuid is None:
            raise ControlError(f"memtide never changed {vm}, or put it back already", "see `memtide log`")
        if not changes:
            return []
        service = Service(parts, loaded, options)
        await parts.guests.start(service.notify)
        await service.loop.look()
        service.loop.ended = True
        return await service.restore(uuid, Reason(code=ReasonCode.RESTORE))
