"""What the loop may rely on when it reads a host and its guests, whoever provides them."""

import time

import pytest
from contract.providers import PERIOD_S, SIZE_BYTES, Provider

from memtide.model.base import Missing
from memtide.units import MIB

SURELY_S = 5.0
"""A deadline of a source is shorter."""


async def test_every_running_guest_is_in_the_sample(provider: Provider) -> None:
    """All that run, each once, nobody absent."""
    sample = await provider.sample()

    assert sorted(guest.name for guest in sample.guests) == sorted(provider.alive)
    assert len({guest.uuid for guest in sample.guests}) == len(sample.guests)
    assert not sample.absent


async def test_sizes_are_plausible(provider: Provider) -> None:
    """Current up to maximum; resident more than nothing and not much more than the guest has; usable within total."""
    await provider.wait(2 * PERIOD_S)
    for guest in (await provider.sample()).guests:
        observed, reported = guest.observed, guest.reported
        assert observed.maximum_bytes == SIZE_BYTES
        assert 0 < observed.current_bytes <= observed.maximum_bytes
        assert observed.host_cost_bytes is not None
        assert 16 * MIB < observed.host_cost_bytes < observed.maximum_bytes + 512 * MIB
        if reported is not None:
            assert 0 < reported.usable_bytes <= reported.total_bytes <= observed.maximum_bytes
            assert reported.unused_bytes is None or reported.unused_bytes <= reported.total_bytes


async def test_the_hosts_figures_are_plausible(provider: Provider) -> None:
    """Free and available within total, swap free within swap, all of the time that was asked for."""
    host = provider.sample_host()
    memory = host.memory

    assert host.taken_at_s == pytest.approx(provider.clock.now_s(), abs=1)
    assert 0 < memory.available_bytes < memory.total_bytes
    assert 0 < memory.free_bytes < memory.total_bytes
    assert 0 <= memory.swap_free_bytes <= memory.swap_total_bytes
    assert memory.huge_pages_free_bytes <= memory.huge_pages_total_bytes < memory.total_bytes
    if host.pressure is not None:
        assert 0 <= host.pressure.some.avg10_ratio <= 1


async def test_unknown_is_none_with_a_reason(provider: Provider) -> None:
    """Whatever is not known of host or guests says why, in words."""

    def unexplained(value: object, missing: Missing, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(value, name) is None and not missing.get(name)]

    host = provider.sample_host()
    host_names = (
        "pressure", "ksm", "swap_in_pages_total", "swap_out_pages_total", "major_faults_total", "oom_kills_total",
        "refaults_total",
    )  # fmt: skip
    assert unexplained(host, host.missing, host_names) == []
    if host.ksm is not None:
        assert unexplained(host.ksm, host.ksm.missing, host.ksm.__struct_fields__) == []
    for guest in (await provider.sample()).guests:
        assert unexplained(guest, guest.missing, ("reported",)) == []
        assert unexplained(guest.observed, guest.missing, guest.observed.__struct_fields__) == []


async def test_who_reports_and_who_does_not(provider: Provider) -> None:
    """With a stats period there are figures; without one at most the driver's first, without a balloon none."""
    early = await provider.guest("mute")
    await provider.wait(2 * PERIOD_S)
    guests = {guest.name: guest for guest in (await provider.sample()).guests}

    assert guests["freed"].reported is not None
    assert guests["freed"].traits.stats_period_s == PERIOD_S
    assert guests["mute"].reported == early.reported
    assert guests["mute"].traits.has_balloon
    assert guests["mute"].traits.stats_period_s is None
    assert guests["bare"].reported is None
    assert not guests["bare"].traits.has_balloon


async def test_reports_are_renewed(provider: Provider) -> None:
    """The time of the last report advances, on the clock's time, and is never of the future."""
    first = (await provider.guest("freed")).reported
    await provider.wait(3 * PERIOD_S)
    second = (await provider.guest("freed")).reported

    assert first is not None
    assert second is not None
    assert second.updated_at_s > first.updated_at_s
    # whole seconds, which QEMU may round up
    assert second.updated_at_s <= provider.clock.now_s() + 1
    assert second.updated_at_s >= provider.clock.now_s() - 4 * PERIOD_S


async def test_a_guest_that_hangs_is_absent_and_hides_nobody(provider: Provider) -> None:
    """Its QEMU stands still: the sample comes in time, has the others, and says who is missing and why."""
    await provider.sample()
    provider.hang("frail")
    try:
        began_s = time.monotonic()
        for _ in range(2):
            sample = await provider.sample()
            assert {guest.name for guest in sample.guests} >= provider.alive - {"frail"}
        took_s = time.monotonic() - began_s
    finally:
        provider.resume("frail")

    assert [(absent.name, bool(absent.reason)) for absent in sample.absent] == [("frail", True)]
    assert took_s < 2 * SURELY_S
    back = await provider.until("freed", lambda _guest: True, limit_s=1)
    assert back.observed.current_bytes > 0
    # and it comes back itself, once what waited for it has been answered; the next test counts on it
    for _ in range(20):
        names = {guest.name for guest in (await provider.sample()).guests}
        if names >= provider.alive:
            break
        await provider.wait(0.5)
    assert names >= provider.alive


async def test_a_guest_that_vanishes_is_absent_or_dropped(provider: Provider) -> None:
    """It is never there with zeros; soon it is not known any more, and the others are as before."""
    await provider.sample()
    provider.vanish("doomed")
    for _ in range(10):
        sample = await provider.sample()
        assert all(guest.observed.current_bytes > 0 for guest in sample.guests)
        names = {guest.name for guest in sample.guests}
        if "doomed" not in names | {absent.name for absent in sample.absent}:
            break
        await provider.wait(0.5)

    assert names == provider.alive - {"doomed"}
    assert not sample.absent
