"""How a daemon ends: ksmd is not left running by who started it."""

from pathlib import Path

import pytest

from memtide.model.action import SetKsm, SetMemory, SetStatsPeriod
from memtide.policy.tide import Tide
from memtide.runtime.ledger import Ledger, OnRecord
from memtide.runtime.options import RunOptions
from memtide.runtime.parts import Parts
from memtide.runtime.service import Service, overrides
from memtide.runtime.settings_file import load
from memtide.sim.ports import SimActuator, SimClock, SimGuestSource, SimHostSource
from memtide.sim.scenario import find
from memtide.store.retention import Retention
from memtide.store.sqlite import SqliteStore
from memtide.units import GIB


@pytest.mark.parametrize("on_stop", ["keep", "restore"])
async def test_a_sweep_under_way_ends_with_memtide(on_stop: str, tmp_path: Path) -> None:
    """With its settings kept or put back: a ksmd that nobody would ever stop is no setting anybody chose."""
    world = find("ksm-waves").world()
    (tmp_path / "memtide.toml").write_text(f'[on_stop]\nksm = "{on_stop}"\n')
    options = RunOptions(acting=True, state=tmp_path, control=tmp_path, config=tmp_path / "memtide.toml")
    loaded = load(options.config, overrides(options))
    clock = SimClock(world)
    keep_s = 86400.0
    retention = Retention(records_s=keep_s, actions_s=keep_s, events_s=keep_s, most_bytes=GIB)
    store = SqliteStore(tmp_path, retention=retention, now_s=clock.now_s)
    ledger = Ledger(store)
    recorded = OnRecord(SimActuator(world), ledger, clock)
    service = Service(
        Parts(
            uri="simulation",
            clock=clock,
            host=SimHostSource(world),
            guests=SimGuestSource(world),
            policy=Tide(),
            actuators=dict.fromkeys((SetMemory, SetStatsPeriod, SetKsm), recorded),
            store=store,
            ledger=ledger,
            waker=None,
            warnings=(),
        ),
        loaded,
        options,
    )
    await service.loop.run(for_s=16.0, on_tick=lambda: None)
    assert world.ksm.files["run"] == "1"
    swept_at = world.ksm.files["pages_to_scan"]

    await service.finish()
    await store.close()

    assert world.ksm.files["run"] == "0"
    assert (world.ksm.files["pages_to_scan"] == swept_at) == (on_stop == "keep")
