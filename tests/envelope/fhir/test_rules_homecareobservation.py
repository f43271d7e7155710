"""HomeCareObservation rules beyond the table of defects in `test_rules`."""

import pytest


def test_refused_consent_is_the_only_label(sample, pick, errors_in):
    pick(sample, "DiagnosticReport")["meta"]["security"] = [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
            "code": "R",
            "display": "Restricted",
        }
    ]
    assert errors_in(sample) == set()


def test_analyses_outside_the_repertoire_only_warn(sample, pick, errors_in, warnings_in):
    pick(sample, "Observation")["code"]["coding"][0]["code"] = "NPU99999"
    del pick(sample, "Observation", 1)["code"]["coding"][0]["display"]
    del pick(sample, "Observation", 2)["effectiveDateTime"]
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {
        "hco-observation-known",
        "hco-observation-display",
        "hco-observation-time",
    }


def test_other_code_systems_are_tolerated(sample, pick, errors_in, warnings_in):
    pick(sample, "Observation")["code"]["coding"].append(
        {"system": "http://loinc.org", "code": "1988-5", "display": "CRP"}
    )
    assert (errors_in(sample), warnings_in(sample)) == (set(), set())


def test_a_doctor_may_be_unknown_if_said_so(sample, pick, errors_in):
    receiver = pick(sample, "Organization")
    receiver["contact"] = [
        {
            "extension": [
                {
                    "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                    "valueCode": "unknown",
                }
            ]
        }
    ]
    assert errors_in(sample) == set()
    receiver["contact"][0]["extension"][0]["valueCode"] = "masked"
    assert errors_in(sample) == {"hco-requester-contact"}


@pytest.mark.parametrize("value", [1234567890.123, 123456789012345])
def test_long_numbers_are_too_long_as_well(sample, pick, errors_in, value):
    pick(sample, "Observation")["valueQuantity"]["value"] = value
    assert errors_in(sample) == {"hco-result-length"}


def test_a_number_may_have_a_code_instead_of_a_unit(sample, pick, errors_in):
    pick(sample, "Observation")["valueQuantity"] = {
        "value": 1.1,
        "system": "http://unitsofmeasure.org",
        "code": "1",
    }
    assert errors_in(sample) == set()
