"""What is handed from station to station: a MedCom message with its routing facts, or a StandardBusinessDocument.

The bytes stand in the payload store; these values only point at them. `Document` travels between
end-user application and message service handler, `Envelope` between message service handler and access point.
"""

import json
from dataclasses import asdict, dataclass, replace

from accesspoint.delivery.events import DeliveryFacts
from envelope.ehmi import DOCUMENTS, DocumentType, find_document
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbdh import StandardBusinessDocumentHeader


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the payload store: its reference, size in bytes and SHA-256 in hex."""

    payload: str
    payload_bytes: int
    payload_sha256: str


@dataclass(frozen=True, slots=True)
class Address:
    """One organisation as a message names it."""

    gln: str
    sor: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The message that an acknowledgement answers."""

    identifier: str


@dataclass(frozen=True, slots=True)
class Document:
    """A MedCom FHIR message: identifiers, sender and receiver, and where its bytes stand."""

    message_identifier: str
    message_envelope_identifier: str
    event_code: str
    definition_version: str | None
    sender: Address
    receiver: Address
    patient_id: str | None
    statistical_postfix: str | None
    original_message_identifier: str | None
    media_type: str
    stored: Stored
    original_bundle_identifier: str | None = None
    """Where known, the Bundle.id of the message that this acknowledgement answers."""

    @property
    def document_type(self) -> DocumentType:
        """The row of the EHMI document table; raises `LocalProtocolError` for a message EHMI has no row for."""
        return find_document(self.event_code, self.definition_version)

    @property
    def message_id(self) -> str:
        """`MessageHeader.id`, as the envelope calls it."""
        return self.message_identifier

    @property
    def bundle_id(self) -> str:
        """`Bundle.id`, as the envelope calls it."""
        return self.message_envelope_identifier

    @property
    def mime_type(self) -> str:
        """The media type of the message's bytes."""
        return self.media_type

    @property
    def response(self) -> "Answered | None":
        """What this message answers, when it is a FHIR Acknowledgement."""
        return (
            None
            if self.original_message_identifier is None
            else Answered(self.original_message_identifier)
        )

    @property
    def is_acknowledgement(self) -> bool:
        """Whether this is a MedCom FHIR Acknowledgement, which nobody acknowledges in FHIR again."""
        return self.event_code == "acknowledgement-message"

    def delivery_facts(self) -> DeliveryFacts:
        """What a delivery event says of this message before it has an envelope."""
        kind = self.document_type
        return DeliveryFacts(
            sender_sor=self.sender.sor,
            sender_gln=self.sender.gln,
            sender_name=self.sender.name,
            receiver_sor=self.receiver.sor,
            receiver_gln=self.receiver.gln,
            receiver_name=self.receiver.name,
            patient_id=None if self.is_acknowledgement else self.patient_id,
            message_identifier=self.message_identifier,
            standard=kind.standard,
            type_version=kind.type_version,
            message_envelope_identifier=self.message_envelope_identifier,
            message_envelope_type="Bundle",
            statistical_information=self._statistical_information(kind),
            orig_message_identifier=self.original_message_identifier,
            orig_standard="unknown" if self.original_message_identifier else None,
            orig_version="unknown" if self.original_message_identifier else None,
        )

    def _statistical_information(self, kind: DocumentType) -> str:
        postfix = f"#{self.statistical_postfix}" if self.statistical_postfix else ""
        return kind.statistical_information + postfix

    def to_json(self) -> str:
        """This value as JSON text, for the store and the sealed manifest."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Document":
        """The value that `to_json` wrote."""
        raw = json.loads(text)
        raw["sender"], raw["receiver"] = Address(**raw["sender"]), Address(**raw["receiver"])
        raw["stored"] = Stored(**raw["stored"])
        return cls(**raw)

    def standing_at(self, stored: Stored) -> "Document":
        """The same message, its bytes in this station's own store."""
        return replace(self, stored=stored)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A StandardBusinessDocument on its way between message service handler and access point.

    `header` spares the next station reading it again when both are built together. Where it came across,
    `envelope_identifier` is what the neighbour sealed, as `message_identifier` is.
    """

    message_identifier: str
    stored: Stored
    header: StandardBusinessDocumentHeader | None = None
    envelope_identifier: str | None = None

    def check_sealed(self, header: StandardBusinessDocumentHeader) -> None:
        """Hold the identifiers that were sealed against those that the document itself states.

        Raises SbdRefused (`manifest.identifier`): the seal is then for a document that its maker took for another.
        """
        if self.envelope_identifier is None:
            return
        stated = (header.scope("MESSAGEIDENTIFIER"), header.instance_identifier)
        if stated != (self.message_identifier, self.envelope_identifier):
            raise SbdRefused(
                "the sealed identifiers are not the document's", reason="manifest.identifier"
            )


def event_of(standard: str, type_version: str) -> tuple[str, str | None]:
    """The event code and definition version whose envelopes have this Standard and TypeVersion.

    Raises `LocalProtocolError` when the document table has no such row.
    """
    for event, kind in DOCUMENTS.items():
        if (kind.standard, kind.type_version) == (standard, type_version):
            return event
    raise LocalProtocolError(f"no document type with standard {standard!r} {type_version!r}")
