"""A door over real sockets: what it lets in, how long it waits for whom, and how it closes.

The limits are small so that they are met soon; each test counts what the door did, and measures no time.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import web
from as4_stage import Pki, Stage

from accesspoint.admission import OPENING_SECONDS, Admission, EdgeLimits
from accesspoint.config_values import Address
from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.doors import open_door
from accesspoint.problems import ProblemRaised

REFUSED = b"The request is not accepted.\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
_HANDSHAKE = b"\x16"
"""The record of TLS that a server begins with, once it works for a client."""
QUICK = EdgeLimits(header_seconds=0.2, body_seconds=0.2, body_rate=100_000, drain_seconds=2)


@dataclass
class Door:
    """An open door and what it told."""

    host: str
    port: int
    told: list[str] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets `/wait` answer; set a moment after the door has begun to close."""

    async def connect(self, source: str = "127.0.0.1") -> "Peer":
        return Peer(*await asyncio.open_connection(self.host, self.port, local_addr=(source, 0)))


@dataclass
class Peer:
    """One connection to it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, octets: bytes) -> tuple[bytes, bytes]:
        """Send octets; the status line and the body of what comes back, empty when the connection is closed."""
        self.writer.write(octets)
        return await self.answer()

    async def answer(self) -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                return head.split(b"\r\n")[0], await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"", b""

    async def is_closed(self) -> bool:
        try:
            async with asyncio.timeout(10):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def door(limits: EdgeLimits, tls: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        opened = Door("", 0)

        async def answer(request: web.Request) -> web.Response:
            opened.handled.append(request.path)
            if request.path == "/wait":
                await opened.go_on.wait()
            return web.Response(text=str(len(await request.read())))

        async def closing(_: web.Application) -> None:
            # By now every connection was told that the request under way is its last.
            asyncio.get_running_loop().call_later(0.2, opened.go_on.set)

        application = web.Application(client_max_size=1 << 20)
        application.router.add_route("*", "/{path:.*}", answer)
        application.on_shutdown.append(closing)
        where = await open_door(
            stack, application, Address("127.0.0.1", 0), tls, limits=limits,
            tell=lambda error, address: opened.told.append(f"{error.gate} {error.reason} {address}"),
        )  # fmt: skip
        opened.host, port = where.rsplit(":", 1)
        opened.port = int(port)
        yield opened


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        assert await peer.is_closed()
        assert opened.told == []


@pytest.mark.parametrize(
    "begun", [b"P", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nX-A: "]
)
async def test_a_header_that_is_never_complete(begun: bytes) -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        assert await peer.ask(begun) == (b"HTTP/1.1 408 Request Timeout", REFUSED)
        assert await peer.is_closed()
        assert opened.told == ["G1 http.slow 127.0.0.1"]


async def test_a_header_that_drips_has_no_more_time_than_one_that_stalls() -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        dripping = asyncio.create_task(_drip(peer, b"GET / HTTP/1.1\r\nX: "))
        assert await peer.answer() == (b"HTTP/1.1 408 Request Timeout", REFUSED)
        dripping.cancel()


async def test_the_second_header_on_a_connection_drips() -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        assert await peer.ask(GET) == (b"HTTP/1.1 200 OK", b"0")
        # Between two requests a connection may rest longer than a header may take.
        await asyncio.sleep(2 * QUICK.header_seconds)
        assert await peer.ask(GET) == (b"HTTP/1.1 200 OK", b"0")
        dripping = asyncio.create_task(_drip(peer, b"GET / HTTP/1.1\r\nX: "))
        assert await peer.answer() == (b"HTTP/1.1 408 Request Timeout", REFUSED)
        dripping.cancel()


@pytest.mark.parametrize("first", [b"", b"half"])
async def test_a_body_that_stalls_is_answered_408(first: bytes) -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        status, _ = await peer.ask(POST % (b"", 8) + first)
        assert status == b"HTTP/1.1 408 Request Timeout"
        assert await peer.is_closed()


async def test_a_body_that_drips_is_answered_408(caplog: pytest.LogCaptureFixture) -> None:
    async with door(QUICK) as opened:
        peer = await opened.connect()
        dripping = asyncio.create_task(_drip(peer, POST % (b"", 1_000)))
        status, _ = await peer.answer()
        assert status == b"HTTP/1.1 408 Request Timeout"
        assert await peer.is_closed()
        dripping.cancel()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_body_may_take_its_time_as_long_as_it_comes_fast_enough() -> None:
    """Twice as long as a small body may take; the first piece, which comes with the header, earns ten seconds."""
    limits = replace(QUICK, body_rate=1_000)
    async with door(limits) as opened:
        peer = await opened.connect()
        pieces, size = 8, 10_000
        begin = POST % (b"", pieces * size)
        for _ in range(pieces):
            peer.writer.write(begin + bytes(size))
            begin = b""
            await asyncio.sleep(2 * limits.body_seconds / pieces)
        assert await peer.answer() == (b"HTTP/1.1 200 OK", b"80000")


async def test_a_handler_may_take_its_time() -> None:
    """What a peer is made to wait for, also where we do not read on, is not its fault."""
    async with door(QUICK) as opened:
        peer = await opened.connect()
        size = 700_000
        peer.writer.write(POST % (b"wait", size) + bytes(size))
        await asyncio.sleep(3 * QUICK.body_seconds)
        opened.go_on.set()
        assert await peer.answer() == (b"HTTP/1.1 200 OK", b"700000")


async def test_what_is_no_http_gets_a_constant_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with door(QUICK) as opened:
        for octets in (b"HELO <251248-9996>\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"):
            peer = await opened.connect()
            status, body = await peer.ask(octets)
            assert (status.split(b" ", 1)[1], body) == (b"400 Bad Request", REFUSED)
            assert await peer.is_closed()
        assert opened.told == ["G1 http.syntax 127.0.0.1"] * 2
        assert opened.handled == []
    assert "251248" not in caplog.text


@pytest.mark.attack("HTP-11")
async def test_a_connection_brings_so_many_requests_and_no_more() -> None:
    limits = EdgeLimits(requests_per_connection=3)
    async with door(limits) as opened:
        peer = await opened.connect()
        peer.writer.write(GET * 500)
        for _ in range(limits.requests_per_connection):
            assert await peer.answer() == (b"HTTP/1.1 200 OK", b"0")
        assert await peer.is_closed()
        assert len(opened.handled) == limits.requests_per_connection


@pytest.mark.attack("HTP-18", "SID-06")
async def test_one_address_does_not_take_the_room_of_another() -> None:
    async with door(EdgeLimits(connections=4, connections_per_address=3)) as opened:
        greedy = [await opened.connect() for _ in range(6)]
        other = await opened.connect("127.0.0.2")
        assert await other.ask(GET) == (b"HTTP/1.1 200 OK", b"0")
        answers = [await peer.ask(GET) for peer in greedy]
        assert answers.count((b"", b"")) == 3
        # All four are in use.
        late = await opened.connect("127.0.0.3")
        assert await late.ask(GET) == (b"", b"")
        other.writer.close()
        await other.writer.wait_closed()
        await _until_answered(lambda: opened.connect("127.0.0.3"))


async def test_an_address_opens_so_many_connections_in_a_while(pki: Pki) -> None:
    """Before TLS, since a handshake that fails has cost us the same."""
    _, tls = pki.tls_contexts("door")
    async with door(EdgeLimits(openings_per_address=3), tls) as opened:
        begun = [await _begin_tls(await opened.connect()) for _ in range(5)]
        assert begun == [_HANDSHAKE] * 3 + [b""] * 2
        assert await _begin_tls(await opened.connect("127.0.0.2")) == _HANDSHAKE
    assert opened.handled == []


async def test_all_doors_together_take_half_of_the_files_and_each_its_part(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, parts = 24, {"api": 4, "as4": 4, "submission": 4}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    stage = Stage(pki, tmp_path)
    listen = {**dict.fromkeys(parts, "127.0.0.1:0"), "limits": {"header": "5 min"}}
    system = {
        "name": "journal",
        "certificate": pki.file_of(pki.tls("door")),
        "scopes": ["messages:read"],
    }
    path = stage.write_node(
        MUNICIPALITY, pki.municipality, partners={}, listen=listen, access={"certificates": [system]}
    )  # fmt: skip
    inside: dict[str, list[Peer]] = {}
    async with stage.run(path) as node:
        for name in parts:
            host, port = node.point.addresses[name].rsplit(":", 1)
            hello = GET if name == "api" else _hello()
            inside[name] = await _fill(Door(host, int(port)), hello)
        for peer in (peer for peers in inside.values() for peer in peers):
            peer.writer.transport.abort()
    assert {name: len(peers) for name, peers in inside.items()} == parts


def test_after_a_while_an_address_may_open_connections_again() -> None:
    now = [100.0]
    admission = Admission(EdgeLimits(openings_per_address=2), monotonic=lambda: now[0])
    for _ in range(2):
        assert [admission.enter("2001:db8::1"), admission.enter("2001:db8::2")] == [True, True]
        assert not admission.enter("2001:db8::3")
        assert admission.enter("2001:db8:0:1::1")
        now[0] += OPENING_SECONDS
    assert admission.connections == 6
    for _ in range(50):
        assert Admission(EdgeLimits(openings_per_address=1).for_one_address()).enter("127.0.0.1")


@pytest.mark.attack("SID-06")
async def test_too_many_requests_at_once_are_told_to_come_again() -> None:
    async with door(EdgeLimits(requests=3, requests_per_address=2)) as opened:
        waiting = [await opened.connect() for _ in range(2)]
        for peer in waiting:
            peer.writer.write(GET.replace(b"/ ", b"/wait "))
        while len(opened.handled) < 2:
            await asyncio.sleep(0.01)
        third = await opened.connect()
        assert await third.ask(GET) == (b"HTTP/1.1 503 Service Unavailable", b"Not available.\n")
        other = await opened.connect("127.0.0.2")
        assert await other.ask(GET) == (b"HTTP/1.1 200 OK", b"0")
        opened.go_on.set()
        for peer in waiting:
            assert await peer.answer() == (b"HTTP/1.1 200 OK", b"0")


async def test_closing_answers_what_is_under_way_and_lets_nobody_in() -> None:
    async with door(EdgeLimits(drain_seconds=10)) as opened:
        peer, idle = await opened.connect(), await opened.connect()
        assert await idle.ask(GET) == (b"HTTP/1.1 200 OK", b"0")
        peer.writer.write(GET.replace(b"/ ", b"/wait "))
        while "/wait" not in opened.handled:
            await asyncio.sleep(0.01)
    head = await peer.reader.readuntil(b"\r\n\r\n")
    assert b" 200 OK" in head
    assert b"Connection: close" in head
    assert await idle.is_closed()
    with pytest.raises(ConnectionError):
        await opened.connect()


@pytest.mark.attack("HTP-18")
async def test_every_connection_is_given_back_however_it_ends() -> None:
    """Aborted, refused, timed out, answered: afterwards there is room for as many as at first."""
    limits = EdgeLimits(header_seconds=0.1, connections=3, connections_per_address=3)
    async with door(limits) as opened:
        for octets in (b"", GET, b"no HTTP\r\n\r\n", b"GET / HT", POST % (b"", 9)):
            for _ in range(limits.connections):
                peer = await opened.connect()
                peer.writer.write(octets)
                await peer.writer.drain()
                peer.writer.transport.abort()
        gc.collect()
        for _ in range(limits.connections):
            await _until_answered(opened.connect)


@pytest.mark.parametrize("octets", [GET, b"no HTTP\r\n\r\n"])
async def test_no_answer_tells_which_software_gives_it(octets: bytes) -> None:
    async with door(EdgeLimits()) as opened:
        peer = await opened.connect()
        peer.writer.write(octets)
        head = (await peer.reader.readuntil(b"\r\n\r\n")).lower()
        assert b"server: accesspoint\r\n" in head
        assert b"python" not in head
        assert b"aiohttp" not in head


async def test_a_port_that_is_taken() -> None:
    async with door(QUICK) as opened, AsyncExitStack() as stack:
        with pytest.raises(ProblemRaised):
            await open_door(stack, web.Application(), Address("127.0.0.1", opened.port))


async def _fill(door: Door, octets: bytes) -> list[Peer]:
    """Connect until one is turned away; those that were let in, which stay open."""
    inside: list[Peer] = []
    async with asyncio.timeout(30):
        while True:
            peer = await door.connect()
            with contextlib.suppress(ConnectionError):
                peer.writer.write(octets)
                if await peer.reader.read(1):
                    inside.append(peer)
                    continue
            return inside


def _hello() -> bytes:
    """What a client of TLS begins with."""
    hello = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="x").do_handshake()
    return hello.read()


async def _begin_tls(peer: Peer) -> bytes:
    """Say hello, and leave it at what the door begins its answer with."""
    try:
        peer.writer.write(_hello())
        return await peer.reader.read(1)
    except ConnectionError:
        return b""
    finally:
        peer.writer.transport.abort()


async def _drip(peer: Peer, begin: bytes) -> None:
    """Send a byte every moment, for ever."""
    peer.writer.write(begin)
    while not peer.writer.is_closing():
        peer.writer.write(b"x")
        await asyncio.sleep(0.02)


async def _until_answered(connect: Callable[[], object]) -> None:
    """Connect until there is room; the connection stays open."""
    async with asyncio.timeout(10):
        while True:
            peer = await connect()  # type: ignore[misc]
            if await peer.ask(GET) == (b"HTTP/1.1 200 OK", b"0"):
                return
            await asyncio.sleep(0.02)
