"""HTTP and MIME that do not hold: refused without an ebMS answer, because there is no ebMS context yet."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from as4_arena import Arena, Verdict
from as4_peer import HttpAnswer
from as4_wire import BOUNDARY, Wire, WirePart
from attack_rows import row

from accesspoint.inbound.refusal import Intake
from envelope.errors import TransportRefused
from envelope.limits import DEFAULT_LIMITS
from envelope.mime import parse_content_type

RELATED = 'multipart/related; type="application/soap+xml"'


def bare(reason: str, *, gate: str = "G2", status: int = 400, known: bool = False) -> Verdict:
    return Verdict(gate, reason, status=status, signed=known)


@pytest.mark.attack("MIM-03")
async def test_missing_end_boundary(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(replace(wire, ending=""), bare("mime.truncated", known=True), twin=wire)


@pytest.mark.attack("MIM-03")
@pytest.mark.parametrize("ending", ["\r\n", f"\r\n--{BOUNDARY}", f"\r\n--{BOUNDARY}-"])
async def test_end_boundary_cut(arena: Arena, ending: str) -> None:
    wire = arena.author.compose()
    attack = replace(wire, ending=ending)
    await arena.refuses(attack, bare("mime.truncated", known=True), twin=wire)


@pytest.mark.attack("MIM-16")
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


@pytest.mark.attack("MIM-05")
@pytest.mark.parametrize("epilogue", ["text", "\r\n--other--", "\0"])
async def test_text_after_the_end(arena: Arena, epilogue: str) -> None:
    wire = arena.author.compose()
    attack = replace(wire, ending=wire.ending + epilogue)
    await arena.refuses(attack, bare("mime.epilogue", known=True), twin=wire)


@pytest.mark.attack("MIM-01")
async def test_too_many_parts(arena: Arena) -> None:
    """One of forty parts is listed: the framing is refused before the list is compared."""
    wire = arena.author.compose()
    extra = [WirePart(f"extra{number}@hostile.example", b"x") for number in range(40)]
    attack = wire.with_parts(*extra)
    await arena.refuses(attack, Verdict("G8", "att.unlisted", "EBMS:0007"), twin=wire)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        row("MIM-02", (("X-Long", "x" * 9000),), "mime.headers"),
        row("MIM-02", (("X-Long", "x" * 1025),), "mime.headers"),
        row("MIM-02", tuple((f"X-{number}", "x") for number in range(20)), "mime.headers"),
        row("MIM-14", (("Content-Type", "a/b"), ("Content-Type", "text/xml")), "mime.headers"),
        row("MIM-14", (("Content-ID", "<other@hostile.example>"),), "mime.headers"),
        row("MIM-11", (("Content-Type", 'multipart/related; boundary="x"'),), "mime.nested"),
        row("MIM-11", (("Content-Type", "multipart/mixed"),), "mime.nested"),
        row("MIM-15", (("Content-Type", 'a/b; name="a"; name="b"'),), "mime.type"),
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
        row("MIM-07", 'multipart/related; type="application/soap+xml"', "mime.boundary"),
        row("MIM-06", f'{RELATED}; boundary=""', "mime.boundary"),
        row("MIM-06", f'{RELATED}; boundary="{"b" * 71}"', "mime.boundary"),
        row("MIM-06", f'{RELATED}; boundary="{"b" * 3_900}"', "mime.boundary"),
        row("MIM-06", f'{RELATED}; boundary=".*[a-z]+|("', "mime.boundary"),
        row("MIM-06", f'{RELATED}; boundary="a\\\\b"', "mime.boundary"),
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


@pytest.mark.attack("HTP-13")
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


@pytest.mark.attack("HTP-12")
async def test_compressed_request(arena: Arena) -> None:
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.client.post(wire, **{"Content-Encoding": "gzip"})

    await arena.refuses(attack, bare("http.encoding", gate="G1", status=415), twin=wire)


@pytest.mark.attack("HTP-08")
async def test_declared_length_over_the_limit(arena: Arena) -> None:
    """Refused by its Content-Length, before the body; the peer need not even send it."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.below_http(
            b"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n"
            b"Content-Type: " + wire.content_type.encode() + b"\r\n\r\n"
        )

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


@pytest.mark.attack("MIM-09")
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\n\r"])
async def test_other_line_ends(arena: Arena, line_end: bytes) -> None:
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        head, separator, rest = wire.body.partition(b"<?xml")
        body = head.replace(b"\r\n", line_end) + separator + rest
        return await arena.client.post_octets(body, {"Content-Type": wire.content_type})

    await arena.refuses(attack, bare("mime.delimiter"), twin=wire)


@pytest.mark.attack("MIM-01")
async def test_one_part_too_many_although_all_are_listed(arena: Arena) -> None:
    """As many payloads as there may be parts, and the SOAP part is one: the list alone is refused."""
    twin = arena.author.test_message([b"part"] * (DEFAULT_LIMITS.parts - 1))
    one = twin.parts[-1]
    attack = twin.with_text(
        "</eb:PayloadInfo>",
        '<eb:PartInfo href="cid:more@hostile.example"></eb:PartInfo></eb:PayloadInfo>',
    ).with_parts(*twin.parts, replace(one, content_id="more@hostile.example"))
    await arena.refuses(attack, Verdict("G4", "att.limits", "EBMS:0009"), twin=twin)


@pytest.mark.attack("MIM-04")
async def test_endless_preamble(arena: Arena) -> None:
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(
            b"preamble\r\n" * 50_000 + wire.body, {"Content-Type": wire.content_type}
        )

    await arena.refuses(attack, bare("mime.preamble"), twin=wire)


@pytest.mark.attack("MIM-06")
async def test_a_line_end_in_the_boundary(arena: Arena) -> None:
    """In the header of the request it is not HTTP; folded it is one value, and no boundary."""
    for broken in (b"a\r\n b", b"a\n b", b"a\rb"):
        wire = arena.author.compose()

        async def attack(broken: bytes = broken, wire: Wire = wire) -> HttpAnswer:
            return await arena.below_http(
                b"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(wire.body)
                + b'Content-Type: multipart/related; type="application/soap+xml"; boundary="'
                + broken
                + b'"\r\n\r\n'
                + wire.body,
            )

        await arena.refuses(attack, bare("http.syntax", gate="G1"), twin=wire)


@pytest.mark.attack("MIM-08")
@pytest.mark.parametrize("after", [b"x", b"-", b"-x", b" \r\n", b"\n"])
async def test_what_begins_like_the_boundary(arena: Arena, after: bytes) -> None:
    """A line of the boundary is one, or nothing that we read; before it the part has ended, so it must hold."""
    wire = arena.author.compose()
    line = b"\r\n--" + BOUNDARY.encode() + after
    behind = wire.with_part(0, lambda octets: octets + line + octets)
    await arena.refuses(behind, bare("mime.delimiter", known=True), twin=wire)
    wire = arena.author.compose()
    within = wire.with_part(0, lambda octets: octets[:-9] + line + octets[-9:])
    await arena.refuses(within, Verdict("G7", "enc.failed", "EBMS:0102"), twin=wire)


@pytest.mark.parametrize(
    "headers",
    [
        row("MIM-10", (("Content-Type", "application/octet-stream;\r\n\tname=folded"),)),
        row("MIM-13", (("Content-Length", "3"),)),
        row("MIM-13", (("Content-Length", "-1"),)),
        row("MIM-15", (("Content-Disposition", "attachment; filename=../../etc/passwd"),)),
        row(
            "MIM-15",
            (("Content-Disposition", "attachment; filename*=x-unknown''%00..%2F; filename*1*=x"),),
        ),
        row("MIM-15", (("Content-Type", "text/plain; charset=x-unknown"),)),
    ],
)
async def test_part_headers_that_decide_nothing(
    arena: Arena, headers: tuple[tuple[str, str], ...]
) -> None:
    """What the header of a part says of its length, its name or its character set is nobody's decision."""
    wire = arena.author.compose()
    await arena.accepts(wire.with_parts(replace(wire.parts[0], headers=headers)))


@pytest.mark.attack("MIM-12")
@pytest.mark.parametrize(
    "octets", [b"QUJ", b"QQ=QQ===", b" " * 500_000, b"\r\n" * 200_000, b"Q" + b" \n" * 200_000]
)
async def test_base64_that_was_not_agreed(arena: Arena, octets: bytes) -> None:
    """Refused for the header that announces it; a partner who may send base64 is held to good one elsewhere."""
    wire = arena.author.compose()
    headers = (("Content-Transfer-Encoding", "base64"),)
    attack = wire.with_parts(replace(wire.parts[0], headers=headers, octets=octets))
    await arena.refuses(attack, Verdict("G4", "mime.cte", "EBMS:0007", signed=True), twin=wire)


@pytest.mark.attack("MIM-16")
async def test_cut_at_every_octet(arena: Arena) -> None:
    """Through the receiver itself, below HTTP: nothing but a refusal, and nothing of it stays."""
    wire = arena.author.test_message([b"x"])
    content_type = parse_content_type(wire.content_type)
    complete = len(wire.body) - len("\r\n")
    await arena.node.idle()
    before = await arena.node.counts(), arena.node.files()
    reasons = Counter[str]()
    for end in range(complete):

        async def cut(end: int = end) -> AsyncIterator[bytes]:
            yield wire.body[:end]

        with pytest.raises(TransportRefused) as refused:
            await arena.node.point.as4._receiver.receive(content_type, cut(), Intake("127.0.0.1"))
        reasons[refused.value.reason] += 1
    assert reasons == {"mime.truncated": complete}
    assert (await arena.node.counts(), arena.node.files()) == before
    await arena.accepts(wire)


async def test_no_mime_and_no_parts(arena: Arena) -> None:
    """A SOAP part alone, as signals travel: the parts that it lists are missing."""
    wire = arena.author.compose()

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(
            wire.soap, {"Content-Type": "application/soap+xml; charset=UTF-8"}
        )

    await arena.refuses(attack, Verdict("G8", "att.missing", "EBMS:0007"), twin=wire)
