"""The real clock."""

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """Wall-clock time, which libvirt's figures are stamped with too; sleeping goes by the event loop's own."""

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    async def sleep(self, duration_s: float, wake: asyncio.Event) -> None:
        """Return after the duration, or when ``wake`` is set."""
        try:
            await asyncio.wait_for(wake.wait(), duration_s)
        except TimeoutError:
            return
