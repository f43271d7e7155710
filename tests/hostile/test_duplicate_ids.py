"""The id of a signed element occurs a second time, in every spelling that some product takes for an id."""

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from lxml import etree

from envelope import names
from envelope.names import q

VERDICT = Verdict("G5", "id.duplicate", "EBMS:0101")
SPELLINGS = {
    "wsu:Id": q(names.WSU, "Id"),
    "Id": "Id",
    "ID": "ID",
    "id": "id",
    "xml:id": q(names.XML, "id"),
    "AssertionID": "AssertionID",
}


@pytest.mark.attack("XSW-14")
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("signed", ["Messaging", "Body"])
async def test_twin_of_a_signed_id(arena: Arena, signed: str, spelling: str, first: bool) -> None:
    def attack(tree: Tree) -> None:
        target = tree.messaging if signed == "Messaging" else tree.body
        twin = etree.Element("{urn:example:wrapper}Twin")
        twin.set(SPELLINGS[spelling], target.get(q(names.WSU, "Id")))
        tree.header.insert(0 if first else len(tree.header), twin)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), VERDICT, twin=wire)


@pytest.mark.parametrize("owner", ["BinarySecurityToken", "EncryptedKey", "EncryptedData"])
async def test_twin_of_a_security_id(arena: Arena, owner: str) -> None:
    """Ids inside the Security header decide which key is used: they are as precious as those of signed elements."""

    def attack(tree: Tree) -> None:
        (element,) = (one for one in tree.security if etree.QName(one).localname == owner)
        value = element.get(q(names.WSU, "Id")) or element.get("Id")
        twin = etree.SubElement(tree.header, "{urn:example:wrapper}Twin")
        twin.set("Id", value)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), VERDICT, twin=wire)


@pytest.mark.attack("XSW-14")
@pytest.mark.parametrize("own", SPELLINGS)
async def test_every_pair_of_spellings(arena: Arena, own: str) -> None:
    """The same id in one spelling on one unsigned element and in each other spelling on another."""
    for other in SPELLINGS:

        def attack(tree: Tree, other: str = other) -> None:
            for spelling in (own, other):
                twin = etree.SubElement(tree.header, "{urn:example:wrapper}Twin")
                twin.set(SPELLINGS[spelling], "the-same")

        # The parser itself knows xml:id, and that it may stand once.
        parsed = (own, other) != ("xml:id", "xml:id")
        verdict = VERDICT if parsed else Verdict("G3", "xml.syntax", status=400)
        wire = arena.author.compose()
        await arena.refuses(wire.with_tree(attack), verdict, twin=wire)
