"""Asks for a guest's current memory; whether the guest follows is for later samples to see (``runtime.verify``)."""

import time
from typing import Final, Protocol

from memtide.errors import ActuatorError, NoAnswerError
from memtide.model.action import Action, Reply, Result, SetMemory
from memtide.ports import GuestCalls
from memtide.units import KIB

__all__ = ["BalloonActuator"]

AFFECT_LIVE: Final = 1
"""VIR_DOMAIN_AFFECT_LIVE: the running guest, never its stored configuration."""
DEADLINE_S: Final = 2.0


class _Domain(Protocol):
    def setMemoryFlags(self, memory: int, flags: int) -> int: ...  # noqa: N802 - libvirt's name


class BalloonActuator:
    """Sends SetMemory (virDomainSetMemoryFlags).

    Args:
        guests: lets us call libvirt about one guest.
    """

    def __init__(self, guests: GuestCalls) -> None:
        self._guests = guests

    async def apply(self, action: Action) -> Reply:
        """Ask for the size; ``SENT`` says that the guest was told."""
        assert isinstance(action, SetMemory)  # noqa: S101 - wired by type
        # libvirt takes whole KiB: up for a guest that gives, because its target may be its floor
        target_kib = -(-action.to_bytes // KIB) if action.change_bytes < 0 else action.to_bytes // KIB
        began_s = time.monotonic()

        def ask(domain: _Domain) -> int:
            return domain.setMemoryFlags(target_kib, AFFECT_LIVE)

        try:
            await self._guests.on_guest(action.uuid, ask, deadline_s=DEADLINE_S)
        except ActuatorError as error:
            return _reply(Result.REFUSED, began_s, error.message)
        except NoAnswerError as error:
            return _reply(Result.NO_ANSWER, began_s, f"{error.message}; whether the guest heard it is unknown")
        return _reply(Result.SENT, began_s)


def _reply(result: Result, began_s: float, detail: str = "") -> Reply:
    return Reply(result=result, detail=detail, took_s=time.monotonic() - began_s)
