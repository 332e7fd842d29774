"""The sockets: a client and a daemon's answers over real Unix sockets."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import make_live
import msgspec
import pytest
from asyncvarlink import VarlinkClientProtocol, connect_unix_varlink
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from memtide.errors import AlreadyRunningError, ControlError, PermissionDeniedError
from memtide.model.reason import ReasonCode
from memtide.runtime.control import fanout, interfaces, listener
from memtide.runtime.control.client import Client, NoDaemonError
from memtide.runtime.control.daemon import LogQuery
from memtide.runtime.control.fanout import Fanout
from memtide.runtime.control.interfaces import MANAGER, READER, Reader
from memtide.runtime.control.server import serving
from memtide.units import GIB, MIB
from memtide.views.status import status

Answer = TypeVar("Answer")


@pytest.fixture
def daemon() -> make_live.FakeDaemon:
    """Return a daemon that stays in one moment."""
    return make_live.FakeDaemon(make_live.live())


@pytest.fixture
async def folder(tmp_path: Path, daemon: make_live.FakeDaemon) -> AsyncIterator[Path]:
    """Serve the daemon and return where."""
    async with serving(tmp_path, daemon):
        yield tmp_path


async def ask(question: Callable[[], Answer]) -> Answer:
    """Ask in a thread, as another process would."""
    return await asyncio.to_thread(question)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the daemon has no event for a test to wait for
            await asyncio.sleep(0.01)


# --- reading ----------------------------------------------------------------------------------------------------


async def test_status_arrives_as_it_was_sent(folder: Path) -> None:
    """What the client decodes is the view of the daemon's moment."""
    assert await ask(Client(folder).status) == status(make_live.live())


async def test_a_thousand_guests_arrive(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """A reply of half a megabyte comes through in one piece."""
    names = [f"vm-{number}" for number in range(1000)]
    live = make_live.live()
    daemon.moment = make_live.live(
        decision=msgspec.structs.replace(
            live.decision, verdicts=tuple(make_live.verdict(name, ReasonCode.CONTENT) for name in names)
        )
    )

    assert len((await ask(Client(folder).status)).guests) == 1000


async def test_before_the_first_tick_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """A daemon that has just started says so."""
    async with serving(tmp_path, make_live.FakeDaemon(None)):
        with pytest.raises(ControlError, match="only just started"):
            await ask(Client(tmp_path).status)


async def test_why_brings_the_guests_own_actions(folder: Path) -> None:
    """The answer is about one guest, and so is its history."""
    view = await ask(lambda: Client(folder).why("one-1217", 5))

    assert view.guest.name == "one-1217"
    assert [action.result for action in view.actions] == ["partial", "done"]


async def test_an_unknown_guest_is_an_error_with_a_hint(folder: Path) -> None:
    """The daemon's sentence reaches the client whole."""
    with pytest.raises(ControlError, match="sees no guest called 'one-1271'") as caught:
        await ask(lambda: Client(folder).why("one-1271", 5))

    assert "one-1217" in caught.value.hint


async def test_the_log_can_be_narrowed(folder: Path) -> None:
    """By guest, by time and by number."""
    client = Client(folder)
    everything = await ask(lambda: client.log(vm=None, since_s=None, limit=100))
    one = await ask(lambda: client.log(vm="one-1217", since_s=make_live.NOW_S - 1, limit=100))
    last = await ask(lambda: client.log(vm=None, since_s=None, limit=1))

    assert len(everything) == 6
    assert [entry.at_s for entry in one] == [make_live.NOW_S]
    assert last == everything[-1:]


async def test_a_clients_limit_has_a_limit(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """Nobody makes the daemon read its whole database at once."""
    asked: list[LogQuery] = []

    async def log(query: LogQuery) -> list[Any]:
        asked.append(query)
        return []

    daemon.log = log  # type: ignore[method-assign]
    await ask(lambda: Client(folder).log(vm=None, since_s=None, limit=10**9))

    assert asked[0].limit == interfaces.ENTRIES_MOST


# --- following --------------------------------------------------------------------------------------------------


async def test_followers_miss_nothing(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """Entries that are there come first, then each new one, filtered by guest; leaving is noticed at once."""
    stream = Client(folder).follow(vm="one-1217", since_s=None, limit=1)
    first = await ask(lambda: next(stream))
    daemon.entries.publish(make_live.grow(make_live.NOW_S + 5))
    daemon.entries.publish(make_live.shrink(make_live.NOW_S + 6))
    second = await ask(lambda: next(stream))

    assert (first.at_s, second.at_s) == (make_live.NOW_S, make_live.NOW_S + 6)

    stream.close()  # type: ignore[attr-defined]
    await until(lambda: not daemon.entries._followers)


async def test_a_slow_follower_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets what was kept for it and then an error; publishing never waits."""
    monkeypatch.setattr(fanout, "BEHIND_MOST", 2)
    entries = Fanout()
    with entries.follow() as follower:
        for at_s in range(5):
            entries.publish(make_live.shrink(float(at_s)))

        assert [(await follower.next()).asked_at_s for _ in range(2)] == [0.0, 1.0]  # type: ignore[union-attr]
        with pytest.raises(ControlError, match="too far behind"):
            await follower.next()
        entries.publish(make_live.shrink())
        with pytest.raises(ControlError, match="too far behind"):
            await follower.next()


async def test_the_end_of_the_daemon_ends_its_followers(tmp_path: Path, daemon: make_live.FakeDaemon) -> None:
    """A follower is told, and does not wait for ever."""
    async with serving(tmp_path, daemon):
        stream = Client(tmp_path).follow(vm=None, since_s=None, limit=1)
        await ask(lambda: next(stream))

    with pytest.raises(ControlError, match="hung up"):
        await ask(lambda: next(stream))


# --- changing ---------------------------------------------------------------------------------------------------


async def test_who_asked_goes_with_the_change(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """The daemon learns from the kernel, not from the client, who asked; the name resolves to the guest."""
    outcome = await ask(lambda: Client(folder).set_memory("one-301", GIB, 600.0))
    what, uuid, size_bytes, for_s, reason = daemon.asked[0]

    assert (what, uuid, size_bytes, for_s) == ("set", "uuid-one-301", GIB, 600.0)
    assert (reason.code, reason.numbers["uid"]) == (ReasonCode.OPERATOR, os.getuid())
    assert f"(uid {os.getuid()}) asked" in outcome.why


@pytest.mark.parametrize(
    ("vm", "size_bytes", "for_s", "sentence"),
    [
        ("one-301", 3 * GIB, 60.0, "more than its maximum of 2.00 GiB"),
        ("one-301", 100 * MIB, 60.0, "less than its floor of 205 MiB"),
        ("one-12", GIB, 60.0, "did not answer"),
        ("nobody", GIB, 60.0, "no guest called 'nobody'"),
        ("one-301", GIB, 0.0, "at most 30d"),
        ("one-301", GIB, float("inf"), "could not answer|at most 30d"),
    ],
)
async def test_impossible_sizes_never_reach_the_daemon(  # noqa: PLR0913, PLR0917 - two fixtures and a row
    folder: Path, daemon: make_live.FakeDaemon, vm: str, size_bytes: int, for_s: float, sentence: str
) -> None:
    """A size outside floor and maximum, an unknown or silent guest, an endless hold: a sentence, no change."""
    with pytest.raises(ControlError, match=sentence):
        await ask(lambda: Client(folder).set_memory(vm, size_bytes, for_s))

    assert not daemon.asked


async def test_restore_is_for_one_or_for_all(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """The name resolves to the guest; without one everything is meant."""
    await ask(lambda: Client(folder).restore("one-301"))
    await ask(lambda: Client(folder).restore(None))

    assert [(what, uuid) for what, uuid, _ in daemon.asked] == [("restore", "uuid-one-301"), ("restore", None)]
    assert daemon.asked[0][2].code is ReasonCode.RESTORE


async def test_the_reader_cannot_change_anything(folder: Path) -> None:
    """The manager's methods do not exist on the reader's socket."""
    reply = await ask(lambda: raw(folder / READER, {"method": f"{MANAGER}.Restore", "parameters": {"vm": None}}))

    assert reply["error"] == "org.varlink.service.InterfaceNotFound"


# --- the folder -------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_modes_say_who_may(folder: Path) -> None:
    """Everybody may read; only the owner (and a group memtide, where there is one) may change."""
    assert mode(folder / READER) == 0o666
    assert mode(folder / MANAGER) in {0o600, 0o660}


async def test_a_socket_has_its_mode_before_anybody_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the bind nobody may use the file."""
    seen: list[int] = []
    monkeypatch.setattr(Path, "chmod", lambda path, _mode: seen.append(mode(path)))
    umask = os.umask(0o022)
    os.umask(umask)
    listener.bind(tmp_path / "socket", 0o666, None).close()

    assert seen == [0]
    assert os.umask(umask) == umask


async def test_two_daemons_cannot_serve_one_folder(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """The second is refused, and the first is not disturbed."""
    with pytest.raises(AlreadyRunningError, match="already serves"):
        async with serving(folder, daemon):
            pass

    assert (await ask(Client(folder).status)).host.name == "virt5v"


async def test_sockets_of_a_dead_daemon_are_replaced(tmp_path: Path, daemon: make_live.FakeDaemon) -> None:
    """What a kill -9 left behind is no obstacle."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / READER))
    with pytest.raises(NoDaemonError):
        await ask(Client(tmp_path).status)

    async with serving(tmp_path, daemon):
        assert (await ask(Client(tmp_path).status)).host.name == "virt5v"
    assert not (tmp_path / READER).exists()
    assert not (tmp_path / MANAGER).exists()


@pytest.mark.parametrize("path", ["a file/memtide", "x" * 120])
async def test_an_impossible_folder_is_told(tmp_path: Path, daemon: make_live.FakeDaemon, path: str) -> None:
    """A folder that cannot be made, or whose name is too long for a socket, is an error with a hint."""
    (tmp_path / "a file").touch()
    with pytest.raises(ControlError, match="cannot make its sockets") as caught:
        async with serving(tmp_path / path, daemon):
            pass

    assert "--control" in caught.value.hint


def test_no_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    """The sentence names the place, the hint the command."""
    with pytest.raises(NoDaemonError, match=f"no memtide daemon answers at {tmp_path}") as caught:
        Client.find(tmp_path).status()

    assert (caught.value.exit_status, caught.value.hint) == (9, "start one with `memtide run`")


async def test_a_forbidden_socket_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not change guests learns who may (root is never refused, so the kernel's answer is played)."""

    def refuse(_connection: socket.socket, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("memtide.runtime.control.client.socket.socket.connect", refuse, raising=False)
    with pytest.raises(PermissionDeniedError, match="may not talk to") as caught:
        Client(folder).restore(None)

    assert "group memtide" in caught.value.hint


# --- strangers --------------------------------------------------------------------------------------------------


def raw(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request by hand and return the reply."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(msgspec.json.encode(request) + b"\0")
        reply = b""
        while not reply.endswith(b"\0"):
            chunk = connection.recv(65536)
            if not chunk:
                break
            reply += chunk
    return msgspec.json.decode(reply[:-1]) if reply else {}


async def test_other_varlink_clients_understand_it(folder: Path) -> None:
    """The library's own client reads the description and a reply by it."""
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, folder / READER)
    about = protocol.make_proxy(VarlinkServiceInterface)
    info = await about.GetInfo()
    description = await about.GetInterfaceDescription(interface=READER)
    reply = await protocol.make_proxy(Reader).GetStatus()
    transport.close()

    assert (info["product"], READER in info["interfaces"]) == ("memtide", True)
    assert "method Log(vm: ?string, since_s: ?float, limit: int) -> (entries: []object)" in description["description"]
    assert reply["status"]["host"]["name"] == "virt5v"


@pytest.mark.parametrize(
    "request_",
    [
        {"method": f"{READER}.Nothing"},
        {"method": "nonsense"},
        {"method": f"{READER}.Log", "parameters": {"limit": "many"}},
        {"method": f"{READER}.Why", "parameters": {"vm": "a", "limit": 1, "more": 2}},
        {"method": f"{READER}.Follow", "parameters": {"vm": None, "since_s": None, "limit": 1}},
    ],
)
async def test_wrong_requests_get_an_error(folder: Path, request_: dict[str, Any]) -> None:
    """Whatever is asked, the answer is a Varlink error, and the next one is served."""
    assert "error" in await ask(lambda: raw(folder / READER, request_))
    assert (await ask(Client(folder).status)).host.name == "virt5v"


async def test_a_bug_is_logged_and_the_next_call_served(
    folder: Path, daemon: make_live.FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that is no sentence for people stays in the daemon's log; the client learns that there is one."""
    daemon.moment = "no Live"  # type: ignore[assignment]
    with pytest.raises(ControlError, match="could not answer"):
        await ask(Client(folder).status)
    daemon.moment = make_live.live()

    assert "bug: a call failed" in caplog.text
    assert (await ask(Client(folder).status)).host.name == "virt5v"


async def test_an_endless_request_is_cut_off(folder: Path) -> None:
    """A client that never ends its request is hung up on, not remembered."""

    def flood() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(folder / READER))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(1000):
                    connection.sendall(b"x" * 4096)
                pytest.fail("4 MB were taken")

    await ask(flood)
    assert (await ask(Client(folder).status)).host.name == "virt5v"


async def test_who_does_not_read_is_not_answered_further(folder: Path, daemon: make_live.FakeDaemon) -> None:
    """Requests sent without reading replies wait in the client's own buffers; the daemon computes a few of them."""
    computed = 0
    moment = daemon.live

    def live() -> Any:
        nonlocal computed
        computed += 1
        return moment()

    daemon.live = live  # type: ignore[method-assign]
    request = msgspec.json.encode({"method": f"{READER}.GetStatus", "parameters": {}}) + b"\0"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / READER))
        connection.settimeout(0)
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(request)
            await asyncio.sleep(0.005)

        # about as many replies as fit into the socket's buffer, however many requests were sent
        assert 0 < computed < 150
    assert (await ask(Client(folder).status)).host.name == "virt5v"


async def test_there_are_only_so_many_connections(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is hung up on; when others leave there is room again."""
    monkeypatch.setattr(listener, "CONNECTIONS_MOST", 3)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(folder / READER))
        with pytest.raises(ControlError, match="hung up"):
            await ask(Client(folder).status)

    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ControlError):
                await ask(Client(folder).status)
                break


async def test_a_half_closed_connection_still_gets_its_reply(folder: Path) -> None:
    """`printf … | socat - UNIX:…` closes its side before the answer comes."""

    def shell() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(folder / READER))
            connection.sendall(b'{"method":"org.memtide.Reader.GetStatus","parameters":{}}\0')
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert b'"virt5v"' in await ask(shell)


async def test_a_reply_from_another_version_is_told(tmp_path: Path) -> None:
    """A daemon whose replies look different is named as such, not a traceback."""

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b'{"parameters":{"status":{"host":1}}}\0')

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / READER))
        server.listen(1)
        other = asyncio.create_task(ask(lambda: answer(server)))
        with pytest.raises(ControlError, match="does not know"):
            await ask(Client(tmp_path).status)
        await other
