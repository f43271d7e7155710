"""Synthetic MedCom messages between the two invented organisations, about a national test person."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from envelope import fhir
from envelope.fhir.synthetic import SampleFacts, build_home_care_observation
from envelope.fhir.synthetic_care_communication import CareFacts, build_care_communication

TEST_PERSON = "2512489996"


def _organization(organisation: Organisation) -> fhir.Organization:
    address = organisation.address
    return fhir.Organization(gln=address.gln, sor=address.sor, name=address.name)


def _uuid() -> str:
    return str(uuid.uuid4())


def _facts() -> SampleFacts:
    return SampleFacts(
        bundle_id=_uuid(),
        message_id=_uuid(),
        sender=_organization(MUNICIPALITY),
        receiver=_organization(CLINIC),
        at=datetime.now(UTC),
        ydernummer=CLINIC.ydernummer or "",
        cpr=TEST_PERSON,
    )


def home_care_observation(*, attachment: bytes | None = None) -> dict[str, Any]:
    """A HomeCareObservation from the municipality to the clinic."""
    return build_home_care_observation(replace(_facts(), attachment=attachment))


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
    return build_care_communication(
        _facts(), CareFacts(category="regarding-referral", priority="routine")
    )
