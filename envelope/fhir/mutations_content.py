"""The defects of what a message is about: results, texts with their attachments, stays, and answers.

Spec: medcom-fhir.md 20 (21 to 32, 34 to 53).
"""

from copy import deepcopy
from typing import Final

from envelope.fhir import canonicals
from envelope.fhir.mutation import (
    NARRATIVE,
    Change,
    Mutation,
    add,
    append_at,
    both,
    drop,
    find,
    more,
    put,
    twice,
)
from envelope.fhir.reading import Resource

UNKNOWN_ID: Final = "1b4e28ba-2fa1-4d2e-883f-0016d3cca427"
"""The id of nothing in any sample."""

_HCO: Final = "hco-new"
_CC: Final = "cc-new"
_STAY: Final = "hn-admit-inpatient"
_STRING: Final = 8  # the Observation whose result is text


def _operator(*, coded: bool, named: bool) -> Change:
    """Let somebody of their own have made the attachment."""

    def change(bundle: Resource) -> None:
        role, person = (
            deepcopy(find(bundle, "PractitionerRole")),
            deepcopy(find(bundle, "Practitioner")),
        )
        role["id"], person["id"] = UNKNOWN_ID, UNKNOWN_ID
        role["practitioner"] = {"reference": f"Practitioner/{UNKNOWN_ID}"}
        if not coded:
            del role["code"]
        if not named:
            del person["name"]
        find(bundle, "Media")["operator"] = {"reference": f"PractitionerRole/{UNKNOWN_ID}"}
        for made in (role, person):
            append_at(bundle, "entry", {"resource": made})

    return change


def _many_attachments(bundle: Resource) -> None:
    payloads = find(bundle, "Communication")["payload"]
    payloads.extend(deepcopy(payloads[1]) for _ in range(10))


def _belongs_to(kind: str, name: str, party: str) -> Change:
    """Let the role or care team belong to the other party."""

    def change(bundle: Resource) -> None:
        header = find(bundle, "MessageHeader")
        owner = header["sender"] if party == "sender" else header["destination"][0]["receiver"]
        find(bundle, kind)[name] = [owner] if kind == "CareTeam" else owner

    return change


def _second_recipient(bundle: Resource) -> None:
    node = find(bundle, "Communication")
    node["recipient"].append(node["recipient"][0])


_OBSERVATION: Final = (
    Mutation("report status corrected", "hco-report-status", _HCO, put("DiagnosticReport", "status", "corrected"), "21"),
    Mutation("a report of another kind", "hco-report-code", _HCO, put("DiagnosticReport", "code.coding.0.code", "x")),
    Mutation("a report about nobody", "hco-report-subject", _HCO, drop("DiagnosticReport", "subject")),
    Mutation("a report without time of issue", "hco-report-issued", _HCO, drop("DiagnosticReport", "issued")),
    Mutation("a security label of another system", "hco-report-consent", _HCO, put("DiagnosticReport", "meta.security", [{"system": "urn:x", "code": "R"}])),
    Mutation("only the organization performed", "hco-report-performers", _HCO, drop("DiagnosticReport", "performer.1"), "22"),
    Mutation("a performing role without code", "hco-performer-role", _HCO, drop("PractitionerRole", "code"), "24"),
    Mutation("a performing practitioner without name", "hco-performer-name", _HCO, drop("Practitioner", "name")),
    Mutation("a performing practitioner without phone", "hco-performer-phone", _HCO, drop("Practitioner", "telecom"), "23"),
    Mutation("a cancellation without reason", "hco-cancellation-reason", "hco-retracted", drop("DiagnosticReport", "conclusion")),
    Mutation("Observation status cancelled", "hco-observation-status", _HCO, put("Observation", "status", "cancelled")),
    Mutation("an analysis without code system", "hco-observation-code", _HCO, drop("Observation", "code.coding.0.system")),
    Mutation("an analysis outside the repertoire", "hco-observation-known", _HCO, put("Observation", "code.coding.0.code", "NPU99999")),
    Mutation("an analysis without name", "hco-observation-display", _HCO, drop("Observation", "code.coding.0.display")),
    Mutation("Observation without subject", "hco-observation-subject", _HCO, drop("Observation", "subject"), "31"),
    Mutation("no time of sampling", "hco-observation-time", _HCO, drop("Observation", "effectiveDateTime")),
    Mutation("yes or no as result", "hco-observation-value", _HCO, both(drop("Observation", "valueString", _STRING), put("Observation", "valueBoolean", True, _STRING))),
    Mutation("a result of 13 characters", "hco-result-length", _HCO, put("Observation", "valueString", "x" * 13, _STRING), "28"),
    Mutation("a number without unit or code", "hco-mandatory-units", _HCO, drop("Observation", "valueQuantity.unit"), "29"),
    Mutation("a unit of another system", "hco-unit-system", _HCO, put("Observation", "valueQuantity.system", "urn:x")),
    Mutation("interpretation `H`", "hco-interpretation", _HCO, put("Observation", "interpretation.0.coding.0.code", "H"), "32"),
    Mutation("no interpretation", "hco-interpretation-sent", _HCO, drop("Observation", "interpretation")),
    Mutation("no producer id", "hco-producer", _HCO, drop("Organization", "identifier.2", 1), "25"),
    Mutation("no provider number", "hco-requester", _HCO, drop("Organization", "identifier.2"), "26"),
    Mutation("no requesting doctor", "hco-requester-contact", _HCO, drop("Organization", "contact"), "27"),
    Mutation("a film in Media", "hco-media-type", _HCO, put("Media", "content.contentType", "video/mp4"), "34"),
    Mutation("Media without a type", "hco-media-typed", _HCO, drop("Media", "content.contentType")),
    Mutation("Media without title", "hco-media-title", _HCO, drop("Media", "content.title"), "36"),
    Mutation("a Media identifier nobody assigned", "hco-media-identifier", _HCO, drop("Media", "identifier.0.assigner"), "37"),
    Mutation("a Media operator without role", "hco-operator-role", _HCO, _operator(coded=False, named=True)),
    Mutation("a Media operator without name", "hco-operator-name", _HCO, _operator(coded=True, named=False)),
)  # fmt: skip

_COMMUNICATION: Final = (
    Mutation("a header of another profile", "cc-header-profile", _CC, put("MessageHeader", "meta.profile", [canonicals.MESSAGE_HEADER])),
    Mutation("a Provenance of another profile", "cc-provenance-profile", _CC, put("Provenance", "meta.profile", [canonicals.PROVENANCE])),
    Mutation("a thread that is no UUID", "cc-thread", _CC, put("Communication", "identifier.0.value", "x")),
    Mutation("status completed", "cc-status", _CC, put("Communication", "status", "completed"), "41"),
    Mutation("no category", "cc-category", _CC, drop("Communication", "category"), "38"),
    Mutation("a category of nobody's", "cc-category-known", _CC, put("Communication", "category.0.coding.0.code", "x")),
    Mutation("a priority in another category", "cc-priority", _CC, put("Communication", "priority", "routine"), "40"),
    Mutation("priority `stat`", "cc-priority-known", "cc-referral", put("Communication", "priority", "stat")),
    Mutation("category `other` without topic", "cc-topic", "cc-other", drop("Communication", "topic"), "39"),
    Mutation("a communication about nobody", "cc-subject", _CC, drop("Communication", "subject")),
    Mutation("only an attachment", "cc-text-payload", _CC, both(drop("Communication", "payload.0"), drop("Provenance", "entity.0")), "43"),
    Mutation("a payload identifier nobody assigned", "cc-payload-identifier", _CC, drop("Communication", "payload.0.extension.1.valueIdentifier.assigner")),
    Mutation("a payload without identifier", "cc-payload-identifier", _CC, drop("Communication", "payload.0.extension.1"), "42"),
    Mutation("a payload without time", "cc-payload-date", _CC, drop("Communication", "payload.0.extension.0")),
    Mutation("a text without contact", "cc-payload-author", _CC, drop("Communication", "payload.0.extension.3")),
    Mutation("an e-mail address as contact", "cc-author-contact", _CC, put("Communication", "payload.0.extension.3.valueContactPoint.system", "email")),
    Mutation("a ZIP attached as PDF", "attachment-octets", _CC, put("Communication", "payload.1.contentAttachment.data", "UEsDBBQAAAAIAA==")),
    Mutation("an attachment without title", "cc-attachment-title", _CC, drop("Communication", "payload.1.contentAttachment.title")),
    Mutation("a film attached", "cc-attachment-type", _CC, put("Communication", "payload.1.contentAttachment.contentType", "video/mp4")),
    Mutation("11 attachments", "cc-attachment-count", _CC, _many_attachments, "45"),
    Mutation("a new attachment with nothing in it", "cc-attachment-content", _CC, drop("Communication", "payload.1.contentAttachment.data")),
    Mutation("a sender of the receiver's", "cc-sender-organization", "cc-full", _belongs_to("PractitionerRole", "organization", "receiver")),
    Mutation("a recipient of the sender's", "cc-recipient-organization", "cc-full", _belongs_to("CareTeam", "managingOrganization", "sender")),
    Mutation("two recipients", "cc-one-recipient", "cc-full", _second_recipient),
    Mutation("a practitioner without name", "cc-practitioner-name", _CC, drop("Practitioner", "name")),
    Mutation("a role in code and in words", "cc-author-role", _CC, put("PractitionerRole", "code.0.text", "x")),
    Mutation("a role of nobody", "cc-author-practitioner", _CC, drop("PractitionerRole", "practitioner")),
    Mutation("an Encounter without episode of care", "cc-encounter-episode", "cc-full", drop("Encounter", "episodeOfCare")),
    Mutation("a quotation in the Provenance", "cc-entity-role", _CC, add("Provenance", "entity", {"role": "quotation", "what": {"reference": f"MessageHeader/{UNKNOWN_ID}"}})),
    Mutation("a Provenance that names no payload", "cc-source", _CC, drop("Provenance", "entity")),
    Mutation("a Provenance that names a payload of elsewhere", "cc-source-payload", _CC, put("Provenance", "entity.0.what.identifier.value", f"urn:uuid:{UNKNOWN_ID}"), "44"),
)  # fmt: skip

_NOTIFICATION: Final = (
    Mutation("an eCPR in a HospitalNotification", "hn-patient-cpr", _STAY, put("Patient", "identifier", [{"system": canonicals.X_ECPR, "value": "0703921VJ5"}]), "46"),
    Mutation("status planned", "hn-encounter-status", _STAY, put("Encounter", "status", "planned")),
    Mutation("class AMB", "hn-encounter-class", _STAY, put("Encounter", "class.code", "AMB"), "48"),
    Mutation("a stay nowhere", "hn-encounter-required", _STAY, drop("Encounter", "serviceProvider")),
    Mutation("a reason for the stay", "hn-encounter-forbidden", _STAY, put("Encounter", "reasonCode", [{"text": "x"}]), "49"),
    Mutation("no episode of care", "hn-episode", _STAY, drop("Encounter", "episodeOfCare")),
    Mutation("a national episode id of version 4", "hn-episode-uuid", _STAY, put("Encounter", "episodeOfCare.0.identifier.value", f"urn:uuid:{UNKNOWN_ID}")),
    Mutation("a local episode id that is no UUID", "hn-episode-local", _STAY, add("Encounter", "episodeOfCare", {"identifier": {"system": "urn:x", "value": "x"}})),
    Mutation("a discharge without end", "hn-period-end", "hn-discharge-inpatient-home", drop("Encounter", "period.end")),
    Mutation("a death in a stay that goes on", "hn-death", _STAY, put("Patient", "deceasedBoolean", True)),
    Mutation("an emergency admitted as inpatient", "hn-activity-fits", _STAY, put("Encounter", "class.code", "EMER")),
    Mutation("a leave that follows nothing", "hn-follow-up", "hn-start-leave-inpatient", drop("Provenance", "entity")),
    Mutation("a leave without start", "hn-leave-start", "hn-start-leave-inpatient", put("Encounter", "extension.0.valuePeriod", {"end": "2026-11-21T12:00:00Z"}), "47"),
)  # fmt: skip

_ANSWER: Final = (
    Mutation("no response", "ack-response", "ack-ok", drop("MessageHeader", "response"), "52"),
    Mutation("an error without OperationOutcome", "ack-outcome", "ack-ok", put("MessageHeader", "response.code", "fatal-error"), "50"),
    Mutation("a response that does not point at its OperationOutcome", "ack-details", "ack-fatal-error", drop("MessageHeader", "response.details")),
    Mutation("an issue that says nothing", "ack-issue-told", "ack-fatal-error", drop("OperationOutcome", "issue.0.details")),
    Mutation("an error in an answer of ok", "ack-outcome-severity", "ack-duplicate", put("OperationOutcome", "issue.0.severity", "error")),
    Mutation("an issue code of nobody's", "ack-issue-code", "ack-fatal-error", put("OperationOutcome", "issue.0.details.coding.0.code", "x")),
    Mutation("an issue code of a retired system", "ack-issue-system", "ack-fatal-error", put("OperationOutcome", "issue.0.details.coding.0.system", "urn:x")),
    Mutation("three Provenances", "ack-two-provenances", "ack-ok", twice("Provenance")),
    Mutation("an answer whose step is another", "ack-activity", "ack-ok", put("Provenance", "activity.coding.0.code", "carboncopy-message", 1)),
    Mutation("an answer to another message than it says", "ack-revision", "ack-ok", put("Provenance", "entity.0.what.reference", f"MessageHeader/{UNKNOWN_ID}", 1)),
    Mutation(
        "a patient in an answer",
        "ack-no-patient",
        "ack-ok",
        more({"resourceType": "Patient", "id": UNKNOWN_ID, "text": NARRATIVE, "identifier": [{"system": canonicals.CPR, "value": "2512489996"}]}),
    ),
)  # fmt: skip

CONTENT: Final = (*_OBSERVATION, *_COMMUNICATION, *_NOTIFICATION, *_ANSWER)
