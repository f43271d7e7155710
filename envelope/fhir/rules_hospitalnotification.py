"""HospitalNotification rules: the encounter, its episode of care, and the patient's CPR number.

Spec: medcom-fhir.md 12, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView, Node

_EVENTS: Final = frozenset({canonicals.HOSPITALNOTIFICATION})
_STATUSES: Final = frozenset({"in-progress", "onleave", "finished", "entered-in-error"})
_CLASSES: Final = frozenset({"EMER", "IMP"})
_FORBIDDEN: Final = (
    "type",
    "serviceType",
    "priority",
    "basedOn",
    "participant",
    "appointment",
    "length",
    "reasonCode",
    "reasonReference",
    "diagnosis",
    "hospitalization",
    "account",
    "location",
    "partOf",
)


_NEW: Final = {
    "admit-emergency": ("EMER", "in-progress", "entered-in-error"),
    "admit-inpatient": ("IMP", "in-progress", "entered-in-error"),
    "start-leave-inpatient": ("IMP", "onleave", "in-progress"),
    "end-leave-inpatient": ("IMP", "in-progress", "onleave"),
    "discharge-emergency-home": ("EMER", "finished", "in-progress"),
    "discharge-inpatient-home": ("IMP", "finished", "in-progress"),
}
"""Step to the class of the stay, its status in the step and its revision, and its status once cancelled."""

STEPS: Final = {
    name: facts
    for step, (kind, status, cancelled) in _NEW.items()
    for name, facts in (
        (step, (kind, status)),
        (f"revise-{step}", (kind, status)),
        (f"cancel-{step}", (kind, cancelled)),
    )
}
_FOLLOWING: Final = frozenset(step for step in _NEW if not step.startswith("admit"))
_ADMISSION: Final = (
    (canonicals.REPORT_OF_ADMISSION_EXTENSION, "valueBoolean"),
    (canonicals.REPORT_OF_ADMISSION_RECIPIENT_EXTENSION, "valueReference"),
)


def _encounters(view: MessageView) -> list[Node]:
    return view.of_type("Encounter")


def patient_cpr(view: MessageView) -> Iterator[Place]:
    """The patient has a CPR number; a replacement number will not do."""
    for patient in view.of_type("Patient"):
        if next(patient.identifiers(canonicals.CPR), None) is None:
            yield f"{patient.path}.identifier", "the patient has no CPR number"


def encounter_status(view: MessageView) -> Iterator[Place]:
    """The status is one a notification uses."""
    for node in _encounters(view):
        if node.string("status") not in _STATUSES:
            yield f"{node.path}.status", "a status this message does not use"


def encounter_class(view: MessageView) -> Iterator[Place]:
    """The class is emergency or inpatient."""
    for node in _encounters(view):
        if (
            node.string("class", "system") != canonicals.ACT_CODE_SYSTEM
            or node.string("class", "code") not in _CLASSES
        ):
            yield f"{node.path}.class", "a class this message does not use"


def encounter_required(view: MessageView) -> Iterator[Place]:
    """Subject, service provider and start of the stay are there."""
    for node in _encounters(view):
        for steps in (
            ("subject", "reference"),
            ("serviceProvider", "reference"),
            ("period", "start"),
        ):
            if node.string(*steps) is None:
                yield f"{node.path}.{steps[0]}", "a required element is missing"


def encounter_forbidden(view: MessageView) -> Iterator[Place]:
    """The notification tells no more than it may."""
    for node in _encounters(view):
        for name in _FORBIDDEN:
            if node.has(name):
                yield f"{node.path}.{name}", "an element this message may not hold"


def episode_identifier(view: MessageView) -> Iterator[Place]:
    """At least one episode of care is named, each by identifier and none by reference."""
    for node in _encounters(view):
        episodes = list(node.each("episodeOfCare"))
        if not episodes or any(
            item.string("identifier", "value") is None or item.has("reference") for item in episodes
        ):
            yield f"{node.path}.episodeOfCare", "an episode of care is not named by identifier"


def episode_uuid(view: MessageView) -> Iterator[Place]:
    """The national episode id is a name-based UUID."""
    for node in _encounters(view):
        for item in node.each("episodeOfCare", "identifier"):
            value = item.string("value") or ""
            if item.string("system") == canonicals.LPR3_SYSTEM and not formats.is_uuid5_urn(value):
                yield f"{item.path}.value", "the national episode id is not a UUID of version 5"


def leave_start(view: MessageView) -> Iterator[Place]:
    """A patient on leave has a time when the leave began."""
    for node in _encounters(view):
        starts = [
            item.string("valuePeriod", "start")
            for item in node.extensions(canonicals.LEAVE_EXTENSION)
        ]
        if node.string("status") == "onleave" and not any(starts):
            yield f"{node.path}.extension", "the start of the leave is missing"


def stay_end(view: MessageView) -> Iterator[Place]:
    """A stay that is over says when it ended."""
    for node in _encounters(view):
        if node.string("status") == "finished" and node.string("period", "end") is None:
            yield f"{node.path}.period", "the end of the stay is missing"


def local_episode(view: MessageView) -> Iterator[Place]:
    """A local episode id is a UUID in a system of its own."""
    for node in _encounters(view):
        for item in node.each("episodeOfCare", "identifier"):
            value = (item.string("value") or "").lower().removeprefix("urn:uuid:")
            system = item.string("system")
            if system != canonicals.LPR3_SYSTEM and (system is None or not formats.is_uuid(value)):
                yield item.path, "a local episode id that is no UUID or names no system"


def death(view: MessageView) -> Iterator[Place]:
    """Only a stay that is over tells of a death."""
    dead = [node for node in view.of_type("Patient") if node.value.get("deceasedBoolean") is True]
    for node in _encounters(view) if dead else ():
        if node.string("status") != "finished":
            yield f"{node.path}.status", "a death in a stay that is not over"


def activity_fits(view: MessageView) -> Iterator[Place]:
    """Class and status of the stay fit the step: admission, leave, discharge, its revision or its cancellation."""
    dead = any(node.value.get("deceasedBoolean") is not None for node in view.of_type("Patient"))
    for provenance in view.current_provenances:
        wanted_class, status = STEPS.get(view.activity(provenance) or "", ("", ""))
        for node in _encounters(view) if wanted_class else ():
            if node.string("class", "code") in _CLASSES - {wanted_class}:
                yield f"{node.path}.class", "the class does not fit the activity"
            elif not dead and node.string("status") in _STATUSES - {status}:
                yield f"{node.path}.status", "the status does not fit the activity"


def follow_up(view: MessageView) -> Iterator[Place]:
    """A leave or a discharge follows an admission, and names the message before it."""
    for provenance in view.current_provenances:
        if view.activity(provenance) in _FOLLOWING and not any(
            entity.string("role") == "revision" for entity in provenance.each("entity")
        ):
            yield f"{provenance.path}.entity", "no preceding message with role revision"


def report_of_admission(view: MessageView) -> Iterator[Place]:
    """The header says once, and yes or no, whether a report of admission is wanted, and from whom."""
    if view.header is None:
        return
    for url, element in _ADMISSION:
        items = list(view.header.extensions(url))
        if len(items) > 1 or any(item.first(element) is None for item in items):
            yield f"{view.header.path}.extension", "not one report of admission of the right type"


def _hn(number: int) -> str:
    return f"medcom-hospitalNotification-{number}"


RULES: Final = (
    Rule("hn-patient-cpr", patient_cpr, Kind.REQUIRED, medcom_id=_hn(4), events=_EVENTS),
    Rule("hn-encounter-status", encounter_status, Kind.CODE, events=_EVENTS),
    Rule("hn-encounter-class", encounter_class, Kind.CODE, events=_EVENTS),
    Rule("hn-encounter-required", encounter_required, Kind.REQUIRED, events=_EVENTS),
    Rule("hn-encounter-forbidden", encounter_forbidden, Kind.STRUCTURE, events=_EVENTS),
    Rule("hn-episode", episode_identifier, Kind.REQUIRED, events=_EVENTS),
    Rule("hn-episode-uuid", episode_uuid, Kind.VALUE, medcom_id="uuidv5", events=_EVENTS),
    Rule("hn-episode-local", local_episode, Kind.VALUE, "warning", events=_EVENTS),
    Rule("hn-period-end", stay_end, Kind.REQUIRED, "warning", events=_EVENTS),
    Rule("hn-death", death, severity="warning", events=_EVENTS),
    Rule("hn-activity-fits", activity_fits, events=_EVENTS, lenient="warning"),
    Rule("hn-report-of-admission", report_of_admission, events=_EVENTS, layer=Layer.HEADER),
    Rule(
        "hn-follow-up",
        follow_up,
        Kind.REQUIRED,
        events=_EVENTS,
        layer=Layer.RELIABLE,
        lenient="warning",
    ),
    Rule("hn-leave-start", leave_start, Kind.REQUIRED, medcom_id=_hn(6), events=_EVENTS),
)
