"""Messages for somebody else, or whose ebMS header and business header tell two stories; all well signed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_stage import AGREED_PARTY, AGREEMENT, THIRD_PARTY
from as4_wire import Author, Tree
from attack_rows import row
from lxml import etree

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope import names
from envelope.messaging import AgreementRef, Property, Service, UserMessage
from envelope.names import q
from envelope.sbdh import Identifier, StandardBusinessDocumentHeader

ELSEWHERE = "0088:5790000000036"
Header = StandardBusinessDocumentHeader


def party(side: str, **values: Any) -> Callable[[UserMessage], UserMessage]:
    def change(message: UserMessage) -> UserMessage:
        return replace(message, **{side: replace(getattr(message, side), **values)})

    return change


def info(**values: Any) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(
        message, collaboration_info=replace(message.collaboration_info, **values)
    )


def with_property(name: str, value: str | None) -> Callable[[UserMessage], UserMessage]:
    def change(message: UserMessage) -> UserMessage:
        kept = [one for one in message.message_properties if one.name != name]
        if value is not None:
            kept.append(Property(name, value, names.ISO6523_ACTORID))
        return replace(message, message_properties=tuple(kept))

    return change


def refused(reason: str, code: str) -> Verdict:
    return Verdict("G10", reason, code)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        row("PTY-08", party("from_party", role=names.EB_RESPONDER), refused("pmode.role", "EBMS:0010")),
        row("PTY-08", party("to_party", role=names.EB_INITIATOR), refused("pmode.role", "EBMS:0010")),
        row("PTY-05", info(service=Service("urn:example:other")), refused("pmode.service", "EBMS:0001")),
        row("PTY-05", info(action="urn:example:other"), refused("pmode.action", "EBMS:0001")),
        (with_property("originalSender", ELSEWHERE), refused("sbd.addressing", "EBMS:0004")),
        (with_property("finalRecipient", ELSEWHERE), refused("sbd.addressing", "EBMS:0004")),
        (with_property("originalSender", None), refused("pmode.four-corner", "EBMS:0010")),
        (with_property("finalRecipient", None), refused("pmode.four-corner", "EBMS:0010")),
    ],
    ids=[
        "sender's role", "receiver's role", "service", "action", "originalSender",
        "finalRecipient", "no originalSender", "no finalRecipient",
    ],
)  # fmt: skip
async def test_header_that_does_not_fit(
    arena: Arena, change: Callable[[UserMessage], UserMessage], verdict: Verdict
) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(message_id=twin.message_id, message=change)
    await arena.refuses(attack, verdict, twin=twin)


@pytest.mark.attack("PTY-05")
@pytest.mark.parametrize(
    "agreement", [None, AgreementRef("urn:example:other"), AgreementRef(AGREEMENT.upper())]
)
async def test_agreement_that_nobody_made(arena: Arena, agreement: AgreementRef | None) -> None:
    """Where an agreement is configured, a message names that one and no other."""
    author = Author(arena.pki.agreed.signer(), arena.node.certificate, party=AGREED_PARTY)
    twin = author.compose(message=info(agreement_ref=AgreementRef(AGREEMENT)))
    attack = author.compose(message_id=twin.message_id, message=info(agreement_ref=agreement))
    await arena.refuses(attack, refused("pmode.agreement", "EBMS:0010"), twin=twin)


@pytest.mark.attack("PTY-01")
@pytest.mark.parametrize(
    "to", [MUNICIPALITY.access_point, "somebody-else", CLINIC.access_point + "."]
)
async def test_foreign_to_party(arena: Arena, to: str) -> None:
    twin = arena.author.compose()
    attack = replace(arena.author, to_party=to).compose(message_id=twin.message_id)
    await arena.refuses(attack, refused("pmode.to", "EBMS:0010"), twin=twin)


@pytest.mark.attack("PTY-04")
async def test_message_from_ourselves(arena: Arena) -> None:
    """Signed with our own key, which somebody stole or which went round in a circle."""
    clinic = Author(arena.pki.clinic.signer(), arena.node.certificate, party=CLINIC.access_point)
    twin = arena.author.compose()
    attack = clinic.compose(message_id=twin.message_id)
    await arena.refuses(attack, refused("pmode.from", "EBMS:0010"), twin=twin)


@pytest.mark.attack("PTY-02")
@pytest.mark.parametrize("gln", [MUNICIPALITY.address.gln, "5790000000036"])
async def test_unknown_recipient(arena: Arena, gln: str) -> None:
    """Both headers agree, but nobody of that number is served here."""
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id,
        header=lambda header: replace(header, receiver=Identifier(f"0088:{gln}")),
        message=with_property("finalRecipient", f"0088:{gln}"),
    )
    await arena.refuses(attack, refused("pmode.recipient", "EBMS:0001"), twin=twin)


async def test_sender_that_differs_in_the_document(arena: Arena) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id,
        header=lambda header: replace(header, sender=Identifier(ELSEWHERE)),
    )
    await arena.refuses(attack, refused("sbd.addressing", "EBMS:0004"), twin=twin)


@pytest.mark.attack("PTY-06")
@pytest.mark.parametrize(
    "value",
    [
        "eksempel‑kommune‑ap‑test",
        "еksempel-kommune-ap-test",
        "eksempel-kommune-ap-test\u200b",
        "ｅksempel-kommune-ap-test",
        "５７９0000000012",
        "eksempel kommune",
    ],
    ids=["hyphen", "Cyrillic", "zero width", "full width", "digits", "space"],
)
@pytest.mark.parametrize("side", ["From", "To"])
async def test_confusable_party(arena: Arena, side: str, value: str) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(names.EB, side).find(q(names.EB, "PartyId"))
        found.text = value

    wire = arena.author.compose()
    verdict = Verdict("G4", "header.characters", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("PTY-07")
@pytest.mark.parametrize("side", ["From", "To"])
async def test_two_party_ids(arena: Arena, side: str) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(names.EB, side).find(q(names.EB, "PartyId"))
        second = etree.Element(found.tag, type=names.PARTY_UNREGISTERED)
        second.text = THIRD_PARTY
        found.addnext(second)

    wire = arena.author.compose()
    verdict = Verdict("G4", "header.cardinality", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.parametrize("name", ["originalSender", "finalRecipient"])
async def test_four_corner_property_twice(arena: Arena, name: str) -> None:
    """Which of the two counts must not be a matter of who reads."""

    def attack(tree: Tree) -> None:
        properties = tree.find(names.EB, "MessageProperties")
        etree.SubElement(properties, q(names.EB, "Property"), name=name).text = ELSEWHERE

    wire = arena.author.compose()
    verdict = Verdict("G4", "header.duplicate", "EBMS:0003")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("RPL-06")
@pytest.mark.parametrize(
    "message_id",
    [
        " padded@hostile.example",
        "no-at-sign",
        "two@at@signs",
        "space in@hostile.example",
        "ünicode@hostile.example",
        "<brackets@hostile.example>",
        "x" * 300 + "@hostile.example",
    ],
)
async def test_message_id_with_two_spellings(arena: Arena, message_id: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(
        lambda tree: tree.find(names.EB, "MessageId").__setattr__("text", message_id)
    )
    verdict = Verdict("G4", "header.messageid", "EBMS:0009")
    await arena.refuses(attack, verdict, twin=wire)


@pytest.mark.parametrize("local", ["MessageInfo", "PartyInfo", "CollaborationInfo", "From", "To"])
async def test_section_missing(arena: Arena, local: str) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(names.EB, local)
        found.getparent().remove(found)

    wire = arena.author.compose()
    verdict = Verdict("G4", "header.schema", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.parametrize("value", ["2026-11-21", "yesterday", "2026-13-01T00:00:00Z", ""])
async def test_timestamp(arena: Arena, value: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(
        lambda tree: tree.find(names.EB, "Timestamp").__setattr__("text", value)
    )
    await arena.refuses(attack, Verdict("G4", "header.schema", "EBMS:0009"), twin=wire)
