"""The running daemon as its sockets see it: what it knows, and what an operator may ask of it."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Final

import msgspec

from memtide import __version__
from memtide.errors import ControlError, MemtideError, StoreError
from memtide.model.action import Action, Outcome, Result, SetKsm, SetMemory
from memtide.model.limits import Hold
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Change, ChangeKind, Event, LogEntry, Severity
from memtide.runtime import paths
from memtide.runtime.control.daemon import LogQuery
from memtide.runtime.control.fanout import Fanout
from memtide.runtime.ksm_history import KsmHistory
from memtide.runtime.ledger import undo, undo_ksm
from memtide.runtime.loop import Loop
from memtide.runtime.options import RunOptions
from memtide.runtime.parts import Parts
from memtide.runtime.settings import OnStop
from memtide.runtime.settings_file import Loaded, load, needs_restart
from memtide.runtime.unmerge import UnmergeRequest
from memtide.runtime.unmerge_service import KSM_HOLD, unmerge
from memtide.runtime.verify import by_uuid
from memtide.runtime.will import Will
from memtide.units import format_size
from memtide.views.live import KsmScene, Live, ksm_scene
from memtide.views.unmerge import UnmergeView

__all__ = ["HOLD", "Service", "overrides"]

log: Final = logging.getLogger(__name__)

RESTORED_HOLD_S: Final = 600.0
"""What an operator gave back is not taken again before ten minutes are over."""
HOLD: Final = "hold:"
"""Key of a size set by hand among the daemon's own facts, before the guest's UUID."""
TAKEN: Final = frozenset({Result.SENT, Result.DONE, Result.PARTIAL})
ARRIVE_S: Final = 8.0
"""How long an operator waits for a guest to arrive before the answer is "under way"."""


def overrides(options: RunOptions) -> dict[str, object]:
    """Return what the command line says instead of the settings file, by setting."""
    state, control = options.state, options.control
    if options.simulate:
        # a simulated guest's originals must never meet the real host
        state = state or paths.state_folder() / paths.SIMULATED
        control = control or paths.control_folder() / paths.SIMULATED
    said = {
        "law.act": options.acting,
        "libvirt.uri": options.uri,
        "store.directory": None if state is None else str(state),
        "control.directory": None if control is None else str(control),
    }
    return {key: value for key, value in said.items() if value is not None}


class Service:
    """One daemon; implements ``control.Daemon``.

    Args:
        parts: what it runs on.
        loaded: the settings it was started with.
        options: the command line, read again on reload.
    """

    def __init__(self, parts: Parts, loaded: Loaded, options: RunOptions) -> None:
        self._parts = parts
        self._loaded = loaded
        # what the actuators were built with; a reload cannot change it
        self._acting = loaded.settings.act
        self._options = options
        self._started_at_s = parts.clock.now_s()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unmerging = asyncio.Lock()
        self.found: tuple[str, ...] = ()
        """What was wrong with what an earlier run left; it stays in the status until the next start."""
        self.entries = Fanout()
        self.ksm_history = KsmHistory()
        self.will = Will(loaded.settings.limits)
        self.loop = Loop(
            clock=parts.clock,
            host=parts.host,
            guests=parts.guests,
            policy=parts.policy,
            actuators=parts.actuators,
            store=parts.store,
            will=self.will,
        )
        self.loop.on_entry = self._publish

    # --- what it knows --------------------------------------------------------------------------------------

    def live(self) -> Live | None:
        """Return this moment; ``None`` before the first tick."""
        loop = self.loop
        if loop.snapshot is None or loop.decision is None:
            return None
        return Live(
            version=__version__,
            host_name=socket.gethostname(),
            uri=self._parts.uri,
            acting=self._acting,
            started_at_s=self._started_at_s,
            now_s=self._parts.clock.now_s(),
            limits=loop.limits,
            snapshot=loop.snapshot,
            decision=loop.decision,
            previous_host=loop.earlier,
            open_outcomes=loop.open_outcomes,
            totals=loop.totals,
            troubles=(*loop.troubles, *self._parts.warnings, *self.found),
        )

    def ksm(self) -> KsmScene | None:
        """Return this moment of KSM, with what is remembered of it; ``None`` before the first tick."""
        live = self.live()
        if live is None:
            return None
        return ksm_scene(
            live,
            self.ksm_history.past(),
            # a simulated host was not up before
            uptime_s=None if self._options.simulate else time.clock_gettime(time.CLOCK_BOOTTIME),
            originals={change.key: change.original for change in self._parts.ledger.changes(ChangeKind.KSM)},
        )

    async def log(self, query: LogQuery) -> list[LogEntry]:
        """Return entries, oldest first."""
        return await self._parts.store.log(vm=query.vm, since_s=query.since_s, limit=query.limit)

    # --- what an operator may ask -----------------------------------------------------------------------------

    async def set_memory(self, uuid: str, size_bytes: int, for_s: float, reason: Reason) -> Outcome:
        """Set a guest's memory and leave it there for so long.

        Raises:
            ControlError: the guest is not known now, or the size is not between its floor and its maximum.
        """
        self._must_act()
        guest = by_uuid(self.loop.snapshot.guests).get(uuid) if self.loop.snapshot else None
        if guest is None:
            raise ControlError("this guest does not answer now", "see `memtide status`")
        maximum_bytes = guest.observed.maximum_bytes
        if not 0 < size_bytes <= maximum_bytes:
            raise ControlError(
                f"{guest.name} can have at most {format_size(maximum_bytes)}, not {format_size(size_bytes)}",
                "its maximum is set in its own configuration",
            )
        current_bytes = guest.observed.current_bytes
        action = SetMemory(uuid=uuid, name=guest.name, from_bytes=current_bytes, to_bytes=size_bytes, reason=reason)
        await self._hold(uuid, Hold(size_bytes=size_bytes, until_s=self._parts.clock.now_s() + for_s))
        outcome = (await self._carry_out([action]))[0]
        if outcome.result not in TAKEN:
            await self._release(uuid)
        return outcome

    async def restore(self, uuid: str | None, reason: Reason) -> list[Outcome]:
        """Put back the original size of one guest, or all that was ever changed."""
        self._must_act()
        kinds = (ChangeKind.MEMORY,) if uuid is not None else tuple(ChangeKind)
        changes = [change for change in self._parts.ledger.changes(*kinds) if uuid in {None, change.key}]
        until_s = self._parts.clock.now_s() + RESTORED_HOLD_S
        for change in changes:
            if change.kind is ChangeKind.MEMORY:
                await self._hold(change.key, Hold(size_bytes=int(change.original), until_s=until_s))
        outcomes = await self._put_back(changes, reason)
        for outcome in outcomes:
            if isinstance(outcome.action, SetMemory) and outcome.result not in TAKEN:
                await self._release(outcome.action.uuid)
        return outcomes

    async def unmerge(self, request: UnmergeRequest) -> AsyncGenerator[UnmergeView, None]:
        """Undo KSM's merging in stages; yield the plan, every stage and the end."""
        if not request.dry_run:
            self._must_act()
        if self._unmerging.locked():
            raise ControlError("KSM's merging is being undone already", "see `memtide log`")
        async with self._unmerging:
            async for view in unmerge(self._parts, self.loop, self.will, request):
                yield view

    async def _hold(self, uuid: str, hold: Hold) -> None:
        """Leave a guest at a size; also after a restart of the daemon."""
        self.will.hold(uuid, hold)
        await self._parts.store.keep(f"{HOLD}{uuid}", msgspec.json.encode(hold).decode())

    async def inspect(self) -> None:
        """Say aloud what the store found damaged when it was opened; a line in a log nobody reads is not enough."""
        for entry in await self._parts.store.log(since_s=self._started_at_s - 5):
            if isinstance(entry, Event) and entry.severity is Severity.ERROR:
                self.found = (*self.found, entry.text)
                self._publish(entry)

    def _must_act(self) -> None:
        if not self._acting:
            raise ControlError("memtide only observes here and changes nothing", "start it with `memtide run --act`")

    async def _release(self, uuid: str) -> None:
        """Let the law have a guest again."""
        self.will.release(uuid)
        await self._parts.store.keep(f"{HOLD}{uuid}", None)

    async def recall(self) -> None:
        """Take up the sizes that were set by hand before a restart and still hold."""
        for key, value in (await self._parts.store.kept()).items():
            if key == KSM_HOLD:
                self.will.hold_ksm(float(value))
            if not key.startswith(HOLD):
                continue
            hold = msgspec.json.decode(value, type=Hold)
            if hold.until_s > self._parts.clock.now_s():
                self.will.hold(key.removeprefix(HOLD), hold)
            else:
                await self._parts.store.keep(key, None)

    async def _put_back(self, changes: list[Change], reason: Reason) -> list[Outcome]:
        """Undo changes of the host, and of those guests that answer now; forget what is as it was."""
        snapshot = self.loop.snapshot
        guests = by_uuid(snapshot.guests) if snapshot else {}
        ksm = [change for change in changes if change.kind is ChangeKind.KSM]
        here = [change for change in changes if change.kind is not ChangeKind.KSM and change.key in guests]
        gone = [change for change in changes if change.kind is not ChangeKind.KSM and change.key not in guests]
        undone: list[tuple[list[Change], Action]] = [([c], undo(c, reason, guests[c.key])) for c in here]
        if ksm:
            undone.append((ksm, undo_ksm(ksm, reason, snapshot.host.ksm if snapshot else None)))
        outcomes = await self._carry_out([action for _, action in undone])
        for (those, _), outcome in zip(undone, outcomes, strict=True):
            action = outcome.action
            whole = not isinstance(action, SetMemory) or action.to_bytes == int(those[0].original)
            if outcome.result is Result.DONE and whole:
                for change in those:
                    await self._parts.ledger.drop(change.kind, change.key)
        return [*outcomes, *(self._unreachable(change, reason) for change in gone)]

    def _unreachable(self, change: Change, reason: Reason) -> Outcome:
        now_s = self._parts.clock.now_s()
        return Outcome(
            action=undo(change, reason, None),
            result=Result.NO_ANSWER,
            asked_at_s=now_s,
            closed_at_s=now_s,
            detail=f"it is not there at {self._parts.uri} now; its original stays on record",
        )

    async def _carry_out(self, actions: list[Action]) -> list[Outcome]:
        """Send actions and wait a moment for guests to arrive."""
        outcomes = await self.loop.carry_out(tuple(actions))
        return [await self.loop.arrival(outcome, ARRIVE_S) for outcome in outcomes]

    # --- events, reload, end ----------------------------------------------------------------------------------

    def notify(self, event: Event) -> None:
        """Take an event of the guest source; called in the event loop's thread."""
        self._spawn(self._take(event))

    async def _take(self, event: Event) -> None:
        await self.loop.event(event)
        if event.code == "guest-stopped":
            # when it starts again it has its configured size: what we remember of it would be wrong
            for change in self._parts.ledger.changes(ChangeKind.MEMORY, ChangeKind.STATS_PERIOD):
                if change.name == event.guest:
                    # with a full disk it stays on record; the worst that can follow is a restore to its old size
                    with contextlib.suppress(StoreError):
                        await self._parts.ledger.drop(change.kind, change.key)

    def ticked(self) -> None:
        """Do what is done once a tick beside the loop: remember KSM, tell the watcher, complain of guests' metadata."""
        if self.loop.snapshot is not None:
            self.ksm_history.add(self.loop.snapshot.host.ksm)
        for name, sentence in self.will.complaints():
            self._say(Severity.WARNING, "metadata-rejected", sentence, guest=name)
        if self._options.watcher is None:
            return
        live = self.live()
        if live is not None:
            self._options.watcher.tick(live)

    def reload(self) -> None:
        """Read the settings again; with a mistake in them the old ones stay."""
        try:
            loaded = load(self._options.config, overrides(self._options))
        except MemtideError as error:
            self._say(Severity.ERROR, "settings-rejected", f"the old settings stay in force: {error.message}")
            return
        late = needs_restart(self._loaded, loaded)
        self._loaded = loaded
        self.will.reload(loaded.settings.limits)
        rest = f"; {', '.join(late)} take effect after a restart" if late else ""
        self._say(Severity.INFO, "settings-reloaded", f"the settings were read again{rest}")

    async def finish(self) -> None:
        """Put back what the settings say is to be put back at the end, and say what stays."""
        settings = self._loaded.settings
        rows = (
            (ChangeKind.MEMORY, settings.on_stop_guests),
            (ChangeKind.STATS_PERIOD, settings.on_stop_stats),
            (ChangeKind.KSM, settings.on_stop_ksm),
        )
        kinds = [kind for kind, what in rows if what is OnStop.RESTORE]
        await self._end_sweep(kept=ChangeKind.KSM not in kinds)
        changes = list(self._parts.ledger.changes(*kinds)) if kinds else []
        if changes and self._acting:
            try:
                await self._put_back(changes, Reason(code=ReasonCode.RESTORE, numbers={"why": "memtide stops"}))
            except MemtideError as error:
                log.warning("not everything was put back: %s", error.message)
        resized = len(self._parts.ledger.changes(ChangeKind.MEMORY)) if self._acting else 0
        stays = f"; {resized} guests keep the size it gave them (`memtide restore --all`)" if resized else ""
        self._say(Severity.INFO, "stopped", f"memtide stopped{stays}")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_sweep(self, *, kept: bool) -> None:
        """Do not leave ksmd running where KSM's settings are kept: nobody would stop it."""
        decision, snapshot = self.loop.decision, self.loop.snapshot
        sweeping = decision is not None and decision.ksm is not None and decision.ksm.scanning
        if kept and self._acting and sweeping and snapshot is not None and snapshot.host.ksm is not None:
            reason = Reason(code=ReasonCode.RESTORE, numbers={"why": "memtide stops"})
            await self._carry_out([SetKsm(files={"run": "0"}, before={"run": "1"}, reason=reason)])

    def _say(self, severity: Severity, code: str, text: str, guest: str | None = None) -> None:
        event = Event(at_s=self._parts.clock.now_s(), severity=severity, code=code, text=text, guest=guest)
        self._spawn(self.loop.event(event))

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _publish(self, entry: LogEntry) -> None:
        self.entries.publish(entry)
        if self._options.watcher is not None:
            self._options.watcher.entry(entry)
