"""The ehmiSBDH profile: the document table, envelopes for messages, and every reason to refuse one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.ehmi import (
    ACKNOWLEDGEMENT_2_0,
    DOCUMENTS,
    HOME_CARE_OBSERVATION_1_1,
    HOSPITAL_NOTIFICATION_3_0,
    SBDH_ACKNOWLEDGEMENT,
    check_addressing,
    check_envelope,
    check_gln,
    date_time,
    envelope_for_message,
    find_document,
    is_acknowledgement,
    participant,
    recognise_document_id,
    requests_acknowledgement,
)
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import (
    DOCUMENT_REFERENCE,
    Identifier,
    Scope,
    ScopeType,
    StandardBusinessDocumentHeader,
    build_sbd,
)

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
with_fixtures = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")

SENDER, RECEIVER = "5790000121526", "5790000201389"
CREATED = datetime(2026, 11, 2, 8, 15, tzinfo=timezone(timedelta(hours=1)))


@dataclass(frozen=True)
class Organization:
    gln: str
    sor: str


@dataclass(frozen=True)
class Response:
    identifier: str


@dataclass(frozen=True)
class Facts:
    event_code: str = "homecareobservation-message"
    definition_version: str | None = "1.1"
    bundle_id: str = "bundle-1"
    message_id: str = "message-1"
    sender: Organization = Organization(SENDER, "1144561000016002")
    receiver: Organization = Organization(RECEIVER, "52581000016005")
    patient_id: str | None = "2512489996"
    statistical_postfix: str | None = None
    response: Response | None = None
    mime_type: str = "application/fhir+json"


def envelope(facts: Facts | None = None) -> StandardBusinessDocumentHeader:
    return envelope_for_message(
        facts or Facts(), instance_identifier="envelope-1", created_at=CREATED
    )


def with_scope(
    header: StandardBusinessDocumentHeader, scope_type: ScopeType, value: str | None
) -> StandardBusinessDocumentHeader:
    scopes = [scope for scope in header.scopes if scope.type != scope_type]
    if value is not None:
        scopes.append(
            replace(
                header.find_scope(scope_type) or Scope(scope_type, ""), instance_identifier=value
            )
        )
    return replace(header, scopes=tuple(scopes))  # fmt: skip


# The table


@pytest.mark.parametrize(
    ("event", "version", "standard", "type_version", "document_id"),
    [
        ("homecareobservation-message", "1.1", "homecareobservation-message", "1.1",
         "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::homecareobservation-message##urn:dk:medcom:fhir:homecareobservation-message::1.1"),
        ("homecareobservation-message", "1.2", "homecareobservation-message", "1.2",
         "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::homecareobservation-message##urn:dk:medcom:fhir:homecareobservation-message::1.2"),
        ("acknowledgement-message", "2.0", "acknowledgement-message", "2.0",
         "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::acknowledgement-message##urn:dk:medcom:fhir:acknowledgement-message::2.0"),
        ("hospital-notification-message", None, "hospitalnotification-message", "3.0",
         "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::hospitalnotification-message##urn:dk:medcom:fhir:hospitalnotification-message::3.0"),
        ("care-communication-message", "5.0", "carecommunication-message", "5.0",
         "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::carecommunication-message##urn:dk:medcom:fhir:carecommunication-message::5.0"),
    ],
)  # fmt: skip
def test_document_of_a_message(
    event: str, version: str | None, standard: str, type_version: str, document_id: str
) -> None:
    found = find_document(event, version)

    assert (found.standard, found.type_version) == (standard, type_version)
    assert found.document_id == document_id
    assert found.statistical_information == f"MCM:{standard}"


def test_acknowledgement_has_its_own_document() -> None:
    assert SBDH_ACKNOWLEDGEMENT.document_id == (
        "urn:dk:healthcare:messaging:oasis:ebxml:schema:xsd::ehmisbdh-acknowledgement"
        "##urn:dk:ehmi:sbdh:ehmisbdh-acknowledgement::1.0"
    )
    assert SBDH_ACKNOWLEDGEMENT.type_version == "ebbp-signals-2.0"


@pytest.mark.parametrize(
    ("event", "version"),
    [
        ("homecareobservation-message", None),
        ("homecareobservation-message", "9.9"),
        ("carecommunication-message", "5.0"),
        ("ehmisbdh-acknowledgement", None),
        ("", None),
    ],
)
def test_message_without_a_row_has_no_document(event: str, version: str | None) -> None:
    with pytest.raises(LocalProtocolError):
        find_document(event, version)


@pytest.mark.parametrize(
    ("spelling", "document"),
    [
        ("urn:dk:healthcare:medcom:messaging:fhir:structuredefinition:homecareobservation-message:1.1",
         HOME_CARE_OBSERVATION_1_1),
        ("urn:dk:healthcare:medcom:messaging:fhir:structuredefinition:homecareobservation:1.0",
         HOME_CARE_OBSERVATION_1_1),
        ("urn:dk:healthcare:prod:medcom:messaging:fhir:structuredefinition:acknowledgement#urn:dk:medcom:fhir:acknowledgement:2.0",
         ACKNOWLEDGEMENT_2_0),
        ("urn:dk:healthcare:medcom:messaging:fhir:structuredefinition:hospitalnotification:3.0",
         HOSPITAL_NOTIFICATION_3_0),
        ("urn:dk:healthcare:prod:messaging:oasis:ebxml:schema:xsd:SBDHReceiptAcknowledgement",
         SBDH_ACKNOWLEDGEMENT),
        ("urn:dk:healthcare:ehmi:messaging:envelope:xml:sbdhacknowledgement:1.0", SBDH_ACKNOWLEDGEMENT),
    ],
)  # fmt: skip
def test_older_spelling_is_recognised(spelling: str, document: object) -> None:
    assert recognise_document_id(spelling) is document


def test_spellings_are_compared_exactly_and_mean_one_document_each() -> None:
    documents = list(dict.fromkeys([*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT]))
    spellings = [
        spelling for document in documents for spelling in (document.document_id, *document.aliases)
    ]

    assert len(spellings) == len(set(spellings))
    for document in documents:
        assert recognise_document_id(document.document_id) is document
        assert recognise_document_id(document.document_id.upper()) is None
        assert recognise_document_id(document.document_id + " ") is None


# GLNs


@pytest.mark.parametrize("gln", [SENDER, RECEIVER, "5790000123117", "5790002515798"])
def test_real_gln_passes(gln: str) -> None:
    check_gln(gln)
    assert participant(gln) == Identifier(f"0088:{gln}")


@pytest.mark.parametrize(
    "gln",
    [
        "1111111111111",
        "579000012152",
        "57900001215260",
        "5790000121526\n",
        " 5790000121526",
        "５７９００００１２１５２６",
        "579000012152٦",
        "",
    ],
)
def test_gln_with_other_digits_or_a_wrong_check_digit_is_refused(gln: str) -> None:
    with pytest.raises(SbdRefused) as refused:
        check_gln(gln)
    assert refused.value.reason == "sbd.gln"
    with pytest.raises(LocalProtocolError):
        participant(gln)


@given(st.integers(0, 10**12 - 1), st.integers(0, 12), st.integers(1, 9))
def test_any_single_wrong_digit_is_noticed(number: int, position: int, shift: int) -> None:
    body = f"{number:012}"
    weighted = sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(body))
    gln = body + str(-weighted % 10)
    check_gln(gln)
    wrong = gln[:position] + str((int(gln[position]) + shift) % 10) + gln[position + 1 :]

    with pytest.raises(SbdRefused):
        check_gln(wrong)


# From message to envelope


def test_envelope_of_a_message_says_what_the_message_says() -> None:
    header = envelope()

    assert header.sender == Identifier(f"0088:{SENDER}")
    assert header.receiver == Identifier(f"0088:{RECEIVER}")
    assert header.instance_identifier == "envelope-1"
    assert header.creation_date_and_time == "2026-11-02T08:15:00+01:00"
    assert (header.type, header.multiple_type, header.header_version) == ("Bundle", False, "1.0")
    assert {scope.type: scope.instance_identifier for scope in header.scopes} == {
        "DOCUMENTID": HOME_CARE_OBSERVATION_1_1.document_id,
        "PROCESSID": "urn:ehmi:sdn-emergence",
        "PATIENTID": "2512489996",
        "SENDERID": "1144561000016002",
        "RECEIVERID": "52581000016005",
        "MESSAGEIDENTIFIER": "message-1",
        "MESSAGEENVELOPEIDENTIFIER": "bundle-1",
        "StatisticalInformation": "MCM:homecareobservation-message",
        "EHMI-ReceiptAcknowledgement": "Request",
    }


def test_every_envelope_asks_for_an_acknowledgement_within_ten_minutes() -> None:
    scope = envelope().find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)

    assert scope is not None
    assert scope.correlation is not None
    assert scope.service is not None
    assert scope.correlation.requesting_document_creation_date_time == "2026-11-02T08:15:00+01:00"
    assert scope.correlation.requesting_document_instance_identifier == "envelope-1"
    assert scope.correlation.expected_response_date_time == "2026-11-02T08:25:00+01:00"
    assert scope.service.name == "EHMI-ReceiptAcknowledgement-Request"
    assert scope.service.transaction.type_of_service_transaction == "RequestingServiceTransaction"
    assert scope.service.transaction.time_to_acknowledge_receipt == "600000"
    assert requests_acknowledgement(envelope())


def test_category_of_a_care_communication_is_counted() -> None:
    header = envelope(
        Facts("care-communication-message", "5.0", statistical_postfix="carecoordination")
    )

    assert header.standard == "carecommunication-message"
    assert (
        header.scope(ScopeType.STATISTICAL_INFORMATION)
        == "MCM:carecommunication-message#carecoordination"
    )


def test_envelope_of_a_fhir_acknowledgement_names_the_original_and_no_patient() -> None:
    facts = Facts("acknowledgement-message", "2.0", response=Response("message-0"))
    header = envelope_for_message(
        facts, instance_identifier="envelope-2", created_at=CREATED, original_envelope="bundle-0"
    )

    assert header.scope(ScopeType.PATIENTID) is None
    assert header.scope(ScopeType.ORIGINALMESSAGEIDENTIFIER) == "message-0"
    assert header.scope(ScopeType.ORIGINALMESSAGEENVELOPEIDENTIFIER) == "bundle-0"
    assert header.scope(ScopeType.ORIGINALMESSAGESTANDARD) == "unknown"
    assert header.scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT) == "Request"
    assert not is_acknowledgement(header)
    check_envelope(header)


def test_copy_to_the_register_is_the_same_message_in_its_own_envelope() -> None:
    metadata = '{"resourceType":"DocumentReference"}'
    copy = envelope_for_message(
        Facts(),
        instance_identifier="envelope-2",
        created_at=CREATED,
        receiver_gln="5790002515798",
        xds_metadata=metadata,
    )

    assert copy.receiver_gln == "5790002515798"
    assert copy.find_scope(ScopeType.XDS_METADATA) == Scope(
        ScopeType.XDS_METADATA, metadata, DOCUMENT_REFERENCE
    )
    for same in (ScopeType.MESSAGEIDENTIFIER, ScopeType.MESSAGEENVELOPEIDENTIFIER):
        assert copy.scope(same) == envelope().scope(same)
    check_envelope(copy)


@pytest.mark.parametrize("row", DOCUMENTS, ids=str)
def test_every_envelope_we_make_is_valid_and_passes_our_own_check(
    row: tuple[str, str | None],
) -> None:
    header = envelope(Facts(*row))
    prefix, suffix = build_sbd(header)
    splitter = SbdSplitter()
    splitter.feed(prefix + b"e30=" + suffix)

    read = splitter.finish()

    check_envelope(read)
    assert read == header


def test_time_needs_a_zone_and_keeps_its_offset() -> None:
    assert date_time(CREATED.astimezone(UTC)) == "2026-11-02T07:15:00+00:00"
    with pytest.raises(LocalProtocolError):
        date_time(CREATED.replace(tzinfo=None))


def test_wrong_gln_in_a_message_makes_no_envelope() -> None:
    with pytest.raises(LocalProtocolError):
        envelope(Facts(receiver=Organization("5790000201380", "52581000016005")))


# Reasons to refuse

Change = Callable[[StandardBusinessDocumentHeader], StandardBusinessDocumentHeader]


def _scope(scope_type: ScopeType, value: str | None) -> Change:
    return lambda header: with_scope(header, scope_type, value)


def _correlated(identifier: str | None) -> Change:
    def change(header: StandardBusinessDocumentHeader) -> StandardBusinessDocumentHeader:
        asked = header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)
        assert asked is not None
        assert asked.correlation is not None
        correlation = identifier and replace(
            asked.correlation, requesting_document_instance_identifier=identifier
        )
        others = [scope for scope in header.scopes if scope is not asked]
        return replace(header, scopes=(*others, replace(asked, correlation=correlation or None)))

    return change


REFUSALS: dict[str, tuple[Change, str]] = {
    "no-authority": (lambda h: replace(h, sender=Identifier(h.sender.value, None)), "sbd.authority"),
    "other-scheme": (lambda h: replace(h, sender=Identifier("0184:12345678")), "sbd.gln"),
    "no-prefix": (lambda h: replace(h, receiver=Identifier(RECEIVER)), "sbd.gln"),
    "check-digit": (lambda h: replace(h, receiver=Identifier("0088:5790000201388")), "sbd.gln"),
    "full-width-digits": (
        lambda h: replace(h, receiver=Identifier("0088:５７９００００２０１３８９")), "sbd.gln"),
    "space-in-envelope-id": (lambda h: replace(h, instance_identifier="a b"), "sbd.identifier"),
    "empty-envelope-id": (lambda h: replace(h, instance_identifier=""), "sbd.identifier"),
    "zero-width-message-id": (_scope(ScopeType.MESSAGEIDENTIFIER, "message\u200b1"), "sbd.identifier"),
    "padded-message-id": (_scope(ScopeType.MESSAGEIDENTIFIER, " message-1"), "sbd.identifier"),
    "hyphen-in-patient-id": (_scope(ScopeType.PATIENTID, "251248-9996"), "sbd.identifier"),
    "sor-not-a-number": (_scope(ScopeType.RECEIVERID, "SOR-1"), "sbd.identifier"),
    "empty-document-id": (_scope(ScopeType.DOCUMENTID, ""), "sbd.scope"),
    "unknown-document": (_scope(ScopeType.DOCUMENTID, "urn:dk:other"), "sbd.document"),
    "document-of-another-standard": (
        _scope(ScopeType.DOCUMENTID, ACKNOWLEDGEMENT_2_0.document_id), "sbd.inconsistent"),
    "unknown-process": (_scope(ScopeType.PROCESSID, "URN:EHMI:SDN-EMERGENCE"), "sbd.process"),
    "message-as-plain-xml": (
        lambda h: replace(h, binary_content_mime_type="application/xml"), "sbd.media-type"),
    "latin-1": (lambda h: replace(h, binary_content_encoding="ISO-8859-1"), "sbd.encoding"),
    "response-on-a-message": (_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT, "Response"), "sbd.acknowledgement"),
    "unknown-direction": (_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT, "request"), "sbd.acknowledgement"),
    "request-without-correlation": (_correlated(None), "sbd.correlation"),
    "request-for-another-envelope": (_correlated("envelope-9"), "sbd.correlation"),
    "metadata-in-the-wrong-vocabulary": (
        lambda h: replace(h, scopes=(*h.scopes, Scope(ScopeType.XDS_METADATA, "{}"))), "sbd.scope"),
} | {
    f"without-{scope_type}": (_scope(scope_type, None), "sbd.scope")
    for scope_type in (
        ScopeType.DOCUMENTID, ScopeType.PROCESSID, ScopeType.SENDERID, ScopeType.RECEIVERID,
        ScopeType.MESSAGEIDENTIFIER, ScopeType.MESSAGEENVELOPEIDENTIFIER, ScopeType.STATISTICAL_INFORMATION,
    )
}  # fmt: skip


@pytest.mark.parametrize("flaw", REFUSALS)
def test_envelope_with_one_flaw_is_refused_by_name(flaw: str) -> None:
    check_envelope(envelope())
    change, reason = REFUSALS[flaw]

    with pytest.raises(SbdRefused) as refused:
        check_envelope(change(envelope()))

    assert refused.value.reason == reason
    assert "251248" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        _scope(ScopeType.PATIENTID, None),
        _scope(ScopeType.PATIENTID, "0703921VJ5"),
        _scope(ScopeType.PROCESSID, "sdn-emergence"),
        _scope(ScopeType.DOCUMENTID, HOME_CARE_OBSERVATION_1_1.document_id[:-3] + "1.2"),
        _scope(ScopeType.STATISTICAL_INFORMATION, "anything"),
        lambda header: replace(header, binary_content_encoding=None),
        lambda header: replace(header, binary_content_namespace=names.PEPPOL_ENVELOPE),
        lambda header: replace(header, type="Message"),
    ],
)
def test_variant_that_real_envelopes_have_passes(change: Change) -> None:
    check_envelope(change(envelope()))


def test_message_without_a_request_passes_and_asks_for_nothing() -> None:
    header = with_scope(envelope(), ScopeType.RECEIPT_ACKNOWLEDGEMENT, None)

    check_envelope(header)

    assert not requests_acknowledgement(header)


def test_fhir_acknowledgement_marked_response_still_asks() -> None:
    facts = Facts("acknowledgement-message", "2.0", response=Response("message-0"))
    header = with_scope(envelope(facts), ScopeType.RECEIPT_ACKNOWLEDGEMENT, "Response")

    check_envelope(header)

    assert requests_acknowledgement(header)


def test_four_corner_properties_must_name_the_envelopes_ends() -> None:
    header = envelope()
    ends = {"original_sender": f"0088:{SENDER}", "final_recipient": f"0088:{RECEIVER}"}
    check_addressing(header, **ends)

    for name in ends:
        with pytest.raises(SbdRefused) as refused:
            check_addressing(header, **ends | {name: "0088:5790002515798"})
        assert refused.value.reason == "sbd.addressing"


def test_patient_is_not_in_the_representation() -> None:
    assert "2512489996" not in repr(envelope())
    assert "message-1" in repr(envelope())


# Against published data


@with_fixtures
@pytest.mark.parametrize(
    "name", ["homecareobservation", "homecareobservation-xds", "receipt-acknowledgement"]
)
def test_official_example_passes_the_profile(name: str) -> None:
    splitter = SbdSplitter()
    splitter.feed((Path(FIXTURES or "") / "ehmi-sbdh" / "examples" / f"{name}.xml").read_bytes())

    check_envelope(splitter.finish())


@with_fixtures
@pytest.mark.parametrize("row", DOCUMENTS, ids=str)
def test_official_schema_accepts_our_envelopes_of_its_standards(
    row: tuple[str, str | None],
) -> None:
    folder = Path(FIXTURES or "") / "ehmi-sbdh" / "schema"
    official = etree.XMLSchema(etree.parse(folder / "ehmiStandardBusinessDocumentHeader.xsd"))
    header = envelope(Facts(*row))
    prefix, suffix = build_sbd(header)
    listed = header.standard in {"homecareobservation-message", "acknowledgement-message"}

    assert official.validate(etree.fromstring(prefix + b"e30=" + suffix)) is listed
