"""gzip in pieces: what goes in comes out, and nothing but one complete member is accepted."""

import gzip
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
from cpu_time import cpu_time
from hypothesis import given
from hypothesis import strategies as st

from envelope import compression
from envelope.compression import PIECE, Compressor, Decompressor
from envelope.errors import DecompressionFailure, Gate, RemoteProtocolError
from envelope.limits import DEFAULT_LIMITS, MIB, Limits

CODECS = list({compression.CODEC: None, zlib: None})
DATA = b"".join(b"%d <Observation/> %d\n" % (n, n * n) for n in range(20_000))


def packed(data: bytes, codec: ModuleType = compression.CODEC) -> bytes:
    compressor = Compressor(codec)
    return compressor.compress(data) + compressor.finish()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def unpacked(
    data: bytes,
    *,
    size: int = 100_000,
    limits: Limits = DEFAULT_LIMITS,
    max_bytes: int | None = None,
    codec: ModuleType = compression.CODEC,
) -> bytes:
    stream = Decompressor(limits, max_bytes=max_bytes, codec=codec)
    out = bytearray()
    for chunk in pieces(data, size):
        for piece in stream.decompress(chunk):
            assert 0 < len(piece) <= PIECE
            out += piece
    stream.finish()
    return bytes(out)


def refusal(data: bytes, **options: object) -> DecompressionFailure:
    with pytest.raises(DecompressionFailure) as caught:
        unpacked(data, **options)
    assert caught.value.gate is Gate.G9
    return caught.value


codecs = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.__name__)


@codecs
@pytest.mark.parametrize("size", [1, 7, 8192, 10**9])
def test_what_goes_in_comes_out(codec: ModuleType, size: int) -> None:
    data = DATA if size > 1000 else DATA[:3_000]
    wire = packed(data, codec)
    assert gzip.decompress(wire) == data
    assert unpacked(wire, size=size, codec=codec) == data


@codecs
def test_the_empty_part(codec: ModuleType) -> None:
    assert unpacked(packed(b"", codec), codec=codec) == b""


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50))
def test_any_pieces_give_the_same_payload(parts: list[bytes], size: int) -> None:
    compressor = Compressor()
    wire = b"".join(map(compressor.compress, parts)) + compressor.finish()
    assert unpacked(wire, size=size) == b"".join(parts)


@codecs
def test_the_header_names_no_file_and_no_time(codec: ModuleType) -> None:
    wire = packed(DATA, codec)
    assert wire[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    assert packed(DATA, codec) == wire


def test_the_fall_back_reads_what_the_fast_one_writes_and_the_other_way() -> None:
    for one in CODECS:
        for other in CODECS:
            assert unpacked(packed(DATA, one), codec=other) == DATA


@codecs
def test_zip_01_a_bomb_stops_at_the_ratio(codec: ModuleType) -> None:
    bomb = gzip.compress(b"\0" * (10 * MIB), mtime=0)
    stream = Decompressor(codec=codec)
    sizes: list[int] = []

    def read_all() -> None:
        for chunk in pieces(bomb, 1_024):
            sizes.extend(map(len, stream.decompress(chunk)))

    with cpu_time() as spent, pytest.raises(DecompressionFailure) as caught:
        read_all()
    assert spent.seconds < 0.2
    assert caught.value.reason == "gzip.limit"
    assert sum(sizes) <= MIB


@codecs
def test_growth_within_the_first_mebibyte_is_no_bomb(codec: ModuleType) -> None:
    data = b"\0" * MIB
    wire = gzip.compress(data, mtime=0)
    assert len(data) > 100 * len(wire)
    assert unpacked(wire, codec=codec) == data
    assert refusal(gzip.compress(data + b"\0", mtime=0), codec=codec).reason == "gzip.limit"


@codecs
def test_att_17_the_size_limit_is_exact(codec: ModuleType) -> None:
    wire = packed(b"x" * 1_000, codec)
    assert len(unpacked(wire, max_bytes=1_000, codec=codec)) == 1_000
    assert refusal(wire, max_bytes=999, codec=codec).reason == "gzip.limit"
    limits = replace(DEFAULT_LIMITS, sbd_bytes=999)
    assert refusal(wire, limits=limits, codec=codec).reason == "gzip.limit"


@codecs
@pytest.mark.parametrize("size", [1, 10**9])
def test_zip_02_a_second_member(codec: ModuleType, size: int) -> None:
    wire = packed(b"one", codec)
    assert refusal(wire + wire, size=size, codec=codec).reason == "gzip.members"


@codecs
@pytest.mark.parametrize("size", [1, 10**9])
@pytest.mark.parametrize("junk", [b"\0", b"x", b"\r\n"])
def test_zip_03_trailing_octets(codec: ModuleType, size: int, junk: bytes) -> None:
    assert refusal(packed(b"one", codec) + junk, size=size, codec=codec).reason == "gzip.trailing"


@codecs
def test_zip_04_truncated_at_every_octet(codec: ModuleType) -> None:
    wire = packed(DATA[:200], codec)
    for end in range(len(wire)):
        assert refusal(wire[:end], codec=codec).reason == "gzip.truncated"


@codecs
def test_zip_05_wrong_checksum_or_length(codec: ModuleType) -> None:
    wire = packed(DATA[:200], codec)
    crc, size = struct.unpack("<II", wire[-8:])
    for trailer in (struct.pack("<II", crc ^ 1, size), struct.pack("<II", crc, size + 1)):
        assert refusal(wire[:-8] + trailer, codec=codec).reason == "gzip.damaged"


@codecs
@pytest.mark.parametrize("size", [100, 10**9])
def test_zip_06_a_header_without_end(codec: ModuleType, size: int) -> None:
    body = packed(b"one", codec)[10:]
    name = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 65_536 + b"\0" + body
    extra = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\xff\xff" + b"e" * 65_535 + body
    assert refusal(name, size=size, codec=codec).reason == "gzip.limit"
    assert refusal(extra, size=size, codec=codec).reason == "gzip.limit"
    short = b"\x1f\x8b\x08\x08\0\0\0\0\0\xffpayload.xml\0" + body
    assert unpacked(short, codec=codec) == b"one"


@codecs
@pytest.mark.parametrize(
    "data",
    [
        b"\x28\xb5\x2f\xfd" + b"0" * 40,
        zlib.compress(b"deflate with a zlib header"),
        b"<plain/>" * 10,
        b"PK\x03\x04" + b"0" * 40,
    ],
    ids=["zstd", "zlib", "plain", "zip"],
)
def test_zip_07_other_formats(codec: ModuleType, data: bytes) -> None:
    assert refusal(data, codec=codec).reason == "gzip.damaged"


@codecs
def test_incompressible_data_passes(codec: ModuleType) -> None:
    data = random.Random(1).randbytes(300_000)
    assert unpacked(packed(data, codec), codec=codec) == data


@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(b"\x1f\x8b\x08\0".__add__)),
    st.integers(1, 9),
)
def test_any_octets_give_a_payload_or_a_refusal(data: bytes, size: int) -> None:
    for codec in CODECS:
        try:
            outcome: object = unpacked(data, size=size, codec=codec)
        except RemoteProtocolError as error:
            outcome = error
        assert isinstance(outcome, bytes | DecompressionFailure)


@codecs
@pytest.mark.parametrize("flag", [0x20, 0x40, 0x80])
@pytest.mark.parametrize("size", [1, 3, 4, 10**9])
def test_a_flag_that_nobody_knows_is_refused_however_it_is_cut(
    codec: ModuleType, flag: int, size: int
) -> None:
    wire = bytearray(packed(b"one", codec))
    wire[3] |= flag
    assert refusal(bytes(wire), size=size, codec=codec).reason == "gzip.damaged"
