"""Acknowledgement rules: the response, its OperationOutcome, and the two Provenances.

Spec: medcom-fhir.md 13, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView

_EVENTS: Final = frozenset({canonicals.ACKNOWLEDGEMENT})
_CODES: Final = {
    canonicals.ACK_ERROR_SYSTEM: canonicals.ACK_ERROR_CODES,
    canonicals.OPERATION_OUTCOME_SYSTEM: canonicals.OPERATION_OUTCOME_CODES,
}


def response_present(view: MessageView) -> Iterator[Place]:
    """The header says what it answers and how."""
    if view.header is not None and view.header.first("response") is None:
        yield f"{view.header.path}.response", "the response is missing"


def outcome_present(view: MessageView) -> Iterator[Place]:
    """Whatever is not `ok` comes with an OperationOutcome that says why."""
    if view.header is None:
        return
    code = view.header.string("response", "code")
    if code is not None and code != canonicals.RESPONSE_OK and not view.of_type("OperationOutcome"):
        yield "Bundle.entry", "a refusal without OperationOutcome"


def details_reference(view: MessageView) -> Iterator[Place]:
    """The response of a refusal points at the OperationOutcome."""
    if view.header is None or not view.of_type("OperationOutcome"):
        return
    response = view.header.first("response")
    if (
        response is not None
        and response.string("code") != canonicals.RESPONSE_OK
        and response.first("details") is None
    ):
        yield f"{response.path}.details", "the refusal does not point at its OperationOutcome"


def issue_told(view: MessageView) -> Iterator[Place]:
    """Every issue says what is wrong, by a code or in words."""
    for outcome in view.of_type("OperationOutcome"):
        for issue in outcome.each("issue"):
            if issue.first("details", "coding") is None and issue.string("details", "text") is None:
                yield f"{issue.path}.details", "an issue that says nothing"


def outcome_severity(view: MessageView) -> Iterator[Place]:
    """An answer of `ok` tells of nothing worse than information."""
    if view.header is None or view.header.string("response", "code") != canonicals.RESPONSE_OK:
        return
    for outcome in view.of_type("OperationOutcome"):
        for issue in outcome.each("issue"):
            if issue.string("severity") in ("fatal", "error"):
                yield f"{issue.path}.severity", "an error in an answer of ok"


def issue_details(view: MessageView) -> Iterator[Place]:
    """A coded issue uses a code of the two lists; systems that were retired only warn."""
    for outcome in view.of_type("OperationOutcome"):
        for issue in outcome.each("issue"):
            for system, code in issue.codings("details", "coding"):
                if system in _CODES and code not in _CODES[system]:
                    yield f"{issue.path}.details", "an issue code that is not in its list"


def issue_system(view: MessageView) -> Iterator[Place]:
    """A coded issue uses one of the two code systems."""
    for outcome in view.of_type("OperationOutcome"):
        for issue in outcome.each("issue"):
            for system, _ in issue.codings("details", "coding"):
                if system not in _CODES:
                    yield f"{issue.path}.details", "an issue code system that is not in use"


def two_provenances(view: MessageView) -> Iterator[Place]:
    """There are two steps: the newest of the message answered, and the answer."""
    if len(view.of_type("Provenance")) != 2:
        yield "Bundle.entry", "not exactly two Provenances"


def own_activity(view: MessageView) -> Iterator[Place]:
    """The step this message is has the activity `acknowledgement`."""
    for provenance in view.current_provenances:
        if view.activity(provenance) != canonicals.ACKNOWLEDGEMENT_ACTIVITY:
            yield f"{provenance.path}.activity", "not the activity of an Acknowledgement"


def revised_header(view: MessageView) -> Iterator[Place]:
    """The step this message is names the header it answers, with role `revision`."""
    if view.header is None:
        return
    wanted = view.header.string("response", "identifier") or ""
    for provenance in view.current_provenances:
        if not any(
            entity.string("role") == "revision"
            and (entity.string("what", "reference") or "").endswith(wanted)
            for entity in provenance.each("entity")
        ):
            yield f"{provenance.path}.entity", "the header answered is not named"


def no_patient(view: MessageView) -> Iterator[Place]:
    """An Acknowledgement has no need of the patient."""
    for patient in view.of_type("Patient"):
        yield patient.path, "a patient in an Acknowledgement"


RULES: Final = (
    Rule("ack-response", response_present, Kind.REQUIRED, events=_EVENTS, layer=Layer.RELIABLE),
    Rule(
        "ack-outcome",
        outcome_present,
        Kind.REQUIRED,
        medcom_id="medcom-acknowledgement-1",
        events=_EVENTS,
    ),
    Rule("ack-details", details_reference, Kind.NOT_FOUND, "warning", events=_EVENTS),
    Rule("ack-issue-told", issue_told, Kind.REQUIRED, "warning", events=_EVENTS),
    Rule("ack-outcome-severity", outcome_severity, severity="warning", events=_EVENTS),
    Rule("ack-issue-code", issue_details, Kind.CODE, events=_EVENTS),
    Rule("ack-issue-system", issue_system, Kind.CODE_SYSTEM, "warning", events=_EVENTS),
    Rule("ack-two-provenances", two_provenances, events=_EVENTS, layer=Layer.RELIABLE),
    Rule("ack-activity", own_activity, Kind.CODE, events=_EVENTS, layer=Layer.RELIABLE),
    Rule("ack-revision", revised_header, severity="warning", events=_EVENTS, layer=Layer.RELIABLE),
    Rule("ack-no-patient", no_patient, severity="warning", events=_EVENTS),
)
