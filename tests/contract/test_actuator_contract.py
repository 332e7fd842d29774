"""What the loop may rely on when it asks for a change, whoever carries it out."""

from uuid import UUID

import pytest
from contract.providers import BECAUSE, FREED_BYTES, SIZE_BYTES, Provider

from memtide.model.action import Action, Result, SetKsm, SetMemory, SetStatsPeriod
from memtide.units import MIB

SMALL_BYTES = 200 * MIB
NEAR_BYTES = 4 * MIB
FOLLOWS_S = 30.0
"""Seconds in which a guest has long moved 300 MiB, under TCG on a busy machine as well."""
NOBODY = str(UUID(int=0))
ACCEPTED = {Result.SENT, Result.DONE}


async def test_a_guest_follows_down_and_up(provider: Provider) -> None:
    """The change is accepted at once and arrives soon; so does the way back, up to the maximum."""
    guest = await provider.guest("mute")
    for to_bytes in (SMALL_BYTES, SIZE_BYTES):
        reply = await provider.set_memory(guest, to_bytes)
        assert reply.result in ACCEPTED
        moved = await provider.until(
            "mute", lambda g, to=to_bytes: abs(g.observed.current_bytes - to) <= NEAR_BYTES, limit_s=FOLLOWS_S
        )
        assert moved.observed.current_bytes == pytest.approx(to_bytes, abs=NEAR_BYTES)


async def test_taking_freed_memory_lowers_the_cost_and_raises_what_the_host_has(provider: Provider) -> None:
    """Memory that was touched and freed costs the host until it is taken; then the host has it."""
    before = await provider.until("freed", lambda g: (g.observed.host_cost_bytes or 0) > FREED_BYTES, limit_s=FOLLOWS_S)
    before_bytes = provider.sample_host().memory.available_bytes
    cost_bytes = before.observed.host_cost_bytes
    assert cost_bytes is not None

    assert (await provider.set_memory(before, SMALL_BYTES)).result in ACCEPTED
    lower_bytes = cost_bytes - FREED_BYTES * 2 // 3
    after = await provider.until(
        "freed", lambda g: (g.observed.host_cost_bytes or cost_bytes) < lower_bytes, limit_s=FOLLOWS_S
    )
    # others live on a real host: the gain must show at some time, not at each
    gains_bytes = []
    for _ in range(10):
        gains_bytes.append(provider.sample_host().memory.available_bytes - before_bytes)
        await provider.wait(0.5)

    assert after.observed.host_cost_bytes is not None
    assert after.observed.host_cost_bytes < lower_bytes
    assert max(gains_bytes) > FREED_BYTES // 2


async def test_asking_again_for_the_same_is_no_error(provider: Provider) -> None:
    """Actuators are idempotent."""
    guest = await provider.guest("mute")
    for _ in range(2):
        assert (await provider.set_memory(guest, guest.observed.current_bytes)).result in ACCEPTED


@pytest.mark.parametrize(
    "action",
    [
        SetMemory(uuid=NOBODY, name="nobody", from_bytes=SIZE_BYTES, to_bytes=SMALL_BYTES, reason=BECAUSE),
        SetStatsPeriod(uuid=NOBODY, name="nobody", from_s=None, to_s=1, reason=BECAUSE),
        SetKsm(files={"no_such_setting": "1"}, before={}, reason=BECAUSE),
    ],
    ids=lambda action: type(action).__name__,
)
async def test_what_nobody_knows_is_refused(provider: Provider, action: Action) -> None:
    """An answer with words for people, not an exception."""
    reply = await provider.apply(action)

    assert reply.result is Result.REFUSED
    assert reply.detail


async def test_more_than_the_maximum_is_refused(provider: Provider) -> None:
    """And the guest stays as it is."""
    guest = await provider.guest("mute")

    reply = await provider.set_memory(guest, 2 * SIZE_BYTES)

    assert reply.result is Result.REFUSED
    assert reply.detail
    assert (await provider.guest("mute")).observed.current_bytes == guest.observed.current_bytes


async def test_a_guest_without_a_balloon_refuses(provider: Provider) -> None:
    """There is nothing to take its memory with."""
    reply = await provider.set_memory(await provider.guest("bare"), SMALL_BYTES)

    assert reply.result is Result.REFUSED
    assert reply.detail


async def test_setting_the_stats_period_makes_reports_appear(provider: Provider) -> None:
    """The guest reports from then on, and its traits show the period; switched off, they show none."""
    guest = await provider.guest("mute")
    assert guest.traits.stats_period_s is None
    asked_at_s = provider.clock.now_s()

    assert (await provider.set_period(guest, 1)).result is Result.DONE
    reporting = await provider.until(
        "mute", lambda g: g.reported is not None and g.reported.updated_at_s > asked_at_s, limit_s=15
    )
    assert reporting.reported is not None
    assert reporting.reported.updated_at_s > asked_at_s
    assert reporting.traits.stats_period_s == 1

    assert (await provider.set_period(reporting, 0)).result is Result.DONE
    assert (await provider.guest("mute")).traits.stats_period_s is None


async def test_a_guest_that_hangs_gives_no_answer(provider: Provider) -> None:
    """The call comes back within its deadline, and others are served meanwhile."""
    frail, mute = await provider.guest("frail"), await provider.guest("mute")
    provider.hang("frail")
    try:
        lost = await provider.set_memory(frail, SIZE_BYTES)
        served = await provider.set_memory(mute, SIZE_BYTES)
    finally:
        provider.resume("frail")

    assert lost.result is Result.NO_ANSWER
    assert lost.detail
    assert served.result in ACCEPTED


async def test_ksm_keeps_what_it_has(provider: Provider) -> None:
    """Writing what is there already is done, and can be read back."""
    before = provider.sample_host().ksm
    if before is None:
        pytest.skip("this kernel has no KSM")

    run = str(before.run)
    reply = await provider.apply(SetKsm(files={"run": run}, before={"run": run}, reason=BECAUSE))

    assert reply.result is Result.DONE
    after = provider.sample_host().ksm
    assert after is not None
    assert after.run == before.run
