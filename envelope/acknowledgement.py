"""The ehmiSBDH acknowledgement: an ebBP signal in an envelope of its own, from one message service handler to the other.

A positive one says that an envelope arrived and could be read, nothing about its content; a negative one ends the
exchange. It is never acknowledged itself. What we write follows the signals schema; what we read need not, since
published signals have unknown members and missing ones: only the kind of the signal and the envelope it is about
count, and those must not contradict each other.

Spec: ehmiSBDH 2.0, reliable messaging; ebBP Signals 2.0; contradictions C-2, C-3, C-8, C-22.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.ehmi import (
    RESPONSE,
    SBDH_ACKNOWLEDGEMENT,
    TIME_TO_ACKNOWLEDGE,
    acknowledgement_scope,
    date_time,
    is_acknowledgement,
)
from envelope.errors import LocalProtocolError, SbdRefused, TransportRefused
from envelope.names import q
from envelope.sbdh import (
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    StandardBusinessDocumentHeader,
)

POSITIVE_TYPE: Final = "ReceiptAcknowledgement"
NEGATIVE_TYPE: Final = "ReceiptException"
_OUTCOMES: Final = {
    POSITIVE_TYPE: True,
    "SBDHReceiptAcknowledgement": True,
    NEGATIVE_TYPE: False,
    "SBDHReceiptAcknowledgementException": False,
}
_UNKNOWN: Final = "unknown"
_LONGEST_TEXT: Final = 1_000


class ExceptionKind(StrEnum):
    """Which member of `ExceptionType` a negative signal has."""

    RECEIPT = "ReceiptException"
    ACCEPTANCE = "AcceptanceException"
    GENERAL = "GeneralException"


@dataclass(frozen=True, slots=True)
class ReceiptException:
    """Why an envelope is not accepted.

    `value` is `Syntax`, `Authorization`, `Signature` or `Sequence` for a receipt exception. The texts of a peer are
    kept for the operator and stay out of representations, for they may quote the message.
    """

    value: str
    reason: str = field(repr=False)
    message: str | None = field(default=None, repr=False)
    kind: ExceptionKind = ExceptionKind.RECEIPT


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What an ehmiSBDH acknowledgement says: whose it is, which envelope it is about, and the outcome."""

    positive: bool
    instance_identifier: str
    original_instance_identifier: str
    original_message_identifier: str | None
    sender: str
    receiver: str
    sender_sor: str | None
    receiver_sor: str | None
    exception: ReceiptException | None


def build_acknowledgement(
    original: StandardBusinessDocumentHeader,
    *,
    instance_identifier: str,
    message_identifier: str,
    created_at: datetime,
    exception: ReceiptException | None = None,
    message_envelope_identifier: str | None = None,
) -> tuple[StandardBusinessDocumentHeader, bytes]:
    """Make the acknowledgement of an envelope: the header of the new envelope and the signal it carries.

    When a known message comes in a new envelope, call this with the *new* envelope's header, the outcome and
    `message_identifier` of the first acknowledgement, and a fresh `instance_identifier` and `created_at`.
    `message_envelope_identifier` is `message_identifier` unless told.

    Raises LocalProtocolError: the original is itself an acknowledgement, `created_at` has no zone, or the values
    make no valid signal.

    Spec: ehmiSBDH 2.0, Response scope; reliable messaging, duplicate rules.
    """
    if is_acknowledgement(original):
        raise LocalProtocolError("an acknowledgement is never acknowledged")
    created = date_time(created_at)
    correlation = _correlation(original, created_at)
    header = StandardBusinessDocumentHeader(
        sender=Identifier(original.receiver.value),
        receiver=Identifier(original.sender.value),
        standard=SBDH_ACKNOWLEDGEMENT.standard,
        type_version=SBDH_ACKNOWLEDGEMENT.type_version,
        instance_identifier=instance_identifier,
        type=POSITIVE_TYPE if exception is None else NEGATIVE_TYPE,
        creation_date_and_time=created,
        scopes=(
            Scope(ScopeType.DOCUMENTID, SBDH_ACKNOWLEDGEMENT.document_id),
            Scope(ScopeType.PROCESSID, names.EHMI_PROCESS),
            *_swapped(original),
            Scope(ScopeType.MESSAGEIDENTIFIER, message_identifier),
            Scope(
                ScopeType.MESSAGEENVELOPEIDENTIFIER,
                message_envelope_identifier or message_identifier,
            ),
            *_about(original),
            Scope(ScopeType.STATISTICAL_INFORMATION, SBDH_ACKNOWLEDGEMENT.statistical_information),
            acknowledgement_scope(RESPONSE, correlation),
        ),
        binary_content_mime_type="application/xml",
    )
    return header, _build_signal(original, created, correlation, exception)


def read_acknowledgement(header: StandardBusinessDocumentHeader, payload: bytes) -> Acknowledgement:
    """Read an acknowledgement from its envelope's header and the signal inside.

    Raises SbdRefused: `ack.standard` (not an acknowledgement), `ack.xml` (the signal is not XML within bounds),
    `ack.signal` (another kind of document), `ack.inconsistent` (header and signal contradict each other, or the
    header names two envelopes), `ack.original` (no envelope is named).

    Spec: ehmiSBDH 2.0, acknowledgement; ebBP Signals 2.0.
    """
    if not is_acknowledgement(header):
        raise SbdRefused("not an ehmiSBDH acknowledgement", reason="ack.standard")
    try:
        root = xml.scan(payload).root
    except TransportRefused as refused:
        raise SbdRefused(f"signal: {refused.reason}", reason="ack.xml") from None
    if root.tag not in (q(names.EBBP, "ReceiptAcknowledgement"), q(names.EBBP, "Exception")):
        raise SbdRefused("the payload is no signal EHMI uses", reason="ack.signal")
    positive = root.tag == q(names.EBBP, "ReceiptAcknowledgement")
    if _OUTCOMES.get(header.type, positive) is not positive:
        raise SbdRefused("header and signal disagree on the outcome", reason="ack.inconsistent")
    return Acknowledgement(
        positive=positive,
        instance_identifier=header.instance_identifier,
        original_instance_identifier=_original_envelope(header, root),
        original_message_identifier=header.scope(ScopeType.ORIGINALMESSAGEIDENTIFIER),
        sender=header.sender.value,
        receiver=header.receiver.value,
        sender_sor=header.scope(ScopeType.SENDERID),
        receiver_sor=header.scope(ScopeType.RECEIVERID),
        exception=None if positive else _read_exception(root),
    )


def check_acknowledgement(
    acknowledgement: Acknowledgement, original: StandardBusinessDocumentHeader
) -> None:
    """Check that an acknowledgement is about `original` and comes from the organisation it was sent to.

    Raises SbdRefused (`ack.other`): an acknowledgement by a third party settles nothing.

    Spec: ehmiSBDH 2.0, correlation of acknowledgements.
    """
    message_identifier = original.scope(ScopeType.MESSAGEIDENTIFIER)
    for name, given, sent in (
        ("envelope", acknowledgement.original_instance_identifier, original.instance_identifier),
        ("Sender", acknowledgement.sender, original.receiver.value),
        ("Receiver", acknowledgement.receiver, original.sender.value),
        ("SENDERID", acknowledgement.sender_sor, original.scope(ScopeType.RECEIVERID)),
        ("RECEIVERID", acknowledgement.receiver_sor, original.scope(ScopeType.SENDERID)),
        (
            "ORIGINALMESSAGEIDENTIFIER",
            acknowledgement.original_message_identifier or message_identifier,
            message_identifier,
        ),
    ):
        if given != sent:
            raise SbdRefused(f"{name} does not match the envelope sent", reason="ack.other")


# Writing


def _correlation(
    original: StandardBusinessDocumentHeader, created_at: datetime
) -> CorrelationInformation:
    asked = original.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)
    if asked is not None and asked.correlation is not None:
        copied = asked.correlation
        expected = copied.expected_response_date_time
        return CorrelationInformation(
            copied.requesting_document_creation_date_time,
            copied.requesting_document_instance_identifier,
            expected or date_time(created_at + TIME_TO_ACKNOWLEDGE),
        )
    return CorrelationInformation(
        original.creation_date_and_time,
        original.instance_identifier,
        date_time(created_at + TIME_TO_ACKNOWLEDGE),
    )


def _swapped(original: StandardBusinessDocumentHeader) -> list[Scope]:
    pairs = (
        (ScopeType.SENDERID, ScopeType.RECEIVERID),
        (ScopeType.RECEIVERID, ScopeType.SENDERID),
    )
    return [Scope(ours, value) for ours, theirs in pairs if (value := original.scope(theirs))]


def _about(original: StandardBusinessDocumentHeader) -> list[Scope]:
    return [
        Scope(
            ScopeType.ORIGINALMESSAGEIDENTIFIER,
            original.scope(ScopeType.MESSAGEIDENTIFIER) or _UNKNOWN,
        ),
        Scope(
            ScopeType.ORIGINALMESSAGEENVELOPEIDENTIFIER,
            original.scope(ScopeType.MESSAGEENVELOPEIDENTIFIER) or _UNKNOWN,
        ),
        Scope(ScopeType.ORIGINALMESSAGESTANDARD, original.standard),
        Scope(ScopeType.ORIGINALMESSAGEVERSION, original.type_version),
        Scope(ScopeType.ORIGINALENVELOPEIDENTIFIER, original.instance_identifier),
    ]


def _build_signal(
    original: StandardBusinessDocumentHeader,
    created: str,
    correlation: CorrelationInformation,
    exception: ReceiptException | None,
) -> bytes:
    root = etree.Element(
        q(names.EBBP, "ReceiptAcknowledgement" if exception is None else "Exception"),
        nsmap={"bpssignal": names.EBBP},
    )
    _add(root, "OriginalMessageIdentifier", original.instance_identifier)
    if document_id := original.scope(ScopeType.DOCUMENTID):
        _add(root, "OriginalDocumentIdentifier", document_id)
    _add(root, "OriginalMessageDateTime", original.creation_date_and_time)
    _add(root, "ThisMessageDateTime", created)
    for local, party in (("FromPartyInfo", original.receiver), ("ToPartyInfo", original.sender)):
        _add(root, local, party.value).set("type", names.ISO6523_ACTORID)
    _add(root, "CollaborationIdentifier", correlation.requesting_document_instance_identifier)
    if exception is not None:
        kind = _add(root, "ExceptionType")
        _add(kind, exception.kind, exception.value)
        _add(root, "Reason", exception.reason)
        if exception.message is not None:
            _add(root, "ExceptionMessage", exception.message)
    if not xml.schema("ebbp-signals").validate(root):
        raise LocalProtocolError("these values make no valid signal")
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _add(parent: _Element, local: str, text: str | None = None) -> _Element:
    element = etree.SubElement(parent, q(names.EBBP, local))
    try:
        element.text = text
    except ValueError:
        raise LocalProtocolError(f"{local} holds a character that XML cannot carry") from None
    return element


# Reading


def _original_envelope(header: StandardBusinessDocumentHeader, root: _Element) -> str:
    response = header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT)
    correlation = None if response is None else response.correlation
    named = {header.scope(ScopeType.ORIGINALENVELOPEIDENTIFIER)}
    if correlation is not None:
        named.add(correlation.requesting_document_instance_identifier)
    named -= {None, ""}
    if len(named) > 1:
        raise SbdRefused("the header names two envelopes", reason="ack.inconsistent")
    # The signal's own OriginalMessageIdentifier is the last resort: some products put a message id there.
    original = next(iter(named), None) or _leaf(root, "OriginalMessageIdentifier")
    if not original:
        raise SbdRefused("no original envelope is named", reason="ack.original")
    return original


def _read_exception(root: _Element) -> ReceiptException:
    kind, value = ExceptionKind.GENERAL, ""
    holder = root.find(q(names.EBBP, "ExceptionType"))
    if holder is not None:
        # The published example nests one kind in another; the innermost one says what is meant.
        for element in holder.iter():
            local = etree.QName(element).localname
            if local in list(ExceptionKind):
                kind, value = ExceptionKind(local), (element.text or "").strip()
    return ReceiptException(
        value[:_LONGEST_TEXT],
        _leaf(root, "Reason") or "",
        _leaf(root, "ExceptionMessage"),
        kind,
    )


def _leaf(root: _Element, local: str) -> str | None:
    text = root.findtext(q(names.EBBP, local))
    return None if text is None else text.strip()[:_LONGEST_TEXT]
