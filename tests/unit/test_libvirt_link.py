"""The connection and its events with libvirt's own library: the built-in driver ``test:///default``."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator

import libvirt
import pytest

from memtide.errors import SourceError
from memtide.model.record import Event
from memtide.sources.libvirt import api, events
from memtide.sources.libvirt.guests import LibvirtGuests
from memtide.sources.libvirt.link import CLOSED

URI = "test:///default"


@pytest.fixture
async def told() -> AsyncIterator[tuple[LibvirtGuests, list[Event]]]:
    """A connected source and what it tells."""
    source = LibvirtGuests(URI, readonly=False, processes=None)
    told: list[Event] = []
    await source.start(told.append)
    yield source, told
    await source.stop()


async def wait_for(told: list[Event], number: int) -> None:
    """Wait until so many events have arrived."""
    for _ in range(100):
        if len(told) >= number:
            return
        await asyncio.sleep(0.02)


async def test_events_come_through_libvirts_own_thread_at_once(told: tuple[LibvirtGuests, list[Event]]) -> None:
    """A guest ends and starts: both are told within a moment, in asyncio's thread."""
    source, heard = told
    connection = source._link.connection
    assert connection is not None
    await source._list(connection, 0.0)
    domain = connection.lookupByName("test")  # type: ignore[attr-defined]
    began_s = time.monotonic()
    await asyncio.to_thread(domain.destroy)
    await asyncio.to_thread(domain.create)
    await wait_for(heard, 2)
    assert [(event.code, event.guest) for event in heard] == [("guest-stopped", "test"), ("guest-started", "test")]
    assert "ended from outside" in heard[0].text
    assert time.monotonic() - began_s < 1
    assert [thread.name for thread in threading.enumerate()].count("memtide-libvirt-events") == 1


async def test_a_driver_without_figures_leaves_everybody_absent(told: tuple[LibvirtGuests, list[Event]]) -> None:
    """The test driver has no balloon group: a guest of it is there, but unknown."""
    try:
        sample = await told[0].sample(time.time())
    except SourceError as error:
        pytest.skip(f"this libvirt's test driver has no bulk statistics: {error}")
    assert sample.guests == ()
    assert [absent.name for absent in sample.absent] == ["test"]


def test_numbers_are_libvirts() -> None:
    """The tables hold the binding's own constants."""
    assert set(events.LIFECYCLE) == {
        libvirt.VIR_DOMAIN_EVENT_DEFINED,
        libvirt.VIR_DOMAIN_EVENT_STARTED,
        libvirt.VIR_DOMAIN_EVENT_RESUMED,
        libvirt.VIR_DOMAIN_EVENT_STOPPED,
    }
    details = ("DESTROYED", "CRASHED", "MIGRATED", "SAVED", "FAILED")
    assert list(events.HOW_IT_STOPPED) == [getattr(libvirt, f"VIR_DOMAIN_EVENT_STOPPED_{name}") for name in details]
    assert all(hasattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}") for name in events.OTHERS)
    reasons = ("ERROR", "EOF", "CLIENT")  # no keep-alive: see link
    assert list(CLOSED) == [getattr(libvirt, f"VIR_CONNECT_CLOSE_REASON_{name}") for name in reasons]


def test_without_the_binding_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways."""
    monkeypatch.setitem(sys.modules, "libvirt", None)
    api.binding.cache_clear()
    with pytest.raises(SourceError, match=r"python3-libvirt.*memtide\[libvirt\]"):
        api.binding()
