"""The StandardBusinessDocument: what we write is valid, what we read is bounded, and neither holds the payload."""

import base64
import os
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import names, xml
from envelope.errors import LocalProtocolError
from envelope.limits import KIB, MIB, Limits
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import (
    DOCUMENT_REFERENCE,
    MESSAGING,
    Base64Stream,
    BusinessService,
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    ServiceTransaction,
    StandardBusinessDocumentHeader,
    build_sbd,
)

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
with_fixtures = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")

CREATED = "2026-11-02T08:15:00+01:00"
REQUEST = Scope(
    ScopeType.RECEIPT_ACKNOWLEDGEMENT,
    "Request",
    MESSAGING,
    CorrelationInformation(CREATED, "envelope-1", "2026-11-02T08:25:00+01:00"),
    BusinessService(
        "EHMI-ReceiptAcknowledgement-Request", ServiceTransaction("RequestingServiceTransaction")
    ),
)
HEADER = StandardBusinessDocumentHeader(
    sender=Identifier("0088:5790000121526"),
    receiver=Identifier("0088:5790000201389"),
    standard="homecareobservation-message",
    type_version="1.1",
    instance_identifier="envelope-1",
    creation_date_and_time=CREATED,
    scopes=(
        Scope(ScopeType.DOCUMENTID, "urn:test::document##1"),
        Scope(ScopeType.PATIENTID, "2512489996"),
        Scope(ScopeType.MESSAGEIDENTIFIER, "message-1"),
        REQUEST,
    ),
    binary_content_mime_type="application/fhir+json",
)
PAYLOAD = b'{"resourceType":"Bundle","type":"message"}'


def document(
    header: StandardBusinessDocumentHeader = HEADER,
    payload: bytes = PAYLOAD,
    *,
    peppol: bool = False,
) -> bytes:
    prefix, suffix = build_sbd(header, peppol_binary_content=peppol)
    return prefix + base64.b64encode(payload) + suffix


def split(data: bytes, *, size: int | None = None, limits: Limits | None = None) -> tuple[
    bytes, StandardBusinessDocumentHeader
]:  # fmt: skip
    splitter = SbdSplitter(limits or Limits())
    step = size or len(data) or 1
    octets = [splitter.feed(data[at : at + step]) for at in range(0, len(data), step)]
    header = splitter.finish()
    return b"".join(octets), header


def test_written_envelope_reads_back() -> None:
    payload, header = split(document())

    assert payload == PAYLOAD
    assert header == HEADER
    assert (header.sender_gln, header.receiver_gln) == ("5790000121526", "5790000201389")
    assert header.scope(ScopeType.MESSAGEIDENTIFIER) == "message-1"
    assert header.scope(ScopeType.PROCESSID) is None


def test_written_envelope_is_one_declaration_and_one_element() -> None:
    prefix, suffix = build_sbd(HEADER)

    assert prefix.startswith(
        b"<?xml version='1.0' encoding='UTF-8'?>\n<StandardBusinessDocument xmlns="
    )
    assert prefix.endswith(b'<BinaryContent mimeType="application/fhir+json" encoding="UTF-8">')
    assert suffix == b"</BinaryContent></StandardBusinessDocument>"


def test_peppol_namespace_is_written_on_demand_and_both_are_read() -> None:
    _, ours = split(document())
    payload, peppol = split(document(peppol=True))

    assert payload == PAYLOAD
    assert ours.binary_content_namespace == names.SBDH
    assert peppol == replace(ours, binary_content_namespace=names.PEPPOL_ENVELOPE)


def test_header_is_known_before_the_payload_arrives() -> None:
    prefix, suffix = build_sbd(HEADER)
    splitter = SbdSplitter()

    splitter.feed(prefix[:-1])
    assert splitter.header is None
    splitter.feed(prefix[-1:])
    assert splitter.header == HEADER
    splitter.feed(base64.b64encode(PAYLOAD) + suffix)
    assert splitter.finish() is splitter.header


@pytest.mark.parametrize(
    "change",
    [
        {"creation_date_and_time": "2026-11-02T08-15-00"},
        {"binary_content_mime_type": "text/xml"},
        {"binary_content_encoding": "UTF-16"},
        {"header_version": "2.0"},
        {"standard": ""},
        {"scopes": (Scope("XDS_METADATA", "x"),)},
        {"scopes": (Scope("DOCUMENTID", "x", "other-vocabulary"),)},
        {"sender": Identifier("0088:5790000121526", "other-authority")},
        {"instance_identifier": "nul\0"},
    ],
)
def test_header_that_is_not_valid_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        build_sbd(replace(HEADER, **change))  # type: ignore[arg-type]


def test_response_without_expected_time_is_read_but_not_written() -> None:
    asked = replace(REQUEST.correlation, expected_response_date_time=None)  # type: ignore[type-var]
    header = replace(HEADER, scopes=(replace(REQUEST, correlation=asked),))

    with pytest.raises(LocalProtocolError, match="CorrelationInformation"):
        build_sbd(header)

    data = document().replace(
        b"<ExpectedResponseDateTime>2026-11-02T08:25:00+01:00</ExpectedResponseDateTime>", b""
    )
    _, read = split(data)
    assert read.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT) == header.scopes[0]


# Forms that peers send and the strict schema refuses


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'TimeToAcknowledgeReceipt="600000"', b'TimeToAcknowledgeReceipt="0"'),
        (b"homecareobservation-message", b"hospitalnotification-message"),
        (b"<Standard>homecareobservation", b"<Standard>a-message-of-next-year"),
    ],
)
def test_relaxed_form_is_read(old: bytes, new: bytes) -> None:
    data = document()
    assert old in data

    payload, _ = split(data.replace(old, new))

    assert payload == PAYLOAD
    assert not xml.schema("ehmi-sbdh").validate(etree.fromstring(data.replace(old, new)))


def test_white_space_around_times_is_dropped() -> None:
    data = document().replace(CREATED.encode(), f"\n   {CREATED}\t".encode())

    _, header = split(data)

    assert header == HEADER


def test_optional_members_may_be_missing_and_defaults_apply() -> None:
    data = (
        document()
        .replace(b' Authority="iso6523-actorid-upis"', b"")
        .replace(b"<MultipleType>false</MultipleType>", b"")
        .replace(b"<Type>Bundle</Type>", b"<Type/>")
        .replace(b"<Identifier>dk-medcom-messaging</Identifier>", b"<Identifier/>")
        .replace(b' encoding="UTF-8"', b"")
    )

    _, header = split(data)

    assert header == replace(
        HEADER,
        sender=Identifier(HEADER.sender.value, None),
        receiver=Identifier(HEADER.receiver.value, None),
        multiple_type=None,
        binary_content_encoding=None,
    )


def test_metadata_in_cdata_and_comments_between_elements_are_read() -> None:
    metadata = '{"resourceType":"DocumentReference","text":"<b>&\n"}'
    scope = (
        "<Scope><!-- metadata --><Type>XDS-METADATA</Type>"
        f"<InstanceIdentifier><![CDATA[{metadata}]]></InstanceIdentifier>"
        f"<Identifier>{DOCUMENT_REFERENCE}</Identifier></Scope>"
    )
    data = document().replace(b"</BusinessScope>", scope.encode() + b"</BusinessScope>")

    _, header = split(data)

    assert header.scope(ScopeType.XDS_METADATA) == metadata


@pytest.mark.parametrize("separator", [b"\r\n", b"\n  ", b"\t", b"&#13;\n", b"&#xA;"])
def test_base64_in_lines_is_read(separator: bytes) -> None:
    prefix, suffix = build_sbd(HEADER)
    payload = bytes(range(256)) * 40
    text = base64.b64encode(payload)
    lines = separator.join(text[at : at + 76] for at in range(0, len(text), 76))

    for size in (1, 7, 4096):
        assert split(prefix + separator + lines + separator + suffix, size=size)[0] == payload


def test_base64_in_cdata_is_read() -> None:
    prefix, suffix = build_sbd(HEADER)
    text = base64.b64encode(PAYLOAD)

    assert split(prefix + b"<![CDATA[" + text + b"]]>" + suffix)[0] == PAYLOAD


# Properties

xml_text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]).filter(
        lambda c: c not in "\ufffe\uffff" and ord(c) & 0xFFFE != 0xFFFE
    ),
    max_size=24,
)
partners = st.builds(Identifier, xml_text, st.sampled_from([None, names.ISO6523_ACTORID]))
times = st.datetimes().map(lambda at: at.strftime(f"{at.year:04}-%m-%dT%H:%M:%SZ"))
transactions = st.builds(
    ServiceTransaction,
    st.sampled_from([None, "RequestingServiceTransaction", "RespondingServiceTransaction"]),
    *[st.sampled_from([None, "false"])] * 5,
    st.sampled_from([None, "600000"]),
    *[st.sampled_from([None, "0"])] * 3,
)
scope_values = st.builds(
    Scope,
    st.sampled_from([str(member) for member in ScopeType]),
    xml_text,
    st.sampled_from([MESSAGING, DOCUMENT_REFERENCE]),
    st.none() | st.builds(CorrelationInformation, times, xml_text, times),
    st.none()
    | st.builds(
        BusinessService,
        st.sampled_from(
            ["EHMI-ReceiptAcknowledgement-Request", "EHMI-ReceiptAcknowledgement-Response"]
        ),
        transactions,
    ),
)
headers = st.builds(
    StandardBusinessDocumentHeader,
    sender=partners,
    receiver=partners,
    standard=st.sampled_from(["acknowledgement-message", "carecommunication-message"])
    | xml_text.filter(bool),
    type_version=xml_text,
    instance_identifier=xml_text,
    creation_date_and_time=times,
    scopes=st.lists(scope_values, max_size=6, unique_by=lambda scope: scope.type).map(tuple),
    binary_content_mime_type=st.sampled_from(
        ["application/fhir+json", "application/fhir+xml", "application/xml"]
    ),
    binary_content_encoding=st.sampled_from([None, "UTF-8", "ISO-8859-1"]),
    type=xml_text.filter(bool),
    multiple_type=st.sampled_from([None, False]),
)


@given(header=headers, payload=st.binary(min_size=1, max_size=64))
@settings(max_examples=80, deadline=None)
def test_reading_undoes_writing(header: StandardBusinessDocumentHeader, payload: bytes) -> None:
    assert split(document(header, payload)) == (payload, header)


@given(
    payload=st.binary(min_size=1, max_size=400),
    cuts=st.lists(st.integers(0, 5000), max_size=12),
    separator=st.sampled_from([b"", b"\n", b"&#13;\n"]),
    peppol=st.booleans(),
)
@example(payload=bytes(31), cuts=[], separator=b"&#13;\n", peppol=True)
@settings(max_examples=80, deadline=None)
def test_any_chunking_gives_the_same(
    payload: bytes, cuts: list[int], separator: bytes, peppol: bool
) -> None:
    prefix, suffix = build_sbd(HEADER, peppol_binary_content=peppol)
    text = base64.b64encode(payload)
    lines = separator.join(text[at : at + 40] for at in range(0, len(text), 40))
    data = prefix + lines + suffix
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    splitter = SbdSplitter()

    octets = b"".join(splitter.feed(data[start:end]) for start, end in pairwise(edges))

    assert octets == payload
    assert splitter.finish() == split(data)[1]


@given(payload=st.binary(max_size=300), size=st.integers(1, 70))
@settings(max_examples=60, deadline=None)
def test_base64_stream_is_base64(payload: bytes, size: int) -> None:
    stream = Base64Stream()
    pieces = [stream.update(payload[at : at + size]) for at in range(0, len(payload), size)]

    assert b"".join([*pieces, stream.finish()]) == base64.b64encode(payload)


# Memory


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _stream(total: int, unit: bytes, chunk: int) -> Iterator[bytes]:
    prefix, suffix = build_sbd(HEADER)
    yield prefix
    block = unit * (chunk // len(unit))
    for _ in range(total // len(block)):
        yield block
    yield suffix


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs /proc to see resident memory"
)
@pytest.mark.parametrize(
    ("unit", "octets_per_unit"),
    [
        (b"QUJD" * 19 + b"\r\n", 57),
        pytest.param(b"QUJD" * 19 + b"&#13;\n", 57, id="through-the-parser"),
    ],
)
def test_memory_stays_constant_while_32_mib_stream(unit: bytes, octets_per_unit: int) -> None:
    splitter = SbdSplitter()
    pieces = _stream(32 * MIB, unit, 256 * KIB)
    received = len(splitter.feed(next(pieces))) + len(splitter.feed(next(pieces)))
    before = peak = _resident()
    tracemalloc.start()
    try:
        for piece in pieces:
            received += len(splitter.feed(piece))
            peak = max(peak, _resident())
        splitter.finish()
        _, traced = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    blocks = 32 * MIB // (256 * KIB // len(unit) * len(unit))
    assert received == blocks * (256 * KIB // len(unit)) * octets_per_unit
    assert traced < 4 * MIB
    assert peak - before < 12 * MIB


# Against the published schema set


@pytest.fixture(scope="module")
def official() -> etree.XMLSchema:
    if FIXTURES is None:
        pytest.skip("ACCESSPOINT_FIXTURES is not set")
    folder = Path(FIXTURES) / "ehmi-sbdh" / "schema"
    return etree.XMLSchema(etree.parse(folder / "ehmiStandardBusinessDocumentHeader.xsd"))


@pytest.mark.parametrize(
    "standard",
    ["homecareobservation-message", "acknowledgement-message", "ehmisbdh-acknowledgement"],
)
def test_official_schema_accepts_what_we_write(official: etree.XMLSchema, standard: str) -> None:
    official.assertValid(etree.fromstring(document(replace(HEADER, standard=standard))))


@given(header=headers)
@settings(max_examples=40, deadline=None)
def test_official_schema_accepts_every_header_we_write(
    official: etree.XMLSchema, header: StandardBusinessDocumentHeader
) -> None:
    tree = etree.fromstring(document(replace(header, standard="acknowledgement-message")))

    official.assertValid(tree)


def test_other_standards_differ_from_the_official_schema_in_the_standard_alone(
    official: etree.XMLSchema,
) -> None:
    data = document(replace(HEADER, standard="carecommunication-message"))

    assert not official.validate(etree.fromstring(data))
    assert {entry.type_name for entry in official.error_log} <= {
        "SCHEMAV_CVC_ENUMERATION_VALID",
        "SCHEMAV_ELEMENT_CONTENT",
        "SCHEMAV_CVC_DATATYPE_VALID_1_2_1",
    }
    back = data.replace(b"carecommunication-message", b"acknowledgement-message", 1)
    official.assertValid(etree.fromstring(back))


@with_fixtures
@pytest.mark.parametrize(
    ("name", "mime_type", "scopes", "octets"),
    [
        ("homecareobservation", "application/fhir+json", 9, 75_931),
        ("homecareobservation-xds", "application/fhir+json", 10, 75_931),
        ("receipt-acknowledgement", "application/xml", 13, 979),
    ],
)
def test_official_example_is_read(name: str, mime_type: str, scopes: int, octets: int) -> None:
    data = (Path(FIXTURES or "") / "ehmi-sbdh" / "examples" / f"{name}.xml").read_bytes()

    payload, header = split(data, size=1_000)

    assert len(payload) == octets
    assert header.binary_content_mime_type == mime_type
    assert len(header.scopes) == scopes
    assert header.find_scope(ScopeType.RECEIPT_ACKNOWLEDGEMENT) is not None
    assert xml.schema("ehmi-sbdh").validate(etree.fromstring(data))
    assert split(document(header, payload)) == (payload, header)
