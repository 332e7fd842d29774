"""Undoing KSM's merging when no daemon runs."""

import asyncio
import os
import pwd
import time
from collections.abc import Callable

import msgspec

from memtide.model.limits import Limits
from memtide.model.reason import Reason, ReasonCode
from memtide.policy.host_state import reserve_for
from memtide.runtime import wiring
from memtide.runtime.hold import check_hold
from memtide.runtime.ksm_look import HERE
from memtide.runtime.options import RunOptions
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import load
from memtide.runtime.unmerge import UnmergeRequest, planned
from memtide.views.unmerge import UnmergeView

__all__ = ["offline"]


def offline(
    options: RunOptions,
    tell: Callable[[UnmergeView], None],
    *,
    for_s: float,
    files: tuple[int | None, bool | None],
    dry_run: bool,
) -> None:
    """Do on this host what the daemon would do; ``tell`` is called for the plan, every stage and the end.

    Args:
        options: where state and settings are.
        tell: called as it goes on.
        for_s: a daemon that starts within this time holds ksmd off for the rest of it.
        files: ``max_page_sharing`` and ``merge_across_nodes`` to be written; ``None``: left alone.
        dry_run: the plan only.

    Raises:
        UsageError: ``for_s`` is no time, or too long.
        MemtideError: the store cannot be used, or the host not be read.
    """
    check_hold(for_s)
    acting = msgspec.structs.replace(options, acting=True)
    loaded = load(acting.config, overrides(acting))
    if dry_run:
        # a plan changes nothing, so there is nothing to be kept: no store
        for view in _plan(loaded.settings.limits):
            tell(view)
        return
    who: dict[str, int | float | str] = {"who": _name(os.getuid()), "uid": os.getuid(), "for_s": for_s}
    max_page_sharing, merge_across_nodes = files
    request = UnmergeRequest(
        reason=Reason(code=ReasonCode.OPERATOR, numbers=who),
        for_s=for_s,
        max_page_sharing=max_page_sharing,
        merge_across_nodes=merge_across_nodes,
    )

    async def run() -> None:
        async with wiring.assembled(loaded.settings, simulate=False) as parts:
            async for view in Service(parts, loaded, acting).unmerge(request):
                tell(view)

    asyncio.run(run())


def _plan(limits: Limits) -> tuple[UnmergeView, ...]:
    reader = wiring.host_reader(HERE)
    try:
        host = reader.sample(time.time())
    finally:
        reader.close()
    return planned(host, reserve_for(host, limits))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
