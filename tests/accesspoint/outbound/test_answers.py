"""The decision table for answers (decision D4), with signals that are really signed, and really are not."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from as4_parts import trust_in
from as4_peer import SOAP_TYPE, Answers, Arrived
from as4_stage import Pki
from as4_wire import Author

from accesspoint.as4.client import HttpAnswer
from accesspoint.clock import ManualClock
from accesspoint.identity import with_quirks
from accesspoint.outbound.answers import Outcome, Verdict, judge
from accesspoint.store.evidence import Wire
from accesspoint.trust import MessageTrust
from envelope import codes
from envelope.codes import EbmsCode, Severity
from envelope.pmode import DOMIBUS_LIKE, PMode, Quirk
from envelope.soap import parse_soap
from envelope.xml import scan
from keys.certificate import der, fingerprint
from keys.crl import CrlStore
from keys.devca import build_crl
from keys.path import Validator
from keys.trust import Purpose, TrustStore

UNSIGNED_ERRORS = with_quirks(DOMIBUS_LIKE, frozenset({Quirk.UNSIGNED_ERRORS}))
PERMANENT = [
    code
    for code in codes.CODES.values()
    if code.severity is Severity.FAILURE and code.code != "EBMS:0005"
]


@dataclass
class Exchange:
    """A message of the municipality that reached the clinic, and whatever the clinic says to it."""

    pki: Pki
    trust: MessageTrust
    arrived: Arrived
    wire: Wire

    @property
    def answers(self) -> Answers:
        return Answers(self.pki.clinic.signer())

    def judge(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = SOAP_TYPE,
        mode: PMode = DOMIBUS_LIKE,
        arrived_before: bool = False,
    ) -> Verdict:
        return judge(
            HttpAnswer(status, content_type, body),
            message_id=self.arrived.message_id,
            wire=self.wire,
            mode=mode,
            check=self.trust.pinned(der(self.pki.clinic.certificate)),
            arrived_before=arrived_before,
        )

    def error(
        self, code: EbmsCode, *, signed: bool = True, message_id: str | None = "ours"
    ) -> bytes:
        named = self.arrived.message_id if message_id == "ours" else message_id
        return self.answers.error(code, message_id=named, signed=signed)


@pytest.fixture(scope="module")
def exchange(pki: Pki) -> Exchange:
    sent = Author(pki.municipality.signer(), pki.clinic.certificate).compose()
    return Exchange(
        pki,
        trust_in(pki, ManualClock(pki.now)),
        Arrived(sent.message_id, sent.references, b""),
        Wire("https://x", b"", "", sent.soap, None, None, 0, sent.references),
    )


# Receipts


def test_the_receipt_of_the_expected_signer_acknowledges(exchange: Exchange) -> None:
    body = exchange.answers.receipt(exchange.arrived)
    verdict = exchange.judge(body)
    assert (verdict.outcome, verdict.problem) == (Outcome.ACKNOWLEDGED, None)
    assert verdict.receipt == body
    assert verdict.signer == fingerprint(exchange.pki.clinic.certificate)


@pytest.mark.parametrize("status", [200, 202, 400, 500])
@pytest.mark.parametrize(
    "content_type", [SOAP_TYPE, "Application/SOAP+XML", "application/soap+xml;x=1"]
)
def test_a_receipt_is_judged_by_its_signature_whatever_carries_it(
    exchange: Exchange, status: int, content_type: str
) -> None:
    body = exchange.answers.receipt(exchange.arrived)
    verdict = exchange.judge(body, status=status, content_type=content_type)
    assert verdict.outcome is Outcome.ACKNOWLEDGED


def _bad_receipts(exchange: Exchange) -> dict[str, tuple[bytes, str]]:
    answers, arrived = exchange.answers, exchange.arrived
    first, *rest = arrived.references
    changed = replace(
        first,
        xml=first.xml.replace(
            next(part for part in first.xml.split(b">") if b"</ds:DigestValue" in part).partition(
                b"<"
            )[0],
            b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
    )
    return {
        "unsigned": (answers.receipt(arrived, signed=False), "receipt-invalid"),
        "other message": (answers.receipt(arrived, message_id="x@y.example"), "receipt-invalid"),
        "other digest": (
            answers.receipt(arrived, references=[changed, *rest]),
            "receipt-digest",
        ),
        "left out": (answers.receipt(arrived, references=rest), "receipt-invalid"),
        "other signer": (
            answers.receipt(arrived, signer=exchange.pki.third.signer()),
            "receipt-signer",
        ),
        "tampered": (
            answers.receipt(arrived).replace(b"peer.example", b"poor.example"),
            "receipt-signer",
        ),
    }


@pytest.mark.parametrize(
    "which", ["unsigned", "other message", "other digest", "left out", "other signer", "tampered"]
)
def test_a_receipt_that_does_not_hold_acknowledges_nothing(exchange: Exchange, which: str) -> None:
    body, problem = _bad_receipts(exchange)[which]
    verdict = exchange.judge(body)
    assert (verdict.outcome, verdict.problem) == (Outcome.RETRY, problem)
    assert (verdict.receipt, verdict.arrival_possible) == (None, True)


def _with_error(exchange: Exchange, severity: Severity) -> bytes:
    """A receipt and, in a second SignalMessage of the same signed header, an error."""
    code = replace(codes.FEATURE_NOT_SUPPORTED, severity=severity)
    error = exchange.error(code, signed=False)
    (second,) = parse_soap(scan(error)).signal_messages
    return exchange.answers.receipt(
        exchange.arrived, change=lambda messaging: messaging.append(second)
    )


def test_a_warning_beside_a_receipt_changes_nothing(exchange: Exchange) -> None:
    verdict = exchange.judge(_with_error(exchange, Severity.WARNING))
    assert (verdict.outcome, verdict.problem) == (Outcome.ACKNOWLEDGED, None)


def test_a_failure_beside_a_receipt_leaves_it_open(exchange: Exchange) -> None:
    assert exchange.judge(_with_error(exchange, Severity.FAILURE)).outcome is Outcome.RETRY


# Errors


@pytest.mark.parametrize("code", PERMANENT, ids=lambda code: code.code)
def test_a_verified_error_of_a_permanent_class_ends_the_message(
    exchange: Exchange, code: EbmsCode
) -> None:
    verdict = exchange.judge(exchange.error(code), status=500)
    assert (verdict.outcome, verdict.problem) == (Outcome.REFUSED, "peer-refused")
    assert verdict.detail == f"{code.code} {code.short_description}"


@pytest.mark.parametrize(
    "code",
    [
        codes.CONNECTION_FAILURE,
        replace(codes.DELIVERY_FAILURE, severity=Severity.WARNING),
        codes.FEATURE_NOT_SUPPORTED,
    ],
    ids=lambda code: f"{code.code} {code.severity}",
)
def test_a_verified_error_that_may_pass_is_tried_again(exchange: Exchange, code: EbmsCode) -> None:
    assert exchange.judge(exchange.error(code)).outcome is Outcome.RETRY


def test_a_code_that_nobody_knows_is_final_when_it_is_verified(exchange: Exchange) -> None:
    code = replace(codes.OTHER, code="EBMS:4711")
    verdict = exchange.judge(exchange.error(code))
    assert (verdict.outcome, verdict.detail) == (Outcome.REFUSED, "EBMS:4711 unknown code")


@pytest.mark.parametrize("message_id", ["another@peer.example", None])
def test_a_verified_error_about_another_message_changes_nothing(
    exchange: Exchange, message_id: str | None
) -> None:
    body = exchange.error(codes.OTHER, message_id=message_id)
    assert exchange.judge(body).outcome is Outcome.RETRY


def test_an_unsigned_error_is_recorded_and_ignored(exchange: Exchange) -> None:
    verdict = exchange.judge(exchange.error(codes.OTHER, signed=False))
    assert (verdict.outcome, verdict.problem) == (Outcome.RETRY, "peer-refused")
    assert "unsigned" in verdict.detail


def test_an_error_that_somebody_else_signed_is_not_verified(exchange: Exchange) -> None:
    stranger = Answers(exchange.pki.third.signer())
    body = stranger.error(codes.OTHER, message_id=exchange.arrived.message_id)
    assert exchange.judge(body).outcome is Outcome.RETRY


@pytest.mark.parametrize(
    ("message_id", "outcome"),
    [
        ("ours", Outcome.REFUSED),
        (None, Outcome.REFUSED),
        ("another@peer.example", Outcome.RETRY),
    ],
)
def test_the_quirk_makes_an_unsigned_error_about_our_message_final(
    exchange: Exchange, message_id: str | None, outcome: Outcome
) -> None:
    body = exchange.error(codes.OTHER, signed=False, message_id=message_id)
    assert exchange.judge(body, mode=UNSIGNED_ERRORS).outcome is outcome


def test_a_description_without_language_is_read_where_that_is_agreed(exchange: Exchange) -> None:
    body = exchange.error(codes.OTHER, signed=False).replace(b' xml:lang="en"', b"")
    assert b"xml:lang" not in body
    assert exchange.judge(body, mode=UNSIGNED_ERRORS).problem == "peer-answer"
    both = with_quirks(UNSIGNED_ERRORS, frozenset({Quirk.BARE_DESCRIPTION}))
    assert exchange.judge(body, mode=both).outcome is Outcome.REFUSED


def test_the_quirk_does_not_make_a_passing_error_final(exchange: Exchange) -> None:
    body = exchange.error(codes.CONNECTION_FAILURE, signed=False)
    assert exchange.judge(body, mode=UNSIGNED_ERRORS).outcome is Outcome.RETRY


def test_an_error_after_a_possible_arrival_leaves_the_message_uncertain(
    exchange: Exchange,
) -> None:
    """Some products answer a repetition with EBMS:0004: the peer has it, and only the receipt is missing."""
    verdict = exchange.judge(exchange.error(codes.OTHER), arrived_before=True)
    assert (verdict.outcome, verdict.problem) == (Outcome.UNCERTAIN, "receipt-missing")
    refused = exchange.judge(exchange.error(codes.FAILED_DECRYPTION), arrived_before=True)
    assert refused.outcome is Outcome.REFUSED


# Everything else


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        *((status, "peer-unavailable") for status in (408, 429, 500, 502, 503, 504)),
        *((status, "peer-refused") for status in (400, 401, 403, 404, 413, 415)),
        *((status, "peer-answer") for status in (200, 202, 204, 301, 302, 501, 505)),
    ],
)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/html", b"<html/>"), (SOAP_TYPE, b""), ("", b""), ("text/plain", b"Receipt")],
)
def test_a_bare_answer_is_never_final(
    exchange: Exchange, status: int, problem: str, content_type: str, body: bytes
) -> None:
    verdict = exchange.judge(body, status=status, content_type=content_type, mode=UNSIGNED_ERRORS)
    assert (verdict.outcome, verdict.problem) == (Outcome.RETRY, problem)
    assert verdict.arrival_possible
    assert str(status) in verdict.detail


@pytest.mark.parametrize(
    "body", [b"not XML", b"<html/>", b"<!DOCTYPE x><x/>", b"\x00" * 10, b"<a>" * 100]
)
def test_soap_that_cannot_be_read_is_tried_again(exchange: Exchange, body: bytes) -> None:
    verdict = exchange.judge(body, status=200)
    assert (verdict.outcome, verdict.problem) == (Outcome.RETRY, "peer-answer")


@pytest.mark.attack("RCP-10")
def test_a_receipt_by_a_certificate_that_was_revoked_meanwhile(exchange: Exchange) -> None:
    """The message was encrypted for a certificate that was good; its receipt is not, once a list names it."""
    pki, clock = exchange.pki, ManualClock(exchange.pki.now)
    root, issuing = pki.authority.keys
    anchors, below = pki.authority.anchors, pki.authority.intermediates
    crls = CrlStore((*anchors, *below))
    validator = Validator(TrustStore(Purpose.MESSAGE, anchors, below), crls=crls)
    watched = replace(exchange, trust=MessageTrust(validator, clock=clock, partners={}))
    receipt = exchange.answers.receipt(exchange.arrived)
    serial = pki.clinic.certificate.serial_number
    for minutes, revoked, outcome in ((2, [], Outcome.ACKNOWLEDGED), (1, [serial], Outcome.RETRY)):
        made = pki.now - timedelta(minutes=minutes)
        crls.add(build_crl(root, [], at=made), at=pki.now)
        crls.add(build_crl(issuing, [(one, made) for one in revoked], at=made), at=pki.now)
        verdict = watched.judge(receipt)
        assert verdict.outcome is outcome, verdict
    assert verdict.problem == "receipt-signer"
    assert "cert.revoked" in verdict.detail
