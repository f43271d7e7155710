"""Octets of a payload part were changed on the way, or by somebody who holds the content key."""

import base64
import random

import pytest
from as4_arena import Arena, Verdict
from as4_wire import gzip, seal
from outside_world import files_written

DECRYPTION = Verdict("G7", "enc.failed", "EBMS:0102")
DIGEST = Verdict("G8", "att.digest", "EBMS:0101")


@pytest.mark.attack("ATT-01")
@pytest.mark.parametrize("position", [0, 11, 12, 200, -17, -16, -1])
async def test_one_octet_changed(arena: Arena, position: int) -> None:
    wire = arena.author.compose()

    def flip(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[position] ^= 0x01
        return bytes(changed)

    await arena.refuses(wire.with_part(0, flip), DECRYPTION, twin=wire)


@pytest.mark.attack("ENC-13")
async def test_plain_text_before_the_tag(arena: Arena) -> None:
    """All of it is decrypted by the time the last octet tells that none of it counts: it was in the spool only."""
    noise = base64.b64encode(random.Random(13).randbytes(1 << 20))

    def long(document: bytes) -> bytes:
        start = document.index(b">", document.index(b"<BinaryContent")) + 1
        return document[:start] + noise + document[start:]

    twin = arena.author.compose()
    wire = arena.author.compose(message_id=twin.message_id, document=long)
    attack = wire.with_part(0, lambda octets: octets[:-1] + bytes([octets[-1] ^ 1]))
    with files_written() as written:
        await arena.refuses(attack, DECRYPTION, twin=twin)
    spool = str(arena.node.home / "store" / "payloads")
    assert any(path.startswith(spool) for path in written)
    assert [path for path in written if not path.startswith(str(arena.node.home))] == []


@pytest.mark.attack("ATT-01")
@pytest.mark.parametrize("position", [12, 1 << 19, -17], ids=["first", "middle", "last"])
async def test_one_octet_of_a_mebibyte_changed(arena: Arena, position: int) -> None:
    """Octets that do not compress, so the part is as long on the wire as it says."""
    wire = arena.author.test_message([random.Random(7).randbytes(1 << 20)])
    assert len(wire.parts[0].octets) > 1 << 20

    def flip(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[position] ^= 0x80
        return bytes(changed)

    await arena.refuses(wire.with_part(0, flip), DECRYPTION, twin=wire)


@pytest.mark.attack("ENC-08", "ENC-09")
@pytest.mark.parametrize("left", [0, 11, 12, 27, 28, -1])
async def test_part_cut_short(arena: Arena, left: int) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_part(0, lambda octets: octets[:left]), DECRYPTION, twin=wire)


async def test_octets_appended(arena: Arena) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_part(0, lambda octets: octets + b"\0"), DECRYPTION, twin=wire)


@pytest.mark.attack("ATT-01")
async def test_part_replaced_under_the_same_content_key(arena: Arena) -> None:
    """Whoever can read the content key can encrypt: the digest has to catch what the tag cannot."""
    wire = arena.author.compose()
    forged = seal(gzip(b"<forged/>"), wire.content_key, 7)
    await arena.refuses(wire.with_part(0, lambda _: forged), DIGEST, twin=wire)


@pytest.mark.attack("ATT-02")
async def test_parts_swapped(arena: Arena) -> None:
    wire = arena.author.test_message()
    first, second = wire.parts
    bodies = wire.with_part(0, lambda _: second.octets).with_part(1, lambda _: first.octets)
    await arena.refuses(bodies, DIGEST, twin=wire)
