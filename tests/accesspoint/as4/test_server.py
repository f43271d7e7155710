"""POST /as4 below the message: what HTTP alone decides, and what becomes of faults of our own.

The receiver and the refuser are those of a running node; a server with small limits stands in front of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from as4_stage import Node, Pki, Stage
from as4_wire import Author

from accesspoint.admission import EdgeLimits
from accesspoint.as4.server import As4Server
from accesspoint.config_values import Address
from accesspoint.demo.scenery import CLINIC
from accesspoint.doors import DEFAULT_EDGE, open_door
from envelope.limits import Limits
from keys.errors import KeyUnavailable
from keys.private import AddressedKey, KeyRing

LIMITS = Limits(sbd_bytes=60_000, soap_bytes=4_000)
MULTIPART = 'multipart/related; type="application/soap+xml"; boundary=b'
CONSTANT = "The request is not accepted.\n"


@dataclass
class Endpoint:
    """The server under test, its node, and how to speak to it."""

    node: Node
    url: str
    session: aiohttp.ClientSession

    async def post(
        self, body: bytes | AsyncIterator[bytes], content_type: str = MULTIPART, **headers: str
    ) -> tuple[int, str, bool]:
        """Status, text, and whether the connection is closed after the answer."""
        async with self.session.post(
            self.url, data=body, headers={"Content-Type": content_type, **headers}
        ) as answer:
            return answer.status, await answer.text(), answer.headers.get("Connection") == "close"

    async def refusals(self) -> list[tuple[str, str]]:
        rows = await self.node.rows("SELECT gate, reason FROM refusals ORDER BY seq")
        return [(row["gate"], row["reason"]) for row in rows]


@pytest.fixture
def edge() -> EdgeLimits:
    """How long the door waits."""
    return DEFAULT_EDGE


@pytest.fixture
async def endpoint(pki: Pki, tmp_path: Path, edge: EdgeLimits) -> AsyncIterator[Endpoint]:
    stage = Stage(pki, tmp_path)
    path = stage.write_node(CLINIC, pki.clinic, partners={})
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(stage.run(path))
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        running = node.point.as4
        small = As4Server(running._receiver, running._refuser, limits=LIMITS)
        application = web.Application(client_max_size=1)
        small.serve(application.router)
        stack.push_async_callback(small.settle)
        address = await open_door(
            stack, application, Address("127.0.0.1", 0), limits=edge, tell=small.tell_refused
        )
        yield Endpoint(node, f"http://{address}/as4", session)


@pytest.mark.parametrize(
    ("content_type", "headers", "status", "reason"),
    [
        ("text/xml", {}, 415, "http.media-type"),
        ("application/json", {}, 415, "http.media-type"),
        (MULTIPART, {"Content-Encoding": "gzip"}, 415, "http.encoding"),
        (MULTIPART, {"Content-Encoding": "identity, gzip"}, 415, "http.encoding"),
    ],
)
async def test_g1_what_the_header_decides(
    endpoint: Endpoint, content_type: str, headers: dict[str, str], status: int, reason: str
) -> None:
    assert await endpoint.post(b"octets", content_type, **headers) == (status, CONSTANT, True)
    assert await endpoint.refusals() == [("G1", reason)]
    assert endpoint.node.files() == set()


async def test_g1_a_length_beyond_the_limit_is_refused_unread(endpoint: Endpoint) -> None:
    size = LIMITS.sbd_bytes + LIMITS.soap_bytes + 1
    assert await endpoint.post(bytes(size)) == (413, CONSTANT, True)
    assert await endpoint.refusals() == [("G1", "http.size")]


@pytest.mark.attack("HTP-09")
async def test_g1_more_than_the_limit_without_a_length(endpoint: Endpoint) -> None:
    """Chunked, so that only reading tells the size; the first part never ends."""

    async def endless() -> AsyncIterator[bytes]:
        yield b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
        for _ in range(100):
            yield bytes(1_000)

    assert await endpoint.post(endless()) == (413, CONSTANT, True)
    assert await endpoint.refusals() == [("G1", "http.size")]


@pytest.mark.parametrize("edge", [EdgeLimits(body_seconds=0.2)], ids=["impatient"])
async def test_g1_a_body_that_stalls(endpoint: Endpoint) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await asyncio.Event().wait()

    assert await endpoint.post(stalled()) == (408, CONSTANT, True)
    assert await endpoint.refusals() == [("G1", "http.stalled")]


async def test_g1_a_body_that_ends_before_its_length(endpoint: Endpoint) -> None:
    host, port = endpoint.url.removeprefix("http://").removesuffix("/as4").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /as4 HTTP/1.1\r\nHost: x\r\nContent-Type: {MULTIPART}\r\nContent-Length: 900\r\n\r\n"
    )
    writer.write(head.encode() + b"--b\r\n")
    await writer.drain()
    writer.close()

    async def recorded() -> bool:
        return bool(await endpoint.refusals())

    await endpoint.node.until(recorded, "no refusal was recorded")
    assert await endpoint.refusals() == [("G1", "http.lost")]
    await reader.read()


async def test_a_refusal_repeats_nothing_of_the_request(endpoint: Endpoint) -> None:
    _, text, _ = await endpoint.post(b"<script>251248-9996</script>", "text/html")
    assert text == CONSTANT


async def test_g1_only_post_to_one_path_is_served(endpoint: Endpoint) -> None:
    for method, path, status in (("GET", "", 405), ("PUT", "", 405), ("POST", "/more", 404)):
        async with endpoint.session.request(method, endpoint.url + path, data=b"") as answer:
            assert (answer.status, await answer.text()) == (status, CONSTANT)
    assert await endpoint.refusals() == [
        ("G1", "http.method"), ("G1", "http.method"), ("G1", "http.path"),
    ]  # fmt: skip


async def test_a_store_that_cannot_promise_is_a_503_without_a_reason(endpoint: Endpoint) -> None:
    """Every refusal is recorded first; a store that has stopped lets the peer try again later."""
    await endpoint.node.point.database.close()
    status, text, closed = await endpoint.post(b"octets", "text/xml")
    assert (status, text, closed) == (503, "Not available.\n", True)


class GoneKeys(KeyRing):
    """The node's keys in a module that was taken out."""

    def unwrap(self, wrapped: AddressedKey) -> bytes:
        raise KeyUnavailable("the token ap does not answer: DeviceRemoved")


async def test_a_key_that_is_gone_lets_the_sender_try_again(endpoint: Endpoint, pki: Pki) -> None:
    """Nothing is known about the message, so it is not refused: EBMS:0102 would end it at the sender for good."""
    identity = endpoint.node.point.identity
    wire = Author(pki.municipality.signer(), pki.clinic.certificate).compose()
    keys = identity.decrypter
    assert isinstance(keys, KeyRing)
    identity.decrypter = GoneKeys(keys.decrypters)
    status, text, closed = await endpoint.post(wire.body, wire.content_type)
    assert (status, text, closed) == (503, "Not available.\n", True)
    assert await endpoint.refusals() == []
    assert endpoint.node.files() == set()
    identity.decrypter = keys
    status, text, _ = await endpoint.post(wire.body, wire.content_type)
    assert (status, "Receipt" in text) == (200, True)


async def test_a_fault_of_ours_is_a_bare_500(endpoint: Endpoint) -> None:
    del endpoint.node.point.as4._refuser._database
    status, text, closed = await endpoint.post(b"251248-9996", "text/xml")
    assert (status, text, closed) == (500, "Internal error.\n", True)
