"""Make a rich HomeCareObservation 1.1: test data for demo, tests and load, about nobody.

The patient is a national test person unless the caller says otherwise. Nothing is drawn or read from a
clock: the same facts give the same bundle. Ids of inner resources are name-based UUIDs of the message
id, so two messages share none.

Spec: medcom-fhir.md 10, 17, 19.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from envelope.fhir import building, canonicals, formats
from envelope.fhir.building import narrative
from envelope.fhir.reading import Resource
from envelope.fhir.recognition import Organization

TEST_CPR: Final = "2512489996"
_PRODUCENT: Final = "KAF"
_VERSION: Final = "1.1"
_CONCLUSION: Final = (
    "TEST. Borgeren er tilset i eget hjem på grund af tiltagende åndenød og let feber. "
    "Målingerne er taget efter ti minutters hvile; ånder frit på stuen, ingen cyanose.\n"
    "Ærlig vurdering: stabil, ses igen i morgen."
)
_PDF: Final = b"%PDF-1.4\n"


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What a synthetic message is made from.

    `sender` is the municipal acute team, `receiver` the general practice with its `ydernummer`; `at` is
    an aware time. `doctor` are the initials of the requesting doctor, None where unknown.
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


@dataclass(frozen=True, slots=True)
class _Analysis:
    code: str
    display: str
    unit: str | None
    value: float | str
    comparator: str | None = None
    note: str | None = None
    system: str = canonicals.NPU_SYSTEM


_ANALYSES: Final = (
    _Analysis("NPU19748", "P—C-reaktivt protein; massek. = ? mg/L", "mg/L", 47),
    _Analysis(
        "NPU22089",
        "P(kB)—Glucose; stofk. = ? mmol/L",
        "mmol/L",
        7.4,
        note="Ikke fastende. Målt på fingerblod af sygeplejerske.",
    ),
    _Analysis("NPU02319", "B—Hæmoglobin(Fe); stofk. = ? mmol/L", "mmol/L", 8.6),
    _Analysis("NPU02593", "B—Leukocytter; antalk. = ? × 10^9/L", "10^9/L", 11.2),
    _Analysis("NPU03429", "P—Natrium-ion; stofk. = ? mmol/L", "mmol/L", 138),
    _Analysis("NPU18016", "P—Creatininium; stofk. = ? µmol/L", "µmol/L", 30, comparator="<"),
    _Analysis("NPU08676", "Pt—Legeme; temp. = ? °C", "°C", 38.1),
    _Analysis("NPU21692", "Hjerte—Systole; frekv. = ? × 1/min", "1/min", 92),
    _Analysis("NPU21578", "U—Nitrit; arb.k.(proc.) = ?", None, "Negativ"),
    _Analysis(
        "MCS88122",
        "Pt—Respiration; frekvens = ? X 1/min",
        "1/min",
        22,
        system=canonicals.OBSERVATION_SYSTEM,
    ),
)


def build_home_care_observation(facts: SampleFacts) -> Resource:
    """Build the bundle as a plain dictionary; `writing.serialize` makes bytes of it."""
    ids = _Ids(facts.message_id)
    observations = [_observation(facts, ids, analysis) for analysis in _ANALYSES]
    media = [] if facts.attachment is None else [_media(facts, ids, facts.attachment)]
    return building.bundle(
        facts.bundle_id,
        canonicals.HCO_BUNDLE,
        facts.at,
        [
            building.message_header(
                message_id=facts.message_id,
                profile=canonicals.HCO_HEADER,
                event=canonicals.HOMECAREOBSERVATION,
                definition=f"{canonicals.HCO_DEFINITION}|{_VERSION}",
                sender_id=ids("sender"),
                sender_endpoint=building.endpoint_of(facts.sender.sor),
                receiver_id=ids("receiver"),
                receiver_endpoint=building.endpoint_of(facts.receiver.sor),
                focus=building.reference("DiagnosticReport", ids("report")),
            ),
            _patient(facts, ids),
            _report(facts, ids, observations, media),
            _role(ids),
            _practitioner(ids),
            _receiver(facts, ids),
            building.organization(
                organization_id=ids("sender"),
                profile=canonicals.PRODUCER_ORGANIZATION,
                gln=facts.sender.gln,
                sor=facts.sender.sor,
                name=facts.sender.name,
                identifiers=((canonicals.PRODUCENT_ID, _PRODUCENT),),
            ),
            building.provenance(
                provenance_id=ids("provenance"),
                target_id=facts.message_id,
                activity=canonicals.NEW_MESSAGE,
                agent_id=ids("sender"),
                at=facts.at,
            ),
            *observations,
            *media,
        ],
    )


class _Ids:
    """Ids of inner resources: UUIDs of version 8, made from the message id and a role."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id

    def __call__(self, role: str) -> str:
        digest = bytearray(hashlib.sha256(f"{self.message_id}\n{role}".encode()).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        text = digest.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _resource(kind: str, identifier: str, profile: str, title: str, rows: list[Any]) -> Resource:
    return {
        "resourceType": kind,
        "id": identifier,
        "meta": {"profile": [profile]},
        "text": narrative(title, [("Id", identifier), *rows]),
    }


def _patient(facts: SampleFacts, ids: _Ids) -> Resource:
    return {
        **_resource(
            "Patient",
            ids("patient"),
            canonicals.PATIENT,
            "Borger (TEST)",
            [("CPR-nummer", facts.cpr), ("Navn", "Nancy Ann Test Berggren")],
        ),
        "identifier": [{"use": "official", "system": canonicals.CPR, "value": facts.cpr}],
        "name": [{"use": "official", "family": "Berggren", "given": ["Nancy", "Ann", "Test"]}],
        "deceasedBoolean": False,
    }


def _report(
    facts: SampleFacts, ids: _Ids, observations: list[Resource], media: list[Resource]
) -> Resource:
    issued = formats.format_instant(facts.at)
    report = {
        **_resource(
            "DiagnosticReport",
            ids("report"),
            canonicals.HCO_REPORT,
            "Prøvesvar fra kommunal akutfunktion (TEST)",
            [
                ("Status", "endeligt svar"),
                ("Borger", f"Patient/{ids('patient')}"),
                ("Udsendt", issued),
                ("Udført af", f"Organization/{ids('sender')}, PractitionerRole/{ids('role')}"),
                *(("Resultat", f"Observation/{item['id']}") for item in observations),
                *(("Bilag", f"Media/{item['id']}") for item in media),
                ("Klinisk kommentar", _CONCLUSION),
            ],
        ),
        "status": "final",
        "code": {
            "coding": [building.coding(canonicals.REPORT_CODE_SYSTEM, canonicals.REPORT_CODE)]
        },
        "subject": building.reference("Patient", ids("patient")),
        "issued": issued,
        "performer": [
            building.reference("Organization", ids("sender")),
            building.reference("PractitionerRole", ids("role")),
        ],
        "result": [building.reference("Observation", item["id"]) for item in observations],
        "conclusion": _CONCLUSION,
    }
    if media:
        report["media"] = [{"link": building.reference("Media", item["id"])} for item in media]
    return report


def _role(ids: _Ids) -> Resource:
    return {
        **_resource(
            "PractitionerRole",
            ids("role"),
            canonicals.PRACTITIONER_ROLE,
            "Rolle",
            [("Rolle", "Sygeplejerske"), ("Person", f"Practitioner/{ids('practitioner')}")],
        ),
        "practitioner": building.reference("Practitioner", ids("practitioner")),
        "code": [{"coding": [building.coding(canonicals.ROLE_SYSTEM, "sygeplejerske")]}],
    }


def _practitioner(ids: _Ids) -> Resource:
    return {
        **_resource(
            "Practitioner",
            ids("practitioner"),
            canonicals.PRACTITIONER,
            "Sundhedsperson (TEST)",
            [("Navn", "Åse Sørensen"), ("Telefon", "+4500000000")],
        ),
        "name": [{"family": "Sørensen", "given": ["Åse"]}],
        "telecom": [{"system": "phone", "value": "+4500000000"}],
    }


def _receiver(facts: SampleFacts, ids: _Ids) -> Resource:
    contact: dict[str, Any] = {"name": {"given": [facts.doctor]}}
    if facts.doctor is None:
        contact = {"extension": [{"url": canonicals.DATA_ABSENT_REASON, "valueCode": "unknown"}]}
    return building.organization(
        organization_id=ids("receiver"),
        profile=canonicals.REQUESTER_ORGANIZATION,
        gln=facts.receiver.gln,
        sor=facts.receiver.sor,
        name=facts.receiver.name,
        identifiers=((canonicals.YDERNUMMER, facts.ydernummer),),
        contact=contact,
    )


def _observation(facts: SampleFacts, ids: _Ids, analysis: _Analysis) -> Resource:
    taken = formats.format_instant(facts.at - timedelta(minutes=40))
    shown = " ".join(
        str(part) for part in (analysis.comparator, analysis.value, analysis.unit) if part
    )
    identifier = ids(f"observation {analysis.code}")
    made = {
        **_resource(
            "Observation",
            identifier,
            canonicals.HCO_OBSERVATION,
            analysis.display,
            [
                ("Kode", analysis.code),
                ("Resultat", shown),
                ("Borger", f"Patient/{ids('patient')}"),
                ("Taget", taken),
                ("Vurdering", "Ikke referencevurderet"),
                ("Kommentar", analysis.note),
            ],
        ),
        "status": "final",
        "code": {"coding": [building.coding(analysis.system, analysis.code, analysis.display)]},
        "subject": building.reference("Patient", ids("patient")),
        "effectiveDateTime": taken,
    }
    if isinstance(analysis.value, str):
        made["valueString"] = analysis.value
    else:
        quantity: dict[str, Any] = {"value": analysis.value}
        if analysis.comparator is not None:
            quantity["comparator"] = analysis.comparator
        made["valueQuantity"] = {**quantity, "unit": analysis.unit}
    made["interpretation"] = [
        {
            "coding": [
                building.coding(
                    canonicals.INTERPRETATION_SYSTEM, canonicals.NOT_INTERPRETED, "Not Interpreted"
                )
            ]
        }
    ]
    if analysis.note is not None:
        made["note"] = [{"text": analysis.note}]
    return made


def _media(facts: SampleFacts, ids: _Ids, attachment: bytes) -> Resource:
    created = formats.format_instant(facts.at - timedelta(minutes=35))
    return {
        **_resource(
            "Media",
            ids("media"),
            canonicals.MEDIA,
            "Bilag (TEST)",
            [("Titel", "EKG-strimmel"), ("Type", "application/pdf"), ("Oprettet", created)],
        ),
        "identifier": [
            {
                "value": f"urn:uuid:{ids('media identifier')}",
                "assigner": building.reference("Organization", ids("sender")),
            }
        ],
        "status": "completed",
        "content": {
            "contentType": "application/pdf",
            "data": base64.b64encode(_PDF + attachment).decode(),
            "title": "EKG-strimmel",
            "creation": created,
        },
    }
