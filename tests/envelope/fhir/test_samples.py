"""Every synthetic message of every type: valid under our rules in both formats, and read by an independent library."""

import orjson
import pytest

from envelope.fhir import canonicals, read_message, recognise, serialize, validate
from envelope.fhir.samples import build_samples
from envelope.fhir.view import MessageView

SAMPLES = build_samples()


@pytest.fixture(scope="module")
def other_reader():
    """The Bundle model of `fhir.resources` for R4B; its import takes about a second."""
    from fhir.resources.R4B.bundle import Bundle

    return Bundle


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize("name", SAMPLES)
def test_it_has_no_finding_at_all(name, wire):
    read = read_message(serialize(SAMPLES[name], wire))
    assert validate(read, strict=True) == []
    assert read.bundle == SAMPLES[name]


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize("name", SAMPLES)
def test_another_library_reads_the_same_in_it(other_reader, name, wire):
    data = serialize(SAMPLES[name], wire)
    found = (
        other_reader.model_validate_json(data)
        if wire == "json"
        else other_reader.model_validate_xml(data)
    )
    kinds = [entry.resource.get_resource_type() for entry in found.entry]
    assert kinds == [entry["resource"]["resourceType"] for entry in SAMPLES[name]["entry"]]
    header = found.entry[0].resource
    facts = recognise(read_message(data))
    assert (found.id, header.id) == (facts.bundle_id, facts.message_id)
    assert header.eventCoding.code == facts.event_code
    assert [item.activity.coding[0].code for item in _steps(found)] == _activities(SAMPLES[name])


def _steps(bundle):
    resources = [entry.resource for entry in bundle.entry]
    return [item for item in resources if item.get_resource_type() == "Provenance"]


def _activities(bundle):
    view = MessageView(read_message(orjson.dumps(bundle)))
    return [view.activity(item) for item in view.of_type("Provenance")]


def test_there_is_one_of_each_type_step_and_answer():
    seen = {(recognise(read_message(orjson.dumps(one))).event_code) for one in SAMPLES.values()}
    assert seen == canonicals.EVENT_CODES - {canonicals.EMPTY}
    steps = {activity for one in SAMPLES.values() for activity in _activities(one)}
    assert steps == canonicals.ALL_ACTIVITIES - {"carboncopy-message"}
    answers = [recognise(read_message(orjson.dumps(one))).response for one in SAMPLES.values()]
    assert {one.code for one in answers if one} == {"ok", "fatal-error", "transient-error"}


def test_they_are_the_same_at_every_call_and_share_no_message():
    assert build_samples() == SAMPLES
    assert len({one["id"] for one in SAMPLES.values()}) == len(SAMPLES)


def test_a_reply_repeats_texts_and_withholds_data_that_a_forward_sends_again(pick):
    first, reply, forward = (
        pick(SAMPLES[name], "Communication") for name in ("cc-new", "cc-reply", "cc-forward")
    )
    assert reply["identifier"] == first["identifier"] != forward["identifier"]
    assert [item.get("contentString") for item in reply["payload"][:2]] == [
        item.get("contentString") for item in first["payload"]
    ]
    assert "data" not in reply["payload"][1]["contentAttachment"]
    assert forward["payload"][1] == first["payload"][1]
