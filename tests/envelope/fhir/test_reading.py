"""Reading bytes: one shape for two formats, and nothing but `MessageRefused` for the rest."""

import contextlib
import copy
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envelope.fhir import MessageRefused, read_message, recognise, serialize, validate
from envelope.fhir.samples import build_samples
from envelope.limits import DEFAULT_LIMITS

SAMPLES = build_samples()
MEMBERS = [
    "entry",
    "resource",
    "resourceType",
    "id",
    "_id",
    "extension",
    "url",
    "identifier",
    "reference",
    "eventCoding",
    "destination",
    "code",
    "coding",
    "text",
    "contained",
]
XML = b'<Bundle xmlns="http://hl7.org/fhir"><type value="message"/></Bundle>'


def refused_by(data: bytes, **options) -> str:
    with pytest.raises(MessageRefused) as caught:
        read_message(data, **options)
    return caught.value.findings[0].rule


def test_published_twins_read_to_the_same_dictionary(published: list[Path]):
    pairs = [path for path in published if path.suffix == ".json"]
    for path in pairs:
        as_json = read_message(path.read_bytes())
        as_xml = read_message(path.with_suffix(".xml").read_bytes())
        assert as_json.bundle == as_xml.bundle, path.name
        assert as_xml.findings == ()
    assert len(pairs) >= 30


def test_both_formats_of_a_synthetic_message_read_the_same(sample):
    for wire in ("json", "xml"):
        message = read_message(serialize(sample, wire))
        assert message.bundle == sample
        assert (message.format, message.mime_type) == (wire, f"application/fhir+{wire}")


def test_a_byte_order_mark_and_leading_blanks_are_skipped(sample):
    for wire in ("json", "xml"):
        data = serialize(sample, wire)
        assert read_message(b"\xef\xbb\xbf" + data).bundle == sample
        assert read_message(b"\r\n  " + data).bundle == sample


@pytest.mark.parametrize(
    "declared", ["application/fhir+json", "fhir/json", "application/FHIR+JSON; charset=utf-8"]
)
def test_declared_types_of_the_same_format_are_understood(sample, declared):
    assert read_message(orjson.dumps(sample), mime_type=declared).format == "json"


@pytest.mark.parametrize("declared", ["application/fhir+xml", "text/plain", ""])
def test_a_declared_type_that_contradicts_the_bytes_is_refused(sample, declared):
    assert refused_by(orjson.dumps(sample), mime_type=declared) == "message-format"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "message-format"),
        (b"hello", "message-format"),
        (b"[1]", "message-format"),
        (b"{", "json-syntax"),
        (b'{"resourceType":"Bundle"', "json-syntax"),
        (b'{"resourceType":"Bundle","total":NaN}', "json-syntax"),
        (b'{"resourceType":"Bundle","total":1e999}', "json-syntax"),
        (b'{"resourceType":"Bundle","id":"\\ud800"}', "json-syntax"),
        (b'{"resourceType":"Bundle","id":"\xff"}', "json-syntax"),
        (b'{"resourceType":"Bundle"} {}', "json-syntax"),
        (b'{"resourceType":"Patient"}', "message-bundle"),
        (b'{"resourceType":["Bundle"]}', "message-bundle"),
        (b"{}", "message-bundle"),
        ('{"resourceType":"Bundle"}'.encode("utf-16"), "message-format"),
        (b"<Bundle/>", "xml-namespace"),
        (b'<Bundle xmlns="http://hl7.org/fhir">', "xml-syntax"),
        (b'<Bundle xmlns="http://hl7.org/fhirx"/>', "xml-namespace"),
        (b'<Patient xmlns="http://hl7.org/fhir"/>', "message-bundle"),
        (XML.decode().encode("utf-16"), "message-format"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + XML, "xml-encoding"),
        (XML.replace(b"message", b"mess\x00ge"), "xml-encoding"),
        (XML.replace(b"message", b"\xff"), "xml-syntax"),
        (XML.replace(b"message", b"&x;"), "xml-syntax"),
        (
            XML.replace(b"<type", b'<type xmlns="urn:other"'),
            "xml-namespace",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(data, rule):
    assert refused_by(data) == rule


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"resourceType":\n "Bundle", "id": "x', "the JSON breaks off at line 2, column 20"),
        (b'{"resourceType"\n "Bundle"}', "the JSON is not well-formed at line 2, column 2"),
        (b'{"resourceType":"Bundle","id":"\xff"}', "the JSON is not UTF-8"),
        (XML[:-1], "the XML is not well-formed at line 1, column "),
        (b"\n<!DOCTYPE html>\n<html></html>", "the content is a page of HTML"),
        (b"<HTML>", "the content is a page of HTML"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(data, told):
    with pytest.raises(MessageRefused) as refused:
        read_message(data)
    assert refused.value.findings[0].text.startswith(told)


@pytest.mark.parametrize(
    ("prefix", "rule"),
    [
        (b'<!DOCTYPE Bundle [<!ENTITY a "b">]>', "xml-doctype"),
        (b'<!DOCTYPE Bundle SYSTEM "http://127.0.0.1/x.dtd">', "xml-doctype"),
        (b'<?xml-stylesheet href="a.xsl"?>', "xml-instruction"),
    ],
)
def test_external_entities_and_instructions_never_reach_the_parser(prefix, rule):
    assert refused_by(prefix + XML) == rule
    assert refused_by(b'<?xml version="1.0"?>' + prefix + XML) == rule


def test_billion_laughs_is_refused_on_the_bytes():
    bomb = b'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;">]>' + XML.replace(
        b"message", b"&c;"
    )
    assert refused_by(bomb) == "xml-doctype"


def test_a_member_named_twice_is_refused_whatever_its_spelling():
    for second in (b'"id"', b'"\\u0069d"', b'"id"\n\t '):
        data = b'{"resourceType":"Bundle","id":"a",' + second + b':"b"}'
        assert refused_by(data) == "json-duplicate-key"


@pytest.mark.parametrize("name", ["x" * 4096, "x" * 4097, "x" * 9000, '"' * 65, '\\"' * 400, '":{'])
def test_long_names_and_texts_count_as_short_ones_do(sample, name):
    sample["extra"] = {name: {"a": name + '":'}, "b": [name, 1, name]}
    data = orjson.dumps(sample)
    assert read_message(data).bundle == sample
    twice = data.replace(b'"b":', b'"a":1,"a":')
    assert refused_by(twice) == "json-duplicate-key"


def test_strings_that_look_like_members_are_not_counted(sample):
    sample["id"] = '\\":{"x":1,"x":2}"\\'
    assert read_message(orjson.dumps(sample)).bundle == sample


def test_deep_nesting_is_refused_in_both_formats():
    deep = b'{"resourceType":"Bundle","a":' + b"[" * 200 + b"]" * 200 + b"}"
    assert refused_by(deep) == "message-depth"
    assert refused_by(b'{"a":' * 5000 + b"1" + b"}" * 5000) == "json-syntax"
    extension = b'<extension url="a">'
    nested = b"<link>" + extension * 200 + b"</extension>" * 200 + b"</link>"
    assert refused_by(XML.replace(b"<type", nested + b"<type")) == "message-depth"
    unknown = b"<a>" * 1000 + b"</a>" * 1000
    assert refused_by(XML.replace(b"<type", unknown + b"<type")) == "message-depth"
    assert refused_by(XML.replace(b"<type", b"<a>" * 5000 + b"</a>" * 5000)) == "xml-syntax"


def test_a_small_file_cannot_become_a_large_tree():
    assert refused_by(b'{"a":[' + b"[]," * 500_000 + b"1]}") == "message-elements"
    assert refused_by(XML.replace(b"<type", b"<a/>" * 500_000 + b"<type")) == "message-elements"
    declarations = b"".join(b' xmlns:n%d="u"' % number for number in range(3000))
    assert refused_by(XML.replace(b" xmlns=", declarations + b" xmlns=")) == "message-elements"


@pytest.mark.parametrize("form", [b' a%d="1"', b" a%d='1'", b' a%d =\n "1"'])
def test_a_tag_of_a_hundred_thousand_attributes_is_refused_before_parsing(form):
    """The parser takes minutes over such a tag: its look-ups are quadratic."""
    attributes = b"".join(form % number for number in range(100_000))
    assert refused_by(XML.replace(b"<type", b"<type" + attributes)) == "xml-attributes"


def test_long_texts_with_rules_drawn_in_equal_signs_are_no_attributes(sample, pick, as_xml):
    pick(sample, "DiagnosticReport")["conclusion"] = "=" * 80 + "\n" + 'x = "y"; ' * 200
    assert read_message(as_xml(sample)).bundle == sample


def test_the_byte_limit_is_kept(sample):
    data = orjson.dumps(sample)
    limits = replace(DEFAULT_LIMITS, fhir_bytes=len(data))
    assert read_message(data, limits=limits).bundle == sample
    assert refused_by(data, limits=replace(limits, fhir_bytes=len(data) - 1)) == "message-size"


def test_an_attachment_over_ten_megabytes_is_read_from_xml(sample, pick, as_xml):
    pick(sample, "Media")["content"]["data"] = "QUJD" * 3_000_000
    assert read_message(as_xml(sample)).bundle == sample


def test_decimals_and_line_breaks_mean_the_same_in_both_formats(sample, pick, as_xml):
    pick(sample, "Observation")["valueQuantity"]["value"] = 0.000001
    pick(sample, "DiagnosticReport")["conclusion"] = "a\nb\tc <&> \" '"
    again = read_message(as_xml(sample)).bundle
    assert again == read_message(orjson.dumps(sample)).bundle


def test_extensions_on_primitives_keep_their_place(sample, pick, as_xml):
    absent = {"extension": [{"url": "urn:why", "valueCode": "unknown"}]}
    name = pick(sample, "Patient")["name"][0]
    del name["family"]
    name["_family"] = absent
    name["given"] = ["Nancy", None, "Ann"]
    name["_given"] = [None, absent, {"id": "x"}]
    assert read_message(as_xml(sample)).bundle == sample
    assert validate(read_message(as_xml(sample))) == []


def test_many_companions_are_read_in_linear_time():
    one = b'<given id="a" value="b"/>'
    data = (
        b'<Bundle xmlns="http://hl7.org/fhir"><entry><resource><Patient><name>'
        + one * 60_000
        + b"</name></Patient></resource></entry></Bundle>"
    )
    name = read_message(data).bundle["entry"][0]["resource"]["name"][0]
    assert len(name["given"]) == len(name["_given"]) == 60_000


def test_a_resource_the_table_does_not_know_is_kept_and_accepted(sample, as_xml):
    data = as_xml(sample).replace(
        b"</Bundle>",
        b'<entry><fullUrl value="urn:uuid:x"/><resource><Basic><id value="surplus"/><code><text value="t"/>'
        b"</code><note><text value='a'/></note><note><text value='b'/></note></Basic></resource></entry></Bundle>",
    )
    message = read_message(data)
    surplus = message.bundle["entry"][-1]["resource"]
    assert surplus["note"] == [{"text": "a"}, {"text": "b"}]
    assert {found.rule for found in validate(message)} == {"resource-id-uuid"}


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"<type value", b"stray<type value", "xml-text"),
        (b"<type value", b"<type foo='1' value", "xml-attribute"),
        (b"<family", b"<family/><family", "xml-empty"),
    ],
)
def test_faults_of_the_xml_form_become_findings(sample, as_xml, old, new, rule):
    message = read_message(as_xml(sample).replace(old, new, 1))
    assert rule in {found.rule for found in validate(message)}


def test_elements_out_of_order_become_a_finding(sample, as_xml):
    stamp = f'<timestamp value="{sample["timestamp"]}"/>'.encode()
    data = as_xml(sample).replace(stamp, b"").replace(b"</Bundle>", stamp + b"</Bundle>")
    assert [found.rule for found in validate(read_message(data))] == ["xml-order"]


def test_two_resources_in_one_wrapper_are_refused(sample, as_xml):
    data = as_xml(sample).replace(b"<resource><Patient>", b"<resource><Basic/><Patient>", 1)
    assert refused_by(data) == "xml-resource"


def test_the_representation_of_a_message_shows_nothing_of_the_patient(message):
    assert "2512489996" not in repr(message)
    assert "2512489996" not in repr(recognise(message))


def _exercise(data: bytes) -> None:
    try:
        message = read_message(data)
    except MessageRefused:
        return
    findings = validate(message)
    assert all(found.text and found.path.startswith("Bundle") for found in findings)
    with contextlib.suppress(MessageRefused):
        recognise(message)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(data):
    _exercise(data)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-5, 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(MEMBERS),
                inner | st.sampled_from(["Bundle", "MessageHeader", "Patient", "Provenance"]),
                max_size=5,
            )
        ),
        max_leaves=30,
    )
)
def test_any_json_under_a_bundle_is_validated_without_a_crash(value):
    _exercise(orjson.dumps({"resourceType": "Bundle", "type": "message", "entry": value}))


def _paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items if isinstance(value, (dict, list)) else ():
        if isinstance(child, (dict, list)):
            yield from _paths(child, (*path, key))
        else:
            yield (*path, key)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)
@given(data=st.data())
def test_any_element_replaced_by_anything_is_validated_without_a_crash(data):
    bundle = copy.deepcopy(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    path = data.draw(st.sampled_from(list(_paths(bundle))[1:]))
    holder = bundle
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(
        st.sampled_from([None, "", "x", 1, 1.5, True, [], {}, [None], ["x"], [[]], {"a": 1}, [{}]])
    )
    _exercise(orjson.dumps(bundle))


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_xml_with_bytes_cut_out_or_put_in_is_read_or_refused(sample, data):
    wire = serialize(sample, "xml")
    start = data.draw(st.integers(0, len(wire)))
    stop = data.draw(st.integers(start, min(len(wire), start + 60)))
    _exercise(wire[:start] + data.draw(st.binary(max_size=8)) + wire[stop:])
