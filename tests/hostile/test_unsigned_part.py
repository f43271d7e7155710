"""Something that must be signed is not, or the signature speaks of other things than the message."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from attack_rows import row
from lxml import etree
from outside_world import outside_world

from envelope import names
from envelope.names import q

COVERAGE = Verdict("G5", "sig.coverage", "EBMS:0101")
REFERENCE = Verdict("G5", "sig.reference", "EBMS:0101")
SCHEMA = Verdict("G5", "sig.schema", "EBMS:0101")


def references(tree: Tree) -> list[Any]:
    return list(tree.signature.iter(q(names.DS, "Reference")))


def without_reference(number: int) -> Callable[[Tree], None]:
    def attack(tree: Tree) -> None:
        found = references(tree)[number]
        found.getparent().remove(found)

    return attack


@pytest.mark.parametrize(
    "number",
    [row("COV-03", 0, id="Messaging"), row("COV-04", 1, id="Body"), row("COV-06", 2, id="part")],
)
async def test_reference_left_out(arena: Arena, number: int) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(without_reference(number)), COVERAGE, twin=wire)


@pytest.mark.attack("COV-06")
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_one_of_three_parts_not_signed(arena: Arena, number: int) -> None:
    wire = arena.author.test_message([b"one", b"two", b"three"])
    await arena.refuses(wire.with_tree(without_reference(2 + number)), COVERAGE, twin=wire)


@pytest.mark.attack("COV-05")
async def test_payload_in_body(arena: Arena) -> None:
    wire = arena.author.compose()

    def attack(tree: Tree) -> None:
        etree.SubElement(tree.body, "{urn:example:payload}Payload").text = "unsigned"

    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.attack("COV-07")
async def test_unsigned_timestamp(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        stamp = etree.SubElement(tree.security, q(names.WSU, "Timestamp"))
        stamp.set(q(names.WSU, "Id"), "TS-1")
        etree.SubElement(stamp, q(names.WSU, "Created")).text = "2026-11-21T12:00:00Z"

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.attack("COV-08")
@pytest.mark.parametrize("spelling", [q(names.WSU, "Id"), "Id", q(names.XML, "id")])
async def test_user_message_signed_instead(arena: Arena, spelling: str) -> None:
    """The UserMessage is nearly all of the header, but its id does not even fit the schema."""

    def attack(tree: Tree) -> None:
        tree.find(names.EB, "UserMessage").set(spelling, "inner")
        references(tree)[0].set("URI", "#inner")

    wire = arena.author.compose()
    verdict = Verdict("G4", "header.schema", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("COV-08")
async def test_descendant_signed_instead(arena: Arena) -> None:
    """The Body may be signed through its own id only, not through that of something inside."""

    def attack(tree: Tree) -> None:
        inner = etree.SubElement(tree.header, "{urn:example:wrapper}Wrapper")
        inner.set(q(names.WSU, "Id"), "inner")
        references(tree)[1].set("URI", "#inner")

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


async def test_unlisted_element_signed_too(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        extra = deepcopy(references(tree)[0])
        extra.set("URI", "#extra")
        references(tree)[0].addnext(extra)
        inner = etree.SubElement(tree.header, "{urn:example:wrapper}Wrapper")
        inner.set(q(names.WSU, "Id"), "extra")

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.attack("COV-12")
@pytest.mark.parametrize("number", [0, 2], ids=["Messaging", "part"])
async def test_same_target_twice(arena: Arena, number: int) -> None:
    def attack(tree: Tree) -> None:
        found = references(tree)[number]
        found.addnext(deepcopy(found))

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), COVERAGE, twin=wire)


@pytest.mark.parametrize(
    "uri",
    [
        row("COV-09 XSW-19", ""),
        row("COV-09", "#absent"),
        row("COV-09", "#"),
        row("COV-11", "#xpointer(/)"),
        row("COV-11", "#xpointer(id('x'))"),
        row("COV-11", "http://127.0.0.1:{port}/evidence"),
        row("COV-11", "https://127.0.0.1:{port}/evidence"),
        row("COV-11", "file://{file}"),
        row("COV-11", "{file}"),
        row("COV-11", "ftp://127.0.0.1:{port}/x"),
    ],
)
async def test_reference_elsewhere(arena: Arena, uri: str, tmp_path: Path) -> None:
    """Nothing is fetched and nothing opened: such a reference has no meaning here."""
    wire = arena.author.compose()
    async with outside_world(tmp_path) as world:
        attack = wire.with_tree(lambda tree: references(tree)[0].set("URI", world.fill(uri)))
        await arena.refuses(attack, REFERENCE, twin=wire)
        assert world.touched == []


@pytest.mark.attack("XSW-20")
async def test_manifest_reference(arena: Arena) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(lambda tree: references(tree)[0].set("Type", names.DS + "Manifest"))
    await arena.refuses(attack, REFERENCE, twin=wire)


@pytest.mark.attack("COV-10")
async def test_no_references(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        for found in references(tree):
            found.getparent().remove(found)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), SCHEMA, twin=wire)


@pytest.mark.attack("COV-12")
async def test_one_target_fifty_times(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        found = references(tree)[0]
        for _ in range(49):
            found.addnext(deepcopy(found))

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), Verdict("G5", "sig.limits", "EBMS:0101"), twin=wire)


@pytest.mark.attack("COV-12")
async def test_too_many_references(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        found = references(tree)[0]
        for number in range(40):
            extra = deepcopy(found)
            extra.set("URI", f"#more-{number}")
            found.addnext(extra)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), Verdict("G5", "sig.limits", "EBMS:0101"), twin=wire)


@pytest.mark.attack("XSW-17")
@pytest.mark.parametrize("doubled", ["SignedInfo", "SignatureValue", "DigestValue"])
async def test_doubled_element_of_the_signature(arena: Arena, doubled: str) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(names.DS, doubled)
        found.addnext(deepcopy(found))

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), SCHEMA, twin=wire)


@pytest.mark.parametrize(
    ("removed", "reason"),
    [row("COV-01", "Security", "sec.missing"), row("COV-02", "Signature", "sig.missing")],
)
async def test_nothing_signed_at_all(arena: Arena, removed: str, reason: str) -> None:
    def attack(tree: Tree) -> None:
        found = tree.security if removed == "Security" else tree.signature
        found.getparent().remove(found)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), Verdict("G5", reason, "EBMS:0103"), twin=wire)
