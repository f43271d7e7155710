"""Synthetic MedCom messages between the two invented organisations, about a national test person."""

import uuid
from datetime import UTC, datetime
from typing import Any

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from envelope import fhir
from envelope.fhir import building, canonicals
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation

TEST_PERSON = "2512489996"
_CORE = "http://medcomfhir.dk/ig/core/StructureDefinition/"


def _organization(organisation: Organisation) -> fhir.Organization:
    address = organisation.address
    return fhir.Organization(gln=address.gln, sor=address.sor, name=address.name)


def _uuid() -> str:
    return str(uuid.uuid4())


def home_care_observation(*, attachment: bytes | None = None) -> dict[str, Any]:
    """A HomeCareObservation from the municipality to the clinic."""
    facts = SampleFacts(
        bundle_id=_uuid(),
        message_id=_uuid(),
        sender=_organization(MUNICIPALITY),
        receiver=_organization(CLINIC),
        at=datetime.now(UTC),
        ydernummer=CLINIC.ydernummer or "",
        cpr=TEST_PERSON,
        attachment=attachment,
    )
    return build_home_care_observation(facts)


def acknowledgement_of(bundle: dict[str, Any]) -> dict[str, Any]:
    """A positive MedCom Acknowledgement of a message."""
    return fhir.build_acknowledgement(
        fhir.read_message(fhir.serialize(bundle, "json")),
        code="ok",
        bundle_id=_uuid(),
        message_id=_uuid(),
        provenance_id=_uuid(),
        outcome_id=_uuid(),
        at=datetime.now(UTC),
    )


def care_communication() -> dict[str, Any]:
    """A CareCommunication about a referral with one text, from the municipality to the clinic."""
    message_id, at = _uuid(), datetime.now(UTC)
    thread, text = f"urn:uuid:{_uuid()}", f"urn:uuid:{_uuid()}"
    header = building.message_header(
        message_id=message_id,
        profile=canonicals.CC_HEADER,
        event=canonicals.HOMECAREOBSERVATION,
        definition=f"{canonicals.CC_DEFINITION}|5.0",
        sender_id="afsender",
        sender_endpoint=building.endpoint_of(MUNICIPALITY.address.sor),
        receiver_id="modtager",
        receiver_endpoint=building.endpoint_of(CLINIC.address.sor),
        focus=building.reference("Communication", "korrespondance"),
    )
    header["eventCoding"]["code"] = canonicals.CARECOMMUNICATION
    provenance = building.provenance(
        provenance_id="trin",
        target_id=message_id,
        activity=canonicals.NEW_MESSAGE,
        agent_id="afsender",
        at=at,
    )
    provenance["meta"]["profile"] = [canonicals.CC_PROVENANCE]
    provenance["entity"] = [{"role": "source", "what": {"identifier": {"value": text}}}]
    resources = [
        header,
        _communication(thread, text, at),
        {
            "resourceType": "Patient",
            "id": "borger",
            "text": building.narrative("Borger (TEST)", []),
            "identifier": [{"system": canonicals.CPR, "value": TEST_PERSON}],
            "name": [{"use": "official", "family": "Berggren", "given": ["Nancy"]}],
        },
        {
            "resourceType": "PractitionerRole",
            "id": "rolle",
            "text": building.narrative("Rolle", []),
            "practitioner": building.reference("Practitioner", "person"),
            "code": [{"text": "Sygeplejerske"}],
        },
        {
            "resourceType": "Practitioner",
            "id": "person",
            "text": building.narrative("Person (TEST)", []),
            "name": [{"family": "Sørensen", "given": ["Åse"]}],
        },
        *(
            building.organization(
                organization_id=name,
                profile=canonicals.MESSAGING_ORGANIZATION,
                gln=organisation.address.gln,
                sor=organisation.address.sor,
                name=organisation.address.name,
            )
            for name, organisation in (("afsender", MUNICIPALITY), ("modtager", CLINIC))
        ),
        provenance,
    ]
    return building.bundle(_uuid(), canonicals.CC_BUNDLE, at, resources)


def _communication(thread: str, text: str, at: datetime) -> dict[str, Any]:
    assigned = {"value": text, "assigner": building.reference("Organization", "afsender")}
    author = building.reference("PractitionerRole", "rolle")
    phone = {"system": "phone", "value": "+4500000000"}
    extensions = {
        "medcom-core-datetime-extension": {"valueDateTime": at.isoformat(timespec="seconds")},
        "medcom-core-identifier-extension": {"valueIdentifier": assigned},
        "medcom-core-practitioner-extension": {"valueReference": author},
        "medcom-core-contact-extension": {"valueContactPoint": phone},
    }
    return {
        "resourceType": "Communication",
        "id": "korrespondance",
        "text": building.narrative("Korrespondance (TEST)", []),
        "identifier": [{"value": thread}],
        "status": "unknown",
        "category": [
            {"coding": [building.coding(canonicals.CATEGORY_SYSTEM, "regarding-referral")]}
        ],
        "priority": "routine",
        "subject": building.reference("Patient", "borger"),
        "payload": [
            {
                "extension": [{"url": _CORE + name, **value} for name, value in extensions.items()],
                "contentString": "Kære kollega\nTEST: æøå.",
            }
        ],
    }
