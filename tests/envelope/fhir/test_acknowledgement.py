"""Building answers: valid whatever they answer, silent about the patient, never to an answer."""

import orjson
import pytest

from envelope.errors import LocalProtocolError
from envelope.fhir import (
    Finding,
    Kind,
    Organization,
    build_acknowledgement,
    canonicals,
    read_message,
    recognise,
    serialize,
    validate,
)
from envelope.fhir.acknowledgement import ISSUES
from envelope.fhir.formats import parse_instant

IDS = {
    "bundle_id": "7a1f0000-6a0d-4f5e-9a53-0f5c7b0a1e01",
    "message_id": "7a1f0000-6a0d-4f5e-9a53-0f5c7b0a1e02",
    "provenance_id": "7a1f0000-6a0d-4f5e-9a53-0f5c7b0a1e03",
    "outcome_id": "7a1f0000-6a0d-4f5e-9a53-0f5c7b0a1e04",
    "at": parse_instant("2026-11-21T11:00:00+01:00"),
}


def read(bundle):
    return read_message(orjson.dumps(bundle))


def answer(bundle, code="ok", findings=(), **options):
    return build_acknowledgement(read(bundle), code=code, findings=findings, **IDS, **options)


def resources(bundle, kind):
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def error(kind=Kind.VALUE):
    return Finding("some-rule", "error", "Bundle.entry[1].resource", "a text", "cpr", kind)


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize(
    ("code", "findings"),
    [("ok", ()), ("fatal-error", [error()]), ("transient-error", [error(Kind.UNAVAILABLE)])],
)
def test_an_answer_is_valid_in_both_formats(sample, facts, code, findings, wire):
    message = read_message(serialize(answer(sample, code, findings), wire))
    assert validate(message) == []
    found = recognise(message)
    assert (found.sender, found.receiver) == (facts.receiver, facts.sender)
    assert found.response is not None
    assert (found.response.identifier, found.response.code) == (facts.message_id, code)
    assert (found.bundle_id, found.message_id) == (IDS["bundle_id"], IDS["message_id"])
    assert found.definition_version == "2.0"


def test_an_answer_goes_to_the_source_endpoint_of_the_message(sample, facts):
    header = resources(answer(sample), "MessageHeader")[0]
    assert header["destination"][0]["endpoint"] == canonicals.SOR_ENDPOINT + facts.sender.sor
    assert header["source"]["endpoint"] == canonicals.SOR_ENDPOINT + facts.receiver.sor


def test_the_first_provenance_is_the_newest_of_the_message(sample, facts):
    first, second = resources(answer(sample), "Provenance")
    original = resources(sample, "Provenance")[0]
    assert first == original
    assert second["target"] == [{"reference": "MessageHeader/" + IDS["message_id"]}]
    assert second["entity"] == [
        {"role": "revision", "what": {"reference": "MessageHeader/" + facts.message_id}}
    ]
    assert second["activity"]["coding"][0]["code"] == "acknowledgement"


def test_references_of_the_copied_provenance_lead_into_the_answer(sample, facts):
    provenance = resources(sample, "Provenance")[0]
    for entry in sample["entry"]:
        entry["fullUrl"] = "urn:uuid:" + entry["resource"]["id"]
    provenance["target"][0]["reference"] = "urn:uuid:" + facts.message_id
    agent = provenance["agent"][0]["who"]
    agent["reference"] = "urn:uuid:" + agent["reference"].partition("/")[2]
    made = answer(sample)
    assert validate(read(made)) == []


@pytest.mark.parametrize(
    "break_it",
    [
        lambda b, p: b["entry"].remove(next(e for e in b["entry"] if e["resource"] is p)),
        lambda b, p: p.update(recorded="2026-11-21T10:00:00"),
        lambda b, p: p["activity"]["coding"][0].update(code="invented"),
        lambda b, p: p["target"][0].update(reference="MessageHeader/other"),
        lambda b, p: p["agent"][0].update(who={"reference": "Organization/none"}),
        lambda b, p: p.pop("id"),
        lambda b, p: p["text"].update(div="<script/>"),
        lambda b, p: p.update(target=[]),
    ],
)
def test_a_broken_history_is_answered_by_a_valid_answer(sample, break_it):
    break_it(sample, resources(sample, "Provenance")[0])
    findings = validate(read(sample))
    made = read(answer(sample, "fatal-error", findings))
    assert [found for found in validate(made) if found.severity == "error"] == []


def test_a_message_with_a_broken_receiver_is_answered_by_who_we_are(sample, facts):
    header = resources(sample, "MessageHeader")[0]
    header["destination"][0]["receiver"]["reference"] = "Organization/none"
    us = Organization("5790000127092", "52581000016005", "Lægerne")
    made = read(answer(sample, "fatal-error", validate(read(sample)), responder=us))
    assert [found for found in validate(made) if found.severity == "error"] == []
    assert recognise(made).sender == us


def test_every_error_becomes_an_issue_and_warnings_none(sample):
    resources(sample, "DiagnosticReport")[0]["status"] = "corrected"
    resources(sample, "Provenance")[0].pop("text")
    findings = validate(read(sample))
    assert {found.severity for found in findings} == {"error", "warning"}
    outcome = resources(answer(sample, "fatal-error", findings), "OperationOutcome")[0]
    (issue,) = outcome["issue"]
    assert issue["severity"] == "error"
    assert issue["code"] == "value"
    assert issue["details"]["text"].startswith("hco-report-status: ")
    assert issue["expression"] == ["Bundle.entry[2].resource.status"]


def test_an_answer_tells_nothing_of_the_patient(sample):
    resources(sample, "Patient")[0]["identifier"][0]["value"] = "3102489996"
    text = orjson.dumps(answer(sample, "fatal-error", validate(read(sample)))).decode()
    assert "3102489996" not in text
    assert "Berggren" not in text


def test_issues_are_bounded(sample):
    outcome = resources(answer(sample, "fatal-error", [error()] * 500), "OperationOutcome")[0]
    assert len(outcome["issue"]) == 50


def test_a_duplicate_may_be_told_with_ok(sample):
    told = Finding("message-duplicate", "information", "Bundle", "seen before", kind=Kind.DUPLICATE)
    made = answer(sample, "ok", [told, error()])
    (issue,) = resources(made, "OperationOutcome")[0]["issue"]
    assert (issue["severity"], issue["code"]) == ("information", "informational")
    assert validate(read(made)) == []


def test_a_transient_verdict_without_reason_gives_one(sample):
    (issue,) = resources(answer(sample, "transient-error"), "OperationOutcome")[0]["issue"]
    assert (issue["code"], issue["details"]["coding"][0]["code"]) == ("transient", "MSG_LOCAL_FAIL")


def test_a_fatal_verdict_without_error_is_our_mistake(sample):
    with pytest.raises(LocalProtocolError, match="fatal"):
        answer(sample, "fatal-error")


def test_an_answer_is_never_answered(acknowledgement):
    with pytest.raises(LocalProtocolError, match="never"):
        answer(acknowledgement)


@pytest.mark.parametrize(
    ("element", "match"), [("id", "header id"), ("sender", "sender"), ("destination", "receiver")]
)
def test_what_cannot_be_answered_is_said(sample, element, match):
    del resources(sample, "MessageHeader")[0][element]
    with pytest.raises(LocalProtocolError, match=match):
        answer(sample)


@pytest.mark.parametrize("kind", Kind)
def test_every_class_of_finding_has_an_issue_of_the_published_lists(sample, kind):
    assert kind in ISSUES
    assert validate(read(answer(sample, "fatal-error", [error(kind)]))) == []


def test_every_published_message_can_be_answered(published):
    for path in published:
        message = read_message(path.read_bytes())
        if recognise(message).event_code == canonicals.ACKNOWLEDGEMENT:
            continue
        made = build_acknowledgement(message, code="ok", **IDS)
        problems = validate(read_message(serialize(made, "xml")))
        assert [found for found in problems if found.severity == "error"] == [], path.name
