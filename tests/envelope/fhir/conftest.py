"""Synthetic messages and the folder of published examples, shared by the tests of the FHIR package."""

import os
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest

from envelope.fhir import (
    FhirMessage,
    Organization,
    build_acknowledgement,
    canonicals,
    read_message,
    serialize,
    validate,
)
from envelope.fhir import building as b
from envelope.fhir.building import narrative
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation

AT = datetime(2026, 11, 21, 10, 15, tzinfo=timezone(timedelta(hours=1)))
SENDER = Organization("5790000123117", "1144561000016002", "Akutteam Testkommune")
RECEIVER = Organization("5790000127092", "52581000016005", "Lægerne i Testby")
THREAD = "urn:uuid:7c1c2f8a-3b52-4b9e-9f0e-6a5d0f2f1a11"
PAYLOAD = "urn:uuid:2f7e6a10-7c0a-4a55-8a39-0d6a7c3a9b21"


@pytest.fixture(scope="session")
def facts() -> SampleFacts:
    """The arguments of the synthetic HomeCareObservation."""
    return SampleFacts(
        bundle_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d01",
        message_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1d02",
        sender=SENDER,
        receiver=RECEIVER,
        at=AT,
        attachment=b"\x00\xff" * 40,
    )


@pytest.fixture
def sample(facts: SampleFacts) -> dict[str, Any]:
    """A fresh synthetic HomeCareObservation to break."""
    return build_home_care_observation(facts)


@pytest.fixture
def message(sample: dict[str, Any]) -> FhirMessage:
    """The synthetic HomeCareObservation as read from JSON."""
    return read_message(orjson.dumps(sample))


@pytest.fixture(scope="session")
def errors_in() -> Callable[[dict[str, Any]], set[str]]:
    """The names of the rules a bundle breaks with severity error."""

    def run(bundle: dict[str, Any]) -> set[str]:
        findings = validate(read_message(orjson.dumps(bundle)))
        return {found.rule for found in findings if found.severity == "error"}

    return run


@pytest.fixture(scope="session")
def warnings_in() -> Callable[[dict[str, Any]], set[str]]:
    """The names of the rules a bundle breaks with severity warning."""

    def run(bundle: dict[str, Any]) -> set[str]:
        findings = validate(read_message(orjson.dumps(bundle)))
        return {found.rule for found in findings if found.severity == "warning"}

    return run


@pytest.fixture
def acknowledgement(message: FhirMessage) -> dict[str, Any]:
    """A positive Acknowledgement of the synthetic HomeCareObservation."""
    return build_acknowledgement(
        message,
        code="ok",
        bundle_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e01",
        message_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e02",
        provenance_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e03",
        outcome_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e04",
        at=AT,
    )


def _organizations() -> list[dict[str, Any]]:
    return [
        b.organization(
            organization_id=name,
            profile=canonicals.MESSAGING_ORGANIZATION,
            gln=party.gln,
            sor=party.sor,
            name=party.name,
        )
        for name, party in (("afsender", SENDER), ("modtager", RECEIVER))
    ]


def _header(event: str, profile: str, definition: str, focus: dict[str, str]) -> dict[str, Any]:
    titles = {"care-communication-message", "hospital-notification-message"}
    assert event in titles
    header = b.message_header(
        message_id="brev-1",
        profile=profile,
        event=canonicals.HOMECAREOBSERVATION,
        definition=definition,
        sender_id="afsender",
        sender_endpoint=b.endpoint_of(SENDER.sor),
        receiver_id="modtager",
        receiver_endpoint=b.endpoint_of(RECEIVER.sor),
        focus=focus,
    )
    header["eventCoding"]["code"] = event
    return header


def _patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": "borger",
        "text": narrative("Borger", []),
        "identifier": [{"system": canonicals.CPR, "value": "2512489996"}],
        "name": [{"use": "official", "family": "Berggren", "given": ["Nancy"]}],
    }


def _step(activity: str) -> dict[str, Any]:
    return b.provenance(
        provenance_id="trin-1", target_id="brev-1", activity=activity, agent_id="afsender", at=AT
    )


def _extension(url: str, **value: Any) -> dict[str, Any]:
    return {"url": "http://medcomfhir.dk/ig/core/StructureDefinition/" + url, **value}


@pytest.fixture
def care_communication() -> dict[str, Any]:
    """A small valid CareCommunication with one text and one attachment."""
    identifier = {"value": PAYLOAD, "assigner": b.reference("Organization", "afsender")}
    common = [
        _extension("medcom-core-datetime-extension", valueDateTime="2026-11-21T10:00:00+01:00"),
        _extension("medcom-core-identifier-extension", valueIdentifier=identifier),
    ]
    author = [
        _extension(
            "medcom-core-practitioner-extension",
            valueReference=b.reference("PractitionerRole", "rolle"),
        ),
        _extension(
            "medcom-core-contact-extension",
            valueContactPoint={"system": "phone", "value": "+4500000000"},
        ),
    ]
    communication = {
        "resourceType": "Communication",
        "id": "korrespondance",
        "text": narrative("Korrespondance", []),
        "identifier": [{"value": THREAD}],
        "status": "unknown",
        "category": [{"coding": [b.coding(canonicals.CATEGORY_SYSTEM, "regarding-referral")]}],
        "priority": "routine",
        "subject": b.reference("Patient", "borger"),
        "payload": [
            {"extension": [*common, *author], "contentString": "Kære kollega\nTEST."},
            {
                "extension": deepcopy(common),
                "contentAttachment": {
                    "contentType": "application/pdf",
                    "data": "JVBERi0xLjQK",
                    "title": "bilag",
                },
            },
        ],
    }
    provenance = _step("new-message")
    provenance["meta"]["profile"] = [canonicals.CC_PROVENANCE]
    provenance["entity"] = [{"role": "source", "what": {"identifier": {"value": PAYLOAD}}}]
    resources = [
        _header(
            canonicals.CARECOMMUNICATION,
            canonicals.CC_HEADER,
            f"{canonicals.CC_DEFINITION}|5.0",
            b.reference("Communication", "korrespondance"),
        ),
        communication,
        _patient(),
        {
            "resourceType": "PractitionerRole",
            "id": "rolle",
            "text": narrative("Rolle", []),
            "practitioner": b.reference("Practitioner", "person"),
            "code": [{"text": "Sygeplejerske"}],
        },
        {
            "resourceType": "Practitioner",
            "id": "person",
            "text": narrative("Person", []),
            "name": [{"family": "Sørensen", "given": ["Åse"]}],
        },
        *_organizations(),
        provenance,
    ]
    return b.bundle("kuvert-1", canonicals.CC_BUNDLE, AT, resources)


@pytest.fixture
def hospital_notification() -> dict[str, Any]:
    """A small valid HospitalNotification: an inpatient stay has begun."""
    header = _header(
        canonicals.HOSPITALNOTIFICATION,
        canonicals.HN_BUNDLE + "Header",
        "",
        b.reference("Encounter", "ophold"),
    )
    del header["definition"]
    encounter = {
        "resourceType": "Encounter",
        "id": "ophold",
        "text": narrative("Ophold", []),
        "status": "in-progress",
        "class": b.coding(canonicals.ACT_CODE_SYSTEM, "IMP"),
        "subject": b.reference("Patient", "borger"),
        "episodeOfCare": [
            {
                "identifier": {
                    "system": canonicals.LPR3_SYSTEM,
                    "value": "urn:uuid:8e1f6a3c-6f0b-5c1e-9d5b-1f2e3d4c5b6a",
                }
            }
        ],
        "period": {"start": "2026-11-21T08:00:00+01:00"},
        "serviceProvider": b.reference("Organization", "afsender"),
    }
    resources = [header, _patient(), encounter, *_organizations(), _step("admit-inpatient")]
    return b.bundle("kuvert-2", canonicals.HN_BUNDLE, AT, resources)


@pytest.fixture(scope="session")
def published() -> list[Path]:
    """The published MedCom examples in both formats, where the folder of fixtures is at hand."""
    folder = os.environ.get("ACCESSPOINT_FIXTURES")
    if not folder:
        pytest.skip("ACCESSPOINT_FIXTURES names no folder with the published MedCom examples")
    found = sorted(Path(folder, "medcom-fhir").glob("*/Bundle-*.*"))
    assert len(found) >= 60
    return found


@pytest.fixture(scope="session")
def oracle(published) -> set[str]:
    """The names of the published messages in which HL7's own validator found no error."""
    told = orjson.loads((published[0].parents[1] / "oracle-hl7-validator.json").read_bytes())
    return {
        name
        for messages in told.values()
        if isinstance(messages, dict)
        for name, counts in messages.items()
        if counts["error"] == counts["fatal"] == 0
    }


@pytest.fixture(scope="session")
def as_xml() -> Callable[[dict[str, Any]], bytes]:
    """Write a bundle as XML."""
    return lambda bundle: serialize(bundle, "xml")


@pytest.fixture(scope="session")
def pick() -> Callable[..., dict[str, Any]]:
    """Pick the nth resource of a type out of a bundle."""

    def run(bundle: dict[str, Any], kind: str, number: int = 0) -> dict[str, Any]:
        found = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]
        resource: dict[str, Any] = found[number]
        return resource

    return run
