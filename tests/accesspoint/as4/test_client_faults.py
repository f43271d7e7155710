"""What the client says of the message when a connection goes wrong: could it have arrived or not.

Every fault is a real one, made by a real server or a proxy on loopback.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from as4_stage import Pki

from accesspoint.as4.client import As4Client, HttpAnswer, PostFailed, _broken_off
from accesspoint.network.listening import Listeners
from keys.certificate import pem
from keys.tls import client_context

BODY = b"an AS4 message"
SHORT = 0.05
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A TCP server below HTTP; its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def post(
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    body: bytes = BODY,
    timeout_seconds: float = 5.0,
    connect_seconds: float = 5.0,
) -> HttpAnswer:
    async with As4Client(
        tls or ssl.create_default_context(),
        timeout_seconds=timeout_seconds,
        connect_seconds=connect_seconds,
    ) as client:
        return await client.post(
            f"{url}/as4", content_type="text/xml", content_length=len(body), body=body
        )


async def failure(url: str, **settings: Any) -> tuple[str, bool]:
    with pytest.raises(PostFailed) as failed:
        await post(url, **settings)
    assert "127.0.0.1:" in failed.value.detail
    return failed.value.slug, failed.value.arrival_possible


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))


async def test_no_answer_in_time_may_have_arrived() -> None:
    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.Event().wait()

    async with talking(stall) as url:
        assert await failure(url, timeout_seconds=SHORT) == ("peer-timeout", True)


async def test_waiting_for_a_free_connection_is_not_waiting_for_a_connection() -> None:
    """A partner that answers slowly holds all its connections: who waits for one has no trouble to connect."""
    release = asyncio.Event()
    posts = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        while True:
            await read_request(reader)
            posts += 1
            if posts == 1:
                await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        talking(answer) as url,
        As4Client(
            ssl.create_default_context(), timeout_seconds=5.0, connect_seconds=SHORT, per_partner=1
        ) as client,
    ):
        first, second = (
            asyncio.create_task(
                client.post(url, content_type="text/xml", content_length=len(BODY), body=BODY)
            )
            for _ in range(2)
        )
        done, _ = await asyncio.wait([first, second], timeout=4 * SHORT)
        assert not done
        release.set()
        assert [one.status for one in await asyncio.gather(first, second)] == [200, 200]


async def test_a_request_that_never_got_a_connection_has_not_arrived() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        begun.set()
        await release.wait()
        yield bytes(4 * 1024 * 1024)

    async def wait(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        talking(wait) as url,
        As4Client(ssl.create_default_context(), timeout_seconds=SHORT, per_partner=1) as client,
    ):
        # So large a message has a minute, and all that time the only connection.
        large = asyncio.create_task(
            client.post(
                url, content_type="text/xml", content_length=4 * 1024 * 1024, body=slow_body()
            )
        )
        await begun.wait()
        with pytest.raises(PostFailed) as failed:
            await client.post(url, content_type="text/xml", content_length=len(BODY), body=BODY)
        large.cancel()
        await asyncio.gather(large, return_exceptions=True)
    assert (failed.value.slug, failed.value.arrival_possible) == ("peer-timeout", False)
    assert failed.value.detail.endswith("no free connection in time")


async def test_an_answer_that_drips_meets_the_limit_of_the_whole() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(SHORT / 10)

    async with talking(drip) as url:
        assert await failure(url, timeout_seconds=SHORT) == ("peer-timeout", True)


async def test_a_peer_that_takes_no_body_may_have_the_message() -> None:
    async def deaf(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with talking(deaf) as url:
        assert await failure(url, body=bytes(200_000), timeout_seconds=SHORT) == (
            "peer-timeout",
            True,
        )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
    ids=["hangs-up", "half-an-answer", "bad-chunk", "not-http"],
)
async def test_a_broken_answer_may_have_arrived(answer: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with talking(break_off) as url:
        assert await failure(url) == ("peer-timeout", True)


async def test_connection_refused_names_host_and_reason() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(PostFailed) as failed:
            await post(f"http://127.0.0.1:{port}")
    assert failed.value.slug == "peer-unreachable"
    assert not failed.value.arrival_possible
    assert failed.value.detail == f"127.0.0.1:{port}: Connection refused"


async def test_a_full_backlog_is_no_connection_in_time() -> None:
    """A server that does not accept: the handshake of TCP never completes, so nothing can have arrived."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        assert await failure(url, connect_seconds=SHORT) == ("peer-unreachable", False)


@asynccontextmanager
async def tls_server(
    pki: Pki, name: str, answer: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[str]:
    """An honest HTTPS server that wants client certificates."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        if answer is not None:
            await answer()
        return web.Response(body=b"receipt", content_type="text/plain")

    application = web.Application()
    application.router.add_post("/as4", handle)
    listeners = Listeners()
    try:
        yield await listeners.start(application, tls=pki.tls_contexts(name)[1])
    finally:
        await listeners.stop()


async def test_mutual_tls_is_the_positive_twin(pki: Pki) -> None:
    async with tls_server(pki, "clinic") as url:
        answer = await post(url, tls=pki.tls_contexts("municipality")[0])
    assert answer == HttpAnswer(200, "text/plain", b"receipt")


async def test_a_server_certificate_nobody_trusts(pki: Pki) -> None:
    async with tls_server(pki, "clinic") as url:
        directory = pki.directory / "tls-municipality"
        pki.tls_contexts("municipality")
        strict = client_context(
            directory / "tls.cert.pem",
            directory / "tls.key.pem",
            pki.untrusted_authority.anchors,
        )
        assert await failure(url, tls=strict) == ("peer-tls", False)


async def test_a_name_that_is_not_in_the_certificate(pki: Pki) -> None:
    async with tls_server(pki, "clinic") as url, forwarding(url, "127.0.0.2") as there:
        tls = pki.tls_contexts("municipality")[0]
        with pytest.raises(PostFailed) as failed:
            await post(there, tls=tls)
    assert (failed.value.slug, failed.value.arrival_possible) == ("peer-tls", False)


def without_certificate(pki: Pki) -> ssl.SSLContext:
    """A client that trusts the server and has no certificate of its own."""
    trusted = (*pki.authority.anchors, *pki.authority.intermediates)
    return ssl.create_default_context(cadata=pem(*trusted).decode())


async def test_no_client_certificate_is_refused_in_the_handshake_of_tls_1_2(pki: Pki) -> None:
    nobody = without_certificate(pki)
    nobody.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_server(pki, "clinic") as url:
        slug, arrival_possible = await failure(url, tls=nobody)
    # A reset that overtakes the alert looks like a server that is not there; in both cases nothing was sent.
    assert slug in {"peer-tls", "peer-unreachable"}
    assert not arrival_possible


async def test_no_client_certificate_is_refused_after_the_handshake_of_tls_1_3(pki: Pki) -> None:
    """The request was written, but nobody read it: only the alert says so, and a reset may swallow the alert."""
    read: list[None] = []

    async def note() -> None:
        read.append(None)

    async with tls_server(pki, "clinic", note) as url:
        told = await failure(url, tls=without_certificate(pki))
    assert told in {("peer-tls", False), ("peer-timeout", True)}
    assert read == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", ("peer-tls", False)),
        ("TLSV1_ALERT_UNKNOWN_CA", ("peer-tls", False)),
        ("SSLV3_ALERT_BAD_RECORD_MAC", ("peer-timeout", True)),
        ("APPLICATION_DATA_AFTER_CLOSE_NOTIFY", ("peer-timeout", True)),
        (None, ("peer-timeout", True)),
    ],
)
def test_only_an_alert_that_refuses_us_says_that_nothing_arrived(
    reason: str | None, told: tuple[str, bool]
) -> None:
    error = ssl.SSLError(1, "tls")
    error.reason = reason  # type: ignore[assignment]
    failed = _broken_off(error, "peer:443")
    assert (failed.slug, failed.arrival_possible) == told


async def test_plain_http_behind_an_https_address(pki: Pki) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with talking(plain) as url:
        tls = pki.tls_contexts("municipality")[0]
        assert await failure(url.replace("http:", "https:"), tls=tls) == ("peer-tls", False)


async def test_an_answer_damaged_on_the_way_may_have_arrived(pki: Pki) -> None:
    """The peer took the message and answered; a broken TLS record must not make us say that nothing left."""
    taken = asyncio.Event()

    async def note() -> None:
        taken.set()

    async with (
        tls_server(pki, "clinic", note) as url,
        forwarding(url, "127.0.0.1", damage_after=taken) as there,
    ):
        tls = pki.tls_contexts("municipality")[0]
        assert await failure(there, tls=tls) == ("peer-timeout", True)
    assert taken.is_set()


@asynccontextmanager
async def forwarding(
    url: str, host: str, *, damage_after: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """A proxy below TLS that passes octets on, and damages answers once `damage_after` is set."""
    port = int(url.rsplit(":", 1)[1])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if target is writer and damage_after is not None and damage_after.is_set():
                    data = data[:-1] + bytes([data[-1] ^ 1])
                target.write(data)
                await target.drain()
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"https://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
