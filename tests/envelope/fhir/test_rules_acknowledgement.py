"""Acknowledgement rules, each broken once in an answer that is otherwise valid."""

import pytest

from envelope.fhir import canonicals


def header(it):
    return it["entry"][0]["resource"]


def outcome(severity, system=canonicals.OPERATION_OUTCOME_SYSTEM, code="MSG_NO_MATCH"):
    def mutate(it):
        issue = {
            "severity": severity,
            "code": "value",
            "details": {"coding": [{"system": system, "code": code}]},
        }
        it["entry"].append(
            {"resource": {"resourceType": "OperationOutcome", "id": "o", "issue": [issue]}}
        )

    return mutate


MUTATIONS = {
    "50 error without outcome": (
        "ack-outcome",
        lambda it: header(it)["response"].update(code="fatal-error"),
    ),
    "51 code": ("structure-code", lambda it: header(it)["response"].update(code="error")),
    "52 no response": ("ack-response", lambda it: header(it).pop("response")),
    "one provenance": ("ack-two-provenances", lambda it: it["entry"].pop(1)),
    "activity": (
        "ack-activity",
        lambda it: it["entry"][2]["resource"]["activity"]["coding"][0].update(code="new-message"),
    ),
    "issue code": ("ack-issue-code", outcome("information", code="MSG_INVENTED")),
    "focus": ("header-focus", lambda it: header(it).update(focus=[{"reference": "Basic/1"}])),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_defect_is_caught_by_the_rule_for_it(acknowledgement, errors_in, name):
    rule, mutate = MUTATIONS[name]
    assert errors_in(acknowledgement) == set()
    mutate(acknowledgement)
    assert rule in errors_in(acknowledgement)


@pytest.mark.parametrize(
    ("rule", "mutate"),
    [
        ("ack-outcome-severity", outcome("error")),
        ("ack-issue-system", outcome("information", system="urn:retired")),
        ("ack-revision", lambda it: it["entry"][2]["resource"].pop("entity")),
        (
            "ack-no-patient",
            lambda it: it["entry"].append({"resource": {"resourceType": "Patient", "id": "p"}}),
        ),
    ],
)
def test_what_the_profile_lets_pass_warns(acknowledgement, errors_in, warnings_in, rule, mutate):
    mutate(acknowledgement)
    assert errors_in(acknowledgement) == set()
    assert rule in warnings_in(acknowledgement)
