"""squeezed's law against vectors worked out by hand. Guests of 1 GiB, minimum 256 MiB."""

from typing import Any

import msgspec
import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import numbers_of, play, sizes

from memtide.model.decision import Decision
from memtide.model.guest import Observed
from memtide.model.limits import GuestLimits, Limits
from memtide.model.snapshot import Absent, Snapshot
from memtide.policy.peers import squeezed
from memtide.policy.peers.common import subjects
from memtide.policy.peers.pool import Pool
from memtide.policy.peers.squeezed import Squeezed, SqueezedState, targets_for

LIMITS = Limits(defaults=GuestLimits(floor_bytes=256 * MIB, floor_ratio=0.0))
INACCURATE_MIB = 2 * 4 / 1024


def test_constants_are_those_of_squeeze_and_squeeze_xen() -> None:
    """squeeze.ml, squeeze_xen.ml."""
    assert squeezed.HOST_FREE_BYTES == 72 * MIB
    assert squeezed.INACCURACY_BYTES == 4096
    assert (squeezed.STUCK_AFTER_S, squeezed.CHECK_PERIOD_S, squeezed.STEP_PERIOD_S) == (5.0, 10.0, 1.0)


@pytest.mark.parametrize(
    ("free_mib", "current_mib", "expected_mib"),
    [
        # surplus = 0 + 768 + 256 - 72 = 952 of 1536 between: gamma = 0.61979, T = 256 + 476
        (0, (1024, 512), (732, 732)),
        # enough for all
        (2000, (512, 512), (1024, 1024)),
        # not even the minimum: surplus clamps at 0
        (-2000, (1024, 1024), (256, 256)),
        # a guest under its minimum gives nothing: 100 + 0 + 256 - 72 = 284, half each
        (100, (200, 512), (398, 398)),
    ],
)
def test_targets_by_hand(free_mib: int, current_mib: tuple[int, ...], expected_mib: tuple[int, ...]) -> None:
    """Everybody at the same relative place."""
    guests = [guest(n, current_bytes=size * MIB) for n, size in zip("ab", current_mib, strict=True)]
    able, _ = subjects(snapshot(*guests), LIMITS)

    found = targets_for(able, free_mib * MIB)

    assert [size / MIB for size in found.values()] == pytest.approx(expected_mib, abs=INACCURATE_MIB)


def test_guests_that_cannot_vary_stay() -> None:
    """Minimum and maximum the same: no range to share."""
    able, _ = subjects(snapshot(guest()), Limits(defaults=GuestLimits(floor_ratio=1.0)))

    assert targets_for(able, 0) == {"uuid-a": GIB}


class Xen:
    """A host of 2 GiB that gives guests exactly what they are assigned; stuck ones do not follow."""

    def __init__(self, stuck: str = "", **sizes_mib: int) -> None:
        self.law, self.state = Squeezed(), SqueezedState()
        self.sizes = {name: size * MIB for name, size in sizes_mib.items()}
        self.stuck = stuck
        self.now_s = 0.0

    def tick(self, seconds: float = 1.0) -> Decision:
        """Return what is decided now; then time passes and the guests are where they were asked to be."""
        seen = self._seen()
        self.state, decision = self.law.decide(self.state, seen, LIMITS)
        self.now_s += seconds
        self.sizes |= {n: s for n, s in sizes(decision).items() if n not in self.stuck}
        return decision

    def _seen(self) -> Snapshot:
        at_s = START_S + self.now_s
        guests = [guest(n, at_s=at_s, current_bytes=s, resident_bytes=s) for n, s in self.sizes.items()]
        total = 2048 * MIB
        used = sum(size + 64 * MIB for size in self.sizes.values())
        return snapshot(*guests, at_s=at_s, available_bytes=max(0, total - used), total_bytes=total)


def in_mib(decision: Decision) -> dict[str, Any]:
    """Return the sizes asked for in MiB."""
    return {name: pytest.approx(size / MIB, abs=0.1) for name, size in sizes(decision).items()}


def test_memory_is_freed_before_it_is_given() -> None:
    """2048 less 3 * 64 for QEMUs: surplus 56 + 544 + 544 - 72 = 1072, T = 256 + 1072 / 3; b waits for a and c."""
    host = Xen(a=800, b=200, c=800)

    assert in_mib(host.tick()) == {"a": 613.3, "c": 613.3}
    assert in_mib(host.tick()) == {"b": 613.3}


def test_at_rest_it_looks_every_ten_seconds_only() -> None:
    """Balanced, nothing is asked; a change of the host is answered at the next look."""
    host = Xen(a=800, b=200, c=800)
    for _ in range(4):
        host.tick()
    host.sizes["d"] = 256 * MIB

    asked = [bool(sizes(host.tick(2.0))) for _ in range(6)]

    assert asked.index(True) * 2.0 >= 6.0


def test_a_stuck_guest_is_left_out_after_five_seconds() -> None:
    """Surplus -44 + 1132 - 72 for three; when b has not moved for more than 5 s, 161 + 383 - 72 for the other two."""
    host = Xen(stuck="b", a=800, b=800, c=300)

    assert in_mib(host.tick()) == {"a": 594.7, "b": 594.7}
    assert [sizes(host.tick()) for _ in range(5)] == [{}] * 5
    assert in_mib(host.tick()) == {"a": 492.0}
    assert in_mib(host.tick()) == {"c": 492.0}
    # the next look begins anew, with b in it: what it was asked for is still right, so nobody is asked
    assert [sizes(host.tick()) for _ in range(15)] == [{}] * 15
    assert host.sizes["b"] == 800 * MIB


def test_a_guest_that_moves_again_is_active_again() -> None:
    """Any step towards its target is progress."""
    host = Xen(stuck="b", a=800, b=800, c=100)
    for _ in range(7):
        host.tick()
    assert host.state.watches["uuid-b"].stuck

    host.sizes["b"] -= 20 * MIB
    host.tick()

    assert not host.state.watches["uuid-b"].stuck


def test_the_pool_is_what_nobody_was_assigned() -> None:
    """A guest that never touched its memory has it all the same."""
    seen = snapshot(guest("a", resident_bytes=100 * MIB), available_bytes=15 * GIB, total_bytes=16 * GIB)

    state, decision = play(Squeezed(), seen, limits=LIMITS)

    own_bytes = 16 * GIB - 15 * GIB - (100 + 64) * MIB  # 860 MiB, in whole steps 896
    assert own_bytes == 860 * MIB
    assert state.pool == Pool(sizes={"uuid-a": GIB}, own_bytes=896 * MIB, total_bytes=16 * GIB)
    assert decision.budget.available_bytes == 16 * GIB - 896 * MIB - GIB - 64 * MIB
    assert numbers_of(decision, "a")["wanted_bytes"] == GIB


def test_the_hosts_own_share_moves_in_steps() -> None:
    """A little more or less use of the host moves no guest."""
    law, state = Squeezed(), SqueezedState()
    own_mib = []
    for used_mib in (100, 128, 130, 10, 0, 300):
        seen = snapshot(guest("a", resident_bytes=100 * MIB), available_bytes=16 * GIB - (used_mib + 164) * MIB)
        state, _ = law.decide(state, seen, LIMITS)
        own_mib.append(state.pool.own_bytes // MIB)

    assert own_mib == [128, 128, 256, 256, 256, 384]


def test_what_is_unknown_leaves_the_hosts_share_as_it_was() -> None:
    """Without every guest's cost the host's own use cannot be told; absent guests keep what they had."""
    law, state = Squeezed(), SqueezedState()
    known = snapshot(guest("a", resident_bytes=0), guest("b", resident_bytes=0), available_bytes=15 * GIB)
    state, _ = law.decide(state, known, LIMITS)
    blind = msgspec.structs.replace(guest("a"), observed=Observed(maximum_bytes=GIB, current_bytes=GIB))
    unknown = msgspec.structs.replace(
        known, guests=(blind,), absent=(Absent(uuid="uuid-b", name="b", reason="hung"), Absent(
            uuid="uuid-c", name="c", reason="hung"))
    )  # fmt: skip

    after, _ = law.decide(state, unknown, LIMITS)
    gone, _ = law.decide(state, msgspec.structs.replace(known, guests=(blind,)), LIMITS)

    assert after.pool == state.pool
    assert gone.pool == Pool(sizes={"uuid-a": GIB}, own_bytes=state.pool.own_bytes, total_bytes=16 * GIB)
