"""Make a rich HomeCareObservation 1.1: test data for demo, tests and load, about nobody.

Spec: medcom-fhir.md 10, 17, 19.
"""

import base64
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from envelope.fhir import building, canonicals, formats
from envelope.fhir.reading import Resource
from envelope.fhir.synthetic_parts import (
    TEST_CPR,
    Ids,
    SampleFacts,
    history,
    message_header,
    patient,
    practitioner,
    resource,
    role,
    step,
)

__all__ = ["TEST_CPR", "SampleFacts", "build_home_care_observation"]

_PRODUCENT: Final = "KAF"
_VERSION: Final = "1.1"
_CONCLUSION: Final = (
    "TEST. Borgeren er tilset i eget hjem på grund af tiltagende åndenød og let feber. "
    "Målingerne er taget efter ti minutters hvile; ånder frit på stuen, ingen cyanose.\n"
    "Ærlig vurdering: stabil, ses igen i morgen."
)
_REASON: Final = "TEST. Annulleret: prøvesvaret er sendt på et forkert CPR-nummer."
_PDF: Final = b"%PDF-1.4\n"


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


def build_home_care_observation(
    facts: SampleFacts,
    *,
    follows: Resource | None = None,
    withdrawn: bool = False,
    restricted: bool = False,
) -> Resource:
    """Build the bundle as a plain dictionary; `writing.serialize` makes bytes of it.

    With `follows` it corrects that message, or with `withdrawn` it cancels it. `restricted` says that the
    patient lets nobody else see the results.
    """
    ids = Ids(facts.message_id)
    observations = [_observation(facts, ids, analysis) for analysis in _ANALYSES]
    media = [] if facts.attachment is None else [_media(facts, ids, facts.attachment)]
    previous, steps = history(follows)
    activity = canonicals.NEW_MESSAGE
    if previous is not None:
        activity = canonicals.RETRACT_MESSAGE if withdrawn else canonicals.MODIFIED_MESSAGE
    report = _report(facts, ids, observations, media, _REASON if withdrawn else _CONCLUSION)
    if restricted:
        report["meta"]["security"] = [
            building.coding(canonicals.CONFIDENTIALITY_SYSTEM, "R", "Restricted")
        ]
    return building.bundle(
        facts.bundle_id,
        canonicals.HCO_BUNDLE,
        facts.at,
        [
            message_header(
                facts,
                ids,
                event=canonicals.HOMECAREOBSERVATION,
                profile=canonicals.HCO_HEADER,
                definition=f"{canonicals.HCO_DEFINITION}|{_VERSION}",
                focus=("DiagnosticReport", ids("report")),
            ),
            patient(facts, ids),
            report,
            role(ids),
            practitioner(ids),
            _receiver(facts, ids),
            building.organization(
                organization_id=ids("sender"),
                profile=canonicals.PRODUCER_ORGANIZATION,
                gln=facts.sender.gln,
                sor=facts.sender.sor,
                name=facts.sender.name,
                identifiers=((canonicals.PRODUCENT_ID, _PRODUCENT),),
            ),
            step(facts, ids, activity, previous, withdrawn=withdrawn),
            *steps,
            *observations,
            *media,
        ],
    )


def _report(
    facts: SampleFacts,
    ids: Ids,
    observations: list[Resource],
    media: list[Resource],
    conclusion: str,
) -> Resource:
    issued = formats.format_instant(facts.at)
    report = {
        **resource(
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
                ("Klinisk kommentar", conclusion),
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
        "conclusion": conclusion,
    }
    if media:
        report["media"] = [{"link": building.reference("Media", item["id"])} for item in media]
    return report


def _receiver(facts: SampleFacts, ids: Ids) -> Resource:
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


def _observation(facts: SampleFacts, ids: Ids, analysis: _Analysis) -> Resource:
    taken = formats.format_instant(facts.at - timedelta(minutes=40))
    shown = " ".join(
        str(part) for part in (analysis.comparator, analysis.value, analysis.unit) if part
    )
    identifier = ids(f"observation {analysis.code}")
    made = {
        **resource(
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


def _media(facts: SampleFacts, ids: Ids, attachment: bytes) -> Resource:
    created = formats.format_instant(facts.at - timedelta(minutes=35))
    return {
        **resource(
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
