"""Canaries: patient numbers and a word of the letter go every way into a running node, and come out nowhere."""

import base64
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from as4_arena import Arena
from as4_stage import LogLines
from as4_wire import CANARY, Author, Wire, medcom_message
from canary_watch import Watch, every_logger_talks
from sample_messages import TEST_PERSON

from accesspoint.api.client import NodeAddress
from accesspoint.inbound.receiver import Receiver
from accesspoint.log import logger
from envelope.messaging import Property, UserMessage

DASHED = f"{TEST_PERSON[:6]}-{TEST_PERSON[6:]}"
BOTH = f"{CANARY} {TEST_PERSON} {DASHED}"


@pytest.fixture
def watch(
    tmp_path: Path,
    arena: Arena,
    log_lines: LogLines,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Watch]:
    """Everything that the node says from now on, with all loggers forced to their most talkative level."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    capfd.readouterr()
    watch, begin = Watch(tmp_path), log_lines.mark
    with every_logger_talks():
        yield watch
        logger("test").debug("ready")  # the log is listened to
    said = log_lines.text[begin:]
    assert '"ready"' in said
    watch.note("log", said)
    for stream, text in zip(("output", "error"), capfd.readouterr(), strict=True):
        watch.note(f"standard {stream}", text)
    for name in arena.node.files():
        watch.note("names in the store", name)
    spool = arena.node.point.payloads.temporary_directory
    assert spool.is_dir()
    for path in spool.rglob("*"):
        if path.is_file():
            watch.note("spool", path.read_bytes())
    assert watch.found() == {}


def with_property(message: UserMessage) -> UserMessage:
    return replace(
        message,
        message_properties=(*message.message_properties, Property(f"p{CANARY}", BOTH, DASHED)),
    )


def with_file_name(wire: Wire) -> Wire:
    name = ("Content-Disposition", f'attachment; filename="{BOTH}.xml"')
    return replace(wire, parts=tuple(replace(p, headers=(*p.headers, name)) for p in wire.parts))


async def post(arena: Arena, watch: Watch, where: str, wire: Wire, url: str = "") -> int:
    """Post a message and have its answer searched; the HTTP status."""
    headers = {"Content-Type": wire.content_type, "X-Patient": TEST_PERSON, "Referer": f"/{DASHED}"}
    async with arena.client.session.post(
        url or arena.client.url, data=wire.body, headers=headers, allow_redirects=False
    ) as answer:
        watch.note(where, str(answer.headers))
        watch.note(where, await answer.read())
        return answer.status


@pytest.mark.attack("LOG-03", "LOG-04", "SEC-06")
async def test_in_what_other_access_points_send(arena: Arena, watch: Watch) -> None:
    author = arena.author
    await arena.accepts(author.compose(message=with_property))
    for where, wire in {
        "file name": with_file_name(author.compose()),
        "open": author.compose(encrypt=False),
        "payload": author.compose(document=lambda _: f"<a>{BOTH}</a>".encode()),
        "gzip": author.compose(compress=lambda octets: octets + BOTH.encode()),
        "header": author.compose().with_text("<eb:MessageInfo>", f"<eb:MessageInfo {CANARY}='{BOTH}'>"),
        "no xml": author.compose().with_soap(lambda soap: BOTH.encode() + soap),
        "party": replace(author, party=f"{DASHED}.{TEST_PERSON}").compose(),
    }.items():  # fmt: skip
        assert await post(arena, watch, where, wire) in (200, 400), where
    # The answer must repeat the id of a message that was accepted; nothing else may.
    named = author.compose(message_id=f"{TEST_PERSON}@{CANARY}.example")
    await arena.client.post(named)
    await arena.node.idle()


@pytest.mark.attack("LOG-03")
async def test_in_the_subject_of_a_certificate(arena: Arena, watch: Watch) -> None:
    for authority in (arena.pki.authority, arena.pki.untrusted_authority):
        name = f"{DASHED}.{TEST_PERSON}"
        issued = arena.pki.certify(name, authority=authority)
        author = Author(issued.signer(), arena.node.certificate, party=name)
        assert await post(arena, watch, "certificate", author.compose()) == 200


@pytest.mark.attack("LOG-03", "LOG-06")
async def test_in_addresses_and_queries(arena: Arena, watch: Watch, log_lines: LogLines) -> None:
    begin = log_lines.mark
    given = NodeAddress.load(arena.node.home / "store")
    wire = arena.author.compose()
    for path in (f"/{DASHED}", f"/as4/{CANARY}", ""):
        await post(arena, watch, "query", wire, f"{arena.client.url}{path}?patient={TEST_PERSON}")
    async with aiohttp.ClientSession() as session:
        for token in (given.token, TEST_PERSON):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": TEST_PERSON}
            for path in ("livez", "metrics", "api/v1/about", f"api/v1/messages/{DASHED}", f"api/v1/exchanges/{TEST_PERSON}",
                         "api/v1/lookup", "api/v1/exchanges", f"{CANARY}/{DASHED}"):  # fmt: skip
                url = f"{given.url}/{path}?patient={DASHED}&identifier={CANARY}&gln={TEST_PERSON}"
                async with session.get(url, headers=headers) as answer:
                    watch.note(path, str(answer.headers))
                    watch.note(path, await answer.read())
    said = log_lines.text[begin:]
    assert "patient=" not in said
    assert "?" not in said


@pytest.mark.attack("LOG-03")
async def test_in_what_the_own_systems_submit(arena: Arena, watch: Watch) -> None:
    given = NodeAddress.load(arena.node.home / "store")
    good = medcom_message("canary-message", "canary-bundle")[0]
    documents = {
        "no json": BOTH.encode(),
        "no fhir": f'{{"resourceType": "{CANARY}", "id": "{TEST_PERSON}"}}'.encode(),
        "cut off": good[:-100],
        "unknown": good.replace(b'"Patient"', f'"{CANARY}{TEST_PERSON}"'.encode()),
        "bad value": good.replace(TEST_PERSON.encode(), BOTH.encode()),
        "bad status": good.replace(b'"final"', f'"{BOTH}"'.encode()),
        "bad receiver": good.replace(b"5790000000029", TEST_PERSON.encode()),
        "xml": f"<Bundle xmlns='http://hl7.org/fhir'><{CANARY}>{DASHED}</{CANARY}></Bundle>".encode(),
        "bad xml": f"<Bundle {BOTH}".encode(),
    }
    async with aiohttp.ClientSession() as session:
        for name, document in documents.items():
            for media_type in ("application/fhir+json", "application/fhir+xml", f"text/{CANARY}"):
                headers = {"Authorization": f"Bearer {given.token}", "Content-Type": media_type}
                for query in ("", f"?to={DASHED}"):
                    url = f"{given.url}/api/v1/messages{query}"
                    async with session.post(url, data=document, headers=headers) as answer:
                        assert 400 <= answer.status < 500, name
                        watch.note(f"{name} as {media_type}{query}", await answer.read())


@pytest.mark.attack("LOG-03")
async def test_in_the_text_of_an_error_of_the_program(
    arena: Arena, watch: Watch, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> Any:
        try:
            raise ValueError(BOTH)
        except ValueError as error:
            raise RuntimeError(f"{BOTH} of {error}") from error

    monkeypatch.setattr(Receiver, "receive", fail)
    begin = log_lines.mark
    assert await post(arena, watch, "internal", arena.author.compose()) == 500
    assert '"as4.in.internal"' in log_lines.text[begin:]
    assert '"RuntimeError"' in log_lines.text[begin:]


@pytest.mark.parametrize("where", ["log", "answer", "file", "file name", "standard error"])
@pytest.mark.parametrize("form", [TEST_PERSON, DASHED, CANARY, "base64"])
def test_a_planted_leak_is_found(
    where: str, form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = f"of {form}!"
    if form == "base64":
        text = base64.urlsafe_b64encode(f"{{a {CANARY} b}}".encode()).decode()
    watch = Watch(tmp_path)
    watch.note("log", '{"event":"x"}')
    assert watch.found() == {}
    match where:
        case "file":
            (tmp_path / "spooled").write_text(text)
        case "file name":
            (tmp_path / text).touch()
        case "standard error":
            sys.stderr.write(text)
            watch.note(where, capfd.readouterr().err)
        case _:
            watch.note(where, text)
    assert len(watch.found()) == 1
