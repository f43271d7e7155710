"""The values of a StandardBusinessDocument header, as an ehmiSBDH envelope states them.

Texts are kept as written: identifiers are compared byte for byte, times stay xs:dateTime texts. Reading and writing
them is the work of `envelope.sbdh`; which values EHMI wants is that of `envelope.ehmi`.

Spec: ehmiSBDH 2.0, structure and cardinalities.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from envelope import names

MESSAGING: Final = "dk-medcom-messaging"
DOCUMENT_REFERENCE: Final = "dk-medcom-DocumentReference"
PARTICIPANT_PREFIX: Final = "0088:"
OFFICIAL_STANDARDS: Final = frozenset(
    {"homecareobservation-message", "acknowledgement-message", "ehmisbdh-acknowledgement"}
)
"""The Standards that the published schema set lists; the outbound schema admits the others."""


class ScopeType(StrEnum):
    """The types a scope may have."""

    DOCUMENTID = "DOCUMENTID"
    PROCESSID = "PROCESSID"
    PATIENTID = "PATIENTID"
    SENDERID = "SENDERID"
    RECEIVERID = "RECEIVERID"
    MESSAGEIDENTIFIER = "MESSAGEIDENTIFIER"
    MESSAGEENVELOPEIDENTIFIER = "MESSAGEENVELOPEIDENTIFIER"
    ORIGINALMESSAGEIDENTIFIER = "ORIGINALMESSAGEIDENTIFIER"
    ORIGINALMESSAGEENVELOPEIDENTIFIER = "ORIGINALMESSAGEENVELOPEIDENTIFIER"
    ORIGINALMESSAGESTANDARD = "ORIGINALMESSAGESTANDARD"
    ORIGINALMESSAGEVERSION = "ORIGINALMESSAGEVERSION"
    ORIGINALENVELOPEIDENTIFIER = "ORIGINALENVELOPEIDENTIFIER"
    STATISTICAL_INFORMATION = "StatisticalInformation"
    XDS_METADATA = "XDS-METADATA"
    RECEIPT_ACKNOWLEDGEMENT = "EHMI-ReceiptAcknowledgement"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A participant: value `0088:` and the GLN; `authority` is None where the attribute is missing."""

    value: str
    authority: str | None = names.ISO6523_ACTORID


@dataclass(frozen=True, slots=True)
class CorrelationInformation:
    """Which envelope an acknowledgement is asked for or answers; times are xs:dateTime texts."""

    requesting_document_creation_date_time: str
    requesting_document_instance_identifier: str
    expected_response_date_time: str | None


@dataclass(frozen=True, slots=True)
class ServiceTransaction:
    """The attributes of `ServiceTransaction` as written; None where one is missing. Times are milliseconds."""

    type_of_service_transaction: str | None = None
    is_non_repudiation_required: str | None = "false"
    is_authentication_required: str | None = "false"
    is_non_repudiation_of_receipt_required: str | None = "false"
    is_intelligible_check_required: str | None = "false"
    is_application_error_response_requested: str | None = "false"
    time_to_acknowledge_receipt: str | None = "600000"
    time_to_acknowledge_acceptance: str | None = "0"
    time_to_perform: str | None = "0"
    recurrence: str | None = "0"


@dataclass(frozen=True, slots=True)
class BusinessService:
    """The service named in an acknowledgement scope."""

    name: str
    transaction: ServiceTransaction


@dataclass(frozen=True, slots=True, repr=False)
class Scope:
    """One `Scope`; `identifier` is the vocabulary the instance identifier belongs to.

    The representation leaves out what may be about a patient.
    """

    type: str
    instance_identifier: str
    identifier: str = MESSAGING
    correlation: CorrelationInformation | None = None
    service: BusinessService | None = None

    def __repr__(self) -> str:
        personal = self.type in (ScopeType.PATIENTID, ScopeType.XDS_METADATA)
        shown = "..." if personal else self.instance_identifier
        return f"Scope({self.type}={shown!r})"


@dataclass(frozen=True, slots=True)
class StandardBusinessDocumentHeader:
    """Everything an envelope says apart from its payload; enough to report a delivery event."""

    sender: Identifier
    receiver: Identifier
    standard: str
    type_version: str
    instance_identifier: str
    creation_date_and_time: str
    scopes: tuple[Scope, ...]
    binary_content_mime_type: str
    binary_content_encoding: str | None = "UTF-8"
    binary_content_namespace: str = names.SBDH
    type: str = "Bundle"
    multiple_type: bool | None = False
    header_version: str = "1.0"

    def find_scope(self, scope_type: str) -> Scope | None:
        """Give the scope of that type, of which there is at most one."""
        return next((scope for scope in self.scopes if scope.type == scope_type), None)

    def scope(self, scope_type: str) -> str | None:
        """Give the instance identifier of the scope of that type."""
        found = self.find_scope(scope_type)
        return None if found is None else found.instance_identifier

    @property
    def sender_gln(self) -> str:
        """The sender's bare GLN."""
        return self.sender.value.removeprefix(PARTICIPANT_PREFIX)

    @property
    def receiver_gln(self) -> str:
        """The receiver's bare GLN."""
        return self.receiver.value.removeprefix(PARTICIPANT_PREFIX)
