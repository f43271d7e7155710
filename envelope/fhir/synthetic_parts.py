"""What the synthetic messages are put together from: the facts, ids, patient, author and history.

The patient is a national test person unless the caller says otherwise. Nothing is drawn or read from a
clock: the same facts give the same bundle. Ids of inner resources are name-based UUIDs of the message
id, so two messages share none.

Spec: medcom-fhir.md 5, 6, 19.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from envelope.fhir import building, canonicals, formats
from envelope.fhir.building import narrative
from envelope.fhir.reading import Resource
from envelope.fhir.recognition import Organization

TEST_CPR: Final = "2512489996"
_NAME: Final = ["Nancy", "Ann", "Test"]
_PHONE: Final = "+4500000000"


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What a synthetic message is made from.

    `sender` and `receiver` are the two organizations, `ydernummer` the provider number of a general
    practice that receives; `at` is an aware time. `cpr` may be an eCPR. `doctor` are the initials of the requesting doctor, None where unknown.
    `attachment` are raw bytes sent along in a Media resource, None for no attachment.
    """

    bundle_id: str
    message_id: str
    sender: Organization
    receiver: Organization
    at: datetime
    ydernummer: str = "061654"
    cpr: str = TEST_CPR
    doctor: str | None = "OKM"
    attachment: bytes | None = None


class Ids:
    """Ids of inner resources: UUIDs of version 8, made from the message id and a role."""

    def __init__(self, message_id: str) -> None:
        """`message_id` is the id of the header."""
        self.message_id = message_id

    def __call__(self, role: str) -> str:
        """Make the id of the resource that plays this role in the message."""
        digest = bytearray(hashlib.sha256(f"{self.message_id}\n{role}".encode()).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        text = digest.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def resource(
    kind: str, identifier: str, profile: str, title: str, rows: Iterable[tuple[str, object]]
) -> Resource:
    """Begin a resource: its type, id, profile and narrative."""
    return {
        "resourceType": kind,
        "id": identifier,
        "meta": {"profile": [profile]},
        "text": narrative(title, [("Id", identifier), *rows]),
    }


def patient(facts: SampleFacts, ids: Ids, *, deceased: bool | None = False) -> Resource:
    """Make the patient, whose number is a CPR number or an eCPR; `deceased` is left out where None."""
    system, use = canonicals.CPR, "official"
    for form, other in (("x-ecpr", canonicals.X_ECPR), ("d-ecpr", canonicals.D_ECPR)):
        if formats.PATIENT_ID_FORMS[form](facts.cpr):
            system, use = other, "temp"
    made: Resource = {
        **resource(
            "Patient",
            ids("patient"),
            canonicals.PATIENT,
            "Borger (TEST)",
            [("CPR-nummer", facts.cpr), ("Navn", f"{' '.join(_NAME)} Berggren")],
        ),
        "identifier": [{"use": use, "system": system, "value": facts.cpr}],
        "name": [{"use": "official", "family": "Berggren", "given": list(_NAME)}],
    }
    if deceased is not None:
        made["deceasedBoolean"] = deceased
    return made


def role(ids: Ids, *, organization: str | None = None) -> Resource:
    """Make the role of who wrote or measured; `organization` is the id of the one it belongs to."""
    belongs = f"Organization/{organization}" if organization else None
    made = {
        **resource(
            "PractitionerRole",
            ids("role"),
            canonicals.PRACTITIONER_ROLE,
            "Rolle",
            [
                ("Rolle", "Sygeplejerske"),
                ("Person", f"Practitioner/{ids('practitioner')}"),
                ("Organisation", belongs),
            ],
        ),
        "practitioner": building.reference("Practitioner", ids("practitioner")),
    }
    if organization is not None:
        made["organization"] = building.reference("Organization", organization)
    made["code"] = [{"coding": [building.coding(canonicals.ROLE_SYSTEM, "sygeplejerske")]}]
    return made


def practitioner(ids: Ids) -> Resource:
    """Make who plays that role."""
    return {
        **resource(
            "Practitioner",
            ids("practitioner"),
            canonicals.PRACTITIONER,
            "Sundhedsperson (TEST)",
            [("Navn", "Åse Sørensen"), ("Telefon", _PHONE)],
        ),
        "name": [{"family": "Sørensen", "given": ["Åse"]}],
        "telecom": [{"system": "phone", "value": _PHONE}],
    }


def organizations(facts: SampleFacts, ids: Ids) -> list[Resource]:
    """Make the two messaging organizations."""
    return [
        building.organization(
            organization_id=ids(name),
            profile=canonicals.MESSAGING_ORGANIZATION,
            gln=party.gln,
            sor=party.sor,
            name=party.name,
        )
        for name, party in (("receiver", facts.receiver), ("sender", facts.sender))
    ]


def message_header(
    facts: SampleFacts,
    ids: Ids,
    *,
    event: str,
    profile: str,
    definition: str | None,
    focus: tuple[str, str],
) -> Resource:
    """Make the header; `focus` is type and id of what the message is about."""
    return building.message_header(
        message_id=facts.message_id,
        profile=profile,
        event=event,
        definition=definition,
        sender_id=ids("sender"),
        sender_endpoint=building.endpoint_of(facts.sender.sor),
        receiver_id=ids("receiver"),
        receiver_endpoint=building.endpoint_of(facts.receiver.sor),
        focus=building.reference(*focus),
    )


def step(
    facts: SampleFacts, ids: Ids, activity: str, previous: str | None, *, withdrawn: bool = False
) -> Resource:
    """Make the Provenance of this message, which follows that with the header `previous`, or withdraws it."""
    return building.provenance(
        provenance_id=ids("provenance"),
        target_id=facts.message_id,
        activity=activity,
        agent_id=ids("sender"),
        at=facts.at,
        revision_of=None if withdrawn else previous,
        removal_of=previous if withdrawn else None,
    )


def resources_of(bundle: Resource, *kinds: str) -> list[Resource]:
    """List the resources of these types in a bundle made here."""
    found: list[Any] = [entry["resource"] for entry in bundle["entry"]]
    return [item for item in found if item["resourceType"] in kinds]


def history(follows: Resource | None) -> tuple[str | None, list[Resource]]:
    """Take from the message that is followed what its follower repeats: the header's id, and all steps so far
    with the organizations that took them."""
    if follows is None:
        return None, []
    header = resources_of(follows, "MessageHeader")[0]
    return header["id"], resources_of(follows, "Provenance", "Organization")
