"""A part that is signed and encrypted well but is not one whole gzip member, or is a bomb."""

import gzip as python_gzip
import struct
import zlib
from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from as4_wire import gzip
from attack_rows import row

ZSTANDARD = bytes.fromhex("28b52ffd2400")


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


def long_extra_field(data: bytes) -> bytes:
    whole = python_gzip.compress(data, mtime=0)
    extra = struct.pack("<H", 65_000) + b"e" * 65_000
    return whole[:3] + b"\x04" + whole[4:10] + extra + whole[10:]


@pytest.mark.attack("ATT-14")
@pytest.mark.parametrize(
    ("compress", "reason"),
    [
        row("ZIP-05", wrong_checksum, "damaged", id="checksum"),
        row("ZIP-05", wrong_length, "damaged", id="length"),
        row("ZIP-05", reserved_block, "damaged", id="reserved block"),
        row("ZIP-07", raw_deflate, "damaged", id="deflate"),
        row("ZIP-07", zlib.compress, "damaged", id="zlib"),
        row("ZIP-07", lambda data: ZSTANDARD + data, "damaged", id="zstd"),
        row("ZIP-07", lambda data: b"\x0b\x02\x80" + data + b"\x03", "damaged", id="brotli"),
        row("ZIP-07", lambda data: data, "damaged", id="plain"),
        row("ZIP-04", lambda data: b"", "truncated", id="nothing"),
        row("ZIP-04", lambda data: gzip(data)[:5], "truncated", id="header only"),
        row("ZIP-04", lambda data: gzip(data)[:-1], "truncated", id="one octet short"),
        row("ZIP-04", lambda data: gzip(data)[:-8], "truncated", id="no trailer"),
        row("ZIP-03", lambda data: gzip(data) + b"trailing", "trailing", id="trailing text"),
        row("ZIP-03", lambda data: gzip(data) + b"\0", "trailing", id="trailing zero"),
        row("ZIP-02", lambda data: gzip(data) + gzip(b""), "members", id="empty member"),
        row(
            "ZIP-02", lambda data: gzip(data[:100]) + gzip(data[100:]), "members", id="two members"
        ),
        row("ZIP-06", long_name, "limit", id="long name"),
        row("ZIP-06", long_extra_field, "limit", id="long extra field"),
    ],
)
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


@pytest.mark.attack("ZIP-01")
async def test_gzip_bomb(arena: Arena) -> None:
    """24 MiB of one letter in 24 KiB: stopped at a hundred times what came in, long before the end."""
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id, document=lambda document: swollen(document, 24 << 20)
    )
    assert len(attack.body) < 200_000
    await arena.refuses(attack, refused("limit"), twin=twin)


@pytest.mark.attack("ZIP-01")
async def test_gzip_in_gzip(arena: Arena) -> None:
    """Unpacked once, and what comes out is no document: nothing is unpacked twice."""
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id, compress=lambda data: gzip(gzip(b"\0" * (8 << 20)))
    )
    verdict = Verdict("G10", "sbd.encoding", "EBMS:0004")
    await arena.refuses(attack, verdict, twin=twin)
