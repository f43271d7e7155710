"""Bundle rules beyond the table of defects in `test_rules`: uniqueness, ids, references, hints."""

import pytest


def test_entries_are_unordered_behind_the_header(sample, errors_in):
    sample["entry"][1:] = reversed(sample["entry"][1:])
    assert errors_in(sample) == set()


def test_full_addresses_are_unique_and_name_no_version(sample, errors_in):
    sample["entry"][2]["fullUrl"] = sample["entry"][1]["fullUrl"]
    sample["entry"][3]["fullUrl"] += "/_history/1"
    assert errors_in(sample) == {"bundle-full-url-unique", "bundle-full-url-version"}


def test_an_entry_without_resource_is_an_error(sample, errors_in):
    sample["entry"].append({"fullUrl": "urn:uuid:x"})
    assert errors_in(sample) == {"bundle-entry-resource"}


def test_two_headers_and_ambiguous_ids_are_errors(sample, errors_in):
    sample["entry"].append({"resource": dict(sample["entry"][0]["resource"])})
    assert errors_in(sample) == {"bundle-one-header", "resource-unique"}


def test_a_resource_without_id_is_an_error(sample, pick, errors_in):
    del pick(sample, "Provenance")["id"]
    assert errors_in(sample) == {"resource-id"}


def test_what_must_be_accepted_only_warns(sample, pick, errors_in, warnings_in):
    """Ids that are no UUIDs, pinned profiles, no narrative, relative addresses, no names, Z zone."""
    provenance = pick(sample, "Provenance")
    provenance["id"] = "ejklf.hjf"
    provenance["recorded"] = "2026-11-21T09:15:00Z"
    del provenance["text"]
    for entry in sample["entry"]:
        entry["fullUrl"] = "{resourceType}/{id}".format(**entry["resource"])
        entry["resource"]["meta"]["profile"][0] += "|3.0.1"
    sample["meta"]["profile"][0] += "|1.2.1"
    for number in (0, 1):
        del pick(sample, "Organization", number)["name"]
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {"resource-id-uuid", "narrative-present"}


def test_a_bundle_without_the_profile_of_its_event_warns(sample, errors_in, warnings_in):
    del sample["meta"]
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {"bundle-profile"}


@pytest.mark.parametrize("form", ["urn:uuid:{id}", "http://elsewhere.example/fhir/{kind}/{id}"])
def test_references_resolve_by_full_address_or_by_tail(sample, errors_in, form):
    for entry in sample["entry"]:
        resource = entry["resource"]
        entry["fullUrl"] = form.format(kind=resource["resourceType"], id=resource["id"])
    header = sample["entry"][0]["resource"]
    kind, identifier = header["sender"]["reference"].split("/")
    header["sender"]["reference"] = form.format(kind=kind, id=identifier)
    assert errors_in(sample) == set()


def test_a_reference_to_the_wrong_type_is_an_error(sample, pick, errors_in):
    report = pick(sample, "DiagnosticReport")
    report["result"][0] = report["subject"]
    assert errors_in(sample) == {"reference-type"}


def test_surplus_references_out_of_the_bundle_only_warn(sample, pick, errors_in, warnings_in):
    pick(sample, "Patient")["generalPractitioner"] = [{"reference": "Practitioner/elsewhere"}]
    pick(sample, "Patient")["managingOrganization"] = {"reference": "#inside"}
    assert errors_in(sample) == set()
    assert warnings_in(sample) == {"reference-other"}
