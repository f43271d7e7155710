"""XML that is no plain UTF-8 XML 1.0, or has what a SOAP part never needs: refused before it becomes a tree."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from as4_arena import Arena, Verdict
from attack_rows import row
from outside_world import outside_world

DECLARATION = b"<?xml version='1.0' encoding='UTF-8'?>"
BILLION = (
    b'<!DOCTYPE S12:Envelope [<!ENTITY a "'
    + b"x" * 1000
    + b'"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


def bare(reason: str, *, gate: str = "G3", status: int = 400) -> Verdict:
    return Verdict(gate, reason, status=status)


def prologue(text: bytes) -> Callable[[bytes], bytes]:
    return lambda soap: soap.replace(DECLARATION, DECLARATION + text)


def inside(text: bytes, place: bytes = b"<eb:UserMessage>") -> Callable[[bytes], bytes]:
    return lambda soap: soap.replace(place, place + text)


def entity(declared: bytes, *, use: bytes = b"&e;") -> Callable[[bytes], bytes]:
    """Declare an entity and use it in the header."""

    def change(soap: bytes) -> bytes:
        return inside(use, b"<S12:Header>")(
            prologue(b"<!DOCTYPE S12:Envelope [" + declared + b"]>")(soap)
        )

    return change


@pytest.mark.attack("XSW-21")
@pytest.mark.parametrize(
    "change",
    [
        row("XML-01", prologue(b"<!DOCTYPE S12:Envelope>"), id="empty"),
        row("XML-01", prologue(b"<!DOCTYPE S12:Envelope []>"), id="subset"),
        row(
            "XML-02", prologue(b'<!DOCTYPE S12:Envelope SYSTEM "file:///etc/hostname">'), id="file"
        ),
        row("XML-02", prologue(b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/evil.dtd">'), id="http"),
        row("XML-02", entity(b'<!ENTITY e SYSTEM "file:///etc/hostname">'), id="entity of a file"),
        row("XML-02", entity(b'<!ENTITY e SYSTEM "http://127.0.0.1:9/e">'), id="entity of a page"),
        row(
            "XML-03",
            prologue(b'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/e"> %e;]>'),
            id="parameter entity",
        ),
        row("XML-04", prologue(BILLION), id="billion laughs"),
        row(
            "XML-04",
            lambda soap: BILLION + soap.removeprefix(DECLARATION),
            id="billion laughs without declaration",
        ),
        row(
            "XML-05",
            entity(b'<!ENTITY e "' + b"x" * 50_000 + b'">', use=b"&e;" * 10_000),
            id="quadratic blow-up",
        ),
        row(
            "XML-06",
            prologue(
                b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">'
                b'<!ATTLIST Body a CDATA "&e;">]>'
            ),
            id="entity in the default of an attribute",
        ),
        row("XML-07", prologue(b'<!DOCTYPE x [<!ATTLIST Body Id CDATA "fixed">]>'), id="attlist"),
        row("XML-01", prologue(b"<!doctype x>"), id="lower case"),
    ],
)
async def test_document_type(arena: Arena, change: Callable[[bytes], bytes]) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_soap(change), bare("xml.doctype"), twin=wire)


COMMENT = inside(b"<!-- comment -->", b"<S12:Header>")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (COMMENT, "xml.comment"),
        (inside(b"<!-- comment -->"), "xml.comment"),
        (inside(b"<!-- comment -->", b"<ds:DigestValue>"), "xml.comment"),
        (inside(b"<!---->", b"<eb:MessageId>"), "xml.comment"),
        (prologue(b"<!-- before -->"), "xml.comment"),
        (lambda soap: soap + b"<!-- after -->", "xml.comment"),
        (inside(b"<?pi data?>"), "xml.pi"),
        row("XML-09", prologue(b"<?xml-stylesheet href='http://127.0.0.1:9/x'?>"), "xml.pi"),
        (inside(b"<![CDATA[text]]>", b"<eb:MessageId>"), "xml.cdata"),
    ],
)
async def test_markup(arena: Arena, change: Callable[[bytes], bytes], reason: str) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_soap(change), bare(reason), twin=wire)


def declared(text: bytes) -> Callable[[bytes], bytes]:
    return lambda soap: soap.replace(DECLARATION, text)


@pytest.mark.attack("XSW-21")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        row("XML-11", lambda soap: b"\xef\xbb\xbf" + soap, "xml.encoding"),
        row(
            "XML-11",
            lambda soap: soap.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
            "xml.encoding",
        ),
        row("XML-11", lambda soap: soap.decode().encode("utf-16-le"), "xml.encoding"),
        row("XML-11", lambda soap: soap.decode().encode("utf-32"), "xml.encoding"),
        row("XML-11", lambda soap: soap.decode().encode("cp037"), "xml.encoding"),
        row("XML-11", declared(b'<?xml version="1.0" encoding="ISO-8859-1"?>'), "xml.encoding"),
        row("XML-11", declared(b'<?xml version="1.0" encoding="UTF-7"?>'), "xml.encoding"),
        row("XML-12", declared(b'<?xml version="1.1" encoding="UTF-8"?>'), "xml.version"),
        row("XML-11", inside(b"\xff\xfe"), "xml.encoding"),
        row("XML-11", inside(b"\xc0\xaf"), "xml.encoding"),
        row("XML-13", inside(b"\xed\xa0\x80"), "xml.encoding"),
        row("XML-13", inside(b"\0"), "xml.syntax"),
        row("XML-13", inside(b"\x08"), "xml.syntax"),
        row("XML-13", inside(b"&#0;"), "xml.syntax"),
        row("XML-13", inside(b"&#x1F;"), "xml.syntax"),
        row("XML-13", inside("\ufffe".encode()), "xml.syntax"),
        row("XML-13", inside(b"&#xFFFE;"), "xml.syntax"),
        row("XML-13", inside(b"&#xD800;"), "xml.syntax"),
        (inside(b"&undefined;"), "xml.syntax"),
        (inside(b"<open>"), "xml.syntax"),
        (lambda soap: soap.replace(b"<S12:Body ", b'<S12:Body a="1" a="2" '), "xml.syntax"),
        (lambda soap: soap + soap, "xml.pi"),
        (lambda soap: b"", "xml.syntax"),
        (lambda soap: b"no XML at all", "xml.syntax"),
    ],
)
async def test_not_utf_8_xml_1_0(
    arena: Arena, change: Callable[[bytes], bytes], reason: str
) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_soap(change), bare(reason), twin=wire)


@pytest.mark.attack("XML-14", "FIL-03")
@pytest.mark.parametrize("broken", ["a&#13;&#10;", "&#10;", "a\n", "a&#9;b"])
async def test_line_break_in_message_id(arena: Arena, broken: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_text("<eb:MessageId>", f"<eb:MessageId>x{broken}")
    verdict = Verdict("G4", "header.messageid", "EBMS:0009")
    await arena.refuses(attack, verdict, twin=wire)


XSI = "http://www.w3.org/2001/XMLSchema-instance"
XI = "http://www.w3.org/2001/XInclude"


@pytest.mark.parametrize(
    "element",
    [
        row("XML-08", f'<xi:include xmlns:xi="{XI}" href="http://127.0.0.1:{{port}}/x"/>'),
        row("XML-08", f'<xi:include xmlns:xi="{XI}" href="file://{{file}}" parse="text"/>'),
        row("XML-10", f'<x xmlns:i="{XSI}" i:schemaLocation="urn:x http://127.0.0.1:{{port}}/x"/>'),
        row(
            "XML-10",
            f'<x xmlns:i="{XSI}" i:noNamespaceSchemaLocation="http://127.0.0.1:{{port}}/"/>',
        ),
    ],
    ids=["page included", "file included", "schema", "schema without namespace"],
)
async def test_what_another_parser_would_fetch_is_not_even_looked_at(
    arena: Arena, element: str, tmp_path: Path
) -> None:
    """Legal in a header that nobody must understand, so the message is accepted; nothing is fetched for it."""
    async with outside_world(tmp_path) as world:
        wire = arena.author.compose()
        header = world.fill(element)
        await arena.accepts(wire.with_text("<S12:Header>", f"<S12:Header>{header}"))
        assert world.touched == []


@pytest.mark.attack("XML-18")
@pytest.mark.parametrize(
    "element", ["wsse:Security", "ds:Signature", "wsse:BinarySecurityToken", "xenc:EncryptedKey"]
)
async def test_attributes_of_xml_itself_decide_nothing(arena: Arena, element: str) -> None:
    wire = arena.author.compose()
    attributes = 'xml:base="http://127.0.0.1:9/" xml:lang="da" xml:space="preserve"'
    await arena.accepts(wire.with_text(f"<{element} ", f"<{element} {attributes} ", count=1))


@pytest.mark.attack("HTP-13")
async def test_soap_1_1(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_text(
        "http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"
    )
    await arena.refuses(attack, bare("soap.version", gate="G4", status=500), twin=wire)


async def test_header_that_must_be_understood(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_text(
        "<S12:Header>",
        '<S12:Header><x:X xmlns:x="urn:example:x" S12:mustUnderstand="true"></x:X>',
    )
    await arena.refuses(attack, bare("soap.mustunderstand", gate="G4", status=500), twin=wire)


LARGE = 2_000_000


@pytest.mark.parametrize(
    "element",
    [
        row("XML-16", f"<x>{'x' * (1 << 20)}</x>", id="text"),
        row("XML-16", f"<x>{'x' * LARGE}</x>", id="text beyond the octets that are drained"),
        row("XML-16", f'<x a="{"x" * LARGE}"/>', id="attribute"),
        row("XML-17", "<c/>" * (LARGE // 4), id="elements"),
    ],
)
async def test_oversized_soap_part(arena: Arena, element: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_text("<S12:Header>", f"<S12:Header>{element}")
    await arena.refuses(attack, bare("mime.root", gate="G2", status=413), twin=wire)


async def test_soap_part_just_below_the_limit(arena: Arena) -> None:
    """As large as it may be and nothing else wrong: white space between header blocks is legal."""
    wire = arena.author.compose()
    room = (1 << 20) - len(wire.soap)
    await arena.accepts(replace(wire, soap=inside(b" " * room, b"<S12:Header>")(wire.soap)))
