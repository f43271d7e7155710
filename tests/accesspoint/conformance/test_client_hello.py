"""Hand-made ClientHellos against servers of real settings, and answers that no server of today gives, octet by octet."""

import asyncio
import contextlib
import socket
import ssl
import struct
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from as4_stage import Pki

from accesspoint.conformance.client_hello import (
    ACCEPTABLE,
    LEGACY,
    MODERN,
    SUITES,
    UNACCEPTABLE,
    Accepted,
    Alerted,
    Answer,
    Closed,
    Offer,
    Silent,
    Unreadable,
    Version,
    build_client_hello,
    offer,
    read_answer,
)

RANDOM = bytes(range(32))


def ours(pki: Pki) -> ssl.SSLContext:
    """The settings of our own nodes."""
    return pki.tls_contexts("clinic")[1]


def antique(pki: Pki) -> ssl.SSLContext:
    """As old as the library still allows: everything from TLS 1.0 on, suites without forward secrecy too."""
    context = pki.tls_contexts("clinic")[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@asynccontextmanager
async def serving(tls: ssl.SSLContext) -> AsyncIterator[int]:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    # A handshake that breaks off is what these tests are about, nothing to print.
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        async with server:
            yield server.sockets[0].getsockname()[1]
    finally:
        loop.set_exception_handler(handler)


async def ask(port: int, version: Version, suites: tuple[str, ...]) -> Offer:
    return await offer("127.0.0.1", port, version, suites, random=RANDOM, seconds=3.0)


@pytest.mark.parametrize(
    ("settings", "version", "suites", "accepted"),
    [
        (antique, Version.TLS_1_0, LEGACY, True),
        (antique, Version.TLS_1_1, LEGACY, True),
        (antique, Version.TLS_1_2, ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",), True),
        (antique, Version.TLS_1_3, MODERN, True),
        (antique, Version.SSL_3, LEGACY, False),
        (antique, Version.SSL_2, (), False),
        (ours, Version.TLS_1_3, MODERN, True),
        (ours, Version.TLS_1_2, ACCEPTABLE, True),
        (ours, Version.TLS_1_2, UNACCEPTABLE, False),
        (ours, Version.TLS_1_1, LEGACY, False),
        (ours, Version.TLS_1_0, LEGACY, False),
        (ours, Version.SSL_3, LEGACY, False),
        (ours, Version.SSL_2, (), False),
    ],
)
async def test_a_server_answers_as_it_is_set(
    pki: Pki,
    settings: Callable[[Pki], ssl.SSLContext],
    version: Version,
    suites: tuple[str, ...],
    accepted: bool,
) -> None:
    async with serving(settings(pki)) as port:
        came = await ask(port, version, suites)
    assert came.accepted is accepted, came.answer
    if isinstance(came.answer, Accepted):
        assert came.answer.version is version
        assert came.answer.suite in suites
    else:
        assert isinstance(came.answer, Alerted | Closed), came.answer


async def test_refusals_say_what_was_wrong(pki: Pki) -> None:
    # A blocking server: that of asyncio drops the alert and only closes.
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        for _ in range(2):
            connection, _address = listening.accept()
            with connection, contextlib.suppress(ssl.SSLError):
                ours(pki).wrap_socket(connection, server_side=True)

    with listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse))
        port = listening.getsockname()[1]
        old = await ask(port, Version.TLS_1_1, LEGACY)
        weak = await ask(port, Version.TLS_1_2, UNACCEPTABLE)
        await refusing
    assert old.answer == Alerted("protocol_version")
    assert weak.answer == Alerted("handshake_failure")
    assert old.received.startswith(b"\x15\x03")


@pytest.mark.parametrize(("says", "answer"), [(b"HTTP/1.1 400", Unreadable()), (b"", Closed())])
async def test_what_is_no_tls_at_all(says: bytes, answer: Answer) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(port, Version.TLS_1_2, ACCEPTABLE)).answer == answer


async def test_a_server_that_says_nothing() -> None:
    waiting = asyncio.Event()

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        came = await offer(
            "127.0.0.1", port, Version.TLS_1_2, ACCEPTABLE, random=RANDOM, seconds=0.05
        )
        waiting.set()
    assert came.answer == Silent()


def server_hello(version: int, suite: int, extensions: bytes = b"") -> bytes:
    body = struct.pack(">H", version) + RANDOM + b"\x00" + struct.pack(">HB", suite, 0) + extensions
    handshake = b"\x02" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", 22, version, len(handshake)) + handshake


def test_the_answers_of_servers_that_nobody_should_run() -> None:
    assert read_answer(
        server_hello(0x0300, SUITES["TLS_RSA_WITH_RC4_128_SHA"]), ended=False
    ) == Accepted(Version.SSL_3, "TLS_RSA_WITH_RC4_128_SHA")
    ssl2 = bytes.fromhex("8007") + b"\x04\x00\x01\x00\x02\x00\x00"
    assert read_answer(ssl2, ended=False) == Accepted(Version.SSL_2, "of SSL 2")
    assert read_answer(bytes.fromhex("8003") + b"\x00\x00\x01", ended=False) == Unreadable()


@pytest.mark.parametrize("cut", range(1, 40))
def test_half_an_answer_is_none_yet_and_never_one_when_it_ended(cut: int) -> None:
    whole = server_hello(0x0303, 0xC02F)
    assert read_answer(whole[:cut], ended=False) is None
    assert read_answer(whole[:cut], ended=True) == Unreadable()


@pytest.mark.parametrize(
    "data",
    [
        server_hello(0x0303, 0xC02F)[:5] + b"\x01" + server_hello(0x0303, 0xC02F)[6:],
        server_hello(0x7777, 0xC02F),
        b"\x16\x03\x03\x00\x06\x02\x00\x00\x02\x03\x03",
        b"\x15\x03\x03\x00\x01\x02",
        b"\x80\x00",
    ],
)
def test_what_cannot_be_read_is_no_acceptance(data: bytes) -> None:
    assert read_answer(data, ended=True) == Unreadable()


def test_a_hello_is_made_of_what_is_asked_for() -> None:
    def make(version: Version, **changes: Any) -> bytes:
        return build_client_hello(
            version, ACCEPTABLE, server_name="ap.example", random=RANDOM, **changes
        )

    tls = make(Version.TLS_1_2)
    assert tls[:3] == b"\x16\x03\x01"
    assert len(tls) == 5 + int.from_bytes(tls[3:5], "big")
    assert b"ap.example" in tls
    assert b"ap.example" not in make(Version.SSL_3)
    assert make(Version.SSL_3)[:3] == b"\x16\x03\x00"
    old = make(Version.SSL_2)
    assert int.from_bytes(old[:2], "big") & 0x7FFF == len(old) - 2
    with pytest.raises(ValueError, match="32 octets"):
        build_client_hello(Version.TLS_1_2, ACCEPTABLE, server_name="x", random=b"")
    with pytest.raises(KeyError):
        build_client_hello(Version.TLS_1_2, ["TLS_NOTHING"], server_name="x", random=RANDOM)
    assert [str(one) for one in Version] == [
        "SSL 2",
        "SSL 3",
        "TLS 1.0",
        "TLS 1.1",
        "TLS 1.2",
        "TLS 1.3",
    ]


def test_answers_are_told_in_words() -> None:
    answers = (Accepted(Version.TLS_1_3, "TLS_AES_128_GCM_SHA256"), Alerted("protocol_version"), Closed(), Silent(), Unreadable())  # fmt: skip
    assert [str(one) for one in answers] == [
        "goes on with TLS 1.3 and TLS_AES_128_GCM_SHA256",
        "alert protocol_version",
        "closed",
        "silence",
        "something that is not TLS",
    ]
