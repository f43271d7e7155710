"""The routing facts, and what happens when they cannot be found."""

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from envelope.fhir import MessageRefused, Organization, read_message, recognise
from envelope.fhir.canonicals import EVENT_CODES


def facts_of(bundle):
    return recognise(read_message(orjson.dumps(bundle)))


def refused_by(bundle):
    with pytest.raises(MessageRefused) as caught:
        facts_of(bundle)
    return caught.value.findings[0].rule


def test_the_facts_of_a_home_care_observation(sample, facts):
    found = facts_of(sample)
    assert found.event_code == "homecareobservation-message"
    assert found.definition_version == "1.1"
    assert (found.bundle_id, found.message_id) == (facts.bundle_id, facts.message_id)
    assert found.timestamp == facts.at
    assert found.timestamp.utcoffset() == timedelta(hours=1)
    assert (found.sender, found.receiver) == (facts.sender, facts.receiver)
    assert found.patient_id == "2512489996"
    assert found.statistical_postfix is None
    assert found.response is None


def test_the_facts_are_the_same_in_xml(sample, as_xml):
    from_json, from_xml = facts_of(sample), recognise(read_message(as_xml(sample)))
    assert replace(from_xml, format="json", mime_type="application/fhir+json") == from_json


def test_the_category_of_a_care_communication_is_its_statistical_postfix(care_communication):
    found = facts_of(care_communication)
    assert found.statistical_postfix == "regarding-referral"
    assert found.definition_version == "5.0"


def test_the_response_of_an_acknowledgement(acknowledgement, facts):
    found = facts_of(acknowledgement)
    assert found.response is not None
    assert (found.response.identifier, found.response.code) == (facts.message_id, "ok")
    assert found.patient_id is None


def test_an_empty_message_is_recognised(sample, pick):
    pick(sample, "MessageHeader")["eventCoding"]["code"] = "empty-message"
    assert facts_of(sample).event_code == "empty-message"


@pytest.mark.parametrize(
    ("definition", "version"),
    [
        ("http://x/Definition|1.1", "1.1"),
        ("http://x/Definition1.1", "1.1"),
        ("http://x/Definition|1.12", "1.12"),
        ("http://x/definition|2.0.0", "2.0"),
        ("http://x/Definition", None),
        ("http://x/Definition|1.1\n", None),
        (None, None),
    ],
)
def test_the_version_tail_is_read_leniently(sample, pick, definition, version):
    pick(sample, "MessageHeader")["definition"] = definition
    assert facts_of(sample).definition_version == version


def test_both_spellings_of_the_gln_system_are_understood(sample, pick, facts):
    organization = pick(sample, "Organization")
    organization["identifier"][0]["system"] = "http://www.gs1.org/gln"
    assert facts_of(sample).receiver == facts.receiver


def test_a_replacement_number_counts_only_without_a_cpr_number(sample, pick):
    patient = pick(sample, "Patient")
    replacement = {"system": "urn:oid:1.2.208.176.1.6.1.1", "value": "0703921VJ5"}
    patient["identifier"].insert(0, replacement)
    assert facts_of(sample).patient_id == "2512489996"
    patient["identifier"] = [replacement]
    assert facts_of(sample).patient_id == "0703921VJ5"


def test_an_organization_without_name_is_recognised(sample, pick):
    del pick(sample, "Organization")["name"]
    assert facts_of(sample).receiver == Organization("5790000127092", "52581000016005", None)


@pytest.mark.parametrize(
    ("rule", "break_it"),
    [
        ("bundle-type", lambda b, h: b.update(type="collection")),
        ("bundle-first-entry", lambda b, h: b["entry"].insert(0, b["entry"].pop(1))),
        ("bundle-first-entry", lambda b, h: b.update(entry=[])),
        ("header-event-known", lambda b, h: h["eventCoding"].update(code="other-message")),
        ("header-event-known", lambda b, h: h["eventCoding"].update(system="urn:other")),
        ("header-event-known", lambda b, h: h.pop("eventCoding")),
        ("resource-id", lambda b, h: b.pop("id")),
        ("resource-id", lambda b, h: h.update(id="not an id")),
        ("bundle-timestamp", lambda b, h: b.update(timestamp="2026-11-21T10:00:00")),
        ("header-organization", lambda b, h: h.pop("sender")),
        ("header-organization", lambda b, h: h.pop("destination")),
        (
            "header-organization",
            lambda b, h: h["sender"].update(reference="Patient/" + h["sender"]["reference"][13:]),
        ),
    ],
)
def test_a_missing_fact_is_refused_by_name(sample, pick, rule, break_it):
    break_it(sample, pick(sample, "MessageHeader"))
    assert refused_by(sample) == rule


def test_an_acknowledgement_without_response_is_refused(acknowledgement, pick):
    del pick(acknowledgement, "MessageHeader")["response"]
    assert refused_by(acknowledgement) == "ack-response"


def test_every_published_message_is_recognised_alike_in_both_formats(published):
    seen = set()
    for path in published:
        found = recognise(read_message(path.read_bytes()))
        twin = recognise(
            read_message(
                path.with_suffix(".xml" if path.suffix == ".json" else ".json").read_bytes()
            )
        )
        assert replace(found, format="json", mime_type="") == replace(
            twin, format="json", mime_type=""
        ), path.name
        seen.add(found.event_code)
    assert seen == EVENT_CODES
