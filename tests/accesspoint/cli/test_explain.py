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
    assert told["refused"]["whose"] == "theirs"
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
