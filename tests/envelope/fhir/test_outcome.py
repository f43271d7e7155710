"""What another validator said, kept to what no sender wrote."""

import orjson
import pytest

from envelope.fhir.outcome import UNANSWERED, read_outcome, unanswered

CPR = "2512489996"


def outcome(*issues):
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": list(issues)})


def test_severity_code_path_and_known_invariant_are_kept_and_no_word_more():
    found = read_outcome(
        outcome(
            {
                "severity": "error",
                "code": "invariant",
                "diagnostics": f"Constraint failed: gln-modulus-10: '{CPR}' is wrong",
                "expression": ["Bundle.entry[2].resource/*Organization/x*/.identifier[0].value"],
            },
            {"severity": "warning", "code": "business-rule", "details": {"text": CPR}},
            {"severity": "information", "code": "informational"},
        )
    )
    assert [(f.rule, f.severity, f.path, f.medcom_id) for f in found] == [
        (
            "external-invariant",
            "error",
            "Bundle.entry[2].resource.identifier[0].value",
            "gln-modulus-10",
        ),
        ("external-business-rule", "warning", "Bundle", None),
    ]
    assert CPR not in repr(found)


@pytest.mark.parametrize(
    "expression",
    [f"Bundle.entry.where(value = '{CPR}')", f"Bundle.{'x' * 41}", "Patient.name", CPR, ""],
)
def test_a_path_that_might_hold_what_was_written_is_left_out(expression):
    (found,) = read_outcome(outcome({"severity": "fatal", "code": CPR, "expression": [expression]}))
    assert (found.rule, found.path) == ("external-processing", "Bundle")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"resourceType": "Bundle", "issue": [{}]}',
        b'{"resourceType": "OperationOutcome"}',
        outcome({"severity": "bad", "code": "invalid"}),
        outcome("x"),
    ],
)
def test_anything_else_is_no_outcome(data):
    with pytest.raises(ValueError, match=r"no|without"):
        read_outcome(data)


def test_an_invariant_is_known_by_its_whole_name():
    def told(text):
        return read_outcome(
            outcome({"severity": "error", "code": "invariant", "diagnostics": text})
        )[0].medcom_id

    assert told("medcom-careCommunication-12: x") == "medcom-careCommunication-12"
    assert told("medcom-careCommunication-1: x") == "medcom-careCommunication-1"
    assert told("medcom-careCommunication-99: x") is None
    assert told(f"cpr-{CPR}") is None


def test_a_thousand_issues_are_bounded():
    issue = {"severity": "warning", "code": "processing"}
    assert len(read_outcome(outcome(*[issue] * 1000))) == 100


def test_no_answer_is_a_finding_too():
    assert (unanswered("warning").rule, unanswered("warning").severity) == (UNANSWERED, "warning")
