"""Signature wrapping: what was signed is still there and still verifies, but it is not what would be read."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree, add_timestamp
from attack_rows import row
from lxml import etree

from envelope import names
from envelope.names import q

COVERAGE = Verdict("G5", "sig.coverage", "EBMS:0101")
DUPLICATE_ID = Verdict("G5", "id.duplicate", "EBMS:0101")
SCHEMA = Verdict("G5", "sec.schema", "EBMS:0101")
HEADER_SCHEMA = Verdict("G4", "header.schema", "EBMS:0009")
CARDINALITY = Verdict("G4", "soap.cardinality", "EBMS:0009")
WSU_ID = q(names.WSU, "Id")


def wrapper(parent: Any, *, first: bool = False) -> Any:
    """An unknown header block that nobody has to understand."""
    element = etree.Element("{urn:example:wrapper}Wrapper")
    parent.insert(0 if first else len(parent), element)
    return element


def forge(tree: Tree, *, keep_id: bool = False) -> tuple[Any, Any]:
    """Replace the Messaging header by a forged copy; the signed original is handed out to be hidden."""
    original = tree.messaging
    forged = deepcopy(original)
    conversation = next(forged.iter(q(names.EB, "ConversationId")))
    conversation.text = "forged-conversation"
    if not keep_id:
        del forged.attrib[WSU_ID]
    original.getparent().replace(original, forged)
    return original, forged


def body_in_header(tree: Tree) -> None:
    original = tree.body
    replacement = etree.Element(q(names.S12, "Body"))
    tree.root.replace(original, replacement)
    wrapper(tree.header).append(original)


def header_in_wrapper(tree: Tree) -> None:
    original, _ = forge(tree)
    wrapper(tree.header).append(original)


def header_in_first_wrapper(tree: Tree) -> None:
    original, _ = forge(tree)
    wrapper(tree.header, first=True).append(original)


def same_id_before(tree: Tree) -> None:
    original, _ = forge(tree, keep_id=True)
    wrapper(tree.header).append(original)


def same_id_after(tree: Tree) -> None:
    original, _ = forge(tree, keep_id=True)
    wrapper(tree.header, first=True).append(original)


def original_inside_forged(tree: Tree) -> None:
    original, forged = forge(tree)
    forged.append(original)


def original_in_object(tree: Tree) -> None:
    original, _ = forge(tree)
    etree.SubElement(tree.signature, q(names.DS, "Object")).append(original)


def original_in_key_info(tree: Tree) -> None:
    original, _ = forge(tree)
    tree.signature.find(q(names.DS, "KeyInfo")).append(original)


def original_in_security(tree: Tree) -> None:
    original, _ = forge(tree)
    tree.security.append(original)


def original_in_body(tree: Tree) -> None:
    original, _ = forge(tree)
    tree.body.append(original)


def two_messaging_headers(tree: Tree) -> None:
    original, forged = forge(tree)
    forged.set(q(names.S12, "role"), "urn:example:somebody")
    forged.addnext(original)


def two_security_headers(tree: Tree) -> None:
    empty = etree.Element(q(names.WSSE, "Security"))
    empty.set(q(names.S12, "role"), "urn:example:somebody")
    tree.header.insert(0, empty)


def signature_in_other_security(tree: Tree) -> None:
    other = etree.SubElement(tree.header, q(names.WSSE, "Security"))
    other.append(tree.signature)


def second_user_message(tree: Tree) -> None:
    messaging = tree.messaging
    messaging.append(deepcopy(messaging[0]))


def second_user_message_apart(tree: Tree) -> None:
    other = etree.SubElement(tree.header, q(names.EB, "Messaging"))
    other.append(deepcopy(tree.messaging[0]))


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [
        row("XSW-01", body_in_header, COVERAGE),
        row("XSW-02", header_in_wrapper, COVERAGE),
        row("XSW-02", header_in_first_wrapper, COVERAGE),
        row("XSW-03", same_id_before, DUPLICATE_ID),
        row("XSW-04", same_id_after, DUPLICATE_ID),
        row("XSW-05", original_inside_forged, HEADER_SCHEMA),
        row("XSW-06", original_in_object, SCHEMA),
        row("XSW-06", original_in_key_info, SCHEMA),
        row("XSW-07", original_in_security, SCHEMA),
        row("XSW-08", original_in_body, COVERAGE),
        row("XSW-09", two_messaging_headers, CARDINALITY),
        row("XSW-10", two_security_headers, Verdict("G5", "sec.cardinality", "EBMS:0101")),
        row("XSW-10", signature_in_other_security, Verdict("G5", "sec.cardinality", "EBMS:0101")),
        row("XSW-16", second_user_message, CARDINALITY),
        row("XSW-16", second_user_message_apart, CARDINALITY),
    ],
)
async def test_wrapped(arena: Arena, attack: Callable[[Tree], None], verdict: Verdict) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("XSW-11")
@pytest.mark.parametrize("first", [True, False], ids=["broken first", "broken last"])
async def test_two_signatures(arena: Arena, first: bool) -> None:
    """One of the two verifies; which of them counts must not be a matter of order."""

    def attack(tree: Tree) -> None:
        broken = deepcopy(tree.signature)
        broken.set("Id", "another")
        broken.find(q(names.DS, "SignatureValue")).text = "AAAA"
        tree.security.insert(0 if first else len(tree.security), broken)

    wire = arena.author.compose()
    verdict = Verdict("G5", "sig.cardinality", "EBMS:0101")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("XSW-13")
@pytest.mark.parametrize(
    "namespace",
    [names.EB + "/", names.EB.rstrip("/"), names.EB.replace("http:", "https:"), names.EB.upper()],
)
async def test_look_alike_namespace(arena: Arena, namespace: str) -> None:
    def attack(tree: Tree) -> None:
        original = tree.messaging
        forged = etree.Element(q(namespace, "Messaging"))
        forged.extend(deepcopy(original)[:])
        original.getparent().replace(original, forged)

    wire = arena.author.compose()
    verdict = Verdict("G4", "soap.namespace", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("XSW-12")
async def test_prefix_declared_anew_around_the_original(arena: Arena) -> None:
    """The moved original would still be canonical, in another context: it is not the element that is read."""

    def attack(tree: Tree) -> None:
        original, _ = forge(tree)
        around = etree.SubElement(
            tree.header, "{urn:example:wrapper}Wrapper", nsmap={"eb": "urn:example:other"}
        )
        around.append(original)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.attack("XSW-12")
async def test_listed_prefix_declared_anew(arena: Arena) -> None:
    """A prefix of the PrefixList is part of what was signed: another meaning is another digest."""

    def list_prefix(tree: Tree) -> None:
        transform = tree.find(names.DS, "Reference").find(f".//{q(names.DS, 'Transform')}")
        etree.SubElement(transform, q(names.EC, "InclusiveNamespaces"), PrefixList="x")

    plain = arena.author.compose().with_text("<S12:Envelope ", '<S12:Envelope xmlns:x="urn:one" ')
    wire = arena.author.resigned(plain, list_prefix)
    attack = wire.with_text('xmlns:x="urn:one"', 'xmlns:x="urn:two"')
    await arena.refuses(attack, Verdict("G6", "sig.digest", "EBMS:0101"), twin=wire)


@pytest.mark.attack("XSW-15")
async def test_unsigned_timestamp_in_place_of_the_signed_one(arena: Arena) -> None:
    now = datetime.now(UTC)

    def attack(tree: Tree) -> None:
        original = tree.find(names.WSU, "Timestamp")
        fresh = deepcopy(original)
        fresh.set(WSU_ID, "TS-fresh")
        original.getparent().replace(original, fresh)
        wrapper(tree.header).append(original)

    wire = arena.author.resigned(
        arena.author.compose(), lambda tree: add_timestamp(tree, now, now + timedelta(minutes=5))
    )
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.attack("XSW-19")
@pytest.mark.parametrize(
    ("uri", "verdict"),
    [
        ("", Verdict("G5", "sig.reference", "EBMS:0101")),
        (None, Verdict("G5", "alg.transform", "EBMS:0103")),
    ],
    ids=["whole document", "Messaging"],
)
async def test_enveloped_transform(arena: Arena, uri: str | None, verdict: Verdict) -> None:
    """What the transform would leave out never matters: neither it nor the whole document is agreed."""

    def attack(tree: Tree) -> None:
        first = tree.find(names.DS, "Reference")
        first.set("URI", first.get("URI") if uri is None else uri)
        transforms = first.find(q(names.DS, "Transforms"))
        enveloped = etree.Element(q(names.DS, "Transform"), Algorithm=names.ENVELOPED_SIGNATURE)
        transforms.insert(0, enveloped)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("XSW-23")
@pytest.mark.parametrize("place", ["Body", "wrapper", "EncryptedHeader", "Security"])
async def test_encrypted_data_that_would_become_header(arena: Arena, place: str) -> None:
    """Decrypted plain text must never appear where a later gate reads."""

    def attack(tree: Tree) -> None:
        data = deepcopy(tree.find(names.XENC, "EncryptedData"))
        data.set("Id", "ED-moved")
        if place == "Security":
            data.set("Type", names.XENC + "Element")
            tree.security.append(data)
        elif place == "Body":
            tree.body.append(data)
        elif place == "EncryptedHeader":
            # A sibling beside the cipher text: some processors put the plain text where the sibling stands.
            header = etree.SubElement(tree.header, q(names.WSSE11, "EncryptedHeader"))
            header.append(data)
            etree.SubElement(header, q(names.EB, "Messaging"))
        else:
            wrapper(tree.header).append(data)

    wire = arena.author.compose()
    # The list of what the key opens no longer agrees with what stands in the Security header.
    reason = "enc.reference" if place == "Security" else "enc.placement"
    verdict = Verdict("G5", reason, "EBMS:0103")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)
