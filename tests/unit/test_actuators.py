"""What each actuator asks of libvirt, and what it replies for every way in which that can end."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from memtide.actuators.balloon import BalloonActuator
from memtide.actuators.null import NullActuator
from memtide.actuators.stats_period import StatsPeriodActuator
from memtide.errors import ActuatorError, NoAnswerError
from memtide.model.action import Action, Result, SetMemory, SetStatsPeriod
from memtide.model.reason import Reason, ReasonCode
from memtide.units import MIB

BECAUSE = Reason(code=ReasonCode.OPERATOR)
SHRINK = SetMemory(uuid="u", name="a", from_bytes=512 * MIB, to_bytes=256 * MIB, reason=BECAUSE)
ASK = SetStatsPeriod(uuid="u", name="a", from_s=None, to_s=2, reason=BECAUSE)
HUSH = SetStatsPeriod(uuid="u", name="a", from_s=2, to_s=0, reason=BECAUSE)


class Handle:
    """A virDomain that notes what it is asked for."""

    def __init__(self, xml: str) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._xml = xml

    def setMemoryFlags(self, memory: int, flags: int) -> int:  # noqa: N802
        self.asked.append(("memory", memory, flags))
        return 0

    def setMemoryStatsPeriod(self, period: int, flags: int) -> int:  # noqa: N802
        self.asked.append(("period", period, flags))
        return 0

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        return self._xml


class Calls:
    """``GuestCalls`` that succeed, or fail as told."""

    def __init__(self, *, xml: str = "", error: Exception | None = None) -> None:
        self.handle = Handle(xml)
        self.error = error
        self.forgotten: list[str] = []
        self.deadlines_s: list[float] = []

    async def on_guest(self, uuid: str, call: Callable[[Any], Any], *, deadline_s: float) -> Any:
        assert uuid == "u"
        self.deadlines_s.append(deadline_s)
        if self.error is not None:
            raise self.error
        return call(self.handle)

    def forget_traits(self, uuid: str) -> None:
        self.forgotten.append(uuid)


async def test_memory_is_asked_for_live() -> None:
    """Never in the stored configuration."""
    calls = Calls()
    reply = await BalloonActuator(calls).apply(SHRINK)
    assert calls.handle.asked == [("memory", 256 * 1024, 1)]
    assert reply.result is Result.SENT
    assert calls.deadlines_s == [2.0]


@pytest.mark.parametrize(("from_bytes", "kib"), [(512 * MIB, 256 * 1024 + 1), (128 * MIB, 256 * 1024)])
async def test_a_part_of_a_kib_is_the_guests_when_it_gives_and_not_when_it_gets(from_bytes: int, kib: int) -> None:
    """Never below its floor, never more than was decided."""
    calls = Calls()
    action = msgspec.structs.replace(SHRINK, from_bytes=from_bytes, to_bytes=256 * MIB + 1)
    await BalloonActuator(calls).apply(action)
    assert calls.handle.asked == [("memory", kib, 1)]


@pytest.mark.parametrize(
    ("xml", "action", "result"),
    [
        ("<memballoon><stats period='2'/></memballoon>", ASK, Result.DONE),
        ("<memballoon/>", ASK, Result.PARTIAL),
        ("<memballoon><stats period='22'/></memballoon>", ASK, Result.PARTIAL),
        ("<memballoon/>", HUSH, Result.DONE),
        ("<memballoon><stats period='2'/></memballoon>", HUSH, Result.PARTIAL),
    ],
)
async def test_a_period_is_read_back(xml: str, action: SetStatsPeriod, result: Result) -> None:
    """Done is what the live configuration shows; else the reply says what is wrong."""
    calls = Calls(xml=xml)
    reply = await StatsPeriodActuator(calls).apply(action)
    assert calls.handle.asked == [("period", action.to_s, 1)]
    assert reply.result is result
    assert bool(reply.detail) is (result is Result.PARTIAL)
    assert calls.forgotten == ["u"]


@pytest.mark.parametrize("action", [SHRINK, ASK], ids=["memory", "period"])
@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ActuatorError("max memory is less"), Result.REFUSED),
        (NoAnswerError("no answer within 2 s"), Result.NO_ANSWER),
    ],
)
async def test_what_the_world_answers_is_a_reply_not_an_exception(
    action: Action, error: Exception, result: Result
) -> None:
    """With its words."""
    actuator = BalloonActuator if isinstance(action, SetMemory) else StatsPeriodActuator
    reply = await actuator(Calls(error=error)).apply(action)
    assert reply.result is result
    assert str(error) in reply.detail


async def test_a_period_that_got_no_answer_is_read_again() -> None:
    """It may have been heard."""
    calls = Calls(error=NoAnswerError("no answer within 2 s"))
    await StatsPeriodActuator(calls).apply(ASK)
    assert calls.forgotten == ["u"]


@pytest.mark.parametrize("action", [SHRINK, ASK], ids=["memory", "period"])
async def test_the_null_twin_sends_nothing_and_says_so(action: Action) -> None:
    """It has nobody to send to."""
    assert (await NullActuator().apply(action)).result is Result.NOT_SENT
