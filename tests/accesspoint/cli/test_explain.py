"""`accesspoint explain` as a person calls it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Pki
from as4_wire import Author, Wire

from keys.store import write_certificates, write_keystore

from .conftest import Ended

Invoke = Callable[..., Ended]


@pytest.fixture
def wire(pki: Pki) -> Wire:
    return Author(pki.municipality.signer(), pki.clinic.certificate).compose()


@pytest.fixture
def given(pki: Pki, tmp_path: Path) -> list[str | Path]:
    """The options for the receiver's key and the authority of both."""
    write_keystore(tmp_path / "keys", message=pki.clinic, tls=pki.tls("clinic"))
    authority = pki.authority
    anchors = write_certificates(
        tmp_path / "ca.pem", [*authority.anchors, *authority.intermediates]
    )
    return ["--key", tmp_path / "keys" / "message.key.pem", "--trust", anchors]


def test_a_sound_capture(
    invoke: Invoke, wire: Wire, given: list[str | Path], tmp_path: Path
) -> None:
    file = tmp_path / "request.bin"
    file.write_bytes(wire.body)
    ended = invoke("explain", file, *given, "--content-type", wire.content_type)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("✓ request.bin: nothing broken\n")
    assert "✓ decryption" in ended.out


def test_a_broken_capture_from_standard_input(invoke: Invoke, wire: Wire) -> None:
    ended = invoke("explain", "-", "--format", "json", stdin=wire.body[:-9])
    assert ended.status == 4
    told = json.loads(ended.out)
    assert told["refused"]["problem"] == "mime.truncated"
    assert told["refused"]["whose"] == "not certain: the capture may be cut"
    assert told["name"] == "standard input"


def test_a_page(invoke: Invoke, wire: Wire) -> None:
    ended = invoke("explain", "-", "--format", "html", stdin=wire.soap)
    assert ended.status == 0
    assert ended.out.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["missing.bin"], 1),
        (["-", "--format", "yaml"], 2),
        (["-", "--key", "missing.key.pem"], 7),
        (["-", "--trust", "missing.pem"], 7),
    ],
)
def test_what_cannot_be_done_is_said(invoke: Invoke, arguments: list[str], status: int) -> None:
    ended = invoke("explain", *arguments)
    assert ended.status == status
    assert ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"\r\n", "empty"),
        (b"hello", "plain text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG image"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x00\xff\x00", "octets of no known format"),
        (b"<note/>", "XML <note>"),
        (b"POST /as4 HTTP/1.1\r\nHost: ap.example\r\n\r\n", "HTTP head without a body"),
        (b"HTTP/1.1 202 Accepted\r\nDate: today", "HTTP head without a body"),
        (b"Content-Type: text/plain\r\nContent-ID: <a@b>\r\n", "MIME head without a body"),
        (b"Content-Type: image/png\r\n\r\n\x89PNG\r\n", "PNG image"),
    ],
)
def test_what_is_no_message_is_named_and_never_called_sound(
    invoke: Invoke, data: bytes, kind: str
) -> None:
    ended = invoke("explain", "-", stdin=data)
    assert ended.status == 2
    assert ended.out.startswith(f"– standard input: not a message: {kind}\n")
    page = invoke("explain", "-", "--format", "html", stdin=data).out
    assert "✓" not in page


def test_the_id_of_a_message_is_no_file_and_where_it_is_told_is_named(
    invoke: Callable[..., Ended],
) -> None:
    id_ = "7df5e5c7-adde-81f9-8ac1-a6738db5c2f4"
    for name in (id_, f"{id_}@ap.example", "01M80TVNPCJGBQPBVJ585NP9YE"):
        ended = invoke("explain", name)
        assert ended.status == 1
        assert f"do: accesspoint messages show {name} " in ended.err
    assert "messages show" not in invoke("explain", "capture.bin").err
