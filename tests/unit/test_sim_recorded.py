"""A recorded host as a simulated one: whatever law it was recorded under, the same host comes of it."""

import msgspec
import pytest
from make import START_S, guest, snapshot

from memtide.model.guest import Guest
from memtide.model.limits import GuestRule, Limits
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.tide import Tide
from memtide.sim.behaviours import Silent
from memtide.sim.demo import demo_world
from memtide.sim.events import StopGuest
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.play import play
from memtide.sim.recorded import RecordedWorld
from memtide.sim.scenario import Scenario
from memtide.units import GIB, MIB


def demo(law: Tide | None) -> list[Snapshot]:
    """Return the demo's host second by second for two minutes, under a law."""
    if law is not None:
        return [tick.snapshot for tick in play(demo_world(), law, Limits(period_s=1.0), duration_s=120).ticks]
    world, seen = demo_world(), []
    for _ in range(120):
        sample = observe_guests(world)
        seen.append(Snapshot(taken_at_s=world.now_s, host=observe_host(world), guests=sample.guests))
        world.advance(1.0)
    return seen


def scenario(snapshots: list[Snapshot], limits: Limits | None = None) -> Scenario:
    """Return what was gathered of them."""
    gathered = RecordedWorld()
    for one in snapshots:
        gathered.see(one, limits or Limits())
    found = gathered.scenario("recorded")
    assert found is not None
    return found


def ticks(*guests: Guest, count: int = 20) -> list[Snapshot]:
    """Return some ticks, two seconds apart, in which these guests only report anew."""
    return [
        snapshot(*(_reporting(one, 2.0 * tick) for one in guests), at_s=START_S + 2 * tick) for tick in range(count)
    ]


def _reporting(one: Guest, later_s: float) -> Guest:
    if one.reported is None:
        return one
    report = msgspec.structs.replace(one.reported, updated_at_s=one.reported.updated_at_s + later_s)
    return msgspec.structs.replace(one, reported=report)


@pytest.mark.parametrize("law", [None, Tide()], ids=["recorded under nobody", "recorded under tide"])
def test_the_host_that_was_recorded_comes_back(law: Tide | None) -> None:
    """What guests held, what they left resident and what the host used itself, whoever managed it then."""
    found = scenario(demo(law))
    guests = {spec.name: spec for spec in found.guests}

    assert max(size for _, size in guests["wave-1"].anonymous.points) == pytest.approx(500 * MIB, rel=0.02)
    assert max(size for _, size in guests["filler"].cold_cache.points) == pytest.approx(500 * MIB, rel=0.02)
    assert guests["giant"].freed_bytes == pytest.approx(900 * MIB, rel=0.02)
    assert {spec.kernel_bytes for spec in found.guests} == {40 * MIB}
    assert found.host.base is not None
    # under its watermark the host calls nothing available, however much less is free
    assert all(size == pytest.approx(512 * MIB, abs=64 * MIB) for _, size in found.host.base.points)


@pytest.mark.parametrize("law", [None, Tide()], ids=["recorded under nobody", "recorded under tide"])
def test_laws_fare_on_it_as_on_the_host_itself(law: Tide | None) -> None:
    """With nobody the host swaps as much as it did; with tide it need not, and nobody lacks memory."""
    found = scenario(demo(law))
    alone = play(found.world(), None, Limits(), duration_s=found.duration_s)
    truly_alone = play(demo_world(), None, Limits(), duration_s=found.duration_s)
    managed = play(found.world(), Tide(), Limits(), duration_s=found.duration_s)

    assert alone.host_swap_bytes == pytest.approx(truly_alone.host_swap_bytes, rel=0.25)
    assert alone.host_swap_bytes > GIB
    assert managed.host_swap_bytes == 0
    assert managed.shortage_gib_s < 0.1


def test_guests_come_and_go_when_they_did() -> None:
    """One starts later, one stops; one that only does not answer for a while is there all the time."""
    early, late, gone = guest("early"), guest("late"), guest("gone")
    seen = ticks(early, gone, count=5) + ticks(early, late, count=20)[5:]
    away = Absent(uuid=early.uuid, name=early.name, reason="busy")
    seen[8] = msgspec.structs.replace(seen[8], guests=seen[8].guests[1:], absent=(away,))
    found = scenario(seen)

    assert {spec.name: spec.start_at_s for spec in found.guests} == {"early": 0, "gone": 0, "late": 10}
    assert found.events == (StopGuest(at_s=10.0, guest="gone"),)
    assert found.duration_s == 38


def test_a_guest_that_never_reported_needs_what_was_resident() -> None:
    """All of it, but for QEMU's own; and it stays silent."""
    (spec,) = scenario(ticks(guest(reported=False, resident_bytes=600 * MIB))).guests

    assert spec.behaviour == Silent()
    assert spec.anonymous.at(0) == 560 * MIB


def test_what_a_guest_swaps_out_is_needed_too() -> None:
    """Else a law that squeezed it would seem to have been right; counters that a reboot reset are no such thing."""
    out = [0, 100, 200, 0, 0, 50]
    seen = [
        snapshot(
            guest(at_s=START_S + 2 * tick, used_bytes=108 * MIB, swap_in_bytes_total=0, swap_out_bytes_total=mib * MIB),
            at_s=START_S + 2 * tick,
        )
        for tick, mib in enumerate(out)
    ]
    (spec,) = scenario(seen).guests

    assert [spec.anonymous.at(2.0 * tick) // MIB for tick in range(6)] == [100, 200, 300, 300, 300, 350]
    assert spec.swap_bytes == spec.maximum_bytes


def test_rules_for_a_uuid_find_their_guest() -> None:
    """A simulated guest has another UUID; its owner's "never" still holds."""
    rules = (GuestRule(match="web-*", weight=2.0), GuestRule(match="uuid-b[1]", manage=False))
    found = scenario(ticks(guest("b[1]"), guest("web-1")), Limits(rules=rules))

    assert found.limits.rules[0] == rules[0]
    assert found.limits.rules[1].matches(name="b[1]", uuid="another")
    assert not found.limits.rules[1].matches(name="web-1", uuid="another")


def test_two_guests_of_one_name_are_two() -> None:
    """A guest that was made anew under the old name is another."""
    first, second = guest("a"), msgspec.structs.replace(guest("a"), uuid="another")

    assert [spec.name for spec in scenario(ticks(first, second)).guests] == ["a", "a (2)"]


def test_too_little_is_no_world() -> None:
    """No guest, or a few seconds."""
    nobody, short = RecordedWorld(), RecordedWorld()
    for one in ticks():
        nobody.see(one, Limits())
    for one in ticks(guest(), count=4):
        short.see(one, Limits())

    assert (nobody.scenario("x"), short.scenario("x"), RecordedWorld().scenario("x")) == (None, None, None)
