"""Envelope files: what is wrapped comes out again octet for octet, and what does not hold leaves no file."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from station_parts import Parts, header_for

from accesspoint.stations.sbd_file import (
    CHUNK_BYTES,
    SIGNAL_BYTES,
    header_bytes,
    header_from_bytes,
    open_sbd,
    read_header,
    write_sbd,
)
from envelope.errors import SbdRefused

HEADER = header_for()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from([0, 1, 2, 3, CHUNK_BYTES - 1, CHUNK_BYTES + 1, SIGNAL_BYTES + 7]).map(
        lambda size: bytes(index % 251 for index in range(size))
    )
    | st.binary(min_size=1, max_size=300),
    in_memory=st.booleans(),
)
async def test_what_is_wrapped_comes_out_again(parts: Parts, data: bytes, in_memory: bool) -> None:
    if not data:
        data = b"\x00"
    envelope = write_sbd(parts.payloads, HEADER, data if in_memory else parts.store(data))
    before = parts.files()
    with open_sbd(parts.payloads, envelope) as opened:
        assert opened.header == HEADER
        assert opened.signal == data[:SIGNAL_BYTES]
        content = opened.publish()
    assert parts.read(content) == data
    assert content.payload_bytes == len(data)
    assert parts.files() == before + 1
    assert read_header(parts.payloads, envelope) == HEADER
    assert header_from_bytes(header_bytes(HEADER)) == HEADER


async def test_content_that_nobody_publishes_is_gone(parts: Parts) -> None:
    envelope = write_sbd(parts.payloads, HEADER, b"content")
    with open_sbd(parts.payloads, envelope):
        assert parts.unpublished() == 1
    assert (parts.files(), parts.unpublished()) == (1, 0)


@pytest.mark.parametrize("damage", [b"", b"<StandardBusinessDocument/>", b"not XML"])
async def test_a_file_that_is_no_envelope_leaves_nothing(parts: Parts, damage: bytes) -> None:
    envelope = parts.store(damage)
    with pytest.raises(SbdRefused), open_sbd(parts.payloads, envelope):
        pass
    with pytest.raises(SbdRefused):
        read_header(parts.payloads, envelope)
    assert (parts.files(), parts.unpublished()) == (1, 0)
