"""XML that is no plain UTF-8 XML 1.0, or has what a SOAP part never needs: refused before it becomes a tree."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from as4_arena import Arena, Verdict

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


@pytest.mark.attack("XSW-21")
@pytest.mark.parametrize(
    "change",
    [
        prologue(b"<!DOCTYPE S12:Envelope>"),
        prologue(b"<!DOCTYPE S12:Envelope []>"),
        prologue(b'<!DOCTYPE S12:Envelope SYSTEM "file:///etc/hostname">'),
        prologue(b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/evil.dtd">'),
        prologue(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'),
        prologue(b'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/e"> %e;]>'),
        prologue(b'<!DOCTYPE x [<!ATTLIST Body Id CDATA "fixed">]>'),
        prologue(b"<!doctype x>"),
        prologue(BILLION),
        lambda soap: BILLION + soap.removeprefix(DECLARATION),
    ],
    ids=[
        "empty", "subset", "file", "http", "entity", "parameter entity", "attlist", "lower case",
        "billion laughs", "without declaration",
    ],
)  # fmt: skip
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
        (prologue(b"<?xml-stylesheet href='http://127.0.0.1:9/x'?>"), "xml.pi"),
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
        (lambda soap: b"\xef\xbb\xbf" + soap, "xml.encoding"),
        (lambda soap: soap.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "xml.encoding"),
        (lambda soap: soap.decode().encode("utf-16-le"), "xml.encoding"),
        (lambda soap: soap.decode().encode("utf-32"), "xml.encoding"),
        (lambda soap: soap.decode().encode("cp037"), "xml.encoding"),
        (declared(b'<?xml version="1.0" encoding="ISO-8859-1"?>'), "xml.encoding"),
        (declared(b'<?xml version="1.0" encoding="UTF-7"?>'), "xml.encoding"),
        (declared(b'<?xml version="1.1" encoding="UTF-8"?>'), "xml.version"),
        (inside(b"\xff\xfe"), "xml.encoding"),
        (inside(b"\xc0\xaf"), "xml.encoding"),
        (inside(b"\xed\xa0\x80"), "xml.encoding"),
        (inside(b"\0"), "xml.syntax"),
        (inside(b"\x08"), "xml.syntax"),
        (inside(b"&#0;"), "xml.syntax"),
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


async def test_line_break_in_message_id(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_text("<eb:MessageId>", "<eb:MessageId>a&#13;&#10;")
    verdict = Verdict("G4", "header.messageid", "EBMS:0009")
    await arena.refuses(attack, verdict, twin=wire)


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


async def test_oversized_soap_part(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_text("<S12:Header>", f"<S12:Header><x>{'x' * (1 << 20)}</x>")
    await arena.refuses(attack, bare("mime.root", gate="G2", status=413), twin=wire)


async def test_soap_part_just_below_the_limit(arena: Arena) -> None:
    """As large as it may be and nothing else wrong: white space between header blocks is legal."""
    wire = arena.author.compose()
    room = (1 << 20) - len(wire.soap)
    await arena.accepts(replace(wire, soap=inside(b" " * room, b"<S12:Header>")(wire.soap)))
