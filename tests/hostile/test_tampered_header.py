"""What the signature covers in the SOAP part was changed, or the signature itself was."""

import re

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from lxml import etree

from envelope import names
from envelope.names import q

DIGEST = Verdict("G6", "sig.digest", "EBMS:0101")
VALUE = Verdict("G6", "sig.value", "EBMS:0101")


@pytest.mark.parametrize(
    "local",
    ["MessageId", "ConversationId", "Timestamp", "Action", "Service"],
)
async def test_text_changed(arena: Arena, local: str) -> None:
    replacement = {"Timestamp": "2026-01-01T00:00:00Z", "MessageId": "changed@hostile.example"}

    def attack(tree: Tree) -> None:
        tree.find(names.EB, local).text = replacement.get(local, "urn:example:changed")

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), DIGEST, twin=wire)


@pytest.mark.parametrize("name", ["originalSender", "finalRecipient", "MimeType"])
async def test_property_changed(arena: Arena, name: str) -> None:
    def attack(tree: Tree) -> None:
        (element,) = (
            one for one in tree.root.iter(q(names.EB, "Property")) if one.get("name") == name
        )
        element.text = "0088:5790000000036"

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), DIGEST, twin=wire)


async def test_property_added(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        properties = tree.find(names.EB, "MessageProperties")
        etree.SubElement(properties, q(names.EB, "Property"), name="trackingIdentifier").text = "x"

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), DIGEST, twin=wire)


async def test_white_space_added(arena: Arena) -> None:
    """White space is signed too; a parser that drops it would verify something it did not read."""
    wire = arena.author.compose()
    await arena.refuses(wire.with_text("<eb:UserMessage>", "<eb:UserMessage> "), DIGEST, twin=wire)


async def test_body_changed(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(lambda tree: tree.body.set("class", "changed"))
    await arena.refuses(attack, DIGEST, twin=wire)


async def test_digest_changed_with_the_header(arena: Arena) -> None:
    """Whoever changes a digest as well has to change SignedInfo, which the signature value is over."""
    wire = arena.author.compose()
    other = arena.author.compose()

    def digests(tree: Tree) -> list[str]:
        return [one.text for one in tree.signature.iter(q(names.DS, "DigestValue"))]

    theirs = digests(Tree(etree.fromstring(other.soap)))

    def attack(tree: Tree) -> None:
        for element, value in zip(
            tree.signature.iter(q(names.DS, "DigestValue")), theirs, strict=True
        ):
            element.text = value

    await arena.refuses(wire.with_tree(attack), VALUE, twin=wire)


@pytest.mark.parametrize("position", [0, 100, -6])
async def test_signature_value_changed(arena: Arena, position: int) -> None:
    def attack(tree: Tree) -> None:
        value = tree.find(names.DS, "SignatureValue")
        text = list(value.text)
        text[position] = "A" if text[position] != "A" else "B"
        value.text = "".join(text)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), VALUE, twin=wire)


async def test_signature_of_another_message(arena: Arena) -> None:
    """A whole Security header that verified elsewhere: its references name other ids."""
    wire, other = arena.author.compose(unique="one"), arena.author.compose(unique="two")

    def attack(tree: Tree) -> None:
        theirs = Tree(etree.fromstring(other.soap)).security
        tree.header.replace(tree.security, theirs)

    verdict = Verdict("G5", "sig.reference", "EBMS:0101")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


async def test_signature_of_another_message_with_the_same_ids(arena: Arena) -> None:
    wire, other = arena.author.compose(unique="same"), arena.author.compose(unique="same")

    def attack(tree: Tree) -> None:
        theirs = Tree(etree.fromstring(other.soap)).security
        tree.header.replace(tree.security, theirs)

    await arena.refuses(wire.with_tree(attack), DIGEST, twin=wire)


@pytest.mark.parametrize("junk", ["!", "&#160;", "=="])
async def test_junk_in_base64(arena: Arena, junk: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_text("<ds:SignatureValue>", f"<ds:SignatureValue>{junk}")
    await arena.refuses(attack, Verdict("G5", "sig.schema", "EBMS:0101"), twin=wire)


@pytest.mark.attack("XSW-22")
async def test_header_without_canonical_form(arena: Arena) -> None:
    """A relative namespace has no canonical form: that is a refusal, never an empty digest."""
    wire = arena.author.compose()
    attack = wire.with_text("<eb:UserMessage>", '<eb:UserMessage xmlns:x="relative" x:y="z">')
    verdict = Verdict("G4", "header.schema", "EBMS:0009")
    await arena.refuses(attack, verdict, twin=wire)
    body = arena.author.compose()
    attack = body.with_text("<S12:Body ", '<S12:Body xmlns:x="relative" x:y="z" ')
    await arena.refuses(attack, Verdict("G6", "c14n.failed", "EBMS:0101"), twin=body)


@pytest.mark.attack("XSW-18")
@pytest.mark.parametrize("place", ["eb:MessageId", "eb:PartyId", "eb:Property", "ds:DigestValue"])
@pytest.mark.parametrize(
    ("markup", "reason"),
    [("<!-- -->", "xml.comment"), ("<?cut here?>", "xml.pi"), ("<![CDATA[.evil]]>", "xml.cdata")],
    ids=["comment", "instruction", "cdata"],
)
async def test_text_split_by_markup(arena: Arena, place: str, markup: str, reason: str) -> None:
    """What stands before the markup is what a careless reader takes for the whole text."""

    def attack(soap: bytes) -> bytes:
        return re.sub(f"(<{place}(?: [^>]*)?>[^<]{{3}})".encode(), rb"\1" + markup.encode(), soap)

    wire = arena.author.compose()
    await arena.refuses(wire.with_soap(attack), Verdict("G3", reason, status=400), twin=wire)
