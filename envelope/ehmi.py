"""The ehmiSBDH profile: which documents exist, how a message becomes an envelope, and what an envelope must say.

Document identifiers are looked up in a table, never computed: their form has changed several times, and the version
in them need not be the one in the message. Older spellings are recognised on input and never written.

The schema leaves most of the profile open (participants, presence of scopes, agreement between them), so
`check_envelope` is the message service handler's reading of it. An access point needs none of this module to
transport an envelope.

Spec: ehmiSBDH 2.0, header fields, scopes and identifiers; MedCom terminology 1.2; decision D6.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from envelope import names
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbdh import (
    DOCUMENT_REFERENCE,
    MESSAGING,
    PARTICIPANT_PREFIX,
    BusinessService,
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    ServiceTransaction,
    StandardBusinessDocumentHeader,
)

ACKNOWLEDGEMENT_STANDARD: Final = "ehmisbdh-acknowledgement"
REQUEST: Final = "Request"
RESPONSE: Final = "Response"
TIME_TO_ACKNOWLEDGE: Final = timedelta(minutes=10)
PROCESS_IDS: Final = frozenset(
    {
        names.EHMI_PROCESS,
        "sdn-emergence",
        "sdn-distribution",
        "fod-distribution",
        "urn:www.digst.dk:profile:sdn-emergence",
        "urn:www.digst.dk:profile:fod-emergence",
    }
)
"""The current process identifier and the spellings it had before."""

_FHIR: Final = "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition:"
_FHIR_PROD: Final = "urn:dk:healthcare:prod:messaging:medcom:fhir:structuredefinition:"
_FHIR_SMP: Final = "urn:dk:healthcare:prod:medcom:messaging:fhir:structuredefinition:"
_EBXML: Final = "urn:dk:healthcare:messaging:oasis:ebxml:schema:xsd:"
_SMP_ACKNOWLEDGEMENT: Final = (
    "sbdhreceiptacknowledgement#urn:oasis:ebxml:sbdhreceiptacknowledgement:ebbp-signals-2.0"
)
_EBXML_PROD: Final = "urn:dk:healthcare:prod:messaging:oasis:ebxml:schema:xsd:"


@dataclass(frozen=True, slots=True)
class DocumentType:
    """One kind of payload: what its envelopes say; `aliases` are older document identifiers."""

    standard: str
    type_version: str
    document_id: str
    statistical_information: str
    aliases: frozenset[str] = frozenset()


def _fhir_document(standard: str, version: str, *aliases: str) -> DocumentType:
    tail = f"urn:dk:medcom:fhir:{standard}::{version}"
    short = standard.removesuffix("-message")
    return DocumentType(
        standard,
        version,
        f"{_FHIR}:{standard}##{tail}",
        f"MCM:{standard}",
        frozenset(
            {
                f"{_FHIR_PROD}:{standard}##{tail}",
                f"{_FHIR}{standard}:{version}",
                f"{_FHIR}{short}:{version}",
                *aliases,
            }
        ),
    )


HOME_CARE_OBSERVATION_1_1: Final = _fhir_document(
    "homecareobservation-message",
    "1.1",
    f"{_FHIR}homecareobservation:1.0",
    f"{_FHIR_SMP}homecareobservation#urn:dk:medcom:fhir:homecareobservation:3.0",
)
HOME_CARE_OBSERVATION_1_2: Final = _fhir_document("homecareobservation-message", "1.2")
ACKNOWLEDGEMENT_2_0: Final = _fhir_document(
    "acknowledgement-message",
    "2.0",
    f"{_FHIR_SMP}acknowledgement#urn:dk:medcom:fhir:acknowledgement:2.0",
)
HOSPITAL_NOTIFICATION_3_0: Final = _fhir_document("hospitalnotification-message", "3.0")
CARE_COMMUNICATION_5_0: Final = _fhir_document("carecommunication-message", "5.0")
SBDH_ACKNOWLEDGEMENT: Final = DocumentType(
    ACKNOWLEDGEMENT_STANDARD,
    "ebbp-signals-2.0",
    f"{_EBXML}:{ACKNOWLEDGEMENT_STANDARD}##urn:dk:ehmi:sbdh:{ACKNOWLEDGEMENT_STANDARD}::1.0",
    "EHMI-ReceiptAcknowledgement",
    frozenset(
        {
            f"{_EBXML_PROD}:{ACKNOWLEDGEMENT_STANDARD}##urn:dk:medcom:{ACKNOWLEDGEMENT_STANDARD}::1.0",
            f"{_EBXML_PROD}SBDHReceiptAcknowledgement",
            _EBXML_PROD + _SMP_ACKNOWLEDGEMENT,
            "urn:dk:healthcare:ehmi:messaging:envelope:xml:sbdhacknowledgement:1.0",
            "urn:dk:healthcare:medcom:messaging:ebxml:schema:xsd:SBDHReceiptAcknowledgement",
            "urn:dk:healthcare:medcom:messaging:ebxml:schema:xsd:SBDHReceiptAcknowledgementException",
        }
    ),
)

DOCUMENTS: Final[Mapping[tuple[str, str | None], DocumentType]] = {
    ("homecareobservation-message", "1.1"): HOME_CARE_OBSERVATION_1_1,
    ("homecareobservation-message", "1.2"): HOME_CARE_OBSERVATION_1_2,
    ("acknowledgement-message", "2.0"): ACKNOWLEDGEMENT_2_0,
    ("acknowledgement-message", "2.0.0"): ACKNOWLEDGEMENT_2_0,
    ("acknowledgement-message", None): ACKNOWLEDGEMENT_2_0,
    ("hospital-notification-message", "3.0"): HOSPITAL_NOTIFICATION_3_0,
    ("hospital-notification-message", None): HOSPITAL_NOTIFICATION_3_0,
    ("care-communication-message", "5.0"): CARE_COMMUNICATION_5_0,
}
"""Keyed by event code and the version after the bar of `MessageHeader.definition`; None where messages have none."""

_BY_DOCUMENT_ID: Final[Mapping[str, DocumentType]] = {
    spelling: document
    for document in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)
    for spelling in (document.document_id, *document.aliases)
}


def find_document(event_code: str, version: str | None) -> DocumentType:
    """Look up the document type of a message; one that has no row raises LocalProtocolError."""
    try:
        return DOCUMENTS[event_code, version]
    except KeyError:
        raise LocalProtocolError(
            f"no document type for event {event_code!r} version {version!r}"
        ) from None


def recognise_document_id(document_id: str) -> DocumentType | None:
    """Find the document type a DOCUMENTID means, in its current spelling or an older one, compared exactly."""
    return _BY_DOCUMENT_ID.get(document_id)


def _shorten(name: str) -> str:
    """A name without what people leave out or write in several ways."""
    return _FILLERS.sub("", name.lower()).replace("message", "")


_FILLERS: Final = re.compile(r"[\s|:_-]+")
DOCUMENT_NAMES: Final[Mapping[str, str]] = {
    f"{document.standard} {document.document_id.rpartition('::')[2]}": document.document_id
    for document in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)
}
"""What people call each document, such as `homecareobservation-message 1.1`, to its DOCUMENTID."""
_BY_SHORT_NAME: Final[Mapping[str, str]] = {
    _shorten(spelling): document_id
    for name, document_id in reversed(list(DOCUMENT_NAMES.items()))
    for spelling in (name, name.partition(" ")[0])
}


def resolve_document_name(name: str) -> str | None:
    """Find the DOCUMENTID of a name with or without version, or of an older spelling; None for what is neither.

    Without version it is the first one of `DOCUMENTS`.
    """
    known = recognise_document_id(name)
    return known.document_id if known is not None else _BY_SHORT_NAME.get(_shorten(name))


# From a message to its envelope


class RoutedOrganization(Protocol):
    """What an envelope takes from the sending or receiving organisation of a message."""

    @property
    def gln(self) -> str: ...
    @property
    def sor(self) -> str: ...


class AnsweredMessage(Protocol):
    """`MessageHeader.response` of a FHIR Acknowledgement."""

    @property
    def identifier(self) -> str: ...


class RoutedMessage(Protocol):
    """The facts of a MedCom message that its envelope repeats; `envelope.fhir` reads them."""

    @property
    def event_code(self) -> str: ...
    @property
    def definition_version(self) -> str | None: ...
    @property
    def bundle_id(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def sender(self) -> RoutedOrganization: ...
    @property
    def receiver(self) -> RoutedOrganization: ...
    @property
    def patient_id(self) -> str | None: ...
    @property
    def statistical_postfix(self) -> str | None: ...
    @property
    def response(self) -> AnsweredMessage | None: ...
    @property
    def mime_type(self) -> str: ...


def envelope_for_message(
    facts: RoutedMessage,
    *,
    instance_identifier: str,
    created_at: datetime,
    sender_gln: str | None = None,
    receiver_gln: str | None = None,
    original_envelope: str | None = None,
    xds_metadata: str | None = None,
) -> StandardBusinessDocumentHeader:
    """Make the header of the envelope for one MedCom message; an ehmiSBDH acknowledgement is always asked for.

    `sender_gln` and `receiver_gln` replace those of the message, as the copy to the register needs;
    `original_envelope` is the Bundle.id a FHIR Acknowledgement answers, where known; `xds_metadata` is the
    DocumentReference as JSON, which only that copy carries.

    Raises LocalProtocolError: unknown document type, GLN that is none, `created_at` without a zone.

    Spec: ehmiSBDH 2.0, scopes; contradictions C-3 to C-5; decision D12.
    """
    document = find_document(facts.event_code, facts.definition_version)
    created = date_time(created_at)
    statistics = document.statistical_information
    if facts.statistical_postfix:
        statistics += f"#{facts.statistical_postfix}"
    scopes = [
        Scope(ScopeType.DOCUMENTID, document.document_id),
        Scope(ScopeType.PROCESSID, names.EHMI_PROCESS),
    ]
    # An acknowledgement is about a message, not a patient: its envelope names none.
    if facts.patient_id is not None and facts.response is None:
        scopes.append(Scope(ScopeType.PATIENTID, facts.patient_id))
    scopes += [
        Scope(ScopeType.SENDERID, facts.sender.sor),
        Scope(ScopeType.RECEIVERID, facts.receiver.sor),
        Scope(ScopeType.MESSAGEIDENTIFIER, facts.message_id),
        Scope(ScopeType.MESSAGEENVELOPEIDENTIFIER, facts.bundle_id),
    ]
    if facts.response is not None:
        scopes.append(Scope(ScopeType.ORIGINALMESSAGEIDENTIFIER, facts.response.identifier))
        if original_envelope is not None:
            scopes.append(Scope(ScopeType.ORIGINALMESSAGEENVELOPEIDENTIFIER, original_envelope))
        scopes += [
            Scope(ScopeType.ORIGINALMESSAGESTANDARD, "unknown"),
            Scope(ScopeType.ORIGINALMESSAGEVERSION, "unknown"),
        ]
    scopes.append(Scope(ScopeType.STATISTICAL_INFORMATION, statistics))
    if xds_metadata is not None:
        scopes.append(Scope(ScopeType.XDS_METADATA, xds_metadata, DOCUMENT_REFERENCE))
    correlation = CorrelationInformation(
        created, instance_identifier, date_time(created_at + TIME_TO_ACKNOWLEDGE)
    )
    scopes.append(acknowledgement_scope(REQUEST, correlation))
    return StandardBusinessDocumentHeader(
        sender=participant(sender_gln or facts.sender.gln),
        receiver=participant(receiver_gln or facts.receiver.gln),
        standard=document.standard,
        type_version=document.type_version,
        instance_identifier=instance_identifier,
        creation_date_and_time=created,
        scopes=tuple(scopes),
        binary_content_mime_type=facts.mime_type,
    )


def renew_envelope(
    header: StandardBusinessDocumentHeader, *, instance_identifier: str, created_at: datetime
) -> StandardBusinessDocumentHeader:
    """Make the header of another envelope for the same message: its identifier and its times are new, nothing else.

    Raises LocalProtocolError for an acknowledgement, which is never sent again by itself, and for `created_at`
    without a zone.

    Spec: ehmiSBDH 2.0, reliable messaging, scenarios 3 and 4.
    """
    if is_acknowledgement(header):
        raise LocalProtocolError("an acknowledgement is not put into another envelope")
    created = date_time(created_at)
    correlation = CorrelationInformation(
        created, instance_identifier, date_time(created_at + TIME_TO_ACKNOWLEDGE)
    )
    return replace(
        header,
        instance_identifier=instance_identifier,
        creation_date_and_time=created,
        scopes=tuple(
            acknowledgement_scope(REQUEST, correlation)
            if scope.type == ScopeType.RECEIPT_ACKNOWLEDGEMENT
            else scope
            for scope in header.scopes
        ),
    )


def acknowledgement_scope(direction: str, correlation: CorrelationInformation) -> Scope:
    """Make the scope that asks for an acknowledgement (`Request`) or marks one (`Response`)."""
    role = "Requesting" if direction == REQUEST else "Responding"
    return Scope(
        ScopeType.RECEIPT_ACKNOWLEDGEMENT,
        direction,
        MESSAGING,
        correlation,
        BusinessService(
            f"EHMI-ReceiptAcknowledgement-{direction}",
            ServiceTransaction(f"{role}ServiceTransaction"),
        ),
    )


def participant(gln: str) -> Identifier:
    """Write a GLN as the participant an envelope and the service metadata name; raises LocalProtocolError."""
    try:
        check_gln(gln)
    except SbdRefused as refused:
        raise LocalProtocolError(refused.detail) from None
    return Identifier(PARTICIPANT_PREFIX + gln)


def date_time(at: datetime) -> str:
    """Write an instant as xs:dateTime in whole seconds with its offset; one without a zone raises LocalProtocolError."""
    if at.tzinfo is None:
        raise LocalProtocolError("a time in an envelope needs an offset from UTC")
    return at.isoformat(timespec="seconds")


# What an envelope must say

_GLN: Final = re.compile(r"[0-9]{13}", re.ASCII)
_SOR: Final = re.compile(r"[0-9]{6,18}", re.ASCII)
_FHIR_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_INSTANCE: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_PATIENT: Final = re.compile(r"[0-9]{10}|[0-9]{7}[A-Z]{2}[0-9]", re.ASCII)
_EXPECTED: Final = (
    ScopeType.DOCUMENTID,
    ScopeType.PROCESSID,
    ScopeType.SENDERID,
    ScopeType.RECEIVERID,
    ScopeType.MESSAGEIDENTIFIER,
    ScopeType.MESSAGEENVELOPEIDENTIFIER,
    ScopeType.STATISTICAL_INFORMATION,
)
_EXPECTED_OF_ACKNOWLEDGEMENT: Final = (
    ScopeType.ORIGINALMESSAGEIDENTIFIER,
    ScopeType.ORIGINALMESSAGEENVELOPEIDENTIFIER,
    ScopeType.ORIGINALMESSAGESTANDARD,
    ScopeType.ORIGINALMESSAGEVERSION,
    ScopeType.ORIGINALENVELOPEIDENTIFIER,
    ScopeType.RECEIPT_ACKNOWLEDGEMENT,
)
_FORMS: Final = (
    (ScopeType.SENDERID, _SOR),
    (ScopeType.RECEIVERID, _SOR),
    (ScopeType.PATIENTID, _PATIENT),
    (ScopeType.MESSAGEIDENTIFIER, _FHIR_ID),
    (ScopeType.MESSAGEENVELOPEIDENTIFIER, _FHIR_ID),
    (ScopeType.ORIGINALMESSAGEIDENTIFIER, _FHIR_ID),
    (ScopeType.ORIGINALMESSAGEENVELOPEIDENTIFIER, _FHIR_ID),
    (ScopeType.ORIGINALENVELOPEIDENTIFIER, _INSTANCE),
)


def check_gln(gln: str) -> None:
    """Check that `gln` is thirteen ASCII digits of which the last is the GS1 check digit.

    Raises SbdRefused (`sbd.gln`).

    Spec: GS1 General Specifications, modulo 10 with weights 1 and 3.
    """
    if not _GLN.fullmatch(gln):
        raise SbdRefused("a GLN is thirteen digits", reason="sbd.gln")
    digits = [int(digit) for digit in gln]
    if (sum(digits[0::2]) + 3 * sum(digits[1::2])) % 10:
        raise SbdRefused("the GLN's check digit is wrong", reason="sbd.gln")


def is_acknowledgement(header: StandardBusinessDocumentHeader) -> bool:
    """Say whether the envelope carries an ehmiSBDH acknowledgement; those are told by their Standard alone."""
    return header.standard == ACKNOWLEDGEMENT_STANDARD


def requests_acknowledgement(header: StandardBusinessDocumentHeader) -> bool:
    """Say whether the receiver owes an ehmiSBDH acknowledgement; one is never owed for an acknowledgement.

    A FHIR Acknowledgement marked `Response` counts as a request: the flow needs the answer (contradiction C-4).
    """
    return (
        not is_acknowledgement(header)
        and header.scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT) is not None
    )


def check_envelope(header: StandardBusinessDocumentHeader) -> None:
    """Check what the profile demands of an envelope beyond its schema, as the receiving handler must.

    Raises SbdRefused: `sbd.authority`, `sbd.gln`, `sbd.scope` (missing, or of the wrong vocabulary),
    `sbd.identifier` (form), `sbd.document` (unknown), `sbd.process`, `sbd.inconsistent` (DOCUMENTID for another
    Standard), `sbd.media-type`, `sbd.encoding`, `sbd.acknowledgement` (wrong direction), `sbd.correlation`.

    Spec: ehmiSBDH 2.0; contradictions C-4, C-6 and C-9.
    """
    for role, partner in (("Sender", header.sender), ("Receiver", header.receiver)):
        _check_partner(role, partner)
    _check_scopes(header)
    _check_document(header)
    _check_acknowledgement_scope(header)


def check_addressing(
    header: StandardBusinessDocumentHeader, *, original_sender: str, final_recipient: str
) -> None:
    """Check that the four-corner properties of the AS4 message name the envelope's own sender and receiver.

    Raises SbdRefused (`sbd.addressing`).

    Spec: eDelivery AS4 1.15, Four Corner Topology and SBDH enhancements.
    """
    if original_sender != header.sender.value:
        raise SbdRefused("originalSender is not the envelope's Sender", reason="sbd.addressing")
    if final_recipient != header.receiver.value:
        raise SbdRefused("finalRecipient is not the envelope's Receiver", reason="sbd.addressing")


def _check_partner(role: str, partner: Identifier) -> None:
    if partner.authority != names.ISO6523_ACTORID:
        raise SbdRefused(f"{role} has no Authority", reason="sbd.authority")
    if not partner.value.startswith(PARTICIPANT_PREFIX):
        raise SbdRefused(f"{role} is not a GLN participant", reason="sbd.gln")
    check_gln(partner.value.removeprefix(PARTICIPANT_PREFIX))


def _check_scopes(header: StandardBusinessDocumentHeader) -> None:
    if not _INSTANCE.fullmatch(header.instance_identifier):
        raise SbdRefused("InstanceIdentifier has no usable form", reason="sbd.identifier")
    expected: tuple[ScopeType, ...] = _EXPECTED
    if is_acknowledgement(header):
        expected += _EXPECTED_OF_ACKNOWLEDGEMENT
    for scope_type in expected:
        if not header.scope(scope_type):
            raise SbdRefused(f"scope {scope_type} is missing", reason="sbd.scope")
    for scope in header.scopes:
        vocabulary = DOCUMENT_REFERENCE if scope.type == ScopeType.XDS_METADATA else MESSAGING
        if scope.identifier != vocabulary:
            raise SbdRefused(f"scope {scope.type} has the wrong Identifier", reason="sbd.scope")
    for scope_type, form in _FORMS:
        value = header.scope(scope_type)
        if value is not None and not form.fullmatch(value):
            raise SbdRefused(f"scope {scope_type} has no usable form", reason="sbd.identifier")


def _check_document(header: StandardBusinessDocumentHeader) -> None:
    document = recognise_document_id(header.scope(ScopeType.DOCUMENTID) or "")
    if document is None:
        raise SbdRefused("DOCUMENTID is not known", reason="sbd.document")
    # Versions may differ: published envelopes carry a document identifier newer than the message's definition.
    if document.standard != header.standard:
        raise SbdRefused("DOCUMENTID belongs to another Standard", reason="sbd.inconsistent")
    if header.scope(ScopeType.PROCESSID) not in PROCESS_IDS:
        raise SbdRefused("PROCESSID is not known", reason="sbd.process")
    carries_xml = header.binary_content_mime_type == "application/xml"
    if carries_xml is not is_acknowledgement(header):
        raise SbdRefused("mimeType does not fit the Standard", reason="sbd.media-type")
    if header.binary_content_encoding not in (None, "UTF-8"):
        raise SbdRefused("encoding is not UTF-8", reason="sbd.encoding")


def _check_acknowledgement_scope(header: StandardBusinessDocumentHeader) -> None:
    scope = header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)
    if scope is None:
        return
    allowed = {REQUEST}
    if is_acknowledgement(header):
        allowed = {RESPONSE}
    elif header.standard == ACKNOWLEDGEMENT_2_0.standard:
        allowed = {REQUEST, RESPONSE}
    if scope.instance_identifier not in allowed:
        raise SbdRefused("acknowledgement scope of the wrong kind", reason="sbd.acknowledgement")
    if scope.correlation is None:
        raise SbdRefused(
            "acknowledgement scope without CorrelationInformation", reason="sbd.correlation"
        )
    requesting = scope.correlation.requesting_document_instance_identifier
    own = header.instance_identifier
    if scope.instance_identifier == REQUEST and requesting != own:
        raise SbdRefused("the request is about another envelope", reason="sbd.correlation")
    if is_acknowledgement(header) and requesting != header.scope(
        ScopeType.ORIGINALENVELOPEIDENTIFIER
    ):
        raise SbdRefused("the response is about two envelopes", reason="sbd.correlation")
