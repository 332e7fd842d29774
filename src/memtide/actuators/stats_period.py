"""Asks a guest's driver for statistics, and reads back from the guest's configuration that libvirt took it."""

import time
from typing import Final, Protocol

from memtide.actuators.balloon import AFFECT_LIVE
from memtide.errors import ActuatorError, NoAnswerError
from memtide.model.action import Action, Reply, Result, SetStatsPeriod
from memtide.ports import GuestCalls

__all__ = ["StatsPeriodActuator"]

DEADLINE_S: Final = 2.0


class _Domain(Protocol):
    def setMemoryStatsPeriod(self, period: int, flags: int) -> int: ...  # noqa: N802 - libvirt's name
    def XMLDesc(self, flags: int = 0) -> str: ...  # noqa: N802 - libvirt's name


class StatsPeriodActuator:
    """Sends SetStatsPeriod (virDomainSetMemoryStatsPeriod). A failure never hurts the guest.

    Args:
        guests: lets us call libvirt about one guest.
    """

    def __init__(self, guests: GuestCalls) -> None:
        self._guests = guests

    async def apply(self, action: Action) -> Reply:
        """Set the period; ``DONE`` when the live configuration shows it."""
        assert isinstance(action, SetStatsPeriod)  # noqa: S101 - wired by type
        began_s = time.monotonic()

        def ask(domain: _Domain) -> str:
            domain.setMemoryStatsPeriod(action.to_s, AFFECT_LIVE)
            return domain.XMLDesc()

        try:
            xml = await self._guests.on_guest(action.uuid, ask, deadline_s=DEADLINE_S)
        except ActuatorError as error:
            return Reply(result=Result.REFUSED, detail=error.message, took_s=time.monotonic() - began_s)
        except NoAnswerError as error:
            return Reply(result=Result.NO_ANSWER, detail=error.message, took_s=time.monotonic() - began_s)
        finally:
            self._guests.forget_traits(action.uuid)
        shown = f"<stats period='{action.to_s}'/>" in xml if action.to_s else "<stats period=" not in xml
        detail = "" if shown else "libvirt accepted it, but the guest's configuration does not show it"
        took_s = time.monotonic() - began_s
        return Reply(result=Result.DONE if shown else Result.PARTIAL, detail=detail, took_s=took_s)
