"""Forms that are met before the sender is known: read for whoever agreed to them, refused for everybody else.

Each form of the SOAP part comes from a partner that may send it, from one that may not while another may, and
where nobody may. The second is refused after G6, by the sender's own agreement; the third before anything is known.
"""

import base64
import codecs
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from as4_wire import Author, Tree, Wire

from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.identity import Agreements, with_quirks
from accesspoint.inbound.refusal import Intake
from envelope import names
from envelope.errors import Gate, ProcessingModeMismatch, RemoteProtocolError
from envelope.mime import MultipartParser
from envelope.pmode import DOMIBUS_LIKE, Quirk
from envelope.quirks import MET_EARLY

if TYPE_CHECKING:
    from inbound_parts import Inbound

OTHER = "another-partner"


def agreements(party: str, *quirks: Quirk) -> Agreements:
    return Agreements(by_party={party: with_quirks(DOMIBUS_LIKE, frozenset(quirks))})


def root_header(wire: Wire, name: str, value: str) -> Wire:
    headers = tuple((key, value if key == name else old) for key, old in wire.root_headers)
    return replace(wire, root_headers=headers)


def byte_order_mark(author: Author) -> tuple[bytes, str]:
    wire = author.test_message().with_soap(lambda soap: codecs.BOM_UTF8 + soap)
    return wire.body, wire.content_type


def base64_root(author: Author) -> tuple[bytes, str]:
    wire = root_header(author.test_message(), "Content-Transfer-Encoding", "base64")
    wire = wire.with_soap(lambda soap: base64.encodebytes(soap).replace(b"\n", b"\r\n"))
    return wire.body, wire.content_type


def bare_line_feeds(author: Author) -> tuple[bytes, str]:
    wire = author.test_message([], encrypt=False)
    return wire.body.replace(b"\r\n", b"\n"), wire.content_type


def line_feeds_in_a_header(author: Author) -> tuple[bytes, str]:
    """One bare LF only, between two headers of the SOAP part."""
    wire = author.test_message()
    return wire.body.replace(b"UTF-8\r\n", b"UTF-8\n", 1), wire.content_type


def line_feed_before_the_first_boundary(author: Author) -> tuple[bytes, str]:
    wire = author.test_message()
    return b"\n" + wire.body, wire.content_type


def bare_content_id(author: Author) -> tuple[bytes, str]:
    wire = author.test_message()
    return wire.body.replace(b"<root@hostile.example>", b"root@hostile.example"), wire.content_type


def bare_message_id(author: Author) -> tuple[bytes, str]:
    def change(tree: Tree) -> None:
        tree.find(names.EB, "MessageId").text = "7d2454ec-7515-4c27-99d3-c52e44010a48"

    wire = author.resigned(author.test_message(), change)
    return wire.body, wire.content_type


def untyped_party(author: Author) -> tuple[bytes, str]:
    def change(tree: Tree) -> None:
        del tree.find(names.EB, "PartyId").attrib["type"]

    wire = author.resigned(author.test_message(), change)
    return wire.body, wire.content_type


FORMS = [
    (Quirk.BYTE_ORDER_MARK, byte_order_mark),
    (Quirk.BASE64_PARTS, base64_root),
    (Quirk.BARE_LINE_FEEDS, bare_line_feeds),
    (Quirk.BARE_LINE_FEEDS, line_feeds_in_a_header),
    (Quirk.BARE_LINE_FEEDS, line_feed_before_the_first_boundary),
    (Quirk.BARE_CONTENT_ID, bare_content_id),
    (Quirk.LOOSE_MESSAGE_ID, bare_message_id),
    (Quirk.UNTYPED_NAMES, untyped_party),
]
forms = pytest.mark.parametrize(("quirk", "form"), FORMS, ids=[form.__name__ for _, form in FORMS])
Form = Callable[[Author], tuple[bytes, str]]


def test_every_early_form_is_tried() -> None:
    assert {quirk for quirk, _ in FORMS} == MET_EARLY


@forms
async def test_the_partner_that_agreed_to_it_is_read(
    inbound: "Inbound", quirk: Quirk, form: Form
) -> None:
    receiver = inbound.receiver(agreements=agreements(MUNICIPALITY.access_point, quirk))
    body, content_type = form(inbound.author)
    assert (await inbound.receive_octets(body, content_type, receiver=receiver)).status == 200
    assert len(await inbound.messages()) == 1


@forms
async def test_what_another_partner_may_send_is_refused_once_the_sender_is_known(
    inbound: "Inbound", quirk: Quirk, form: Form
) -> None:
    receiver = inbound.receiver(agreements=agreements(OTHER, quirk))
    receiver.decrypt = None  # type: ignore[assignment,method-assign]
    intake = Intake("127.0.0.9")
    body, content_type = form(inbound.author)
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive_octets(body, content_type, receiver=receiver, intake=intake)
    assert (refused.value.reason, refused.value.gate) == ("pmode.quirk", Gate.G6)
    assert str(quirk) in refused.value.detail
    assert intake.party == MUNICIPALITY.access_point
    assert await inbound.stored_nothing()


@forms
async def test_where_nobody_agreed_to_it_nothing_is_known_when_it_is_refused(
    inbound: "Inbound", quirk: Quirk, form: Form
) -> None:
    intake = Intake("127.0.0.9")
    body, content_type = form(inbound.author)
    with pytest.raises(RemoteProtocolError) as refused:
        await inbound.receive_octets(body, content_type, intake=intake)
    assert refused.value.reason != "pmode.quirk"
    assert not intake.authenticated
    assert await inbound.stored_nothing()


def base64_part(wire: Wire) -> bytes:
    (first, *others) = wire.parts
    octets = base64.encodebytes(first.octets).replace(b"\n", b"\r\n")
    headers = (("Content-Transfer-Encoding", "base64"), first.headers[0])
    return wire.with_parts(replace(first, octets=octets, headers=headers), *others).body


def part_header_with_a_line_feed(wire: Wire) -> bytes:
    """A bare LF in the header of the first payload part."""
    head = b"application/octet-stream\r\n"
    assert head in wire.body
    return wire.body.replace(head, head[:-2] + b"\n", 1)


@pytest.mark.parametrize(
    ("quirk", "change", "reason"),
    [
        (Quirk.BASE64_PARTS, base64_part, "mime.cte"),
        (Quirk.BARE_LINE_FEEDS, part_header_with_a_line_feed, "mime.headers"),
    ],
)
async def test_later_parts_are_read_by_the_agreement_of_the_sender_alone(
    inbound: "Inbound", quirk: Quirk, change: Callable[[Wire], bytes], reason: str
) -> None:
    wire = inbound.author.test_message()
    body = change(wire)
    receiver = inbound.receiver(agreements=agreements(MUNICIPALITY.access_point, quirk))
    assert (await inbound.receive_octets(body, wire.content_type, receiver=receiver)).status == 200
    wire = inbound.author.test_message()
    receiver = inbound.receiver(agreements=agreements(OTHER, quirk))
    for chunk_bytes in (11, 1 << 20):
        intake = Intake("127.0.0.9")
        with pytest.raises(RemoteProtocolError) as refused:
            await inbound.receive_octets(
                change(wire),
                wire.content_type,
                receiver=receiver,
                intake=intake,
                chunk_bytes=chunk_bytes,
            )
        assert refused.value.reason == reason
        assert intake.authenticated
    assert len(await inbound.messages()) == 1


# Planted faults: with one of the two looks taken away, the cases above go red.


async def test_without_the_look_back_at_the_soap_part_a_case_goes_red(
    inbound: "Inbound", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accesspoint.inbound.receiver.met_in_header", lambda *_: ())
    with pytest.raises((TypeError, pytest.fail.Exception)):
        await test_what_another_partner_may_send_is_refused_once_the_sender_is_known(
            inbound, Quirk.BYTE_ORDER_MARK, byte_order_mark
        )


async def test_with_the_early_quirks_kept_for_later_parts_a_case_goes_red(
    inbound: "Inbound", monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_to = MultipartParser.hold_to

    def at_the_start_only(parser: MultipartParser, quirks: frozenset[Quirk]) -> None:
        if not hasattr(parser, "met"):
            hold_to(parser, quirks)

    monkeypatch.setattr(MultipartParser, "hold_to", at_the_start_only)
    with pytest.raises(pytest.fail.Exception):
        await test_later_parts_are_read_by_the_agreement_of_the_sender_alone(
            inbound, Quirk.BASE64_PARTS, base64_part, "mime.cte"
        )
