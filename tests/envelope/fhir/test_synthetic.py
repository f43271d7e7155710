"""The synthetic message: valid, rich, and the same for the same arguments."""

from dataclasses import replace

import orjson
import pytest

from envelope.fhir import read_message, recognise, serialize, validate
from envelope.fhir.formats import is_uuid
from envelope.fhir.synthetic import TEST_CPR, build_home_care_observation


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize("change", [{}, {"attachment": None}, {"doctor": None}])
def test_it_has_no_finding_at_all(facts, wire, change):
    bundle = build_home_care_observation(replace(facts, **change))
    assert validate(read_message(serialize(bundle, wire))) == []


def test_it_is_rich(sample, pick):
    kinds = [entry["resource"]["resourceType"] for entry in sample["entry"]]
    assert kinds.count("Observation") >= 8
    assert {"Media", "Practitioner", "PractitionerRole", "Provenance"} <= set(kinds)
    systems = {
        coding["system"]
        for entry in sample["entry"]
        if entry["resource"]["resourceType"] == "Observation"
        for coding in entry["resource"]["code"]["coding"]
    }
    assert len(systems) == 2
    text = orjson.dumps(sample).decode()
    assert all(letter in text for letter in "æøåÆ")
    assert pick(sample, "Patient")["identifier"][0]["value"] == TEST_CPR
    assert all(entry["resource"]["text"]["status"] == "generated" for entry in sample["entry"])


def test_the_same_facts_give_the_same_bytes(facts):
    first, second = (serialize(build_home_care_observation(facts), "json") for _ in range(2))
    assert first == second


def test_two_messages_share_no_id(facts):
    other = replace(
        facts,
        bundle_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a2d01",
        message_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a2d02",
    )
    ids = [
        {entry["resource"]["id"] for entry in build_home_care_observation(each)["entry"]}
        for each in (facts, other)
    ]
    assert ids[0].isdisjoint(ids[1])
    assert all(is_uuid(identifier) for group in ids for identifier in group)


def test_the_arguments_are_what_is_recognised(facts):
    found = recognise(read_message(serialize(build_home_care_observation(facts), "xml")))
    assert (found.sender, found.receiver) == (facts.sender, facts.receiver)
    assert found.timestamp == facts.at
