"""What a recorded message shows: whole HTTP requests, bare bodies, answers, and messages of another product."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from as4_stage import Pki

from accesspoint.conformance import report_html, report_json, report_junit, report_markdown
from accesspoint.conformance.author import Author, Draft, Payload, Request
from accesspoint.conformance.capture import CaptureTarget, read_capture
from accesspoint.conformance.case import Status
from accesspoint.conformance.runner import choose, run
from envelope import names
from envelope.messaging import PartyId, Property
from envelope.pmode import SecuritySuite, TokenForm

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
SHOWN = ["TA03", "TA05", "TA12", "TA13", "TA23", "TA24"]
"""What a message of any sender shows by itself."""
WHOLE = {**dict.fromkeys(SHOWN, Status.PASS), "TA23": Status.NOT_APPLICABLE}
"""Whether an encrypted part is what it says takes its receiver's key."""


@pytest.fixture(scope="module")
def author(pki: Pki) -> Author:
    return Author(
        pki.municipality.signer(),
        PartyId("from", names.PARTY_UNREGISTERED),
        pki.clinic.certificate,
        PartyId("to", names.PARTY_UNREGISTERED),
    )


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Any]:
    async def statuses(octets: bytes, *, certificate: Path | None = None) -> dict[str, Status]:
        path = tmp_path / "capture"
        path.write_bytes(octets)
        async with CaptureTarget(path, certificate) as target:
            finished = await run(target, choose(SHOWN))
        return {one.assertion.id.removeprefix("AS4_CP_"): one.status for one in finished.results}

    return statuses


def http(request: Request) -> bytes:
    head = f"POST /as4 HTTP/1.1\r\nHost: ap.example\r\nContent-Type: {request.content_type}\r\n\r\n"
    return head.encode() + request.body


async def test_a_whole_request_shows_everything(author: Author, judge: Callable[..., Any]) -> None:
    assert await judge(http(author.write(Draft()))) == WHOLE


async def test_a_bare_body_begins_with_its_boundary(
    author: Author, judge: Callable[..., Any]
) -> None:
    assert await judge(author.write(Draft()).body) == WHOLE


async def test_what_is_not_compressed_or_encrypted_shows_nothing_of_it(
    author: Author, judge: Callable[..., Any]
) -> None:
    plain = author.write(Draft((Payload(compress=False),), encrypt=False))
    found = await judge(http(plain))
    assert found == {
        "TA03": Status.PASS, "TA05": Status.NOT_APPLICABLE, "TA12": Status.PASS, "TA13": Status.FAIL,
        "TA23": Status.NOT_APPLICABLE, "TA24": Status.NOT_APPLICABLE,
    }  # fmt: skip


async def test_a_compressed_part_that_is_not_encrypted_is_looked_at(
    author: Author, judge: Callable[..., Any]
) -> None:
    plain = http(author.write(Draft(encrypt=False)))
    assert plain.count(b"\x1f\x8b\x08") == 1
    assert (await judge(plain))["TA23"] is Status.PASS
    assert (await judge(plain.replace(b"\x1f\x8b\x08", b"abc")))["TA23"] is Status.FAIL


async def test_one_message_fails_nothing_that_takes_more_than_one(
    author: Author, tmp_path: Path
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(http(author.write(Draft())))
    async with CaptureTarget(path) as target:
        finished = await run(target, choose())
    assert not [one for one in finished.results if one.status is Status.ERROR]
    found = {one.assertion.id: one.status for one in finished.results}
    seen = {one.assertion.id: one.seen for one in finished.results}
    assert seen["AS4_CP_TA05"].startswith("1 compressed payload in a MIME part of its own")
    for id_ in ("AS4_CP_TA09", "AS4_CP_TA15", "AS4_CP_TA22"):
        assert found[id_] is Status.NOT_APPLICABLE


async def test_a_lone_envelope_shows_no_parts(author: Author, judge: Callable[..., Any]) -> None:
    request = author.write(Draft())
    soap = read_capture(http(request)).mime[0].octets
    found = await judge(soap)
    assert found["TA12"] is found["TA13"] is Status.PASS
    assert found["TA05"] is Status.NOT_APPLICABLE


async def test_an_answer_is_no_request(author: Author, judge: Callable[..., Any]) -> None:
    request = read_capture(http(author.write(Draft())))
    head = b"HTTP/1.1 200 OK\nContent-Type: application/soap+xml\n\n"
    found = await judge(head + author.receipt(request))
    assert set(found.values()) == {Status.NOT_APPLICABLE}
    assert set((await judge(b"no AS4 at all")).values()) == {Status.NOT_APPLICABLE}


@pytest.mark.parametrize(
    "octets",
    [
        b"010203-1234 Jens Jensen\n",
        b"<Patient><cpr>010203-1234</cpr></Patent>",
        b"--010203-1234\r\nContent-Type: text/plain; name=010203-1234\r\n\r\nJens Jensen\r\n--010203-1234--\r\n",
        b"Content-Type: 010203-1234\r\n\r\nJens Jensen",
    ],
)
async def test_what_is_no_message_is_never_quoted(octets: bytes, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(octets)
    async with CaptureTarget(path) as target:
        finished = await run(target, choose())
    assert "no AS4 message in it: " in report_markdown.write(finished)
    for written in (report_html, report_json, report_junit, report_markdown):
        report = written.write(finished)
        for quoted in (octets.decode(), "010203", "Jens", base64.b64encode(octets).decode()[:40]):
            assert quoted not in report


async def test_a_signer_that_is_only_named_has_to_be_given(
    author: Author, judge: Callable[..., Any], pki: Pki
) -> None:
    suite = SecuritySuite(signing_token=TokenForm.KEY_IDENTIFIER)
    octets = http(replace(author, suite=suite).write(Draft()))
    assert (await judge(octets))["TA12"] is Status.NOT_APPLICABLE
    given = Path(pki.file_of(pki.municipality))
    assert (await judge(octets, certificate=given))["TA12"] is Status.PASS
    other = Path(pki.file_of(pki.clinic))
    assert (await judge(octets, certificate=other))["TA12"] is Status.FAIL


async def test_one_flipped_bit_of_the_header_is_seen(
    author: Author, judge: Callable[..., Any]
) -> None:
    octets = http(author.write(Draft(action="SIMPLE_ONEWAY")))
    assert (await judge(octets.replace(b"SIMPLE_ONEWAY", b"SIMPLE_ONEWAX")))["TA12"] is Status.FAIL


@pytest.mark.parametrize(
    ("wrapped_with", "other"),
    [
        (names.RSA_OAEP, names.RSA_OAEP_MGF1P),
        (names.MGF1_SHA256, names.MGF1_SHA1),
    ],
)
async def test_how_the_content_key_travels_is_judged_without_a_key(
    author: Author, judge: Callable[..., Any], wrapped_with: str, other: str
) -> None:
    octets = http(author.write(Draft()))
    assert octets.count(wrapped_with.encode() + b'"') == 1
    changed = octets.replace(wrapped_with.encode() + b'"', other.encode() + b'"')
    assert (await judge(changed))["TA13"] is Status.FAIL


async def test_no_report_holds_what_was_recorded(author: Author, tmp_path: Path) -> None:
    """Nothing of a document, its name or its header: the file may be a patient's."""
    number = "0101010101"
    document = f"<Patient>{number}</Patient>".encode()
    info = (Property("PartName", number),)
    draft = Draft(
        (Payload(document, compress=False, properties=info),),
        encrypt=False,
        properties=(Property("note", number),),
    )
    octets = http(author.write(draft))
    assert octets.count(number.encode()) == 3
    path = tmp_path / "capture"
    path.write_bytes(octets)
    async with CaptureTarget(path) as target:
        finished = await run(target, choose())
    assert any(one.exchanged for one in finished.results)
    kept = b"".join(octet.body for one in finished.results for octet in one.exchanged)
    assert hashlib.sha256(document).hexdigest().encode() in kept
    assert number.encode() not in kept
    for write in (report_html.write, report_json.write, report_junit.write, report_markdown.write):
        assert number not in write(finished)


async def test_folded_fields_are_one(author: Author) -> None:
    request = author.write(Draft())
    folded = request.content_type.replace("; ", ";\r\n\t")
    octets = f"Content-Type: {folded}\r\nX-Other: 1\r\n\r\n".encode() + request.body
    assert len(read_capture(octets).payloads) == 1


@pytest.mark.skipif(
    not FIXTURES, reason="ACCESSPOINT_FIXTURES does not name the folder with the samples"
)
@pytest.mark.parametrize(
    ("sample", "differing"),
    [
        ("phase4/dump-raw.as4out", {}),
        ("as4net/rssbus_message.as4", {}),
        (
            "as4net/signed_holodeck_message.as4",
            {"TA12": Status.FAIL, "TA13": Status.FAIL, "TA23": Status.PASS},
        ),
    ],
)
async def test_messages_of_other_products(
    judge: Callable[..., Any], sample: str, differing: dict[str, Status]
) -> None:
    """Holodeck's has RSA-SHA384 and is not encrypted; the others are as the profile wants them."""
    found = await judge((Path(FIXTURES or "") / "as4" / "samples" / sample).read_bytes())
    assert found == {**WHOLE, **differing}
