"""Rules on organizations and patients beyond the table of defects in `test_rules`."""

import pytest

from envelope.fhir import canonicals


@pytest.mark.parametrize(
    ("system", "value", "errors"),
    [
        (canonicals.X_ECPR, "0703921VJ5", set()),
        ("urn:oid:1.2.208.176.1.6.1.3.187", "1206550VK9", set()),
        ("urn:oid:1.2.208.176.1.6.1.3.187", "1206551VK9", {"patient-d-ecpr"}),
        (canonicals.X_ECPR, "2512489996", {"patient-x-ecpr"}),
        ("urn:other", "2512489996", {"patient-identifier"}),
    ],
)
def test_each_kind_of_patient_number_has_its_form(sample, pick, errors_in, system, value, errors):
    pick(sample, "Patient")["identifier"] = [{"system": system, "value": value}]
    assert errors_in(sample) == errors


def test_several_patient_numbers_may_stand_together(sample, pick, errors_in):
    pick(sample, "Patient")["identifier"].append(
        {"use": "temp", "system": canonicals.X_ECPR, "value": "0703921VJ5"}
    )
    assert errors_in(sample) == set()


def test_two_official_names_are_one_too_many(sample, pick, errors_in):
    pick(sample, "Patient")["name"] *= 2
    assert errors_in(sample) == {"patient-official-name"}


def test_two_glns_in_different_spellings_are_one_too_many(sample, pick, errors_in):
    identifiers = pick(sample, "Organization", 1)["identifier"]
    identifiers.append({**identifiers[0], "system": "http://www.gs1.org/gln"})
    assert errors_in(sample) == {"organization-gln"}


def test_an_identifier_without_value_is_no_identifier(sample, pick, errors_in):
    del pick(sample, "Organization", 1)["identifier"][0]["value"]
    assert errors_in(sample) == {"gln-length"}
