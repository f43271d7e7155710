"""HTTP and MIME that do not hold: refused without an ebMS answer, because there is no ebMS context yet."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from as4_arena import Arena, Verdict
from as4_peer import HttpAnswer
from as4_wire import BOUNDARY, Wire, WirePart


def bare(reason: str, *, gate: str = "G2", status: int = 400, known: bool = False) -> Verdict:
    return Verdict(gate, reason, status=status, signed=known)


async def test_missing_end_boundary(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(replace(wire, ending=""), bare("mime.truncated", known=True), twin=wire)


@pytest.mark.parametrize("ending", ["\r\n", f"\r\n--{BOUNDARY}", f"\r\n--{BOUNDARY}-"])
async def test_end_boundary_cut(arena: Arena, ending: str) -> None:
    wire = arena.author.compose()
    attack = replace(wire, ending=ending)
    await arena.refuses(attack, bare("mime.truncated", known=True), twin=wire)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.99])
async def test_body_cut_anywhere(arena: Arena, share: float) -> None:
    """Cut in the preamble, in the SOAP part, in the payload: always a plain refusal, never an internal error."""
    wire = arena.author.compose()
    body = wire.body[: int(len(wire.body) * share)]
    soap_ends = wire.body.index(wire.soap) + len(wire.soap)
    known = len(body) > soap_ends + len(BOUNDARY) + 4

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(body, {"Content-Type": wire.content_type})

    await arena.refuses(attack, bare("mime.truncated", known=known), twin=wire)


@pytest.mark.parametrize("epilogue", ["text", "\r\n--other--", "\0"])
async def test_text_after_the_end(arena: Arena, epilogue: str) -> None:
    wire = arena.author.compose()
    attack = replace(wire, ending=wire.ending + epilogue)
    await arena.refuses(attack, bare("mime.epilogue", known=True), twin=wire)


async def test_too_many_parts(arena: Arena) -> None:
    """One of forty parts is listed: the framing is refused before the list is compared."""
    wire = arena.author.compose()
    extra = [WirePart(f"extra{number}@hostile.example", b"x") for number in range(40)]
    attack = wire.with_parts(*extra)
    await arena.refuses(attack, Verdict("G8", "att.unlisted", "EBMS:0007"), twin=wire)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((("X-Long", "x" * 9000),), "mime.headers"),
        (tuple((f"X-{number}", "x") for number in range(20)), "mime.headers"),
        ((("Content-Type", "application/xml"), ("Content-Type", "text/xml")), "mime.headers"),
        ((("Content-Type", 'multipart/related; boundary="x"'),), "mime.nested"),
        ((("Content-Type", "application/xml\x00"),), "mime.headers"),
        ((("No colon here\x0b", ""),), "mime.headers"),
    ],
)
async def test_part_headers(
    arena: Arena, headers: tuple[tuple[str, str], ...], reason: str
) -> None:
    wire = arena.author.compose()
    attack = wire.with_parts(replace(wire.parts[0], headers=headers))
    await arena.refuses(attack, bare(reason, known=True), twin=wire)


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("multipart/related", "mime.type"),
        ('multipart/related; type="application/soap+xml"', "mime.boundary"),
        ('multipart/related; type="application/soap+xml"; boundary=""', "mime.boundary"),
        (
            f'multipart/related; type="application/soap+xml"; boundary="{"b" * 71}"',
            "mime.boundary",
        ),
        ('multipart/related; type="text/xml"; boundary="=_hostile"', "mime.type"),
        (
            'multipart/related; type="application/soap+xml"; boundary="a"; boundary="=_hostile"',
            "mime.type",
        ),
        ('multipart/related; type="application/soap+xml"; boundary="other"', "mime.preamble"),
    ],
)
async def test_content_type(arena: Arena, content_type: str, reason: str) -> None:
    wire = arena.author.compose()
    await arena.refuses(replace(wire, content_type=content_type), bare(reason), twin=wire)


@pytest.mark.parametrize(
    ("content_type", "reason", "status"),
    [
        ("text/xml", "http.media-type", 415),
        ("application/octet-stream", "http.media-type", 415),
        ("multipart/mixed; boundary=x", "http.media-type", 415),
        ("", "http.media-type", 415),
        ("nonsense", "mime.type", 400),
    ],
)
async def test_media_type(arena: Arena, content_type: str, reason: str, status: int) -> None:
    wire = arena.author.compose()
    gate = "G1" if reason.startswith("http") else "G2"
    if not content_type:
        content_type = "application/octet-stream"
    verdict = bare(reason, gate=gate, status=status)
    await arena.refuses(replace(wire, content_type=content_type), verdict, twin=wire)


async def test_compressed_request(arena: Arena) -> None:
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.client.post(wire, **{"Content-Encoding": "gzip"})

    await arena.refuses(attack, bare("http.encoding", gate="G1", status=415), twin=wire)


async def test_declared_length_over_the_limit(arena: Arena) -> None:
    """Refused by its Content-Length, before the body; the peer need not even send it."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        answer = await arena.client.post_raw(
            b"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n"
            b"Content-Type: " + wire.content_type.encode() + b"\r\n\r\n"
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        return HttpAnswer(int(head.split()[1]), "", body)

    await arena.refuses(attack, bare("http.size", gate="G1", status=413), twin=wire)


async def test_connection_lost_in_the_body(arena: Arena) -> None:
    """Half a request is nobody's message: one record, and nobody left to answer."""
    wire = arena.author.compose()
    half = wire.body[: len(wire.body) // 2]

    async def attack() -> HttpAnswer:
        before = (await arena.node.counts())["refusals"]
        host, _, port = arena.node.url.removeprefix("https://").removesuffix("/as4").partition(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=arena.client.tls)
        writer.write(
            b"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(wire.body)
            + f"Content-Type: {wire.content_type}\r\n\r\n".encode()
            + half
        )
        await writer.drain()
        writer.transport.abort()

        async def recorded() -> bool:
            return (await arena.node.counts())["refusals"] > before

        await arena.node.until(recorded, "the lost connection is not recorded")
        return HttpAnswer(400, "", b"The request is not accepted.\n")

    await arena.refuses(attack, bare("http.lost", gate="G1", known=True), twin=wire)


@pytest.mark.attack("ATT-15")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda wire: replace(wire, root_headers=(("Content-ID", "<root@x>"),)), "mime.start"),
        (
            lambda wire: replace(
                wire, content_type=wire.content_type.replace("root@", "elsewhere@")
            ),
            "mime.start",
        ),
    ],
)
async def test_start_names_another_part(
    arena: Arena, change: Callable[[Wire], Wire], reason: str
) -> None:
    wire = arena.author.compose()
    verdict = Verdict("G4", reason, "EBMS:0007")
    await arena.refuses(change(wire), verdict, twin=wire)


@pytest.mark.attack("ATT-15")
async def test_payload_part_first(arena: Arena) -> None:
    wire = arena.author.compose()
    first = replace(wire, root_headers=(("Content-Type", "application/xml"), wire.root_headers[2]))
    await arena.refuses(first, bare("mime.type"), twin=wire)


async def test_bare_line_feeds(arena: Arena) -> None:
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        head, separator, rest = wire.body.partition(b"<?xml")
        body = head.replace(b"\r\n", b"\n") + separator + rest
        return await arena.client.post_octets(body, {"Content-Type": wire.content_type})

    await arena.refuses(attack, bare("mime.delimiter"), twin=wire)


async def test_no_mime_and_no_parts(arena: Arena) -> None:
    """A SOAP part alone, as signals travel: the parts that it lists are missing."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(
            wire.soap, {"Content-Type": "application/soap+xml; charset=UTF-8"}
        )

    await arena.refuses(attack, Verdict("G8", "att.missing", "EBMS:0007"), twin=wire)
