"""Attached data is held against the type that it declares, in all six types and wherever it stands."""

import base64

import orjson
import pytest

from envelope.fhir import canonicals, read_message, validate
from envelope.fhir.samples import build_samples

FULL = orjson.dumps(build_samples()["cc-full"])
ZIP = base64.b64encode(b"PK\x03\x04" + bytes(40)).decode()


def attached(pick, bundle, kind):
    """The attachment of this type."""
    payloads = pick(bundle, "Communication")["payload"]
    held = [part["contentAttachment"] for part in payloads if "contentAttachment" in part]
    (one,) = [item for item in held if item.get("contentType") == kind and "data" in item]
    return one


def warned(bundle):
    return [found.rule for found in validate(read_message(orjson.dumps(bundle)), strict=True)]


@pytest.mark.parametrize("kind", sorted(canonicals.ATTACHMENT_TYPES))
def test_a_file_of_another_type_warns(pick, kind):
    bundle = orjson.loads(FULL)
    assert warned(bundle) == []
    item = attached(pick, bundle, kind)
    item["data"] = ZIP
    assert warned(bundle) == ["attachment-octets"]


def test_line_ends_in_base64_and_octets_before_a_pdf_are_no_defect(pick):
    bundle = orjson.loads(FULL)
    item = attached(pick, bundle, "application/pdf")
    item["data"] = base64.encodebytes(bytes(1019) + b"%PDF-1.7" + bytes(5000)).decode()
    assert warned(bundle) == []
    item["data"] = base64.encodebytes(bytes(1020) + b"%PDF-1.7" + bytes(5000)).decode()
    assert warned(bundle) == ["attachment-octets"]


def test_what_is_no_base64_is_told_as_that_alone(pick):
    bundle = orjson.loads(FULL)
    attached(pick, bundle, "image/png")["data"] = "%%%%"
    assert warned(bundle) == ["structure-datatype"]
