"""Simulated guests as memtide sees them: their reports, and how badly they can behave."""

import pytest

from memtide.errors import MemtideError
from memtide.model.action import Reply, Result, SetMemory, SetStatsPeriod
from memtide.model.guest import Guest
from memtide.model.reason import Reason, ReasonCode
from memtide.model.record import Event
from memtide.sim.act import apply
from memtide.sim.behaviours import (
    Babbling,
    Behaviour,
    Driverless,
    Hung,
    Intermittent,
    Lying,
    Migrating,
    Rebooting,
    Silent,
    Slow,
    Stuck,
    Uncounted,
    Vanishing,
)
from memtide.sim.curve import flat
from memtide.sim.observe import observe_guests
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

BECAUSE = Reason(code=ReasonCode.OPERATOR)


def world(*guests: GuestSpec) -> World:
    """Return a roomy host with these guests."""
    return World(HostSpec(total_bytes=16 * GIB), guests)


def one(behaviour: Behaviour) -> World:
    """Return a world with one guest, ``a``, that behaves like this."""
    return world(GuestSpec(name="a", anonymous=flat(100 * MIB), freed_bytes=500 * MIB, behaviour=behaviour))


def seen(simulated: World) -> Guest:
    """Return the world's only guest as memtide sees it."""
    (guest,) = observe_guests(simulated).guests
    return guest


def set_memory(simulated: World, to_bytes: int, name: str = "a") -> Reply:
    """Ask one guest for a size."""
    uuid = next((uuid for uuid, guest in simulated.guests.items() if guest.spec.name == name), "nobody")
    return apply(simulated, SetMemory(uuid=uuid, name=name, from_bytes=0, to_bytes=to_bytes, reason=BECAUSE))


# --- reports ----------------------------------------------------------------------------------------------------


def test_a_sample_is_torn_while_memory_moves() -> None:
    """Current memory is of now, all else of the last report: their difference is nonsense for a while."""
    simulated = world(GuestSpec(name="a", freed_bytes=500 * MIB, stats_period_s=5))
    simulated.advance(5.1)
    set_memory(simulated, 400 * MIB)
    simulated.advance(2)

    guest = seen(simulated)
    assert guest.observed.current_bytes == 400 * MIB
    assert guest.reported is not None
    assert guest.reported.total_bytes == GIB - 40 * MIB
    assert guest.reported.updated_at_s < simulated.now_s - 1

    simulated.advance(5)
    guest = seen(simulated)
    assert guest.reported is not None
    assert guest.reported.total_bytes == 400 * MIB - 40 * MIB


def test_reports_come_every_period_and_late_by_the_lag() -> None:
    """With a period of 2 s and a lag of 3 s a report is never younger than 3 s nor older than 6 (whole seconds)."""
    simulated = world(GuestSpec(name="a", stats_period_s=2, stats_lag_s=3))
    simulated.advance(5)
    ages_s = []
    for _ in range(100):
        simulated.advance(0.1)
        reported = seen(simulated).reported
        assert reported is not None
        ages_s.append(simulated.now_s - reported.updated_at_s)

    assert min(ages_s) >= 3 - 0.01
    assert 4 < max(ages_s) <= 6.01
    assert len({round(simulated.now_s - age_s) for age_s in ages_s}) > 1


def test_without_a_stats_period_there_is_only_the_report_of_the_start() -> None:
    """A driver reports once when it comes up; again only after the period was set, and no more after it is 0."""
    simulated = world(GuestSpec(name="a", stats_period_s=None))
    simulated.advance(10)
    old = seen(simulated).reported
    assert old is not None
    assert old.updated_at_s == simulated.start_s - 3600

    uuid = seen(simulated).uuid
    period = SetStatsPeriod(uuid=uuid, name="a", from_s=None, to_s=2, reason=BECAUSE)
    assert apply(simulated, period).result is Result.DONE
    simulated.advance(2)
    assert seen(simulated).traits.stats_period_s == 2
    new = seen(simulated).reported
    assert new is not None
    assert new.updated_at_s == simulated.now_s

    off = SetStatsPeriod(uuid=uuid, name="a", from_s=2, to_s=0, reason=BECAUSE)
    assert apply(simulated, off).result is Result.DONE
    simulated.advance(10)
    assert seen(simulated).traits.stats_period_s is None
    assert seen(simulated).reported == new


def test_some_reports_are_lost_and_some_come_later_by_chance() -> None:
    """With a loss of a half every second report is missing, about; the same seed loses the same ones."""

    def ages_s(seed: int, **chance: float) -> list[float]:
        guest = GuestSpec(name="a", stats_period_s=1, **chance)
        simulated = World(HostSpec(total_bytes=16 * GIB), (guest,), seed=seed)
        found = []
        for _ in range(200):
            simulated.advance(1)
            reported = seen(simulated).reported
            assert reported is not None
            found.append(round(simulated.now_s - reported.updated_at_s))
        return found

    lossy, late = ages_s(1, stats_loss_ratio=0.5), ages_s(1, stats_jitter_s=3.0)
    assert 60 < sum(age_s == 1 for age_s in lossy) < 140
    assert max(lossy) >= 4
    assert {1, 2, 3} <= set(late) <= {1, 2, 3, 4}
    assert lossy == ages_s(1, stats_loss_ratio=0.5) != ages_s(2, stats_loss_ratio=0.5)


# --- bad guests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Stuck(), Driverless()])
def test_a_stuck_guest_accepts_every_target_and_stays(behaviour: Behaviour) -> None:
    """To libvirt all is well; only the guest's memory does not move."""
    simulated = one(behaviour)

    assert set_memory(simulated, 300 * MIB).result is Result.SENT
    simulated.advance(60)

    assert seen(simulated).observed.current_bytes == GIB


def test_a_slow_guest_moves_at_its_own_speed() -> None:
    """32 MiB/s, as under TCG: ten seconds for what others do in half a one."""
    simulated = world(GuestSpec(name="a", freed_bytes=500 * MIB, shrink_bps=32 * MIB))

    set_memory(simulated, 300 * MIB)
    simulated.advance(10)

    assert seen(simulated).observed.current_bytes == pytest.approx(GIB - 320 * MIB, abs=4 * MIB)


def test_a_crawling_guest_never_stands_still_and_never_arrives() -> None:
    """One page in five seconds: whoever asks "does it move?" is told yes."""
    simulated = one(Slow(bps=4096 // 5))

    set_memory(simulated, 300 * MIB)
    simulated.advance(10)
    early_bytes = seen(simulated).observed.current_bytes
    simulated.advance(60)

    assert GIB - 0.1 * MIB < seen(simulated).observed.current_bytes < early_bytes < GIB


def test_an_intermittent_guest_moves_in_fits() -> None:
    """It works for a second, rests for nine, and so on."""
    simulated = world(GuestSpec(name="a", shrink_bps=64 * MIB, behaviour=Intermittent(works_s=1, rests_s=9)))

    set_memory(simulated, 300 * MIB)
    simulated.advance(2)
    after_fit_bytes = seen(simulated).observed.current_bytes
    simulated.advance(7)

    assert GIB - 70 * MIB < after_fit_bytes < GIB - 50 * MIB
    assert seen(simulated).observed.current_bytes == after_fit_bytes
    simulated.advance(3)
    assert seen(simulated).observed.current_bytes < after_fit_bytes - 50 * MIB


def test_a_lie_that_fits_is_believed() -> None:
    """Nobody can know that this guest uses more than it says."""
    simulated = one(Lying(figures={"usable_bytes": 900 * MIB}))
    simulated.advance(2)

    reported = seen(simulated).reported
    assert reported is not None
    assert reported.usable_bytes == 900 * MIB


@pytest.mark.parametrize("lie", [{"usable_bytes": 2**64 - 1}, {"total_bytes": 2**63, "usable_bytes": 0}])
def test_a_lie_that_cannot_be_is_no_report(lie: dict[str, int]) -> None:
    """More usable than there is, or more than its maximum: refused with a reason, as the real source does."""
    simulated = one(Lying(figures=lie))
    simulated.advance(2)

    assert seen(simulated).reported is None
    assert "contradicts" in seen(simulated).missing["reported"]


def test_a_guest_whose_figures_are_all_unknown_is_one_without_statistics() -> None:
    """-1 for everything, as Windows says without the balloon's service: refused with a reason; it does shrink."""
    simulated = one(Uncounted())

    set_memory(simulated, 300 * MIB)
    simulated.advance(10)

    assert seen(simulated).observed.current_bytes == 300 * MIB
    assert seen(simulated).reported is None
    assert seen(simulated).missing["reported"]


def test_a_babbling_guest_says_something_else_every_time() -> None:
    """Figures up to 64 bits, true ones among them; asked twice at one moment it says the same."""
    simulated = one(Babbling(seed=5))
    guest = simulated.guest("a")

    said = [guest.figures(float(at_s)) for at_s in range(100)]

    assert said == [guest.figures(float(at_s)) for at_s in range(100)]
    figures = {report.usable_bytes for report in said if report is not None}
    assert len(figures) > 30
    assert max(figures) > 2**60


def test_a_silent_guest_shrinks_and_says_nothing() -> None:
    """A driver without statistics: it moves, but nobody knows what it needs."""
    simulated = one(Silent())

    set_memory(simulated, 300 * MIB)
    simulated.advance(10)

    assert seen(simulated).observed.current_bytes == 300 * MIB
    assert seen(simulated).reported is None
    assert seen(simulated).missing["reported"]


def test_a_vanishing_guest_gives_all_its_memory_back_and_is_told_of() -> None:
    """Gone is gone: not in the sample, not absent, refused when asked, and an event says so."""
    simulated = one(Vanishing(at_s=5))
    events: list[Event] = []
    simulated.notify = events.append
    before_bytes = simulated.memory.free_bytes
    guest = simulated.guest("a")
    simulated.advance(4)
    assert observe_guests(simulated).guests

    simulated.advance(2)

    assert observe_guests(simulated).guests == observe_guests(simulated).absent == ()
    assert simulated.memory.free_bytes == before_bytes + guest.memory.rss_bytes
    assert set_memory(simulated, GIB).result is Result.REFUSED
    assert [(event.code, event.guest) for event in events] == [("guest-stopped", "a")]


def test_a_migrating_guest_is_busy_and_then_gone() -> None:
    """Hands off while it moves house; afterwards the host has its memory back."""
    simulated = one(Migrating(at_s=5, takes_s=10))
    simulated.advance(4)
    assert seen(simulated).busy is None

    simulated.advance(2)
    assert seen(simulated).busy == "migrating"

    simulated.advance(10)
    assert simulated.guests == {}
    assert simulated.memory.resident_bytes == 0


def test_a_guest_can_come_later_and_begins_empty() -> None:
    """It is not there before its time, is young then, and fills at the speed its programs touch memory."""
    late = GuestSpec(name="late", start_at_s=5, anonymous=flat(600 * MIB), touch_bps=100 * MIB)
    simulated = world(GuestSpec(name="a"), late)
    simulated.advance(4.5)
    assert [guest.name for guest in observe_guests(simulated).guests] == ["a"]

    simulated.advance(2)
    guest = simulated.guest("late")
    assert guest.since_s == pytest.approx(simulated.start_s + 5)
    assert 100 * MIB < guest.memory.anonymous_bytes < 250 * MIB

    simulated.advance(10)
    assert guest.memory.anonymous_bytes == 600 * MIB


def test_a_guest_that_the_host_has_no_room_for_starts_when_there_is() -> None:
    """It waits for another one to go."""
    big = GuestSpec(name="big", anonymous=flat(900 * MIB), behaviour=Vanishing(at_s=20))
    simulated = World(HostSpec(total_bytes=int(1.55 * GIB)), (big, GuestSpec(name="late", start_at_s=5)))
    simulated.advance(19)
    assert [guest.spec.name for guest in simulated.guests.values()] == ["big"]

    simulated.advance(2)
    assert [guest.spec.name for guest in simulated.guests.values()] == ["late"]


def test_a_rebooting_guest_has_all_its_memory_while_it_boots_and_then_goes_for_its_target() -> None:
    """The balloon is empty after a reset; QEMU keeps the target, and what was touched stays resident."""
    simulated = one(Rebooting(at_s=20, boot_s=8))
    events: list[Event] = []
    simulated.notify = events.append
    set_memory(simulated, 400 * MIB)
    simulated.advance(19)
    last = seen(simulated).reported
    assert seen(simulated).observed.current_bytes == 400 * MIB

    simulated.advance(5)
    booting = seen(simulated)
    simulated.advance(10)

    assert booting.observed.current_bytes == GIB
    assert booting.reported is not None
    assert last is not None
    assert booting.reported.updated_at_s <= last.updated_at_s + 1
    assert booting.since_s == pytest.approx(simulated.start_s + 20)
    assert seen(simulated).observed.current_bytes == 400 * MIB
    assert [event.code for event in events] == ["guest-rebooted"]


def test_a_hung_guest_is_absent_and_does_not_answer() -> None:
    """It is known but unknown how it is; afterwards it goes on where it was."""
    simulated = world(
        GuestSpec(name="a", freed_bytes=500 * MIB, behaviour=Hung(from_s=2, to_s=10)), GuestSpec(name="b")
    )
    simulated.advance(5)

    sample = observe_guests(simulated)
    assert [guest.name for guest in sample.guests] == ["b"]
    assert [(absent.name, bool(absent.reason)) for absent in sample.absent] == [("a", True)]
    assert set_memory(simulated, 300 * MIB).result is Result.NO_ANSWER

    simulated.advance(10)
    assert [guest.observed.current_bytes for guest in observe_guests(simulated).guests] == [GIB, GIB]


def test_a_guest_without_a_balloon_refuses() -> None:
    """No device, no change, and the reply says why."""
    simulated = world(GuestSpec(name="a", has_balloon=False, stats_period_s=None))

    reply = set_memory(simulated, 300 * MIB)

    assert reply.result is Result.REFUSED
    assert "balloon" in reply.detail
    assert "balloon" in seen(simulated).missing["reported"]


@pytest.mark.parametrize("to_bytes", [0, GIB + 4096])
def test_a_size_that_cannot_be_is_refused(to_bytes: int) -> None:
    """Nothing, or more than the maximum."""
    assert set_memory(one(Behaviour()), to_bytes).result is Result.REFUSED


# --- the world's own refusals -----------------------------------------------------------------------------------


def test_two_guests_of_one_name_and_a_guest_nobody_knows_are_errors() -> None:
    """A scenario with a slip in it says so."""
    simulated = one(Behaviour())

    with pytest.raises(MemtideError, match="already"):
        simulated.add(GuestSpec(name="a"))
    with pytest.raises(MemtideError, match="no guest 'b'"):
        simulated.guest("b")


def test_a_host_without_room_starts_no_guest() -> None:
    """Not even its kernel and QEMU fit; with swap, room is made."""
    full = GuestSpec(name="a", maximum_bytes=4 * GIB, freed_bytes=4 * GIB)
    with pytest.raises(MemtideError, match="no memory left"):
        World(HostSpec(total_bytes=2 * GIB), (full, GuestSpec(name="b")))

    simulated = World(HostSpec(total_bytes=2 * GIB, swap_bytes=GIB), (full, GuestSpec(name="b")))
    assert simulated.memory.swapped_bytes > 0


def test_a_guest_added_later_is_young() -> None:
    """Those of the beginning are out of boot grace; one that starts now is not."""
    simulated = one(Behaviour())
    simulated.advance(10)
    simulated.add(GuestSpec(name="b"))

    since_s = {guest.name: guest.since_s for guest in observe_guests(simulated).guests}
    assert since_s == {"a": simulated.start_s - 3600, "b": simulated.now_s}
