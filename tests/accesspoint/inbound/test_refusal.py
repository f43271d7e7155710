"""What a refused request gets (decision D3): a bare status, an unsigned or a signed error, and always a constant text."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog
from as4_peer import HttpAnswer, SignedBy

from accesspoint.clock import to_microseconds
from accesspoint.inbound import refusal_allowance
from accesspoint.inbound.refusal import SOAP_TYPE, Answer, Intake
from envelope import codes
from envelope.errors import (
    FailedDecryption,
    Gate,
    InvalidHeader,
    MimeInconsistency,
    PolicyNoncompliance,
    RemoteProtocolError,
    SbdRefused,
    SignatureValueInvalid,
    TransportRefused,
    ValueNotRecognized,
)
from envelope.pmode import EDELIVERY_1_15, SecuritySuite
from envelope.verified import ParsedSignal
from envelope.wsse import authenticate_signal

if TYPE_CHECKING:
    from inbound_parts import Inbound

SECRET = "2512489996 from the message"


def stranger() -> Intake:
    intake = Intake("127.0.0.9")
    intake.take(b"four")
    intake.take(b"five")
    return intake


def known() -> Intake:
    intake = stranger()
    intake.message_id, intake.party, intake.certificate = "1@a.example", "a", "ab" * 32
    return intake


async def refused(inbound: "Inbound", error: RemoteProtocolError, intake: Intake) -> Answer:
    answer = await inbound.refuser.refuse(error, intake)
    assert SECRET not in answer.body.decode()
    assert error.reason.encode() not in answer.body
    assert answer.close
    return answer


@pytest.mark.parametrize("intake", [stranger, known])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TransportRefused(SECRET, reason="http.size", gate=Gate.G1, status=413), 413),
        (TransportRefused(SECRET, reason="mime.truncated"), 400),
        (TransportRefused(SECRET, reason="xml.doctype", gate=Gate.G3), 400),
        (SbdRefused(SECRET), 400),
    ],
)
async def test_framing_and_xml_get_a_bare_status(
    inbound: "Inbound", error: RemoteProtocolError, status: int, intake: Callable[[], Intake]
) -> None:
    answer = await refused(inbound, error, intake())
    assert (answer.status, answer.content_type) == (status, "text/plain; charset=utf-8")
    assert answer.body == b"The request is not accepted.\n"


@pytest.mark.parametrize(
    "error",
    [
        InvalidHeader(SECRET),
        PolicyNoncompliance(SECRET),
        SignatureValueInvalid(SECRET),
        MimeInconsistency(SECRET),
    ],
)
async def test_a_stranger_gets_an_unsigned_error_that_repeats_nothing(
    inbound: "Inbound", error: RemoteProtocolError
) -> None:
    intake = stranger()
    intake.message_id = "of-a-stranger@a.example"
    answer = await refused(inbound, error, intake)
    assert (answer.status, answer.content_type) == (200, SOAP_TYPE)
    document, signal = HttpAnswer(200, answer.content_type, answer.body).signal()
    assert document.security is None
    assert signal.ref_to_message_id is None
    assert b"of-a-stranger" not in answer.body
    (entry,) = signal.errors
    assert (entry.code, entry.description) == (error.ebms.code, error.ebms.description)


@pytest.mark.parametrize(
    "error", [FailedDecryption(SECRET), ValueNotRecognized(SECRET), InvalidHeader(SECRET)]
)
async def test_a_known_sender_gets_a_signed_error_about_its_message(
    inbound: "Inbound", error: RemoteProtocolError
) -> None:
    answer = await refused(inbound, error, known())
    assert answer.status == 200
    document, signal = HttpAnswer(200, answer.content_type, answer.body).signal()
    authenticate_signal(
        ParsedSignal.read(document),
        policy=EDELIVERY_1_15,
        check=SignedBy(inbound.pki.clinic.certificate),
        party=None,
    )
    assert signal.ref_to_message_id == "1@a.example"
    assert signal.message_id.endswith("@accesspoint.invalid")
    assert signal.errors[0].description == error.ebms.description


async def test_a_partner_that_reads_no_signed_errors_gets_plain_ones(inbound: "Inbound") -> None:
    intake = known()
    intake.suite = SecuritySuite(signed_errors=False)
    answer = await refused(inbound, ValueNotRecognized(SECRET), intake)
    document, signal = HttpAnswer(200, answer.content_type, answer.body).signal()
    assert document.security is None
    assert (signal.ref_to_message_id, signal.errors[0].code) == ("1@a.example", "EBMS:0001")


async def test_one_text_per_code_whatever_was_wrong(inbound: "Inbound") -> None:
    """All causes of a failed decryption look alike on the wire."""
    texts = set()
    for reason in ("enc.tag", "enc.key", "enc.oaep"):
        answer = await refused(inbound, FailedDecryption(SECRET, reason=reason), known())
        _, signal = HttpAnswer(200, answer.content_type, answer.body).signal()
        texts.add((signal.errors[0].description, signal.errors[0].code))
    assert texts == {(codes.FAILED_DECRYPTION.description, "EBMS:0102")}


@pytest.mark.parametrize(
    ("error", "code"), [(SignatureValueInvalid(SECRET), "EBMS:0101"), (SbdRefused(SECRET), None)]
)
@pytest.mark.parametrize("intake", [stranger, known])
async def test_a_refusal_leaves_one_record_one_line_and_nothing_of_the_message(
    inbound: "Inbound",
    error: RemoteProtocolError,
    code: str | None,
    intake: Callable[[], Intake],
) -> None:
    with structlog.testing.capture_logs() as lines:
        await inbound.refuser.refuse(error, intake())
    told = {
        "reason": error.reason,
        "code": code,
        "peer": "127.0.0.9",
        "certificate": intake().certificate,
        "input_sha256": hashlib.sha256(b"fourfive").hexdigest(),
        "input_bytes": 8,
    }
    row = await inbound.parts.one("SELECT * FROM refusals")
    assert told.items() <= dict(row).items()
    assert (row["gate"], row["at"]) == (error.gate, to_microseconds(inbound.parts.clock.now()))
    (line,) = (line for line in lines if line["event"] == "as4.in.refused")
    assert told.items() <= line.items()
    assert (line["stage"], line["log_level"]) == (str(error.gate), "warning")
    assert SECRET not in str(dict(row))
    assert (await inbound.messages(), inbound.parts.files()) == ([], 0)


async def test_flood_of_refusals_does_not_fill_the_disk(
    inbound: "Inbound", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers share an allowance of rows; a partner has its own, and what was only counted is told in the next row."""
    monkeypatch.setattr(refusal_allowance, "AT_ONCE", 3)
    monkeypatch.setattr(refusal_allowance, "PER_SECOND", 0.5)
    refuser, database = inbound.refuser, inbound.parts.database
    error = TransportRefused("junk", reason="xml.syntax", gate=Gate.G3)

    async def rows() -> list[str]:
        return [
            row["detail"] for row in await database.fetch("SELECT * FROM refusals ORDER BY seq")
        ]

    for _ in range(50):
        assert (await refuser.refuse(error, stranger())).status == 400
    assert await rows() == ["junk"] * 3
    await refuser.refuse(error, known())
    assert await rows() == ["junk"] * 4
    inbound.parts.clock.advance(timedelta(seconds=4))
    for _ in range(9):
        await refuser.refuse(error, stranger())
    assert (await rows())[4:] == ["junk (47 before it were only counted)", "junk"]
