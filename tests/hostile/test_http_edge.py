"""HTTP that is slow, malformed or out of place: refused at the door, before there is a message to judge.

The slow ones meet a node whose door waits only a moment for a header or a body; how long it waits by default is
a number in its configuration.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from as4_arena import Arena, Verdict
from as4_peer import HttpAnswer
from as4_stage import Pki
from as4_wire import Wire
from attack_rows import row

from keys.store import write_pair

LINE = b"POST /as4 HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"


def bare(reason: str, status: int = 400, *, known: bool = False) -> Verdict:
    return Verdict("G1", reason, status=status, signed=known)


def head(wire: Wire, *more: bytes, length: int | None = None, line: bytes = LINE) -> bytes:
    """The header of a request with this message; `more` are further lines."""
    size = len(wire.body) if length is None else length
    lines = [
        HOST,
        b"Content-Length: %d\r\n" % size,
        b"Content-Type: %s\r\n" % wire.content_type.encode(),
        *(each + b"\r\n" for each in more),
    ]
    return line + b"".join(lines) + b"\r\n"


def raw(arena: Arena, request: bytes, *, drip: bytes = b"") -> Callable[[], Awaitable[HttpAnswer]]:
    """The attack that sends these octets."""

    async def attack() -> HttpAnswer:
        return await arena.below_http(request, drip=drip)

    return attack


@pytest.mark.attack("HTP-01")
async def test_a_connection_on_which_nothing_is_said(hurried: Arena) -> None:
    """Closed without a word: nothing was asked, so nothing is refused."""
    wire = hurried.author.compose()
    mark, before = hurried.log.mark, await hurried.node.counts()
    reader, writer = await hurried.client.open()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.transport.abort()
    assert hurried.log.since(mark) == []
    assert (await hurried.node.counts())["refusals"] == before["refusals"]
    await hurried.accepts(wire)


@pytest.mark.parametrize(
    ("begun", "drip"),
    [
        row("HTP-02", b"P", b""),
        row("HTP-02", LINE, b""),
        row("HTP-02", LINE + HOST + b"Content-Type: multi", b""),
        row("HTP-03", LINE + HOST + b"X: ", b"x"),
        row("HTP-03", LINE + HOST, b"X: 1\r\n"),
    ],
)
async def test_a_header_that_never_ends(hurried: Arena, begun: bytes, drip: bytes) -> None:
    wire = hurried.author.compose()
    await hurried.refuses(raw(hurried, begun, drip=drip), bare("http.slow", 408), twin=wire)


@pytest.mark.parametrize(
    ("share", "drip"),
    [row("HTP-04", 0.0, b""), row("HTP-05", 0.0, b"-"), row("HTP-06", 0.3, b"")],
)
async def test_a_body_that_never_ends(hurried: Arena, share: float, drip: bytes) -> None:
    wire = hurried.author.compose()
    half = wire.body[: int(len(wire.body) * share)]
    # As slow within the first lines of a preamble: the length says that there is more.
    request = head(wire, length=1_000_000) + half
    await hurried.refuses(raw(hurried, request, drip=drip), bare("http.stalled", 408), twin=wire)


@pytest.mark.attack("HTP-05", "HTP-06")
async def test_a_known_sender_has_no_more_time_than_a_stranger(hurried: Arena) -> None:
    """Its SOAP part is complete and holds; the part behind it drips."""
    wire = hurried.author.compose()
    begun = wire.body[: wire.body.index(wire.parts[0].octets) + 100]
    request = head(wire) + begun
    verdict = bare("http.stalled", 408, known=True)
    await hurried.refuses(raw(hurried, request, drip=b"x"), verdict, twin=wire)


@pytest.mark.attack("HTP-07")
async def test_the_second_request_of_a_connection_drips(hurried: Arena) -> None:
    first, wire = hurried.author.compose(), hurried.author.compose()

    async def attack() -> HttpAnswer:
        writer.write(LINE + HOST)
        for _ in range(100):
            if writer.is_closing() or reader.at_eof():
                break
            writer.write(b"X: 1\r\n")
            await asyncio.sleep(0.02)
        answer = await reader.read()
        await hurried.node.point.as4.settle()
        status, _, body = answer.partition(b"\r\n\r\n")
        return HttpAnswer(int(status.split()[1]), "", body)

    reader, writer = await hurried.client.open()
    writer.write(head(first) + first.body)
    answered = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 OK\r\n" in answered
    await reader.readexactly(int(answered.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    await hurried.refuses(attack, bare("http.slow", 408), twin=wire)
    writer.transport.abort()


@pytest.mark.attack("HTP-10")
@pytest.mark.parametrize(
    "lines",
    [
        [b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5"],
        [b"X: 1", b" folded"],
        [b"X: a\x00b"],
        [b"X\x00: a"],
        [b"X : a"],
        [b"no colon"],
        [b"X-%d: 1" % number for number in range(200)],
        [b"X: " + b"x" * 9_000],
        [b"X: \x7f\x01"],
    ],
    ids=[
        "length and chunks", "two lengths", "folded", "NUL", "NUL in a name", "space in a name", "no colon",
        "200 headers", "9 KB header", "control characters",
    ],
)  # fmt: skip
async def test_a_header_that_two_readers_take_apart_differently(
    arena: Arena, lines: list[bytes]
) -> None:
    wire = arena.author.compose()
    request = head(wire, *lines) + wire.body
    await arena.refuses(raw(arena, request), bare("http.syntax"), twin=wire)


@pytest.mark.attack("HTP-10")
@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.replace(b"Host: localhost\r\n", b"Host: localhost\n"),
        lambda request: request.replace(b"HTTP/1.1", b"HTTP/1.1 "),
        lambda request: request.replace(b"Content-Length: ", b"Content-Length: +"),
        lambda request: request.replace(b"Content-Length: ", b"Content-Length: -"),
        lambda request: request.replace(b"Content-Length: ", b"Content-Length: 0x"),
        lambda request: request.replace(b"/as4", b"/" + b"a" * 9_000),
        lambda request: request.replace(b"POST", b"PO\x00ST"),
    ],
    ids=[
        "bare LF", "space behind the version", "plus", "minus", "hexadecimal", "9 KB path",
        "NUL in the method",
    ],
)  # fmt: skip
async def test_a_request_line_or_a_length_with_two_readings(
    arena: Arena, change: Callable[[bytes], bytes]
) -> None:
    wire = arena.author.compose()
    request = change(head(wire)) + wire.body
    await arena.refuses(raw(arena, request), bare("http.syntax"), twin=wire)


@pytest.mark.attack("HTP-11")
async def test_five_thousand_requests_in_one_breath(arena: Arena) -> None:
    """A refusal ends the connection: what was sent behind it is not even read."""
    wire = arena.author.compose()
    request = (LINE + HOST + b"Content-Length: 0\r\nContent-Type: text/xml\r\n\r\n") * 5_000
    await arena.refuses(raw(arena, request), bare("http.media-type", 415), twin=wire)


@pytest.mark.attack("HTP-13")
async def test_an_action_beside_the_message_decides_nothing(arena: Arena) -> None:
    """What the message is stands in what was signed; WS-Addressing's and SOAP 1.1's names for it are not read."""
    wire = arena.author.compose()
    content_type = wire.content_type + '; start-info="application/soap+xml"; action="urn:other"'
    headers = {"Content-Type": content_type, "SOAPAction": '"urn:other"'}
    answer = await arena.client.post_octets(wire.body, headers)
    assert answer.status == 200
    assert (await arena.node.message(wire.message_id))["direction"] == "in"
    await arena.node.idle()


@pytest.mark.attack("HTP-14")
@pytest.mark.parametrize(
    ("line", "reason", "status"),
    [
        (b"GET /as4 HTTP/1.1\r\n", "http.method", 405),
        (b"PUT /as4 HTTP/1.1\r\n", "http.method", 405),
        (b"TRACE /as4 HTTP/1.1\r\n", "http.method", 405),
        (b"POST / HTTP/1.1\r\n", "http.path", 404),
        (b"POST /as4/ HTTP/1.1\r\n", "http.path", 404),
        (b"POST /AS4 HTTP/1.1\r\n", "http.path", 404),
        (b"POST /../as4 HTTP/1.1\r\n", "http.path", 404),
        (b"POST //as4 HTTP/1.1\r\n", "http.path", 404),
        (b"GET /%00 HTTP/1.1\r\n", "http.path", 404),
    ],
)
async def test_another_method_or_path(arena: Arena, line: bytes, reason: str, status: int) -> None:
    wire = arena.author.compose()
    request = head(wire, line=line) + wire.body
    await arena.refuses(raw(arena, request), bare(reason, status), twin=wire)


@pytest.mark.attack("HTP-14")
@pytest.mark.parametrize("hosts", [b"", HOST + HOST, HOST + b"Host: other\r\n"])
async def test_not_one_host(arena: Arena, hosts: bytes) -> None:
    wire = arena.author.compose()
    request = head(wire).replace(HOST, hosts) + wire.body
    await arena.refuses(raw(arena, request), bare("http.syntax"), twin=wire)


@pytest.mark.attack("HTP-15")
@pytest.mark.parametrize(
    ("lines", "reason", "status"),
    [
        ([b"Expect: 100-continue", b"Content-Encoding: gzip"], "http.encoding", 415),
        ([b"Expect: 200-maybe"], "http.expect", 417),
    ],
)
async def test_a_body_is_not_asked_for_where_it_would_be_refused(
    arena: Arena, lines: list[bytes], reason: str, status: int
) -> None:
    """No 100 Continue before the refusal, and no waiting for a body that will not come."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        answer = await arena.below_http(head(wire, *lines))
        assert b" 100 " not in answer.headers
        return answer

    await arena.refuses(attack, bare(reason, status), twin=wire)


async def test_a_body_that_waits_to_be_asked_for_is(arena: Arena) -> None:
    """The legal twin: 100 Continue, the body, the receipt."""
    wire = arena.author.compose()
    reader, writer = await arena.client.open()
    writer.write(head(wire, b"Expect: 100-continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(wire.body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.transport.abort()
    await arena.node.idle()


@pytest.mark.attack("HTP-16")
@pytest.mark.parametrize(
    ("line", "reason", "status"),
    [
        (b"PRI * HTTP/2.0\r\n", "http.syntax", 400),
        (b"POST /as4 HTTP/2.0\r\n", "http.version", 505),
        (b"POST /as4 HTTP/0.9\r\n", "http.version", 505),
        (b"POST /as4 HTTP/1.2\r\n", "http.syntax", 400),
    ],
)
async def test_another_version_of_http(arena: Arena, line: bytes, reason: str, status: int) -> None:
    wire = arena.author.compose()
    request = head(wire, line=line) + wire.body
    await arena.refuses(raw(arena, request), bare(reason, status), twin=wire)


@pytest.mark.attack("HTP-16")
async def test_http_1_0_is_answered_and_closed(arena: Arena) -> None:
    """Old balancers speak it; there is nothing that it lets a stranger do."""
    wire = arena.author.compose()
    reader, writer = await arena.client.open()
    writer.write(head(wire, line=b"POST /as4 HTTP/1.0\r\n") + wire.body)
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    writer.transport.abort()
    await arena.node.idle()


@pytest.mark.attack("FIL-08")
@pytest.mark.parametrize(
    "line",
    ["X: æøå".encode(), "X: æøå".encode("latin-1"), b"X: \xff\xfe", "X: \u202e".encode()],
)
async def test_a_header_value_that_is_no_ascii_decides_nothing(arena: Arena, line: bytes) -> None:
    wire = arena.author.compose()
    reader, writer = await arena.client.open()
    writer.write(head(wire, line) + wire.body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.transport.abort()
    await arena.node.idle()


@pytest.mark.attack("FIL-08")
@pytest.mark.parametrize("line", ["Æ: 1".encode(), b"\xff: 1", "Content-Lengtｈ: 1".encode()])
async def test_a_header_name_that_is_no_ascii(arena: Arena, line: bytes) -> None:
    wire = arena.author.compose()
    request = head(wire, line) + wire.body
    await arena.refuses(raw(arena, request), bare("http.syntax"), twin=wire)


async def _post(arena: Arena, tls: ssl.SSLContext, wire: Wire) -> bytes:
    """The header of the answer; with TLS 1.3 a client hears only here what is thought of its certificate."""
    reader, writer = await arena.client.open(tls)
    try:
        writer.write(head(wire) + wire.body)
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


def _client(pki: Pki, *, known: bool = True, certificate: bool = True) -> ssl.SSLContext:
    """A TLS client of another make: it asks for nothing and checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        directory = pki.directory / ("tls-municipality" if known else "tls-unknown")
        if not known and not directory.exists():
            directory.mkdir(mode=0o700)
            write_pair(
                directory,
                "tls",
                pki.untrusted_authority.issue_tls_certificate(
                    "unknown", san=("localhost",), not_before=pki.now
                ),
            )
        context.load_cert_chain(directory / "tls.cert.pem", directory / "tls.key.pem")
    return context


def _old(version: ssl.TLSVersion) -> Callable[[Pki], ssl.SSLContext]:
    def make(pki: Pki) -> ssl.SSLContext:
        context = _client(pki)
        # OpenSSL's own floor is lowered, so that it is the server that refuses.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        return context

    return make


def _suite(name: str) -> Callable[[Pki], ssl.SSLContext]:
    def make(pki: Pki) -> ssl.SSLContext:
        context = _client(pki)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{name}:@SECLEVEL=0")
        return context

    return make


@pytest.mark.attack("HTP-17")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        _old(ssl.TLSVersion.TLSv1),
        _old(ssl.TLSVersion.TLSv1_1),
        _suite("ECDHE-ECDSA-AES128-SHA"),
        _suite("ECDHE-ECDSA-AES256-SHA384"),
        lambda pki: _client(pki, certificate=False),
        lambda pki: _client(pki, known=False),
    ],
    ids=[
        "TLS 1.0", "TLS 1.1", "CBC with SHA-1", "CBC", "no client certificate", "a stranger's certificate",
    ],
)  # fmt: skip
async def test_tls_that_is_not_spoken(arena: Arena, make: Callable[[Pki], ssl.SSLContext]) -> None:
    """Ends in the handshake: there was no request, so there is no refusal to record."""
    wire = arena.author.compose()
    mark, before = arena.log.mark, await arena.node.counts()
    tls = make(arena.pki)
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await _post(arena, tls, wire)
    assert arena.log.since(mark) == []
    assert (await arena.node.counts())["refusals"] == before["refusals"]
    await arena.accepts(wire)


@pytest.mark.attack("HTP-17")
async def test_tls_agrees_on_keys_that_are_forgotten_and_seals_what_it_sends(arena: Arena) -> None:
    """Whatever key the server has: with that of the arena no client reaches the suites of RSA and of finite fields."""
    suites = arena.node.point.server_tls.get_ciphers()
    assert {suite["kea"] for suite in suites} == {"kx-ecdhe", "kx-any"}  # the latter is TLS 1.3
    assert all(suite["aead"] for suite in suites)


@pytest.mark.attack("HTP-17")
async def test_tls_is_not_negotiated_anew(arena: Arena) -> None:
    """The context refuses it whatever a client asks; the versions and suites that are left know it no other way."""
    context = arena.node.point.server_tls
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_the_twin_of_all_these_is_accepted(arena: Arena) -> None:
    """The client of another make, as far as it is not refused: TLS 1.2 with a good suite, octets written by hand."""
    wire = arena.author.compose()
    assert (await _post(arena, _suite("ECDHE+AESGCM")(arena.pki), wire)).startswith(b"HTTP/1.1 200")
    await arena.node.idle()


@pytest.mark.attack("HTP-09")
async def test_more_than_the_limit_in_chunks(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is met while reading, since nothing announced it."""
    wire = arena.author.compose()
    limits = arena.node.point.as4._limits

    async def chunks() -> AsyncIterator[bytes]:
        yield wire.body[:-200]
        for _ in range(40):
            yield bytes(64 * 1024)

    async def attack() -> HttpAnswer:
        async with arena.client.session.post(
            arena.client.url, data=chunks(), headers={"Content-Type": wire.content_type}
        ) as response:
            return HttpAnswer(response.status, "", await response.read())

    with monkeypatch.context() as patch:
        patch.setattr(
            arena.node.point.as4, "_limits", type(limits)(sbd_bytes=1 << 20, soap_bytes=1 << 16)
        )
        await arena.refuses(attack, bare("http.size", 413, known=True), twin=wire)
