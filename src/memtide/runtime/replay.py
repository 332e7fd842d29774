"""Replaying: laws are asked about what is on record, by the same code that decides in a daemon.

Two things come of it. *Open loop*: what each law would have asked for at every recorded tick; nothing is sent, so what
the guests did next is what they did under the law of that time. *Estimate*: what the recorded guests needed, played
on a simulated host in which every law has its way.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from memtide.errors import MemtideError, SourceError
from memtide.model.action import Reply, Result
from memtide.model.decision import Decision
from memtide.model.limits import Limits
from memtide.model.snapshot import Snapshot
from memtide.model.trace import Frame
from memtide.policy.laws import LAWS
from memtide.ports import Policy
from memtide.runtime import wiring
from memtide.runtime.parts import Recording
from memtide.runtime.settings_file import load
from memtide.runtime.simulate import check_laws, simulate
from memtide.runtime.will import Will
from memtide.views.asks import Ask, Asks, differences
from memtide.views.replay import (
    EstimateView,
    RecordedView,
    ReplayView,
    TraceView,
    difference_view,
    law_view,
    unlike,
)

__all__ = ["DEFAULT_LAWS", "RECORDED", "LawRun", "replay"]

DEFAULT_LAWS: Final = ("tide", "none")
RECORDED: Final = "recorded"
"""What is on record, beside the laws."""
NOT_SENT: Final = Reply(result=Result.NOT_SENT)
TOO_SHORT: Final = "the recording is too short, or has no guests"
TOO_FEW: Final = "a daemon's folder does not hold what guests needed between its actions; `memtide record` does"

Tell = Callable[[str, float], None]
"""Is told the law that is being played, and which share of its run is over."""


def replay(path: Path, *, laws: Sequence[str], config: Path | None, estimate: bool, tell: Tell) -> ReplayView:
    """Return what laws would have done.

    Args:
        path: a trace, or the folder of a daemon's state.
        laws: their names; none: memtide's own, and nobody.
        config: the settings to decide by; ``None``: those on record, or this host's where there are none.
        estimate: whether to play the demand on a simulated host too.
        tell: told how far that is.

    Raises:
        UsageError: there is no such law, or no such trace.
        MemtideError: the trace is damaged or cannot be read, or the settings are wrong.
    """
    names = check_laws(laws or DEFAULT_LAWS)
    wills = _Wills(config)
    reading = _Reading(wiring.recording(path), {name: LAWS[name].make() for name in names}, wills)
    reading.read()
    return ReplayView(
        trace=reading.trace_view(),
        laws={name: law_view(asks.all()) for name, asks in reading.asks().items()},
        recorded=reading.recorded_view(),
        differences=tuple(map(difference_view, differences(reading.compared_asks()))),
        estimate=_estimate(reading, names, tell) if estimate else None,
    )


class LawRun:
    """One law, asked tick by tick; what it asks for is never sent, and it is told so.

    Args:
        name: the law's name.
        policy: the law; ``None``: nobody decides.
    """

    def __init__(self, name: str, policy: Policy[Any] | None) -> None:
        self.asks = Asks(name)
        self._policy = policy
        self._state = None if policy is None else policy.initial()

    def see(self, snapshot: Snapshot, limits: Limits) -> Decision | None:
        """Return what it decides now."""
        if self._policy is None:
            return None
        self._state, decision = self._policy.decide(self._state, snapshot, limits)
        for action in decision.actions:
            self._state = self._policy.answered(self._state, action, NOT_SENT)
        self.asks.see(decision)
        return decision


class _Wills:
    """The operator's will at each tick.

    Args:
        config: the settings to take in place of those on record.
    """

    def __init__(self, config: Path | None) -> None:
        self._given = None if config is None else Will(load(config).settings.limits)
        self._own: Will | None = None
        self._latest: Limits | None = None
        self._config = config

    @property
    def source(self) -> str:
        """Where it is from."""
        if self._config is not None:
            return str(self._config)
        return "recorded" if self._own is None else "settings"

    def at(self, frame: Frame) -> Limits:
        """Return it."""
        at_s, guests = frame.snapshot.taken_at_s, frame.snapshot.guests
        if self._given is not None:
            return self._given.at(at_s, guests)
        self._latest = frame.limits or self._latest
        if self._latest is not None:
            return self._latest
        if self._own is None:
            self._own = Will(load().settings.limits)
        return self._own.at(at_s, guests)


class _Reading:
    """One pass through a recording, all laws side by side."""

    def __init__(self, recording: Recording, laws: Mapping[str, Policy[Any] | None], wills: _Wills) -> None:
        self.recording = recording
        self.world = wiring.RecordedWorld()
        self._wills = wills
        self._runs = {name: LawRun(name, policy) for name, policy in laws.items()}
        self._recorded = Asks(RECORDED)
        self._policy: str | None = None
        """Whose decisions are on record."""
        self._compared = self._same = 0
        self._first_difference: tuple[float, str] | None = None
        self._ticks = 0
        self._began_s = self._ended_s = 0.0
        self._guests: set[str] = set()

    def read(self) -> None:
        """Read it to its end.

        Raises:
            SourceError: there is nothing in it, or it is damaged.
        """
        for frame in self.recording.frames():
            self._see(frame)
        if not self._ticks:
            raise SourceError(f"{self.recording.path}: there is no tick in it", "record for longer")

    def _see(self, frame: Frame) -> None:
        snapshot, limits = frame.snapshot, self._wills.at(frame)
        self._ended_s = snapshot.taken_at_s
        if not self._ticks:
            self._began_s = self._ended_s
        self._ticks += 1
        self._guests |= {guest.uuid for guest in snapshot.guests}
        self.world.see(snapshot, limits)
        for name, run in self._runs.items():
            decision = run.see(snapshot, limits)
            if decision is not None and frame.decision is not None and frame.decision.policy == name:
                self._compare(frame.decision, decision)
        if frame.decision is not None:
            self._policy = frame.decision.policy
            self._recorded.see(frame.decision)

    def _compare(self, recorded: Decision, decided: Decision) -> None:
        difference = unlike(recorded, decided)
        self._compared += 1
        self._same += difference is None
        if difference is not None and self._first_difference is None:
            self._first_difference = (decided.decided_at_s, difference)

    def asks(self) -> dict[str, Asks]:
        """Return what every law asked for, and what is on record if anything is."""
        asks = {name: run.asks for name, run in self._runs.items()}
        return asks if self._policy is None else asks | {RECORDED: self._recorded}

    def compared_asks(self) -> dict[str, list[Ask]]:
        """Return the same for comparison; a record that a law repeats to the letter would say everything twice."""
        repeated = self._compared > 0 and self._same == self._compared
        return {name: asks.all() for name, asks in self.asks().items() if not (repeated and name == RECORDED)}

    def recorded_view(self) -> RecordedView | None:
        """Return how what is on record compares; ``None``: no decisions are."""
        if self._policy is None:
            return None
        at_s, difference = self._first_difference or (None, None)
        return RecordedView(
            policy=self._policy,
            compared=self._compared,
            same=self._same,
            first_difference_at_s=at_s,
            first_difference=difference,
        )

    def trace_view(self) -> TraceView:
        """Return what was read."""
        recording, header = self.recording, self.recording.header
        return TraceView(
            path=str(recording.path),
            host_name=None if header is None else header.host_name,
            uri=None if header is None else header.uri,
            memtide=None if header is None else header.memtide,
            anonymous=header is not None and header.anonymous,
            began_at_s=self._began_s,
            ended_at_s=self._ended_s,
            ticks=self._ticks,
            guests=len(self._guests),
            whole=recording.whole,
            cut_short=recording.cut_short,
            left_out=recording.left_out,
            limits=self._wills.source,
        )


def _estimate(reading: _Reading, laws: Sequence[str], tell: Tell) -> EstimateView:
    if not reading.recording.whole:
        return EstimateView(simulation=None, notes=(TOO_FEW,))
    scenario = reading.world.scenario(reading.recording.path.name)
    if scenario is None:
        return EstimateView(simulation=None, notes=(TOO_SHORT,))
    try:
        return EstimateView(simulation=simulate(scenario, laws, tell=tell), notes=wiring.ASSUMED)
    except MemtideError as error:
        return EstimateView(simulation=None, notes=(error.message,))
