"""The law on a simulated host to which anything may happen: guests come, go, hang, lie, boot, and want anything.

Hypothesis writes the story and shortens it when something breaks. After every tick of the law it is checked that no
guest was asked below its floor or above its maximum, that nobody out of bounds was touched, that nothing was taken on
stale figures, that every action says why with its numbers, that the world's sums are kept, and that nobody was killed
for want of memory while all needs fitted.
"""

from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memtide.model.action import SetMemory
from memtide.model.decision import PERIOD_SHARE, Decision
from memtide.model.guest import GuestState, Reported
from memtide.model.limits import GuestLimits, GuestRule, Limits, Mode
from memtide.model.reason import ReasonCode
from memtide.model.snapshot import Snapshot
from memtide.policy.eligibility import guest_limits
from memtide.policy.tide import Tide
from memtide.sim.act import apply
from memtide.sim.behaviours import Babbling, Behaviour, Hung, Lying, Migrating, Silent, Slow, Stuck
from memtide.sim.curve import Course, flat
from memtide.sim.guest import SimGuest
from memtide.sim.observe import observe_guests, observe_host
from memtide.sim.spec import GuestSpec, HostSpec
from memtide.sim.world import World
from memtide.units import GIB, MIB

NAMES: Final = "abcdef"
U64: Final = st.integers(0, 2**64 - 1)
WHOLE_BYTES: Final = 3 * GIB
SPARE_BYTES: Final = GIB
"""With so much beside what all want, nobody need be killed: the reserve, the kernel's own, and a cushion each."""
HANDS_OFF: Final = {ReasonCode.EXEMPT, ReasonCode.NOT_RUNNING, ReasonCode.NO_BALLOON, ReasonCode.BUSY}
NO_NUMBERS_NEEDED: Final = {ReasonCode.STUCK}
ALWAYS: Final = 1e9

BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "good": Behaviour(),
    "stuck": Stuck(),
    "slow": Slow(bps=2 * MIB),
    "silent": Silent(),
    "hung": Hung(from_s=0, to_s=ALWAYS),
    "babbling": Babbling(seed=1),
    "says it is empty": Lying(figures={"usable_bytes": 2**40, "total_bytes": 2**40}),
    "says it is full": Lying(figures={"usable_bytes": 0}),
    "migrating": Migrating(at_s=0, takes_s=ALWAYS),
}


class Story(RuleBasedStateMachine):
    """A host's day."""

    @initialize(mode=st.sampled_from(Mode), floor_mib=st.sampled_from([0, 200, 500]), swap=st.sampled_from([0, GIB]))
    def begin(self, mode: Mode, floor_mib: int, swap: int) -> None:
        """Set up a host with three guests that have run for long, and have touched more than they use."""
        self.world = World(HostSpec(total_bytes=WHOLE_BYTES, swap_bytes=swap))
        floor = GuestLimits(floor_bytes=floor_mib * MIB)
        exempt = GuestRule(match="f", manage=False)
        self.limits = Limits(mode=mode, boot_grace_s=10.0, defaults=floor, rules=(exempt,))
        self.law = Tide()
        self.state: Any = self.law.initial()
        self.seen: Snapshot | None = None
        self.decision: Decision | None = None
        self.always_fitted = True
        for name in NAMES[:3]:
            spec = GuestSpec(name=name, anonymous=flat(100 * MIB), freed_bytes=500 * MIB, swap_bytes=512 * MIB)
            self.world.add(spec, started_ago_s=3600.0)

    # --- what may happen ------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES), wants_mib=st.integers(0, 900), freed_mib=st.sampled_from([0, 300]),
        swap=st.sampled_from([0, 512 * MIB]), deflates=st.booleans(), period_s=st.sampled_from([None, 1, 5]),
        lag_s=st.sampled_from([0.0, 2.0]),
    )  # fmt: skip
    def start(self, name: str, wants_mib: int, freed_mib: int, swap: int, **built: Any) -> None:
        """Start a guest, unless it runs or there is no memory for it."""
        running = {guest.spec.name for guest in self.world.guests.values()}
        held_mib = wants_mib + min(freed_mib, 900 - wants_mib)
        if name in running or self.world.memory.available_bytes < (held_mib + 200) * MIB:
            return
        spec = GuestSpec(
            name=name, anonymous=flat(wants_mib * MIB), freed_bytes=(held_mib - wants_mib) * MIB,
            swap_bytes=swap, deflates_on_oom=built["deflates"], stats_period_s=built["period_s"],
            stats_lag_s=built["lag_s"],
        )  # fmt: skip
        self.world.add(spec)
        self.always_fitted &= self._fits()

    @rule(which=st.integers(0, 5))
    def stop(self, which: int) -> None:
        """Shut a guest down."""
        if guest := self._guest(which):
            self.world.remove(guest.spec.name)

    @rule(which=st.integers(0, 5))
    def reboot(self, which: int) -> None:
        """Reset a guest: it is empty and whole again, and its QEMU keeps the target."""
        if guest := self._guest(which):
            guest.memory.reset()
            guest.since_s = self.world.now_s
            guest.memory.quiet_until_s = 0.0

    @rule(which=st.integers(0, 5), wants_mib=st.integers(0, 900))
    def want(self, which: int, wants_mib: int) -> None:
        """Let a guest's programs want more or less from now on."""
        if guest := self._guest(which):
            curve = flat(wants_mib * MIB)
            guest.spec = msgspec.structs.replace(guest.spec, anonymous=curve)
            guest._anonymous = Course(curve)
            guest.memory.quiet_until_s = 0.0
            self.always_fitted &= self._fits()

    @rule(which=st.integers(0, 5), how=st.sampled_from(sorted(BEHAVIOURS)))
    def behave(self, which: int, how: str) -> None:
        """Let a guest behave in another way."""
        if guest := self._guest(which):
            guest.spec = msgspec.structs.replace(guest.spec, behaviour=BEHAVIOURS[how])
            guest.memory.quiet_until_s = 0.0
            if how not in {"good", "slow"}:
                # whoever neither gives nor tells the truth may leave others without
                self.always_fitted = False

    @rule(which=st.integers(0, 5), figures=st.fixed_dictionaries({"usable_bytes": U64, "total_bytes": U64}))
    def lie(self, which: int, figures: dict[str, int]) -> None:
        """Let a guest say anything that a u64 can hold, past libvirt's own checks."""
        if guest := self._guest(which):
            said = {"updated_at_s": float(int(self.world.now_s))} | figures
            guest.reports.latest = Reported(**said)
            self.always_fitted = False

    @rule(size_mib=st.sampled_from([0, 500, 2000]))
    def reserve_huge_pages(self, size_mib: int) -> None:
        """Somebody reserves huge pages."""
        self.world.set_huge_pages(size_mib * MIB)
        self.always_fitted = self.always_fitted and not size_mib

    @rule(which=st.integers(0, 5), size_mib=st.integers(100, 1024))
    def set_by_hand(self, which: int, size_mib: int) -> None:
        """Somebody sets a guest's size past the daemon."""
        if guest := self._guest(which):
            guest.target_bytes = size_mib * MIB
            self.always_fitted = False

    @rule()
    def restart(self) -> None:
        """The daemon is killed and starts again."""
        self.state = self.law.initial()

    @rule(ticks=st.integers(1, 8))
    def live(self, ticks: int) -> None:
        """Let time pass, and the law look as often as it is due."""
        for _ in range(ticks):
            self._tick()
            self.check_decision()
            assert self.decision is not None
            self.world.advance(self.limits.period_s * PERIOD_SHARE[self.decision.state])

    @precondition(lambda self: len(self.world.guests) > 1)
    @rule()
    def rest(self) -> None:
        """A quarter of a minute in which nobody does anything."""
        self.live(15)

    # --- what must hold -------------------------------------------------------------------------------------

    def check_decision(self) -> None:
        """Check one decision against what it was made from."""
        assert self.seen is not None
        assert self.decision is not None
        guests = {guest.uuid: guest for guest in self.seen.guests}
        verdicts = {verdict.uuid: verdict for verdict in self.decision.verdicts}
        assert set(verdicts) == set(guests) | {absent.uuid for absent in self.seen.absent}
        for action in self.decision.actions:
            assert action.reason.numbers or action.reason.code in NO_NUMBERS_NEEDED
            if not isinstance(action, SetMemory):
                continue
            guest, observed = guests[action.uuid], guests[action.uuid].observed
            limits = guest_limits(guest, self.limits)
            assert limits.manage
            assert guest.state is GuestState.RUNNING
            assert guest.traits.has_balloon
            assert guest.busy is None
            assert 0 < action.to_bytes <= observed.maximum_bytes
            if action.to_bytes < observed.current_bytes:
                assert action.to_bytes >= limits.floor_for(observed.maximum_bytes)
                assert guest.reported is not None
                assert abs(guest.reported.updated_at_s - self.seen.taken_at_s) <= max(
                    10.0, 3.0 * (guest.traits.stats_period_s or 0)
                )
                assert self.seen.taken_at_s - (guest.since_s or 0.0) >= self.limits.boot_grace_s

    @invariant()
    def sums_are_kept(self) -> None:
        """What is resident on the host is what its guests hold, and no guest holds more than it has."""
        memory = self.world.memory
        assert memory.resident_bytes == sum(guest.memory.rss_bytes for guest in self.world.guests.values())
        assert memory.swapped_bytes == sum(guest.memory.host_swapped_bytes for guest in self.world.guests.values())
        assert all(guest.memory.free_bytes >= 0 for guest in self.world.guests.values())
        assert memory.free_bytes >= 0

    @invariant()
    def nobody_is_killed_while_needs_fit(self) -> None:
        """The host never runs out of memory while what all guests want fits with a gigabyte to spare."""
        assert self.world.oom_kills_total == 0 or not self.always_fitted

    # --- how ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        sample = observe_guests(self.world)
        self.seen = Snapshot(
            taken_at_s=self.world.now_s, host=observe_host(self.world), guests=sample.guests, absent=sample.absent
        )
        self.state, self.decision = self.law.decide(self.state, self.seen, self.limits)
        for action in self.decision.actions:
            reply = apply(self.world, action)
            self.state = self.law.answered(self.state, action, reply)

    def _guest(self, which: int) -> SimGuest | None:
        guests = list(self.world.guests.values())
        return guests[which % len(guests)] if guests else None

    def _fits(self) -> bool:
        """Say whether what all guests want, their kernels and QEMU included, fits well."""
        needed_bytes = sum(
            guest.spec.anonymous.at(self.world.elapsed_s) + guest.spec.kernel_bytes + guest.spec.overhead_bytes
            for guest in self.world.guests.values()
        )
        return needed_bytes <= WHOLE_BYTES - SPARE_BYTES


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
