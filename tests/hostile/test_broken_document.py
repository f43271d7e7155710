"""The signed and encrypted part is no StandardBusinessDocument, or not a readable one."""

from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from attack_rows import row

SBDH = b"<StandardBusinessDocumentHeader>"


def inside(text: bytes) -> Callable[[bytes], bytes]:
    return lambda document: document.replace(SBDH, SBDH + text)


def without(name: bytes) -> Callable[[bytes], bytes]:
    def change(document: bytes) -> bytes:
        start = document.index(b"<" + name)
        end = document.index(b"</" + name + b">") + len(name) + 3
        return document[:start] + document[end:]

    return change


def content(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def replace(document: bytes) -> bytes:
        end = document.rindex(b"</", 0, document.rindex(b"</"))
        start = document.rindex(b">", 0, end) + 1
        return document[:start] + change(document[start:end]) + document[end:]

    return replace


def declared(text: bytes) -> Callable[[bytes], bytes]:
    return lambda document: text + document[document.index(b"?>") + 2 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: b"", "sbd.truncated"),
        (lambda document: b"%PDF-1.4 not a document", "sbd.encoding"),
        (lambda document: b'{"resourceType": "Bundle"}', "sbd.encoding"),
        (lambda document: b"<Other/>", "sbd.root"),
        (lambda document: document[:-1], "sbd.truncated"),
        (lambda document: document[: len(document) // 2], "sbd.truncated"),
        (lambda document: document + b"<more/>", "sbd.xml"),
        (declared(b"<!DOCTYPE x>"), "sbd.doctype"),
        (declared(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'), "sbd.doctype"),
        (declared(b'<?xml version="1.0" encoding="ISO-8859-1"?>'), "sbd.encoding"),
        (declared(b"\xff\xfe"), "sbd.encoding"),
        (inside(b"<unexpected/>"), "sbd.schema"),
        row("C14-07", inside(b"<x/>" * 5_000), "sbd.limits"),
        row("C14-07", inside(b"<x>" * 300 + b"</x>" * 300), "sbd.limits"),
        row(
            "C14-07",
            inside(b"<x " + b" ".join(b'a%d=""' % n for n in range(5_000)) + b"/>"),
            "sbd.limits",
        ),
        (without(b"Sender"), "sbd.schema"),
        (without(b"Receiver"), "sbd.schema"),
        (without(b"BusinessScope"), "sbd.schema"),
        (without(b"BinaryContent"), "sbd.content"),
        (content(lambda text: b"!" + text), "sbd.base64"),
        (content(lambda text: text + b"A"), "sbd.base64"),
        (content(lambda text: b"<x/>" + text), "sbd.content"),
    ],
)
async def test_document(arena: Arena, change: Callable[[bytes], bytes], reason: str) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(message_id=twin.message_id, document=change)
    await arena.refuses(attack, Verdict("G10", reason, "EBMS:0004"), twin=twin)
