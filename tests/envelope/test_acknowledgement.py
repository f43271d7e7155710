"""ehmiSBDH acknowledgements: valid when written, tolerated when odd, refused when contradictory or foreign."""

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from envelope import names, xml
from envelope.acknowledgement import (
    Acknowledgement,
    ExceptionKind,
    ReceiptException,
    build_acknowledgement,
    check_acknowledgement,
    read_acknowledgement,
)
from envelope.ehmi import (
    HOME_CARE_OBSERVATION_1_1,
    REQUEST,
    SBDH_ACKNOWLEDGEMENT,
    acknowledgement_scope,
    check_envelope,
    requests_acknowledgement,
)
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import (
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    StandardBusinessDocumentHeader,
    build_sbd,
)

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
with_fixtures = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")

CREATED = "2026-11-02T08:15:00+01:00"
NOW = datetime(2026, 11, 2, 7, 15, 4, tzinfo=UTC)
SYNTAX = ReceiptException("Syntax", "The envelope is not valid", "sbd.schema")
ORIGINAL = StandardBusinessDocumentHeader(
    sender=Identifier("0088:5790000121526"),
    receiver=Identifier("0088:5790000201389"),
    standard="homecareobservation-message",
    type_version="1.1",
    instance_identifier="envelope-1",
    creation_date_and_time=CREATED,
    scopes=(
        Scope(ScopeType.DOCUMENTID, HOME_CARE_OBSERVATION_1_1.document_id),
        Scope(ScopeType.PROCESSID, names.EHMI_PROCESS),
        Scope(ScopeType.PATIENTID, "2512489996"),
        Scope(ScopeType.SENDERID, "1144561000016002"),
        Scope(ScopeType.RECEIVERID, "52581000016005"),
        Scope(ScopeType.MESSAGEIDENTIFIER, "message-1"),
        Scope(ScopeType.MESSAGEENVELOPEIDENTIFIER, "bundle-1"),
        Scope(ScopeType.STATISTICAL_INFORMATION, "MCM:homecareobservation-message"),
        acknowledgement_scope(
            REQUEST, CorrelationInformation(CREATED, "envelope-1", "2026-11-02T08:25:00+01:00")
        ),
    ),
    binary_content_mime_type="application/fhir+json",
)


def acknowledge(
    original: StandardBusinessDocumentHeader = ORIGINAL,
    exception: ReceiptException | None = None,
    **ids: Any,
) -> tuple[StandardBusinessDocumentHeader, bytes]:
    ids = {"instance_identifier": "envelope-2", "message_identifier": "message-2"} | ids
    return build_acknowledgement(original, created_at=NOW, exception=exception, **ids)


def text(signal: bytes, local: str) -> str | None:
    return etree.fromstring(signal).findtext(f"{{{names.EBBP}}}{local}")


def test_header_is_the_original_turned_round() -> None:
    header, _ = acknowledge()

    assert (header.sender, header.receiver) == (ORIGINAL.receiver, ORIGINAL.sender)
    assert (header.standard, header.type_version, header.type) == (
        "ehmisbdh-acknowledgement",
        "ebbp-signals-2.0",
        "ReceiptAcknowledgement",
    )
    assert header.binary_content_mime_type == "application/xml"
    assert {scope.type: scope.instance_identifier for scope in header.scopes} == {
        "DOCUMENTID": SBDH_ACKNOWLEDGEMENT.document_id,
        "PROCESSID": "urn:ehmi:sdn-emergence",
        "SENDERID": "52581000016005",
        "RECEIVERID": "1144561000016002",
        "MESSAGEIDENTIFIER": "message-2",
        "MESSAGEENVELOPEIDENTIFIER": "message-2",
        "ORIGINALMESSAGEIDENTIFIER": "message-1",
        "ORIGINALMESSAGEENVELOPEIDENTIFIER": "bundle-1",
        "ORIGINALMESSAGESTANDARD": "homecareobservation-message",
        "ORIGINALMESSAGEVERSION": "1.1",
        "ORIGINALENVELOPEIDENTIFIER": "envelope-1",
        "StatisticalInformation": "EHMI-ReceiptAcknowledgement",
        "EHMI-ReceiptAcknowledgement": "Response",
    }


def test_response_scope_repeats_the_request() -> None:
    header, _ = acknowledge()
    asked = ORIGINAL.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)
    answer = header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)

    assert asked is not None
    assert answer is not None
    assert answer.correlation == asked.correlation
    assert answer.service is not None
    assert answer.service.name == "EHMI-ReceiptAcknowledgement-Response"
    assert answer.service.transaction.type_of_service_transaction == "RespondingServiceTransaction"
    assert not requests_acknowledgement(header)


def test_positive_signal_names_the_envelope_and_both_ends() -> None:
    _, signal = acknowledge()

    assert etree.fromstring(signal).tag == f"{{{names.EBBP}}}ReceiptAcknowledgement"
    assert text(signal, "OriginalMessageIdentifier") == "envelope-1"
    assert text(signal, "OriginalDocumentIdentifier") == HOME_CARE_OBSERVATION_1_1.document_id
    assert text(signal, "OriginalMessageDateTime") == CREATED
    assert text(signal, "ThisMessageDateTime") == "2026-11-02T07:15:04+00:00"
    assert text(signal, "FromPartyInfo") == "0088:5790000201389"
    assert text(signal, "ToPartyInfo") == "0088:5790000121526"
    assert text(signal, "CollaborationIdentifier") == "envelope-1"
    assert b"2512489996" not in signal


@pytest.mark.parametrize("value", ["Syntax", "Authorization", "Signature", "Sequence"])
def test_negative_signal_says_why(value: str) -> None:
    header, signal = acknowledge(exception=replace(SYNTAX, value=value))

    assert header.type == "ReceiptException"
    assert etree.fromstring(signal).tag == f"{{{names.EBBP}}}Exception"
    assert text(signal, "ExceptionType/{%s}ReceiptException" % names.EBBP) == value  # noqa: UP031
    assert text(signal, "Reason") == "The envelope is not valid"
    assert text(signal, "ExceptionMessage") == "sbd.schema"


@pytest.mark.parametrize("exception", [None, SYNTAX])
def test_what_is_written_is_read_and_passes_the_profile(exception: ReceiptException | None) -> None:
    header, signal = acknowledge(exception=exception)
    prefix, suffix = build_sbd(header)
    splitter = SbdSplitter()
    payload = splitter.feed(prefix + base64.b64encode(signal) + suffix)
    received = splitter.finish()

    check_envelope(received)
    acknowledgement = read_acknowledgement(received, payload)

    assert acknowledgement == Acknowledgement(
        positive=exception is None,
        instance_identifier="envelope-2",
        original_instance_identifier="envelope-1",
        original_message_identifier="message-1",
        sender="0088:5790000201389",
        receiver="0088:5790000121526",
        sender_sor="52581000016005",
        receiver_sor="1144561000016002",
        exception=exception,
    )
    check_acknowledgement(acknowledgement, ORIGINAL)


def test_response_about_two_envelopes_does_not_pass_the_profile() -> None:
    header, _ = acknowledge()
    scopes = tuple(
        replace(scope, instance_identifier="envelope-9")
        if scope.type == ScopeType.ORIGINALENVELOPEIDENTIFIER
        else scope
        for scope in header.scopes
    )
    check_envelope(header)

    with pytest.raises(SbdRefused) as refused:
        check_envelope(replace(header, scopes=scopes))

    assert refused.value.reason == "sbd.correlation"


def test_acknowledgement_sent_again_differs_in_envelope_and_time_only() -> None:
    first, first_signal = acknowledge()
    again, again_signal = build_acknowledgement(
        ORIGINAL,
        instance_identifier="envelope-3",
        message_identifier="message-2",
        created_at=NOW + timedelta(minutes=31),
    )

    assert (
        replace(
            again,
            instance_identifier=first.instance_identifier,
            creation_date_and_time=first.creation_date_and_time,
        )
        == first
    )
    assert again_signal != first_signal
    assert again_signal.replace(b"07:46:04", b"07:15:04") == first_signal  # fmt: skip


def test_an_acknowledgement_is_never_acknowledged() -> None:
    header, _ = acknowledge()

    with pytest.raises(LocalProtocolError):
        acknowledge(header)


def test_envelope_that_did_not_ask_is_answered_from_its_own_facts() -> None:
    silent = replace(ORIGINAL, scopes=())
    header, signal = acknowledge(silent, SYNTAX)
    answer = header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)

    assert answer is not None
    assert answer.correlation == CorrelationInformation(
        CREATED, "envelope-1", "2026-11-02T07:25:04+00:00"
    )
    assert header.scope(ScopeType.ORIGINALMESSAGEIDENTIFIER) == "unknown"
    assert header.scope(ScopeType.SENDERID) is None
    assert text(signal, "OriginalDocumentIdentifier") is None
    build_sbd(header)


@pytest.mark.parametrize(
    "exception",
    [
        ReceiptException("Other", "x"),
        ReceiptException("Syntax", ""),
        ReceiptException("Syntax", "bell\a"),
        ReceiptException("Syntax", "x", kind=ExceptionKind.ACCEPTANCE),
    ],
)
def test_signal_that_would_not_be_valid_is_not_written(exception: ReceiptException) -> None:
    with pytest.raises(LocalProtocolError):
        acknowledge(exception=exception)


def test_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        build_acknowledgement(
            ORIGINAL,
            instance_identifier="a",
            message_identifier="b",
            created_at=NOW.replace(tzinfo=None),
        )


# Reading what others write


def signal(body: str, root: str = "ReceiptAcknowledgement") -> bytes:
    return f'<b:{root} xmlns:b="{names.EBBP}">{body}</b:{root}>'.encode()


@pytest.mark.parametrize(
    "type_", ["ReceiptAcknowledgement", "SBDHReceiptAcknowledgement", "Bundle"]
)
def test_signal_with_unknown_and_missing_members_is_read(type_: str) -> None:
    header = replace(acknowledge()[0], type=type_)
    odd = signal("<b:RequestionField><issuedAt>x</issuedAt></b:RequestionField>")

    assert read_acknowledgement(header, odd).positive


def test_original_is_found_without_response_scope_and_at_last_in_the_signal() -> None:
    header, _ = acknowledge()
    body = "<b:OriginalMessageIdentifier> envelope-1 </b:OriginalMessageIdentifier>"
    without_response = tuple(
        scope for scope in header.scopes if scope.type != ScopeType.RECEIPT_ACKNOWLEDGEMENT
    )

    for scopes in (without_response, ()):
        found = read_acknowledgement(replace(header, scopes=scopes), signal(body))
        assert found.original_instance_identifier == "envelope-1"


@pytest.mark.parametrize(
    ("inner", "kind", "value"),
    [
        ("<b:ReceiptException>Signature</b:ReceiptException>", ExceptionKind.RECEIPT, "Signature"),
        ("<b:AcceptanceException>Business</b:AcceptanceException>", ExceptionKind.ACCEPTANCE, "Business"),
        ("<b:GeneralException>any</b:GeneralException>", ExceptionKind.GENERAL, "any"),
        (
            "<b:ReceiptException><b:GeneralException>nested</b:GeneralException></b:ReceiptException>",
            ExceptionKind.GENERAL,
            "nested",
        ),
        ("", ExceptionKind.GENERAL, ""),
    ],
)  # fmt: skip
def test_exception_of_any_kind_is_negative(inner: str, kind: ExceptionKind, value: str) -> None:
    header, _ = acknowledge(exception=SYNTAX)
    body = f"<b:ExceptionType>{inner}</b:ExceptionType><b:Reason>no</b:Reason>"

    found = read_acknowledgement(header, signal(body, "Exception"))

    assert not found.positive
    assert found.exception == ReceiptException(value, "no", None, kind)


def test_text_of_a_peer_is_bounded_and_not_in_the_representation() -> None:
    header, _ = acknowledge(exception=SYNTAX)
    body = f"<b:Reason>{'2512489996 ' * 1000}</b:Reason>"

    found = read_acknowledgement(header, signal(body, "Exception"))

    assert found.exception is not None
    assert len(found.exception.reason) == 1_000
    assert "2512489996" not in repr(found)


Change = Callable[
    [StandardBusinessDocumentHeader, bytes], tuple[StandardBusinessDocumentHeader, bytes]
]


def _with(scope_type: ScopeType, value: str) -> Change:
    return lambda header, payload: (
        replace(
            header,
            scopes=tuple(
                replace(scope, instance_identifier=value) if scope.type == scope_type else scope
                for scope in header.scopes
            ),
        ),
        payload,
    )


REFUSALS: dict[str, tuple[Change, str]] = {
    "ordinary-message": (lambda h, p: (ORIGINAL, p), "ack.standard"),
    "entity-bomb": (lambda h, p: (h, b'<!DOCTYPE x [<!ENTITY a "a">]>' + signal("")), "ack.xml"),
    "comment-truncation": (lambda h, p: (h, signal("<!-- -->")), "ack.xml"),
    "not-xml": (lambda h, p: (h, b"{}"), "ack.xml"),
    "empty": (lambda h, p: (h, b""), "ack.xml"),
    "huge": (lambda h, p: (h, signal("<b:Reason>" + "x" * 2**21 + "</b:Reason>")), "ack.xml"),
    "acceptance-acknowledgement": (
        lambda h, p: (h, signal("", "AcceptanceAcknowledgement")), "ack.signal"),
    "signal-in-no-namespace": (lambda h, p: (h, b"<ReceiptAcknowledgement/>"), "ack.signal"),
    "exception-declared-positive": (lambda h, p: (h, signal("", "Exception")), "ack.inconsistent"),
    "receipt-declared-negative": (lambda h, p: (replace(h, type="ReceiptException"), p), "ack.inconsistent"),
    "two-originals": (_with(ScopeType.ORIGINALENVELOPEIDENTIFIER, "envelope-9"), "ack.inconsistent"),
    "no-original": (lambda h, p: (replace(h, scopes=()), signal("")), "ack.original"),
}  # fmt: skip


@pytest.mark.parametrize("attack", REFUSALS)
def test_acknowledgement_that_cannot_be_relied_on_is_refused(attack: str) -> None:
    change, reason = REFUSALS[attack]

    with pytest.raises(SbdRefused) as refused:
        read_acknowledgement(*change(*acknowledge()))

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "change",
    [
        {"original_instance_identifier": "envelope-9"},
        {"sender": "0088:5790002515798"},
        {"receiver": "0088:5790002515798"},
        {"sender_sor": "1144561000016002"},
        {"receiver_sor": None},
        {"original_message_identifier": "message-9"},
    ],
)
def test_acknowledgement_by_or_about_another_settles_nothing(change: dict[str, Any]) -> None:
    acknowledgement = read_acknowledgement(*acknowledge())
    check_acknowledgement(acknowledgement, ORIGINAL)

    with pytest.raises(SbdRefused) as refused:
        check_acknowledgement(replace(acknowledgement, **change), ORIGINAL)

    assert refused.value.reason == "ack.other"


# Against the published schemas and examples


class _Local(etree.Resolver):
    def resolve(self, system_url: str | None, public_id: str | None, context: Any) -> Any:
        name = (system_url or "").rpartition("/")[2]
        assert name in {"xlink.xsd", "xml.xsd", "xmldsig-core-schema.xsd"}
        path = Path(FIXTURES or "") / "as4" / "schema" / name
        return self.resolve_string(path.read_bytes(), context, base_url=name)


@pytest.fixture(scope="module")
def official_signals() -> etree.XMLSchema:
    if FIXTURES is None:
        pytest.skip("ACCESSPOINT_FIXTURES is not set")
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Local())
    data = (Path(FIXTURES) / "ehmi-sbdh" / "schema" / "ebbp-signals-2.0.4.xsd").read_bytes()
    return etree.XMLSchema(etree.fromstring(data, parser))


VALID = {
    "positive": acknowledge()[1],
    "negative": acknowledge(exception=SYNTAX)[1],
    "general": acknowledge(exception=ReceiptException("x", "y", kind=ExceptionKind.GENERAL))[1],
    "sparse": acknowledge(replace(ORIGINAL, scopes=()))[1],
}
BROKEN = {
    "unknown-member": (b"<bpssignal:OriginalMessageDateTime>", b"<bpssignal:RequestionField/><bpssignal:OriginalMessageDateTime>"),
    "empty-identifier": (b"Identifier>envelope-1</bpssignal:Orig", b"Identifier></bpssignal:Orig"),
    "bad-time": (b"07:15:04", b"07-15-04"),
    "no-original": (b"OriginalMessageIdentifier", b"OtherMessageIdentifier"),
    "unknown-reason": (b">Syntax<", b">Grammar<"),
    "no-reason": (b"<bpssignal:Reason>The envelope is not valid</bpssignal:Reason>", b""),
    "two-kinds": (b"</bpssignal:ReceiptException>", b"</bpssignal:ReceiptException><bpssignal:GeneralException/>"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALID)
def test_signals_schema_accepts(name: str) -> None:
    assert xml.schema("ebbp-signals").validate(etree.fromstring(VALID[name]))


@pytest.mark.parametrize("name", BROKEN)
def test_signals_schema_refuses(name: str) -> None:
    assert BROKEN[name][0] in VALID["negative"]
    broken = etree.fromstring(VALID["negative"].replace(*BROKEN[name]))

    assert not xml.schema("ebbp-signals").validate(broken)


@pytest.mark.parametrize("name", [*VALID, *BROKEN])
def test_published_signals_schema_agrees(official_signals: etree.XMLSchema, name: str) -> None:
    data = VALID[name] if name in VALID else VALID["negative"].replace(*BROKEN[name])

    assert official_signals.validate(etree.fromstring(data)) is (name in VALID)


@with_fixtures
@pytest.mark.parametrize("exception", [None, SYNTAX])
def test_published_envelope_schema_accepts_our_acknowledgements(
    exception: ReceiptException | None,
) -> None:
    folder = Path(FIXTURES or "") / "ehmi-sbdh" / "schema"
    official = etree.XMLSchema(etree.parse(folder / "ehmiStandardBusinessDocumentHeader.xsd"))
    header, payload = acknowledge(exception=exception)

    official.assertValid(etree.fromstring(base64.b64encode(payload).join(build_sbd(header))))


@with_fixtures
def test_published_acknowledgement_answers_the_published_message() -> None:
    read = {}
    for name in ("homecareobservation", "receipt-acknowledgement"):
        splitter = SbdSplitter()
        path = Path(FIXTURES or "") / "ehmi-sbdh" / "examples" / f"{name}.xml"
        payload = splitter.feed(path.read_bytes())
        read[name] = splitter.finish(), payload

    original, _ = read["homecareobservation"]
    acknowledgement = read_acknowledgement(*read["receipt-acknowledgement"])

    assert acknowledgement.positive
    assert acknowledgement.original_instance_identifier == original.instance_identifier
    # The published pair is not from one exchange: the organisations differ.
    with pytest.raises(SbdRefused, match="Sender"):
        check_acknowledgement(acknowledgement, original)
