"""Synthetic messages and the folder of published examples, shared by the tests of the FHIR package."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest

from envelope.fhir import (
    FhirMessage,
    Organization,
    build_acknowledgement,
    read_message,
    serialize,
    validate,
)
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation
from envelope.fhir.synthetic_care_communication import (
    Attached,
    CareFacts,
    build_care_communication,
)
from envelope.fhir.synthetic_hospital_notification import build_hospital_notification

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


@pytest.fixture
def care_communication(facts: SampleFacts) -> dict[str, Any]:
    """A CareCommunication about a referral, with one text and one attachment."""
    attached = (Attached("bilag", b"%PDF-1.4\n"),)
    care = CareFacts(category="regarding-referral", priority="routine", attached=attached)
    return build_care_communication(facts, care)


@pytest.fixture
def hospital_notification(facts: SampleFacts) -> dict[str, Any]:
    """A HospitalNotification: an inpatient stay has begun."""
    return build_hospital_notification(facts)


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
