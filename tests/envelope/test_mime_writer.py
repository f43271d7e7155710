"""The multipart writer never makes framing that a reader could take otherwise."""

import pytest

from envelope.errors import LocalProtocolError
from envelope.limits import KIB, MIB
from envelope.mime import MultipartWriter, OutboundPart


@pytest.mark.parametrize("boundary", ["", "b" * 71, "b ", 'b"', "b\r\n", "æ"])
def test_the_writer_refuses_a_boundary_that_breaks_the_framing(boundary: str) -> None:
    with pytest.raises(LocalProtocolError):
        MultipartWriter(boundary, "root@x", b"<E/>")


@pytest.mark.parametrize("root", [b"<E>\r\n--b</E>", b"--b"])
def test_the_writer_refuses_a_root_that_holds_the_boundary(root: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        MultipartWriter("b", "root@x", root)


@pytest.mark.parametrize(
    ("content_id", "content_type"),
    [
        ("a b", "a/b"),
        ("a>\r\nX: 1", "a/b"),
        ("", "a/b"),
        ("a", "a/b\r\nX: 1"),
        ("a", "none"),
        ("a", "a/b; x=æ"),
    ],
)
def test_fil_03_the_writer_refuses_injected_headers(content_id: str, content_type: str) -> None:
    writer = MultipartWriter("b", "root@x", b"<E/>")
    with pytest.raises(LocalProtocolError):
        writer.head(OutboundPart(content_id, content_type, 0))


def test_the_writer_keeps_within_a_mebibyte_of_overhead() -> None:
    writer = MultipartWriter("b", "root@x", b"<E/>")
    assert writer.total_length([OutboundPart("p@x", "a/b", 10 * MIB)]) < 10 * MIB + KIB


def test_the_writer_writes_no_octet_more_than_it_says() -> None:
    writer, part = MultipartWriter("b", "root@x", b"<E/>"), OutboundPart("p@x", "a/b", 3)
    written = writer.opening() + writer.head(part) + b"abc" + writer.tail()
    assert written == (
        b"--b\r\nContent-Type: application/soap+xml; charset=UTF-8\r\n"
        b"Content-Transfer-Encoding: binary\r\nContent-ID: <root@x>\r\n\r\n<E/>"
        b"\r\n--b\r\nContent-Type: a/b\r\n"
        b"Content-Transfer-Encoding: binary\r\nContent-ID: <p@x>\r\n\r\nabc\r\n--b--\r\n"
    )
    assert writer.total_length([part]) == len(written)
