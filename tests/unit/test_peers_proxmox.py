"""Proxmox VE's law against vectors worked out by hand; guests of 2 GiB with a minimum of 512 MiB unless said."""

import pytest
from make import GIB, MIB, START_S, guest, snapshot
from peers import numbers_of, play, sizes

from memtide.model.limits import GuestLimits, GuestRule, Limits
from memtide.model.snapshot import Snapshot
from memtide.policy.peers import proxmox
from memtide.policy.peers.common import subjects
from memtide.policy.peers.proxmox import Proxmox, goal_bytes, targets_for

FLOOR = GuestLimits(floor_bytes=512 * MIB, floor_ratio=0.0)
ROOMY = {"unused_bytes": 200 * MIB}
PRESSED = {"unused_bytes": 100 * MIB}
"""Around a quarter of the minimum, 128 MiB."""


def wanted(goal_mib: int, *kinds: dict[str, object], rules: tuple[GuestRule, ...] = ()) -> dict[str, float]:
    """Return the sizes in MiB that this goal makes of guests a, b and c."""
    values = {"maximum_bytes": 2 * GIB, "current_bytes": GIB, **ROOMY}
    guests = [guest(name, **values | kind) for name, kind in zip("abc", kinds, strict=False)]
    able, _ = subjects(snapshot(*guests), Limits(defaults=FLOOR, rules=rules))
    return {uuid.removeprefix("uuid-"): size / MIB for uuid, size in targets_for(able, goal_mib * MIB).items()}


def test_constants_are_those_of_pvestatd() -> None:
    """AutoBalloon.pm and pvestatd.pm."""
    assert (proxmox.PERIOD_S, proxmox.TARGET_PERCENT, proxmox.DEFAULT_SHARES) == (10.0, 80, 1000)
    assert (proxmox.MAX_CHANGE_BYTES, proxmox.LEAST_GOAL_BYTES) == (100 * MIB, 10 * MIB)
    assert proxmox.COMFORTABLE_RATIO == 0.25


@pytest.mark.parametrize(
    ("available_gib", "percent", "goal_gib"),
    # 16 GiB * 0.8 = 12.8; used = 16 - available
    [(8, 80, 4.8), (3.2, 80, 0.0), (1, 80, -2.2), (1, 90, -0.6)],
)
def test_goal_by_hand(available_gib: float, percent: int, goal_gib: float) -> None:
    """What is left to the target, or over it."""
    goal = goal_bytes(16 * GIB, int(available_gib * GIB), percent)

    assert goal == pytest.approx(goal_gib * GIB, abs=2)


@pytest.mark.parametrize("goal_mib", [-10, 0, 10])
def test_small_goals_are_left_alone(goal_mib: int) -> None:
    """Up to 10 MiB either way."""
    assert wanted(goal_mib, {}, {}) == {}


@pytest.mark.parametrize(
    ("goal_mib", "kinds", "expected"),
    [
        # both comfortable: each should be at 512 + (1024 - 100) / 2 = 974
        (-100, [{}, {}], {"a": 974, "b": 974}),
        # a step is 100 MiB at most
        (-1000, [{}, {}], {"a": 924, "b": 924}),
        # the pressed one is spared: a alone, 512 + 512 - 60
        (-60, [{}, PRESSED], {"a": 964}),
        # without comfortable guests the pressed ones are cut
        (-60, [PRESSED, PRESSED], {"a": 994, "b": 994}),
        # a comfortable guest at its minimum cannot give; then all are asked: (0 + 512 - 60) / 2 = 226 above the
        # minimum each, to which b moves by 100 and a cannot in a shrink; the rest of 60 - 100 = +40 goes on in b alone
        # (512 - 100 + 40 = 452 above), and ends there
        (-60, [{"current_bytes": 512 * MIB}, PRESSED], {"b": 964}),
        # grow: the pressed one first
        (60, [{}, PRESSED], {"b": 1084}),
        # nobody pressed: all
        (60, [{}, {}], {"a": 1054, "b": 1054}),
        # never above the maximum: a is full and drops out, what it does not take goes to b
        (80, [{"current_bytes": 2 * GIB, **PRESSED}, PRESSED], {"a": 1948, "b": 1124}),
        # under its minimum a guest is pressed whatever it has free, and grows
        (60, [{"current_bytes": 412 * MIB}], {"a": 472 + 40}),
    ],
)
def test_sizes_by_hand(goal_mib: int, kinds: list[dict[str, object]], expected: dict[str, float]) -> None:
    """Who moves, and how far."""
    assert wanted(goal_mib, *kinds) == {name: pytest.approx(size, abs=0.01) for name, size in expected.items()}


def test_shares_move_memory_even_while_the_host_has_room() -> None:
    """Shares 3000 and 1000 of 1024 + 20 above the minimum: 783 and 261; a step is 100."""
    rules = (GuestRule(match="a", weight=3.0),)

    assert wanted(20, {}, {}, rules=rules) == {"a": pytest.approx(1124), "b": pytest.approx(924)}


@pytest.mark.parametrize("rule", [{"weight": 0.0}, {"floor_bytes": 0}, {"manage": False}])
def test_who_is_left_alone(rule: dict[str, object]) -> None:
    """Shares of 0, no minimum, or hands off by the settings."""
    limits = Limits(defaults=FLOOR, rules=(GuestRule(match="a", **rule),))

    assert sizes(play(Proxmox(), world(0.0), limits=limits)[1]) == {}


def world(after_s: float, **kind: object) -> Snapshot:
    """Return one guest on a host that is 92 % used."""
    values = {"maximum_bytes": 2 * GIB, "current_bytes": GIB, **ROOMY} | kind
    return snapshot(guest("a", at_s=START_S + after_s, **values), at_s=START_S + after_s, available_bytes=1280 * MIB)


def test_it_acts_every_ten_seconds_from_the_start() -> None:
    """The loop of pvestatd, whatever the daemon's period."""
    seen = [world(2.0 * i) for i in range(11)]

    acted = [s.taken_at_s - START_S for i, s in enumerate(seen) if sizes(play(Proxmox(), *seen[: i + 1])[1])]

    assert acted == [0.0, 10.0, 20.0]


@pytest.mark.parametrize("report", [{"unused_bytes": None}, {"reported": False}])
def test_a_guest_that_says_nothing_counts_as_pressed(report: dict[str, object]) -> None:
    """It is cut all the same when nobody else can give."""
    assert sizes(play(Proxmox(), world(0.0, **report))[1]) == {"a": GIB - 100 * MIB}


def test_the_target_is_a_parameter_and_in_the_reason() -> None:
    """At 95 % the same host has room: 16 * 0.95 - 14.75 = 0.45 GiB."""
    _, decision = play(Proxmox(95, "proxmox-95"), world(0.0))

    assert sizes(decision) == {"a": GIB + 100 * MIB}
    numbers = numbers_of(decision, "a")
    assert (numbers["law"], numbers["shares"]) == ("proxmox-95", 1000)
    assert numbers["goal_bytes"] == pytest.approx(0.45 * GIB, abs=1)


def test_a_guest_at_its_size_is_not_asked() -> None:
    """A size that is what it has is no action."""
    limits = Limits(defaults=GuestLimits(floor_bytes=GIB, floor_ratio=0.0))

    assert sizes(play(Proxmox(), world(0.0), limits=limits)[1]) == {}
