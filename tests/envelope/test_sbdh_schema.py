"""Our envelope schema against the published set: the same verdict on every way an envelope can go wrong."""

import os
from pathlib import Path

import pytest
from lxml import etree

from envelope import xml
from envelope.sbdh import (
    MESSAGING,
    BusinessService,
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    ServiceTransaction,
    StandardBusinessDocumentHeader,
    build_sbd,
)

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")

CONTENT = b"eyJyZXNvdXJjZVR5cGUiOiJCdW5kbGUifQ=="
CREATED = "2026-11-02T08:15:00+01:00"
DOCUMENT = CONTENT.join(
    build_sbd(
        StandardBusinessDocumentHeader(
            sender=Identifier("0088:5790000121526"),
            receiver=Identifier("0088:5790000201389"),
            standard="homecareobservation-message",
            type_version="1.1",
            instance_identifier="envelope-1",
            creation_date_and_time=CREATED,
            scopes=(
                Scope(ScopeType.PATIENTID, "2512489996"),
                Scope(ScopeType.MESSAGEIDENTIFIER, "message-1"),
                Scope(
                    ScopeType.RECEIPT_ACKNOWLEDGEMENT,
                    "Request",
                    MESSAGING,
                    CorrelationInformation(CREATED, "envelope-1", "2026-11-02T08:25:00+01:00"),
                    BusinessService(
                        "EHMI-ReceiptAcknowledgement-Request",
                        ServiceTransaction("RequestingServiceTransaction"),
                    ),
                ),
            ),
            binary_content_mime_type="application/fhir+json",
        )
    )
)


@pytest.fixture(scope="module")
def official() -> etree.XMLSchema:
    if FIXTURES is None:
        pytest.skip("ACCESSPOINT_FIXTURES is not set")
    folder = Path(FIXTURES) / "ehmi-sbdh" / "schema"
    return etree.XMLSchema(etree.parse(folder / "ehmiStandardBusinessDocumentHeader.xsd"))


MUTATIONS: dict[str, tuple[bytes, bytes, bool]] = {
    "as-written": (b"message-1", b"message-1", True),
    "peppol-content": (b"<BinaryContent ", b'<BinaryContent xmlns="http://peppol.eu/xsd/ticc/envelope/1.0" ', False),
    "receipt-time-zero": (b'TimeToAcknowledgeReceipt="600000"', b'TimeToAcknowledgeReceipt="0"', False),
    "receipt-time-missing": (b' TimeToAcknowledgeReceipt="600000"', b"", True),
    "expected-time-missing": (
        b"<ExpectedResponseDateTime>2026-11-02T08:25:00+01:00</ExpectedResponseDateTime>", b"", False),
    "unlisted-standard": (b"<Standard>homecareobservation-message", b"<Standard>carecommunication-message", False),
    "multiple-type-missing": (b"<MultipleType>false</MultipleType>", b"", True),
    "multiple-type-zero": (b"<MultipleType>false<", b"<MultipleType>0<", False),
    "multiple-type-true": (b"<MultipleType>false<", b"<MultipleType>true<", False),
    "authority-missing": (b' Authority="iso6523-actorid-upis"', b"", True),
    "authority-other": (b'Authority="iso6523-actorid-upis"', b'Authority="iso6523"', False),
    "any-identifier-text": (b"0088:5790000121526", b"anything", True),
    "white-space-in-base64": (CONTENT, CONTENT[:8] + b"\r\n \t" + CONTENT[8:], True),
    "base64-broken": (CONTENT, CONTENT[:-1], False),
    "text-xml": (b"application/fhir+json", b"text/xml", False),
    "no-mime-type": (b' mimeType="application/fhir+json"', b"", False),
    "latin-1": (b'"UTF-8"', b'"ISO-8859-1"', True),
    "time-with-hyphens": (b"T08:15:00", b"T08-15-00", False),
    "padded-time": (b"<CreationDateAndTime>", b"<CreationDateAndTime>\n  ", False),
    "underscore-scope": (b"<Type>PATIENTID", b"<Type>XDS_METADATA", False),
    "empty-scope-identifier": (b"<Identifier>dk-medcom-messaging</Identifier>", b"<Identifier/>", True),
    "scope-identifier-missing": (b"<Identifier>dk-medcom-messaging</Identifier>", b"", False),
    "other-scope-identifier": (b"<Identifier>dk-medcom-messaging<", b"<Identifier>dk-messaging-docid<", False),
    "empty-type": (b"<Type>Bundle</Type>", b"<Type/>", True),
    "header-version": (b"<HeaderVersion>1.0", b"<HeaderVersion>1.2", False),
    "unknown-service": (b"Acknowledgement-Request</B", b"Acknowledgement-Ask</B", False),
    "unknown-transaction": (b'"RequestingServiceTransaction"', b'"Other"', False),
    "non-repudiation": (b'IsNonRepudiationRequired="false"', b'IsNonRepudiationRequired="true"', False),
    "extra-attribute": (b"<BusinessScope>", b'<BusinessScope a="b">', False),
    "unknown-element": (b"</BusinessScope>", b"<Other/></BusinessScope>", False),
    "abstract-information": (b"<BusinessService>", b"<ScopeInformation/><BusinessService>", False),
    "manifest": (b"<BusinessScope>", b"<Manifest/><BusinessScope>", False),
    "members-out-of-order": (b"<HeaderVersion>1.0</HeaderVersion><Sender>", b"<Sender>", False),
    "no-header": (b"StandardBusinessDocumentHeader>", b"OtherHeader>", False),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_our_schema_gives_the_expected_verdict(mutation: str) -> None:
    old, new, valid = MUTATIONS[mutation]
    assert old in DOCUMENT

    assert xml.schema("ehmi-sbdh").validate(etree.fromstring(DOCUMENT.replace(old, new))) is valid


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_official_schema_gives_the_same_verdict(official: etree.XMLSchema, mutation: str) -> None:
    old, new, valid = MUTATIONS[mutation]

    assert official.validate(etree.fromstring(DOCUMENT.replace(old, new))) is valid


def test_contact_information_is_refused_though_libxml2_overlooks_it(
    official: etree.XMLSchema,
) -> None:
    contact = b"<ContactInformation><Contact>x</Contact></ContactInformation></Sender>"
    data = DOCUMENT.replace(b"</Sender>", contact)

    assert not xml.schema("ehmi-sbdh").validate(etree.fromstring(data))
    # maxOccurs="0" in the published set forbids it; libxml2 reads that as "once".
    assert official.validate(etree.fromstring(data))
