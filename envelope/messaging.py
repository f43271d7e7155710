"""The ebMS 3 UserMessage: its value objects, reading them from a pre-scanned envelope, building them again.

Spec: ebMS 3.0 Core section 5.2; eDelivery AS4 1.15 section 3.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartyId:
    """One `eb:PartyId`; `type` is None when the value itself is a URI."""

    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """`eb:From` or `eb:To`: exactly one PartyId in eDelivery, and a Role."""

    party_id: PartyId
    role: str


@dataclass(frozen=True, slots=True)
class Property:
    """One message or part property."""

    name: str
    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class AgreementRef:
    """`eb:AgreementRef`; `pmode` is read but never relied on."""

    value: str
    type: str | None = None
    pmode: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """`eb:Service`."""

    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class CollaborationInfo:
    """`eb:CollaborationInfo`."""

    service: Service
    action: str
    conversation_id: str
    agreement_ref: AgreementRef | None = None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One `eb:PartInfo`; `content_id` is the cid without `cid:` and percent-decoded."""

    content_id: str
    properties: tuple[Property, ...] = ()

    def property(self, name: str) -> str | None:
        """The value of the part property with this exact name, or None."""
        return next((p.value for p in self.properties if p.name == name), None)

    @property
    def mime_type(self) -> str | None:
        """The MimeType property: the media type of the uncompressed part."""
        return self.property("MimeType")

    @property
    def compression_type(self) -> str | None:
        """The CompressionType property: `application/gzip` or None."""
        return self.property("CompressionType")


@dataclass(frozen=True, slots=True)
class UserMessage:
    """One `eb:UserMessage`; `timestamp` is the xs:dateTime text as sent."""

    message_id: str
    timestamp: str
    from_party: Party
    to_party: Party
    collaboration_info: CollaborationInfo
    message_properties: tuple[Property, ...] = ()
    parts: tuple[PartInfo, ...] = ()
    ref_to_message_id: str | None = None
    mpc: str | None = None

    def property(self, name: str) -> Property | None:
        """The message property with this exact name, or None."""
        return next((p for p in self.message_properties if p.name == name), None)
