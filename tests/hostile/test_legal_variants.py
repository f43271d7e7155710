"""What looks odd and is legal: these must be accepted, or the gates refuse honest partners."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from as4_arena import Arena
from as4_peer import verify_receipt
from as4_stage import THIRD_PARTY
from as4_wire import BOUNDARY, Author, Tree
from lxml import etree

from envelope import names
from envelope.names import q
from envelope.pmode import SecuritySuite, TokenForm

pytestmark = pytest.mark.positive


@pytest.mark.attack("ATT-04")
async def test_parts_in_another_order(arena: Arena) -> None:
    wire = arena.author.test_message([b"one", b"two", b"three"])
    await arena.accepts(wire.with_parts(*reversed(wire.parts)))


@pytest.mark.attack("ATT-11")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Content-Type", "application/gzip"),),
        (("Content-Type", "text/html; charset=iso-8859-1"),),
        (("Content-Disposition", 'attachment; filename="../../etc/passwd"'),),
        (("Content-Transfer-Encoding", "8bit"), ("X-Anything", "else")),
    ],
    ids=["none", "gzip", "html", "file name", "8bit"],
)
async def test_part_headers_decide_nothing(
    arena: Arena, headers: tuple[tuple[str, str], ...]
) -> None:
    """Nobody signed them: whatever they say, the same message is accepted and delivered under our own names."""
    wire = arena.author.compose()
    before = arena.node.delivered()
    await arena.accepts(wire.with_parts(replace(wire.parts[0], headers=headers)))
    assert arena.node.delivered() - before == {f"{wire.message_identifier}.json"}


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related;boundary=hostile;type=application/soap+xml",
        'Multipart/Related; TYPE="application/SOAP+XML"; Boundary="hostile"',
        'multipart/related; charset=UTF-8; action="urn:x"; boundary="hostile"; start-info="application/soap+xml"; type="application/soap+xml"',
    ],
    ids=["bare", "cases", "more parameters"],
)
async def test_content_type_as_others_write_it(arena: Arena, content_type: str) -> None:
    wire = arena.author.compose()
    body = wire.body.replace(f"--{BOUNDARY}".encode(), b"--hostile")
    answer = await arena.client.post_octets(body, {"Content-Type": content_type})
    verify_receipt(answer, wire, arena.node.certificate)


async def test_preamble_and_epilogue(arena: Arena) -> None:
    wire = arena.author.compose()
    body = b"This is a multipart message.\r\n" + wire.body + b"\r\n\r\n"
    answer = await arena.client.post_octets(body, {"Content-Type": wire.content_type})
    verify_receipt(answer, wire, arena.node.certificate)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_chunked_in_any_size(arena: Arena, size: int) -> None:
    """No length, and chunks that cut everything in two: what is judged does not depend on it."""
    wire = arena.author.compose()
    pieces = [wire.body[at : at + size] for at in range(0, 3000, size)]
    pieces.append(wire.body[len(pieces) * size :])

    async def chunks() -> object:
        for piece in pieces:
            yield piece

    async with arena.client.session.post(
        arena.client.url, data=chunks(), headers={"Content-Type": wire.content_type}
    ) as answer:
        assert answer.status == 200
        assert b"Receipt" in await answer.read()


def security_last(tree: Tree) -> None:
    tree.header.append(tree.security)


def unknown_block(tree: Tree) -> None:
    etree.SubElement(tree.header, "{urn:example:x}Trace").text = "x"


def block_for_somebody_else(tree: Tree) -> None:
    block = etree.SubElement(tree.header, "{urn:example:x}Route")
    block.set(q(names.S12, "mustUnderstand"), "true")
    block.set(q(names.S12, "role"), "urn:example:router")


def white_space_between_blocks(tree: Tree) -> None:
    for block in tree.header:
        block.tail = "\n    "
    for block in tree.security:
        block.tail = "\n"


def lines_in_base64(tree: Tree) -> None:
    for local in ("SignatureValue",):
        value = tree.find(names.DS, local)
        value.text = "\r\n".join(re.findall(".{1,64}", value.text))
    token = tree.find(names.WSSE, "BinarySecurityToken")
    token.text = "\n".join(re.findall(".{1,76}", token.text))


def signature_first(tree: Tree) -> None:
    tree.security.insert(0, tree.signature)


@pytest.mark.parametrize(
    "change",
    [
        security_last,
        unknown_block,
        block_for_somebody_else,
        white_space_between_blocks,
        lines_in_base64,
        signature_first,
    ],
)
async def test_header_as_others_write_it(arena: Arena, change: Callable[[Tree], None]) -> None:
    await arena.accepts(arena.author.compose().with_tree(change))


async def test_token_under_another_prefix(arena: Arena) -> None:
    """The token is not signed: its prefix is its own affair."""
    wire = arena.author.compose()
    renamed = wire.with_text(
        "<wsse:BinarySecurityToken", f'<s:BinarySecurityToken xmlns:s="{names.WSSE}"'
    )
    await arena.accepts(renamed.with_text("</wsse:Binary", "</s:Binary"))


@pytest.mark.parametrize("form", list(TokenForm))
@pytest.mark.parametrize("use", ["signing_token", "encryption_token"])
async def test_every_form_of_token(arena: Arena, use: str, form: TokenForm) -> None:
    await arena.accepts(arena.author.compose(suite=SecuritySuite(**{use: form})))


async def test_partner_that_nobody_configured(arena: Arena) -> None:
    """An access point is welcome when its certificate is trusted and bears the name it goes by."""
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    await arena.accepts(third.compose())


async def test_references_in_another_order(arena: Arena) -> None:
    wire = arena.author.test_message([b"one", b"two"])

    def turn(tree: Tree) -> None:
        (found,) = tree.security.iter(q(names.XENC, "ReferenceList"))
        found.append(found[0])
        data = [one for one in tree.security if one.tag == q(names.XENC, "EncryptedData")]
        data[1].addnext(data[0])

    await arena.accepts(wire.with_tree(turn))


@pytest.mark.attack("ATT-17")
async def test_part_of_exactly_no_octets(arena: Arena) -> None:
    await arena.accepts(arena.author.test_message([b"", b"x"]))
