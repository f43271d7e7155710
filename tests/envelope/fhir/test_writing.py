"""Writing bundles: both formats, and an independent reader of R4 as a witness."""

import orjson
import pytest

from envelope.errors import LocalProtocolError
from envelope.fhir import read_message, serialize


@pytest.fixture(scope="module")
def r4b():
    """The Bundle model of `fhir.resources` for R4B; its import takes about a second."""
    from fhir.resources.R4B.bundle import Bundle

    return Bundle


@pytest.mark.parametrize(
    "name", ["sample", "acknowledgement", "care_communication", "hospital_notification"]
)
def test_what_is_written_is_what_is_read(request, name):
    bundle = request.getfixturevalue(name)
    for wire in ("json", "xml"):
        message = read_message(serialize(bundle, wire))
        assert message.bundle == bundle
        assert message.findings == ()


@pytest.mark.parametrize(
    "name", ["sample", "acknowledgement", "care_communication", "hospital_notification"]
)
def test_another_reader_of_the_standard_accepts_both_formats(request, r4b, name):
    bundle = request.getfixturevalue(name)
    from_json = r4b.model_validate_json(serialize(bundle, "json"))
    from_xml = r4b.model_validate_xml(serialize(bundle, "xml"))
    assert from_json.id == from_xml.id == bundle["id"]
    assert len(from_json.entry) == len(from_xml.entry) == len(bundle["entry"])


def test_line_breaks_survive_xml(sample, pick):
    pick(sample, "DiagnosticReport")["conclusion"] = "a\nb\tc"
    wire = serialize(sample, "xml")
    assert b"a&#10;b" in wire
    assert read_message(wire).bundle == sample


def test_numbers_are_written_as_numbers(sample, pick):
    pick(sample, "Observation")["valueQuantity"]["value"] = 1e-7
    pick(sample, "Patient")["active"] = True
    wire = serialize(sample, "xml")
    assert b'<value value="1e-7"/>' in wire
    assert b'<active value="true"/>' in wire


@pytest.mark.parametrize(
    "change",
    [
        {"resourceType": "Basic"},
        {"nickname": "x"},
        {"extension": [{"url": "urn:x", "valueTiming": {"event": ["2026"]}}]},
        {"text": {"status": "generated", "div": "<div>"}},
    ],
)
def test_what_has_no_certain_place_in_xml_is_not_written(sample, pick, change):
    pick(sample, "Patient").update(change)
    with pytest.raises(LocalProtocolError):
        serialize(sample, "xml")
    assert orjson.loads(serialize(sample, "json")) == sample
