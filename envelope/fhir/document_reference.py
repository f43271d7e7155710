"""The XDS metadata of a message: a DocumentReference by which the copy of it can be found and shown.

Everything in it is taken from the message or follows from its octets; what the message does not say is left
out, never guessed. Patient, author and authenticator are contained, cut down to what identifies them. The
title names the kind of document and never the patient.

The published example is the only source for the codes; where it contradicts itself or FHIR, the decision
record about document sharing says what was chosen.

Spec: ehmiSBDH 2.0, scope XDS-METADATA (contradiction C-5); decision D12; FHIR R4 DocumentReference.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from lxml import etree

from envelope import xml
from envelope.ehmi import find_document
from envelope.errors import LocalProtocolError, SbdRefused, TransportRefused
from envelope.fhir import building, canonicals, formats
from envelope.fhir.reading import FhirMessage, Resource
from envelope.fhir.recognition import MessageFacts, recognise
from envelope.fhir.view import MessageView, Node

_CORE_DOCUMENT: Final = "http://medcomfhir.dk/ig/coredocument/StructureDefinition/"
_HOME_COMMUNITY: Final = (
    "https://medcomfhir.dk/ig/ihexdsmetadata/StructureDefinition/"
    "medcom-xds-homecommunityid-extension"
)
_HOME_COMMUNITY_SYSTEM: Final = "urn:oid:1.2.208.176.8.1"
_TYPE_SYSTEM: Final = "urn:oid:1.2.208.184.100.1"
_SNOMED: Final = "urn:oid:2.16.840.1.113883.6.96"
_URI: Final = "urn:ietf:rfc:3986"
_PATIENT: Final = "patient"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the documents of one message type are called, and where they are made."""

    profile: str
    code: str
    display: str
    title: str
    facility: tuple[str, str]
    practice: tuple[str, str]


_KINDS: Final = {
    canonicals.HOMECAREOBSERVATION: _Kind(
        "https://medcomfhir.dk/ig/xdsdocuments/StructureDefinition/"
        "homecare-observation-documentreference",
        "HCOMsg",
        "HomeCareObservation Message",
        "Kommunale prøvesvar",
        ("550621000005101", "hjemmesygeplejeenhed"),
        ("658161000005107", "hjemmesygepleje"),
    )
}
SHARED: Final = frozenset(_KINDS)
"""The event codes of the messages that have metadata; for the others none is published."""


def build_document_reference(
    message: FhirMessage, data: bytes, *, reference_id: str, home_community: str | None = None
) -> str:
    """Make the DocumentReference, as JSON text, of a message and the octets it was read from.

    `home_community` is the OID of the XDS community that the document belongs to, where one is agreed.
    Raises LocalProtocolError for a message type that has no metadata or a message that names no patient,
    MessageRefused for one that cannot be recognised.
    """
    facts, view = recognise(message), MessageView(message)
    kind = _KINDS.get(facts.event_code)
    patient = next(iter(view.of_type("Patient")), None)
    if kind is None or patient is None or facts.patient_id is None:
        raise LocalProtocolError(
            "only a message about a patient, of a type with metadata, is shared"
        )
    document = find_document(facts.event_code, facts.definition_version)
    author = _organization(facts)
    practitioner = _practitioner(view)
    contained = [_patient(patient), author, *([practitioner] if practitioner else [])]
    about = {"reference": f"#{_PATIENT}"}
    made: Resource = {
        "resourceType": "DocumentReference",
        "id": reference_id,
        "meta": {"profile": [kind.profile]},
        "contained": contained,
        "masterIdentifier": {"system": _URI, "value": f"urn:uuid:{facts.bundle_id}"},
        "status": "current",
        "type": {"coding": [building.coding(_TYPE_SYSTEM, kind.code, kind.display)]},
        "category": [{"coding": [{"code": "Workflow"}]}],
        "subject": about,
        "date": formats.format_instant(facts.timestamp),
        "author": [{"reference": f"#{one['id']}"} for one in contained[1:]],
        "securityLabel": [{"coding": [building.coding(canonicals.CONFIDENTIALITY_SYSTEM, "N")]}],
        "content": [
            {
                "attachment": {
                    "contentType": facts.mime_type,
                    "language": "da",
                    "size": len(data),
                    "hash": attachment_hash(data),
                    "title": kind.title,
                    "creation": formats.format_instant(facts.timestamp),
                },
                "format": building.coding(_URI, document.document_id),
            }
        ],
        "context": {
            "event": [{"coding": [building.coding(canonicals.EVENT_SYSTEM, facts.event_code)]}],
            "facilityType": {"coding": [building.coding(_SNOMED, *kind.facility)]},
            "practiceSetting": {"coding": [building.coding(_SNOMED, *kind.practice)]},
            "sourcePatientInfo": about,
        },
    }
    if practitioner is not None:
        made["authenticator"] = {"reference": "#practitioner"}
    if home_community is not None:
        coding = building.coding(_HOME_COMMUNITY_SYSTEM, home_community)
        made["extension"] = [{"url": _HOME_COMMUNITY, "valueCoding": coding}]
    return orjson.dumps(made).decode()


def attachment_hash(data: bytes) -> str:
    """The SHA-1 that FHIR wants of an attachment, in base64: it recognises a document, it protects nothing."""
    return attachment_hash_of(hashlib.sha1(data, usedforsecurity=False).digest())


def attachment_hash_of(sha1: bytes) -> str:
    """The same of a digest that was made elsewhere, piece by piece."""
    return base64.b64encode(sha1).decode()


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """What a register shows of the metadata of a document; the patient is in no representation.

    `size` and `hash` are those of the octets that the metadata is about, as their sender counted them.
    """

    master_identifier: str | None
    title: str | None
    code: str | None
    author: str | None
    created: str | None
    size: int | None
    hash: str | None
    patient_id: str | None = field(repr=False)


def read_document_reference(text: str) -> DocumentFacts:
    """Read the DocumentReference in a scope: JSON, or the XML of older prose (contradiction C-5).

    Raises SbdRefused (`sbd.xds-metadata`) when it is none; what it lacks is None.
    """
    body = text.strip()
    try:
        found = orjson.loads(body) if body.startswith("{") else _from_xml(body)
    except (orjson.JSONDecodeError, TransportRefused):
        raise SbdRefused(
            "the metadata is neither JSON nor XML", reason="sbd.xds-metadata"
        ) from None
    if not isinstance(found, dict) or found.get("resourceType") != "DocumentReference":
        raise SbdRefused("the metadata is no DocumentReference", reason="sbd.xds-metadata")
    reference = Node(found, "DocumentReference")
    attachment = reference.first("content", "attachment") or Node(None, "")
    size = attachment.first("size")
    contained = list(reference.each("contained"))
    return DocumentFacts(
        master_identifier=reference.string("masterIdentifier", "value"),
        title=attachment.string("title"),
        code=reference.string("type", "coding", "code"),
        author=_first(contained, "Organization", "name"),
        created=attachment.string("creation"),
        size=int(str(size.value)) if size is not None and str(size.value).isdecimal() else None,
        hash=attachment.string("hash"),
        patient_id=_first(contained, "Patient", "identifier", "value"),
    )


def _first(contained: Iterable[Node], resource_type: str, *steps: str) -> str | None:
    found = (one.string(*steps) for one in contained if one.type == resource_type)
    return next((value for value in found if value), None)


def _from_xml(text: str) -> Resource:
    """The values of a resource in XML, without a table of elements: one of a name is a value, several are a list."""
    root = xml.scan(text.encode()).root
    return {"resourceType": etree.QName(root).localname, **_members(root)}


def _members(node: etree._Element) -> Resource:
    found: Resource = {}
    for child in node:
        name = etree.QName(child).localname
        value: Any = child.get("value")
        if value is None and name == "contained" and len(child) == 1:
            value = {"resourceType": etree.QName(child[0]).localname, **_members(child[0])}
        elif value is None:
            value = _members(child)
        found.setdefault(name, []).append(value)
    return found


# What is contained


def _contained(resource_type: str, id_: str, profile: str, **members: Any) -> Resource:
    present = {name: value for name, value in members.items() if value}
    meta = {"profile": [_CORE_DOCUMENT + profile]}
    return {"resourceType": resource_type, "id": id_, "meta": meta, **present}


def _patient(patient: Node) -> Resource:
    members = {name: patient.value.get(name) for name in ("name", "gender", "birthDate")}
    identifiers = [
        {"system": one.string("system"), "value": one.string("value")}
        for one in patient.identifiers(
            canonicals.CPR, canonicals.X_ECPR, *sorted(canonicals.D_ECPR_SYSTEMS)
        )
    ]
    return _contained(
        "Patient", _PATIENT, "medcom-core-document-patient", identifier=identifiers, **members
    )


def _organization(facts: MessageFacts) -> Resource:
    return _contained(
        "Organization",
        "author",
        "medcom-core-document-organization",
        identifier=[{"system": canonicals.SOR, "value": facts.sender.sor}],
        name=facts.sender.name,
    )


def _practitioner(view: MessageView) -> Resource | None:
    """The person that the message names, where it names exactly one."""
    people = view.of_type("Practitioner")
    if len(people) != 1:
        return None
    return _contained(
        "Practitioner",
        "practitioner",
        "medcom-core-document-practitioner",
        name=people[0].value.get("name"),
    )
