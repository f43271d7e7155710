"""The routing facts of a message: what the envelope around it is made from.

Only what is needed to route and to correlate is read here; whether the message is valid is the business
of `rules`. The facts stay the same whether a bundle came as JSON or as XML.

Spec: medcom-fhir.md 1, 3, 4, 5, 16; ehmi.md on the mapping to ehmiSBDH.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind, refusal
from envelope.fhir.reading import FhirMessage, Format
from envelope.fhir.view import MessageView, Node

_VERSION: Final = re.compile(r"\|?([0-9]{1,2}\.[0-9]{1,2})(?:\.[0-9]{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Organization:
    """A messaging organization: GLN and SOR id as written, name where the bundle gives one."""

    gln: str
    sor: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What an Acknowledgement answers: the id of the header it is about, its verdict, and why.

    `details` are the codes of its OperationOutcome as they were written, each once; its texts are for people.
    """

    identifier: str
    code: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """Everything the stations below need to know about a message.

    `definition_version` is the tail of MessageHeader.definition (`1.1`), None where there is none.
    `patient_id` is the CPR number, else an eCPR; it never appears in the representation.
    `statistical_postfix` is the category code of a CareCommunication.
    """

    event_code: str
    definition_version: str | None
    bundle_id: str
    message_id: str
    timestamp: datetime
    sender: Organization
    receiver: Organization
    patient_id: str | None = field(repr=False)
    statistical_postfix: str | None
    response: Response | None
    format: Format
    mime_type: str


def recognise(message: FhirMessage) -> MessageFacts:
    """Read the routing facts; raises `MessageRefused` naming the first one that cannot be found."""
    view = MessageView(message)
    if view.bundle.string("type") != "message":
        raise refusal("bundle-type", "the Bundle is not a message", path="Bundle.type")
    first = view.resources[0] if view.resources else None
    if first is None or first.type != "MessageHeader":
        raise refusal(
            "bundle-first-entry", "the first entry is not a MessageHeader", path="Bundle.entry[0]"
        )
    event = view.event
    if event is None:
        raise refusal(
            "header-event-known",
            "no event code of MedCom's",
            path=f"{first.path}.eventCoding",
            kind=Kind.NOT_SUPPORTED,
        )
    return MessageFacts(
        event_code=event,
        definition_version=definition_version(first),
        bundle_id=_identifier(view.bundle),
        message_id=_identifier(first),
        timestamp=_timestamp(view.bundle),
        sender=_organization(view.sender, f"{first.path}.sender"),
        receiver=_organization(view.receiver, f"{first.path}.destination"),
        patient_id=patient_id(view),
        statistical_postfix=_category(view) if event == canonicals.CARECOMMUNICATION else None,
        response=_response(view, first) if event == canonicals.ACKNOWLEDGEMENT else None,
        format=message.format,
        mime_type=message.mime_type,
    )


def definition_version(header: Node) -> str | None:
    """Read the version tail of MessageHeader.definition; senders exist that leave out the bar."""
    definition = header.string("definition")
    match = _VERSION.search(definition) if definition is not None else None
    return match[1] if match is not None else None


def organization_facts(node: Node) -> Organization | None:
    """Read GLN, SOR id and name of an Organization, None where GLN or SOR id is missing."""
    gln = _value_of(node, *canonicals.GLN_SYSTEMS)
    sor = _value_of(node, canonicals.SOR)
    if gln is None or sor is None:
        return None
    return Organization(gln, sor, node.string("name"))


def patient_id(view: MessageView) -> str | None:
    """Read the patient's CPR number, else the first eCPR; None where there is no patient."""
    for patient in view.of_type("Patient"):
        for systems in ((canonicals.CPR,), (canonicals.X_ECPR, *sorted(canonicals.D_ECPR_SYSTEMS))):
            found = _value_of(patient, *systems)
            if found is not None:
                return found
    return None


def _value_of(node: Node, *systems: str) -> str | None:
    return next((item.string("value") for item in node.identifiers(*systems)), None)


def _identifier(resource: Node) -> str:
    identifier = resource.string("id")
    if identifier is None or not formats.is_primitive("id", identifier):
        raise refusal("resource-id", "no usable id", path=f"{resource.path}.id", kind=Kind.REQUIRED)
    return identifier


def _timestamp(bundle: Node) -> datetime:
    try:
        return formats.parse_instant(bundle.string("timestamp") or "")
    except ValueError:
        raise refusal(
            "bundle-timestamp",
            "no time with a zone",
            path="Bundle.timestamp",
            kind=Kind.DATE,
        ) from None


def _organization(node: Node | None, path: str) -> Organization:
    facts = organization_facts(node) if node is not None else None
    if facts is None:
        raise refusal(
            "header-organization",
            "no bundled organization with GLN and SOR id",
            path=path,
            kind=Kind.NOT_FOUND,
        )
    return facts


def _category(view: MessageView) -> str | None:
    for communication in view.of_type("Communication"):
        for system, code in communication.codings("category", "coding"):
            if system == canonicals.CATEGORY_SYSTEM:
                return code
    return None


def _response(view: MessageView, header: Node) -> Response:
    identifier, code = header.string("response", "identifier"), header.string("response", "code")
    if identifier is None or code is None:
        raise refusal(
            "ack-response",
            "an Acknowledgement without response",
            path=f"{header.path}.response",
            kind=Kind.REQUIRED,
        )
    outcomes = (one for one in view.resources if one.type == "OperationOutcome")
    details = (
        detail for one in outcomes for _, detail in one.codings("issue", "details", "coding")
    )
    return Response(identifier, code, tuple(dict.fromkeys(filter(None, details))))
