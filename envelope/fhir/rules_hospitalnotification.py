"""HospitalNotification rules: the encounter, its episode of care, and the patient's CPR number.

Spec: medcom-fhir.md 12, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind
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
    Rule("hn-leave-start", leave_start, Kind.REQUIRED, medcom_id=_hn(6), events=_EVENTS),
)
