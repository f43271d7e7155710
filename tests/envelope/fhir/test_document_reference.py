"""The XDS metadata of a message: what it takes from the message, and what it leaves out."""

import base64
import hashlib
import os
from pathlib import Path

import orjson
import pytest
from fhir.resources.R4B.documentreference import DocumentReference
from lxml import etree

from envelope import fhir, names
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.fhir.document_reference import build_document_reference, read_document_reference
from envelope.fhir.synthetic import TEST_CPR

REFERENCE = "5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a3d01"
FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")


def built(bundle, wire="json", **options):
    data = fhir.serialize(bundle, wire)
    text = build_document_reference(
        fhir.read_message(data), data, reference_id=REFERENCE, **options
    )
    return orjson.loads(text), data


def test_it_is_a_document_reference_of_fhir_with_the_profile_of_the_message_type(sample):
    made, _ = built(sample)
    DocumentReference.model_validate(made)
    assert made["id"] == REFERENCE
    assert made["meta"]["profile"] == [
        "https://medcomfhir.dk/ig/xdsdocuments/StructureDefinition/homecare-observation-documentreference"
    ]


@pytest.mark.parametrize(
    ("wire", "media_type"), [("json", "application/fhir+json"), ("xml", "application/fhir+xml")]
)
def test_the_attachment_is_the_octets_that_are_sent(sample, wire, media_type):
    made, data = built(sample, wire)
    (content,) = made["content"]
    assert content["attachment"]["contentType"] == media_type
    assert content["attachment"]["size"] == len(data)
    assert base64.b64decode(content["attachment"]["hash"]) == hashlib.sha1(data).digest()


def test_it_names_patient_author_and_the_bundle(sample):
    made, _ = built(sample)
    contained = {one["id"]: one for one in made["contained"]}
    assert contained["patient"]["identifier"] == [
        {"system": "urn:oid:1.2.208.176.1.2", "value": TEST_CPR}
    ]
    assert contained["author"]["identifier"][0]["value"] == "1144561000016002"
    assert contained["practitioner"]["name"][0]["family"] == "Sørensen"
    assert made["masterIdentifier"]["value"] == f"urn:uuid:{sample['id']}"
    assert made["subject"] == made["context"]["sourcePatientInfo"] == {"reference": "#patient"}
    assert made["authenticator"] == {"reference": "#practitioner"}


def test_the_patient_is_named_in_the_contained_patient_only(sample):
    made, _ = built(sample)
    made["contained"] = [one for one in made["contained"] if one["id"] != "patient"]
    text = orjson.dumps(made).decode()
    assert TEST_CPR not in text
    assert "Berggren" not in text


def test_the_community_is_named_where_one_is_agreed(sample):
    assert "extension" not in built(sample)[0]
    made, _ = built(sample, home_community="1.2.208.176.43210.8.20")
    assert made["extension"][0]["valueCoding"]["code"] == "1.2.208.176.43210.8.20"


def test_what_is_no_document_about_a_patient_is_not_described(sample, acknowledgement):
    for bundle in (acknowledgement, _without_patient(sample)):
        with pytest.raises(LocalProtocolError):
            built(bundle)


def test_what_was_built_is_read_back(sample):
    made, data = built(sample)
    facts = read_document_reference(orjson.dumps(made).decode())
    assert (facts.patient_id, facts.size, facts.code) == (TEST_CPR, len(data), "HCOMsg")
    assert facts.title == "Kommunale prøvesvar"
    assert facts.author == "Akutteam Testkommune"
    assert TEST_CPR not in repr(facts)


def test_older_senders_write_xml():
    text = (
        f'<DocumentReference xmlns="{names.FHIR}"><contained><Patient><identifier><value value="{TEST_CPR}"/>'
        '</identifier></Patient></contained><masterIdentifier><value value="urn:uuid:1"/></masterIdentifier>'
        '<content><attachment><size value="12"/><title value="Svar"/></attachment></content></DocumentReference>'
    )
    facts = read_document_reference(text)
    assert (facts.patient_id, facts.size, facts.title) == (TEST_CPR, 12, "Svar")
    assert facts.master_identifier == "urn:uuid:1"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"resourceType": "Patient"}', "<a/>", "<!DOCTYPE a><a/>", "nothing"],
)
def test_what_is_none_is_refused(text):
    with pytest.raises(SbdRefused) as refused:
        read_document_reference(text)
    assert refused.value.reason == "sbd.xds-metadata"


@pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")
def test_the_published_example_is_read():
    path = Path(FIXTURES or "") / "ehmi-sbdh" / "examples" / "homecareobservation-xds.xml"
    scopes = etree.parse(path).iter("{*}Scope")
    (text,) = [one[1].text for one in scopes if one[0].text == "XDS-METADATA"]
    facts = read_document_reference(text)
    assert facts.master_identifier == "urn:uuid:add5e7e2-0c0f-4a4a-bfff-f6f984fa7e3c"
    assert (facts.code, facts.size) == ("HCOMsg", 3654)
    assert facts.author == "Lægerne Hasseris Bymidte"


def _without_patient(bundle):
    entries = [one for one in bundle["entry"] if one["resource"]["resourceType"] != "Patient"]
    return {**bundle, "entry": entries}
