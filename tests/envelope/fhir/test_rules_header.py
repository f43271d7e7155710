"""Header rules beyond the table of defects in `test_rules`."""

import pytest

from envelope.fhir import canonicals


def test_a_definition_without_bar_only_warns(sample, pick, errors_in, warnings_in):
    pick(sample, "MessageHeader")["definition"] = canonicals.HCO_DEFINITION + "1.1"
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {"header-definition-bar"}


@pytest.mark.parametrize(
    "definition",
    [
        canonicals.CC_DEFINITION + "|1.1",
        canonicals.HCO_DEFINITION,
        canonicals.HCO_DEFINITION + "|1.123",
        "x" + canonicals.HCO_DEFINITION + "|1.1",
    ],
)
def test_only_the_definition_of_the_standard_will_do(sample, pick, errors_in, definition):
    pick(sample, "MessageHeader")["definition"] = definition
    assert errors_in(sample) == {"header-definition-hco"}


def test_an_endpoint_that_names_another_organization_warns(sample, pick, errors_in, warnings_in):
    pick(sample, "MessageHeader")["source"]["endpoint"] = canonicals.SOR_ENDPOINT + "99999999999"
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {"header-endpoint"}


def test_the_focus_is_one_report(sample, pick, errors_in):
    header = pick(sample, "MessageHeader")
    focus = header["focus"]
    header["focus"] = focus * 2
    assert errors_in(sample) == {"header-focus"}
    header["focus"] = [{"reference": "Patient/" + pick(sample, "Patient")["id"]}]
    assert errors_in(sample) == {"header-focus-type"}
    del header["focus"]
    assert errors_in(sample) == {"header-focus"}


def test_only_an_acknowledgement_has_a_response(sample, pick, errors_in):
    pick(sample, "MessageHeader")["response"] = {"identifier": "x", "code": "ok"}
    assert errors_in(sample) == {"header-no-response"}


def test_an_acknowledgement_of_another_definition_warns(
    acknowledgement, pick, errors_in, warnings_in
):
    pick(acknowledgement, "MessageHeader")["definition"] = "urn:old|2.0.0"
    assert errors_in(acknowledgement) == set()
    assert warnings_in(acknowledgement) == {"header-definition-ack"}
