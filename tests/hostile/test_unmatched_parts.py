"""MIME parts and PartInfo elements that do not belong together."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_peer import HttpAnswer
from as4_wire import Tree, Wire, WirePart, gzip
from outside_world import outside_world

from envelope import names
from envelope.limits import DEFAULT_LIMITS
from envelope.names import q

UNLISTED = Verdict("G8", "att.unlisted", "EBMS:0007")
MISSING = Verdict("G8", "att.missing", "EBMS:0007")
# The framing of a later part breaks a rule of G4 after the sender is known: the answer is signed.
TWICE = Verdict("G4", "att.duplicate", "EBMS:0007", signed=True)
CONTENT_ID = Verdict("G4", "att.cid", "EBMS:0007", signed=True)


def renamed(wire: Wire, number: int, content_id: str) -> Wire:
    parts = list(wire.parts)
    parts[number] = replace(parts[number], content_id=content_id)
    return wire.with_parts(*parts)


@pytest.mark.attack("ATT-03")
async def test_cids_of_two_parts_swapped(arena: Arena) -> None:
    wire = arena.author.test_message()
    first, second = (part.content_id for part in wire.parts)
    attack = renamed(renamed(wire, 0, second), 1, first)
    await arena.refuses(attack, Verdict("G8", "att.digest", "EBMS:0101"), twin=wire)


@pytest.mark.attack("ATT-05")
@pytest.mark.parametrize("place", ["before", "after"])
async def test_extra_part(arena: Arena, place: str) -> None:
    wire = arena.author.compose()
    extra = WirePart("extra@hostile.example", b"nobody listed this")
    parts = (extra, *wire.parts) if place == "before" else (*wire.parts, extra)
    await arena.refuses(wire.with_parts(*parts), UNLISTED, twin=wire)


@pytest.mark.attack("ATT-06")
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_missing_part(arena: Arena, number: int) -> None:
    wire = arena.author.test_message([b"one", b"two", b"three"])
    left = [part for place, part in enumerate(wire.parts) if place != number]
    await arena.refuses(wire.with_parts(*left), MISSING, twin=wire)


@pytest.mark.attack("ATT-07")
async def test_same_part_twice(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_parts(*wire.parts * 2), TWICE, twin=wire)


@pytest.mark.attack("ATT-07")
async def test_part_with_the_content_id_of_the_root(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(renamed(wire, 0, "root@hostile.example"), TWICE, twin=wire)


@pytest.mark.attack("ATT-08")
async def test_content_id_in_another_case(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(renamed(wire, 0, wire.parts[0].content_id.upper()), UNLISTED, twin=wire)


@pytest.mark.attack("ATT-08")
async def test_content_id_percent_encoded(arena: Arena) -> None:
    """Percent-encoding belongs to the cid URL, not to the MIME header."""
    wire = arena.author.compose()
    attack = renamed(wire, 0, wire.parts[0].content_id.replace("@", "%40"))
    await arena.refuses(attack, UNLISTED, twin=wire)


@pytest.mark.attack("ATT-08")
@pytest.mark.parametrize(
    "header", ["<{0} >", "{0}", "< {0}>", "<{0}>x", "<>", "", "<{0}", "<<{0}>>"]
)
async def test_content_id_of_another_shape(arena: Arena, header: str) -> None:
    wire = arena.author.compose()
    part = wire.parts[0]

    class Bent(WirePart):
        def head(self) -> str:
            return f"Content-ID: {header.format(self.content_id)}\r\n"

    attack = wire.with_parts(Bent(part.content_id, part.octets))
    await arena.refuses(attack, CONTENT_ID, twin=wire)


@pytest.mark.attack("ATT-08")
@pytest.mark.parametrize("letter", ["\u00e9", "e\u0301"], ids=["composed", "decomposed"])
async def test_content_id_in_a_form_of_unicode(arena: Arena, letter: str) -> None:
    """A header of a part is ASCII, so no two spellings of one letter ever have to be compared."""
    wire = arena.author.compose()
    attack = renamed(wire, 0, wire.parts[0].content_id.replace("part", letter))
    await arena.refuses(attack, CONTENT_ID, twin=wire)


@pytest.mark.attack("ATT-08")
async def test_part_without_content_id(arena: Arena) -> None:
    class Nameless(WirePart):
        def head(self) -> str:
            return "Content-Type: application/octet-stream\r\n"

    wire = arena.author.compose()
    attack = wire.with_parts(Nameless("", wire.parts[0].octets))
    await arena.refuses(attack, CONTENT_ID, twin=wire)


@pytest.mark.attack("ATT-13")
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-gzip"])
async def test_transfer_encoding(arena: Arena, encoding: str) -> None:
    wire = arena.author.compose()
    part = replace(wire.parts[0], headers=(("Content-Transfer-Encoding", encoding),))
    verdict = Verdict("G4", "mime.cte", "EBMS:0007", signed=True)
    await arena.refuses(wire.with_parts(part), verdict, twin=wire)


@pytest.mark.attack("ATT-09")
@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1:{port}/payload",
        "https://127.0.0.1:{port}/x",
        "file://{file}",
        "{file}",
        "//127.0.0.1:{port}/x",
        "",
        None,
    ],
)
async def test_part_elsewhere(arena: Arena, href: str | None, tmp_path: Path) -> None:
    async with outside_world(tmp_path) as world:

        def attack(tree: Tree) -> None:
            info = tree.find(names.EB, "PartInfo")
            if href is None:
                del info.attrib["href"]
            else:
                info.set("href", world.fill(href))

        wire = arena.author.compose()
        verdict = Verdict("G4", "att.external", "EBMS:0011")
        await arena.refuses(wire.with_tree(attack), verdict, twin=wire)
        assert world.touched == []


@pytest.mark.attack("ATT-10")
async def test_two_part_infos_for_one_part(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        infos = list(tree.root.iter(q(names.EB, "PartInfo")))
        infos[1].set("href", infos[0].get("href"))

    wire = arena.author.test_message()
    verdict = Verdict("G4", "att.duplicate", "EBMS:0003")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


async def test_two_business_documents(arena: Arena) -> None:
    """All signed and well formed, but the agreement is one document for each message."""
    wire = arena.author.compose()
    attack = arena.author.compose(message_id=wire.message_id, more=[gzip(b"<another/>")])
    await arena.refuses(attack, Verdict("G10", "pmode.parts", "EBMS:0010"), twin=wire)


@pytest.mark.attack("ATT-14")
@pytest.mark.parametrize(
    "change",
    [
        lambda properties: properties.remove(properties[0]),
        lambda properties: properties[1].__setattr__("text", "application/zip"),
    ],
    ids=["no media type", "not gzip"],
)
async def test_compression_properties(arena: Arena, change: Callable[[Any], None]) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(lambda tree: change(tree.find(names.EB, "PartProperties")))
    await arena.refuses(attack, Verdict("G4", "gzip.property", "EBMS:0303"), twin=wire)


async def test_more_parts_listed_than_there_may_be(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        info = tree.find(names.EB, "PartInfo")
        for number in range(30):
            more = deepcopy(info)
            more.set("href", f"cid:more{number}@hostile.example")
            info.addnext(more)

    wire = arena.author.compose()
    verdict = Verdict("G4", "att.limits", "EBMS:0009")
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("ATT-17")
async def test_request_of_exactly_the_limit_and_one_more(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is lowered to the very length of a message, and by one octet less for the attack."""
    wire = arena.author.compose()
    server = arena.node.point.as4

    def limit(octets: int) -> None:
        limits = replace(DEFAULT_LIMITS, sbd_bytes=octets - DEFAULT_LIMITS.soap_bytes)
        monkeypatch.setattr(server, "_limits", limits)

    async def attack() -> HttpAnswer:
        limit(len(wire.body) - 1)
        answer = await arena.client.post(wire)
        limit(len(wire.body))
        return answer

    await arena.refuses(attack, Verdict("G1", "http.size", status=413), twin=wire)
