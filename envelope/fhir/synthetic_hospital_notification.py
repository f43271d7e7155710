"""Make a HospitalNotification 3.0: an admission, a leave, a discharge or a death, its revision or its cancellation.

Class and status follow from the step, by the same table that the rules hold a notification against.

Spec: medcom-fhir.md 3, 12, 19.
"""

from datetime import timedelta
from typing import Any, Final

from envelope.fhir import building, canonicals, formats
from envelope.fhir.reading import Resource
from envelope.fhir.rules_hospitalnotification import STEPS
from envelope.fhir.synthetic_parts import (
    Ids,
    SampleFacts,
    history,
    message_header,
    organizations,
    patient,
    resource,
    step,
)

_STAYED: Final = timedelta(hours=2)
_EPISODE: Final = (
    "urn:uuid:8e1f6a3c-6f0b-5c1e-9d5b-1f2e3d4c5b6a"  # version 5, as the register makes them
)


def build_hospital_notification(
    facts: SampleFacts,
    activity: str = "admit-inpatient",
    *,
    follows: Resource | None = None,
    death: bool = False,
    report_of_admission: bool = False,
) -> Resource:
    """Build the bundle as a plain dictionary; `activity` is one of the 18 steps, `follows` the message before it.

    With `death` the stay ended so; the step then is the one before it. With `report_of_admission` the sender asks
    for a report from the receiver.
    """
    ids = Ids(facts.message_id)
    kind, status = STEPS[activity]
    previous, steps = history(follows)
    withdrawn = activity in canonicals.HN_CANCEL_ACTIVITIES
    header = message_header(
        facts,
        ids,
        event=canonicals.HOSPITALNOTIFICATION,
        profile=canonicals.HN_HEADER,
        definition=None,
        focus=("Encounter", ids("encounter")),
    )
    if report_of_admission:
        receiver = building.reference("Organization", ids("receiver"))
        header["extension"] = [
            {"url": canonicals.REPORT_OF_ADMISSION_EXTENSION, "valueBoolean": True},
            {"url": canonicals.REPORT_OF_ADMISSION_RECIPIENT_EXTENSION, "valueReference": receiver},
        ]
    return building.bundle(
        facts.bundle_id,
        canonicals.HN_BUNDLE,
        facts.at,
        [
            header,
            patient(facts, ids, deceased=death or None),
            _encounter(facts, ids, kind, "finished" if death else status, activity),
            *organizations(facts, ids),
            step(facts, ids, activity, previous, withdrawn=withdrawn),
            *steps,
        ],
    )


def _encounter(facts: SampleFacts, ids: Ids, kind: str, status: str, activity: str) -> Resource:
    now = formats.format_instant(facts.at)
    period = {"start": formats.format_instant(facts.at - _STAYED)}
    if status == "finished":
        period["end"] = now
    made: Resource = {
        **resource(
            "Encounter",
            ids("encounter"),
            canonicals.HN_ENCOUNTER,
            "Ophold (TEST)",
            [
                ("Status", status),
                ("Klasse", kind),
                ("Borger", f"Patient/{ids('patient')}"),
                ("Forløb", _EPISODE),
                ("Fra", period["start"]),
                ("Til", period.get("end")),
                ("Hospital", f"Organization/{ids('sender')}"),
            ],
        ),
        "status": status,
        "class": building.coding(canonicals.ACT_CODE_SYSTEM, kind),
        "subject": building.reference("Patient", ids("patient")),
        "episodeOfCare": [{"identifier": {"system": canonicals.LPR3_SYSTEM, "value": _EPISODE}}],
        "period": period,
        "serviceProvider": building.reference("Organization", ids("sender")),
    }
    if "leave" in activity:
        leave: dict[str, Any] = {"start": period["start"]}
        if status != "onleave":
            leave["end"] = now
        made["extension"] = [{"url": canonicals.LEAVE_EXTENSION, "valuePeriod": leave}]
    return made
