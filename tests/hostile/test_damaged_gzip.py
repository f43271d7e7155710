"""A part that is signed and encrypted well but is not one whole gzip member, or is a bomb."""

import gzip as python_gzip
import struct
import zlib
from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from as4_wire import gzip


def refused(reason: str) -> Verdict:
    return Verdict("G9", f"gzip.{reason}", "EBMS:0303")


def wrong_checksum(data: bytes) -> bytes:
    octets = bytearray(gzip(data))
    octets[-8] ^= 1
    return bytes(octets)


def wrong_length(data: bytes) -> bytes:
    return gzip(data)[:-4] + struct.pack("<I", len(data) + 1)


def reserved_block(data: bytes) -> bytes:
    octets = bytearray(gzip(data))
    octets[10] |= 0b110
    return bytes(octets)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def long_name(data: bytes) -> bytes:
    whole = python_gzip.compress(data, mtime=0)
    return whole[:3] + b"\x08" + whole[4:10] + b"n" * 65_000 + b"\0" + whole[10:]


@pytest.mark.attack("ATT-14")
@pytest.mark.parametrize(
    ("compress", "reason"),
    [
        (wrong_checksum, "damaged"),
        (wrong_length, "damaged"),
        (reserved_block, "damaged"),
        (raw_deflate, "damaged"),
        (zlib.compress, "damaged"),
        (lambda data: data, "damaged"),
        (lambda data: b"", "truncated"),
        (lambda data: gzip(data)[:5], "truncated"),
        (lambda data: gzip(data)[:-1], "truncated"),
        (lambda data: gzip(data)[:-8], "truncated"),
        (lambda data: gzip(data) + b"trailing", "trailing"),
        (lambda data: gzip(data) + b"\0", "trailing"),
        (lambda data: gzip(data) + gzip(b""), "members"),
        (lambda data: gzip(data[:100]) + gzip(data[100:]), "members"),
        (long_name, "limit"),
    ],
    ids=[
        "checksum", "length", "reserved block", "deflate", "zlib", "plain", "nothing", "header only",
        "one octet short", "no trailer", "trailing text", "trailing zero", "empty member",
        "two members", "long name",
    ],
)  # fmt: skip
async def test_not_one_gzip_member(
    arena: Arena, compress: Callable[[bytes], bytes], reason: str
) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(message_id=twin.message_id, compress=compress)
    await arena.refuses(attack, refused(reason), twin=twin)


def swollen(document: bytes, size: int) -> bytes:
    """The same document with `size` octets more content: well formed all the way."""
    start = document.index(b">", document.index(b"<BinaryContent")) + 1
    return document[:start] + b"A" * size + document[start:]


async def test_gzip_bomb(arena: Arena) -> None:
    """24 MiB of one letter in 24 KiB: stopped at a hundred times what came in, long before the end."""
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id, document=lambda document: swollen(document, 24 << 20)
    )
    assert len(attack.body) < 200_000
    await arena.refuses(attack, refused("limit"), twin=twin)


async def test_gzip_in_gzip(arena: Arena) -> None:
    """Unpacked once, and what comes out is no document: nothing is unpacked twice."""
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id, compress=lambda data: gzip(gzip(b"\0" * (8 << 20)))
    )
    verdict = Verdict("G10", "sbd.encoding", "EBMS:0004")
    await arena.refuses(attack, verdict, twin=twin)
