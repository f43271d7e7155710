"""A delivery event: one station saw one message go by; the atom of the timeline and of status reporting.

Each station reports each message it handles once per sub type. The facts describe the message being
moved, so for an acknowledgement the sender is the one who acknowledges. Which organisation the station
acts for is not part of the event: it follows from the organisations the station serves.

Spec: EHMI delivery status 1.0.2, sub types and "which station reports what".
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, Self
from uuid import UUID, uuid5

from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbdh_values import StandardBusinessDocumentHeader

_EVENT_NAMESPACE: Final = UUID("8f1f1c0e-6f0b-5d6c-9a53-3f0f6c1d2b7a")
_UNKNOWN: Final = "unknown"

Outcome = Literal["0", "8"]
"""FHIR audit-event-outcome: `0` success, `8` serious failure; the profiles exclude the rest."""


class Station(StrEnum):
    """Where in the chain an event happened, as `source.type` names it; built-together parts are one."""

    EUA = "EUA"
    EUA_MSH = "EUA-MSH"
    MSH = "MSH"
    AP_MSH = "AP-MSH"
    AP = "AP"


class SubType(StrEnum):
    """What the station did; `created` only where a message starts, `finalized` only where it ends."""

    CREATED = "msg-created"
    CREATED_AND_SENT = "msg-created-and-sent"
    SENT = "msg-sent"
    RECEIVED = "msg-received"
    RECEIVED_AND_FINALIZED = "msg-received-and-finalized"
    FINALIZED = "msg-finalized"


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """What an event says about the message: parties, identifiers, and the message it answers.

    `patient_id` set makes it a patient delivery status, else a basic one. `transport_envelope_*` are
    None where the station does not see the ehmiSBDH envelope. The `orig_*` fields belong to
    acknowledgements. `repr` leaves the patient out.

    Raises `LocalProtocolError` when neither envelope is identified: the profile asks for two entities.
    """

    sender_sor: str
    sender_gln: str
    sender_name: str | None
    receiver_sor: str
    receiver_gln: str
    receiver_name: str | None
    patient_id: str | None
    message_identifier: str
    standard: str
    type_version: str
    message_envelope_identifier: str | None
    message_envelope_type: str
    transport_envelope_identifier: str | None = None
    transport_envelope_version: str | None = None
    statistical_information: str | None = None
    orig_message_identifier: str | None = None
    orig_standard: str | None = None
    orig_version: str | None = None
    orig_envelope_identifier: str | None = None

    def __post_init__(self) -> None:
        if self.message_envelope_identifier is None and self.transport_envelope_identifier is None:
            raise LocalProtocolError("a delivery event needs the identifier of an envelope")

    def __repr__(self) -> str:
        return (
            f"DeliveryFacts(standard={self.standard!r}, message={self.message_identifier!r}, "
            f"envelope={self.envelope_identifier!r})"
        )

    @property
    def envelope_identifier(self) -> str:
        """The identifier that tells two journeys of one message apart: a resend has a new envelope."""
        return self.transport_envelope_identifier or self.message_envelope_identifier or ""

    @classmethod
    def from_header(
        cls,
        header: StandardBusinessDocumentHeader,
        *,
        with_envelope: bool,
        sender_name: str | None = None,
        receiver_name: str | None = None,
    ) -> Self:
        """Take the facts from an ehmiSBDH header; raise `SbdRefused` when a Scope they need is absent.

        `with_envelope` says whether this station handles the message in its transport envelope: no at
        the end-user applications and on the MSH's inner side. Names are not in the header.
        """
        orig_message_identifier = header.scope("ORIGINALMESSAGEIDENTIFIER")
        answers = orig_message_identifier is not None
        return cls(
            sender_sor=_scope(header, "SENDERID"),
            sender_gln=header.sender_gln,
            sender_name=sender_name,
            receiver_sor=_scope(header, "RECEIVERID"),
            receiver_gln=header.receiver_gln,
            receiver_name=receiver_name,
            patient_id=header.scope("PATIENTID"),
            message_identifier=_scope(header, "MESSAGEIDENTIFIER"),
            standard=header.standard,
            type_version=header.type_version,
            message_envelope_identifier=header.scope("MESSAGEENVELOPEIDENTIFIER"),
            message_envelope_type=header.type,
            transport_envelope_identifier=header.instance_identifier if with_envelope else None,
            transport_envelope_version=header.header_version if with_envelope else None,
            statistical_information=header.scope("StatisticalInformation"),
            orig_message_identifier=orig_message_identifier,
            orig_standard=(header.scope("ORIGINALMESSAGESTANDARD") or _UNKNOWN)
            if answers
            else None,
            orig_version=(header.scope("ORIGINALMESSAGEVERSION") or _UNKNOWN) if answers else None,
            orig_envelope_identifier=header.scope("ORIGINALENVELOPEIDENTIFIER"),
        )


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One station's report about one message; `recorded_at` is that station's own, aware time."""

    station: Station
    device_id: str
    subtype: SubType
    outcome: Outcome
    recorded_at: datetime
    facts: DeliveryFacts

    def __post_init__(self) -> None:
        if self.recorded_at.tzinfo is None:
            raise LocalProtocolError("recorded_at needs a time zone")


def event_id(event: DeliveryEvent) -> UUID:
    """Name an event by device, sub type, message and envelope: the same happening has the same id.

    The status component dedupes on the same four values, so a report sent twice counts once.
    """
    facts = event.facts
    parts = (event.device_id, event.subtype, facts.message_identifier, facts.envelope_identifier)
    # Lengths in front keep two different splits of the same text from meeting.
    return uuid5(_EVENT_NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts))


def _scope(header: StandardBusinessDocumentHeader, kind: str) -> str:
    value = header.scope(kind)
    if not value:
        raise SbdRefused(f"BusinessScope has no {kind}", reason="sbd.scope")
    return value
