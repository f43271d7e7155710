"""Hostile StandardBusinessDocuments: each is refused by name, and no input gives anything but a value or a refusal."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import SbdRefused
from envelope.limits import DEFAULT_LIMITS, KIB, Limits
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import (
    MESSAGING,
    BusinessService,
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    ServiceTransaction,
    StandardBusinessDocumentHeader,
    build_sbd,
)

CREATED = "2026-11-02T08:15:00+01:00"
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
        Scope(
            ScopeType.RECEIPT_ACKNOWLEDGEMENT,
            "Request",
            MESSAGING,
            CorrelationInformation(CREATED, "envelope-1", "2026-11-02T08:25:00+01:00"),
            BusinessService(
                "EHMI-ReceiptAcknowledgement-Request",
                ServiceTransaction("RequestingServiceTransaction"),
            ),
        ),
    ),
    binary_content_mime_type="application/fhir+json",
)
PAYLOAD = b'{"resourceType":"Bundle","type":"message"}'


def document() -> bytes:
    return base64.b64encode(PAYLOAD).join(build_sbd(HEADER))


def split(
    data: bytes, *, size: int | None = None, decode: bool = True, limits: Limits = DEFAULT_LIMITS
) -> tuple[bytes, StandardBusinessDocumentHeader]:
    splitter = SbdSplitter(limits, decode=decode)
    step = size or len(data) or 1
    octets = [splitter.feed(data[at : at + step]) for at in range(0, len(data), step)]
    header = splitter.finish()
    return b"".join(octets), header


@given(
    at=st.integers(0, 10_000),
    junk=st.binary(max_size=6)
    | st.sampled_from(
        [
            b"<",
            b">",
            b"&",
            b"<!--",
            b"<![CDATA[",
            b"]]>",
            b"=",
            b"<BinaryContent>",
            b"\n",
            b"<!-- -->",
            b"x:",
        ]
    ),
    cut=st.integers(0, 8),
)
@settings(max_examples=300, deadline=None)
def test_damage_anywhere_is_a_value_or_a_refusal(at: int, junk: bytes, cut: int) -> None:
    data = document()
    position = at % len(data)
    damaged = data[:position] + junk + data[position + cut :]

    whole, pieces = outcome(damaged), outcome(damaged, size=40)

    # A head that comes whole is read in one go, one that comes in pieces by the parser for pieces.
    assert whole == pieces
    assert isinstance(whole, tuple) or whole.startswith("G10 sbd.")


def outcome(
    data: bytes, *, size: int | None = None, decode: bool = True
) -> tuple[object, ...] | str:
    """Payload and header, or why there are none."""
    try:
        payload, header = split(data, size=size, decode=decode)
    except SbdRefused as error:
        return f"{error.gate} {error.reason}"
    assert payload or not decode
    return payload, header


GROUPS = st.sampled_from(
    [b"QUJD", b"QQ==", b"QUI=", b"QR==", b"QUI", b"Q", b"=", b" ", b"\r\n", b"*", b"\xc3\xa6", b"&#81;", b"QUJD" * 20]
)  # fmt: skip


@given(groups=st.lists(GROUPS, max_size=6), size=st.integers(1, 60))
def test_a_payload_that_nobody_wants_is_judged_as_one_that_is_given(
    groups: list[bytes], size: int
) -> None:
    data = b"".join(groups).join(build_sbd(HEADER))

    for piece in (size, len(data)):
        given_out, judged = (outcome(data, size=piece, decode=decode) for decode in (True, False))
        if isinstance(given_out, str):
            assert judged == given_out
        else:
            assert judged[1] == given_out[1]


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("group", ["QQ==", "QUI="])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_padding_that_ends_a_group_begun_in_another_piece_ends_the_payload(
    group: str, cut: int, decode: bool
) -> None:
    splitter = SbdSplitter(decode=decode)

    splitter.feed(build_sbd(HEADER)[0] + group[:cut].encode())
    with pytest.raises(SbdRefused) as caught:
        splitter.feed(group[cut:].encode() + b"QUJDQUJD\r\n\r\n")

    assert caught.value.reason == "sbd.base64"


def test_every_truncation_is_refused() -> None:
    data = document()

    for length in range(len(data)):
        with pytest.raises(SbdRefused):
            split(data[:length], size=64)


# Hostile documents, named after the attack


def _before_root(markup: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(
        b"<StandardBusinessDocument ", markup + b"<StandardBusinessDocument ", 1
    )


def _swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return apply


_CONTENT = base64.b64encode(PAYLOAD)
_SCOPE = b"<Scope><Type>DOCUMENTID</Type><InstanceIdentifier>other</InstanceIdentifier><Identifier/></Scope>"

HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty-doctype": (_before_root(b"<!DOCTYPE StandardBusinessDocument>"), "sbd.doctype"),
    "doctype-without-declaration": (
        lambda data: b"<!DOCTYPE x>" + data[data.index(b"<StandardBusinessDocument ") :],
        "sbd.doctype",
    ),
    "external-entity": (
        _before_root(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'),
        "sbd.doctype",
    ),
    "entity-bomb": (
        _before_root(b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'),
        "sbd.doctype",
    ),
    "undeclared-entity": (_swap(b"urn:test", b"&xxe;"), "sbd.xml"),
    "stylesheet": (_before_root(b'<?xml-stylesheet href="x"?>'), "sbd.pi"),
    "instruction-in-content": (_swap(_CONTENT, _CONTENT + b"<?x y?>"), "sbd.pi"),
    "comment-truncation": (_swap(b"message-1", b"message-1<!-- -->.evil"), "sbd.comment"),
    "comment-in-content": (_swap(_CONTENT, _CONTENT + b"<!-- x -->"), "sbd.comment"),
    "other-encoding": (_swap(b"'UTF-8'", b"'ISO-8859-1'"), "sbd.encoding"),
    "utf-7": (_swap(b"'UTF-8'", b"'UTF-7'"), "sbd.encoding"),
    "utf-16": (lambda data: data.decode().encode("utf-16"), "sbd.encoding"),
    "utf-16-without-a-mark": (lambda data: data.decode().encode("utf-16-le"), "sbd.encoding"),
    "xml-1.1": (_swap(b"version='1.0'", b"version='1.1'"), "sbd.encoding"),
    "byte-order-mark": (lambda data: b"\xef\xbb\xbf" + data, "sbd.bom"),
    "not-xml": (lambda data: b"PK\x03\x04>" + data, "sbd.encoding"),
    "overlong-utf-8": (_swap(b"message-1", b"message\xc0\xaf1"), "sbd.xml"),
    "empty-prefix": (_swap(b"<Receiver>", b"<:Receiver>"), "sbd.xml"),
    "undeclared-prefix": (_swap(b"<Receiver>", b"<a:Receiver>"), "sbd.xml"),
    "undeclared-attribute-prefix": (_swap(b"<Receiver>", b'<Receiver a:b="">'), "sbd.xml"),
    "relative-namespace": (_swap(b"<Receiver>", b'<Receiver xmlns:a="x y">'), "sbd.xml"),
    "nul": (_swap(b"message-1", b"message\x001"), "sbd.xml"),
    "other-root": (
        lambda data: data.replace(b"StandardBusinessDocument ", b"Document ").replace(
            b"</StandardBusinessDocument>", b"</Document>"
        ),
        "sbd.root",
    ),
    "root-in-no-namespace": (lambda data: data.replace(names.SBDH.encode(), b"urn:other"), "sbd.root"),
    "second-content": (
        _swap(
            b"</StandardBusinessDocument>",
            b'<BinaryContent mimeType="application/xml">AAAA</BinaryContent></StandardBusinessDocument>',
        ),
        "sbd.content",
    ),
    "element-in-content": (_swap(_CONTENT, b"<a/>" + _CONTENT), "sbd.content"),
    "text-after-content": (
        _swap(b"</StandardBusinessDocument>", b"AAAA</StandardBusinessDocument>"),
        "sbd.content",
    ),
    "second-document": (lambda data: data + data, "sbd.xml"),
    "no-content": (
        lambda data: data[: data.index(b"<BinaryContent")] + b"</StandardBusinessDocument>",
        "sbd.content",
    ),
    "content-before-header": (
        lambda data: data.replace(
            b"<StandardBusinessDocumentHeader>",
            b'<BinaryContent mimeType="application/xml">AAAA</BinaryContent><StandardBusinessDocumentHeader>',
        ),
        "sbd.schema",
    ),
    "content-in-third-namespace": (
        _swap(b"<BinaryContent ", b'<BinaryContent xmlns="urn:other" '),
        "sbd.content",
    ),
    "manifest": (
        _swap(b"<BusinessScope>", b"<Manifest><NumberOfItems>0</NumberOfItems></Manifest><BusinessScope>"),
        "sbd.schema",
    ),
    "unknown-media-type": (_swap(b"application/fhir+json", b"text/html"), "sbd.schema"),
    "impossible-time": (_swap(b"T08:15:00", b"T08-15-00"), "sbd.schema"),
    "two-scopes-of-one-type": (_swap(b"</BusinessScope>", _SCOPE + b"</BusinessScope>"), "sbd.duplicate-scope"),
    "two-correlations": (
        lambda data: data.replace(
            b"<BusinessService>",
            b"<CorrelationInformation><RequestingDocumentCreationDateTime>2026-11-02T08:15:00Z"
            b"</RequestingDocumentCreationDateTime><RequestingDocumentInstanceIdentifier>envelope-2"
            b"</RequestingDocumentInstanceIdentifier></CorrelationInformation><BusinessService>",
        ),
        "sbd.cardinality",
    ),
    "line-break-in-identifier": (_swap(b"message-1", b"message-1&#13;&#10;X: y"), "sbd.identifier"),
    "junk-in-base64": (_swap(_CONTENT, _CONTENT[:8] + b"*" + _CONTENT[8:]), "sbd.base64"),
    "base64-without-padding": (_swap(_CONTENT, b"QUI"), "sbd.base64"),
    "base64-after-padding": (_swap(_CONTENT, b"QQ==QUJD"), "sbd.base64"),
    "second-spelling-of-base64": (_swap(_CONTENT, b"QR=="), "sbd.base64"),
    "url-alphabet": (_swap(_CONTENT, b"-_-_"), "sbd.base64"),
    "wide-letters-in-base64": (_swap(_CONTENT, "QUJＤ".encode()), "sbd.base64"),
    "wide-letters-behind-a-reference": (_swap(_CONTENT, b"&#65;&#65;&#65;&#xFF21;"), "sbd.base64"),
    "empty-content": (_swap(_CONTENT, b" \n"), "sbd.empty"),
    "self-closed-content": (
        lambda data: data[: data.index(b"<BinaryContent")]
        + b'<BinaryContent mimeType="application/xml"/></StandardBusinessDocument>',
        "sbd.empty",
    ),
    "text-after-self-closed-content": (
        lambda data: data[: data.index(b"<BinaryContent")]
        + b'<BinaryContent mimeType="application/xml"/>QUJD</StandardBusinessDocument>',
        "sbd.content",
    ),
    "many-elements": (_swap(b"<BusinessScope>", b"<BusinessScope>" + b"<a/>" * 3_000), "sbd.limits"),
    "deep": (_swap(b"<BusinessScope>", b"<BusinessScope>" + b"<a>" * 100), "sbd.limits"),
    "many-attributes": (
        _swap(b"<BusinessScope>", b"<BusinessScope " + b" ".join(b'a%d=""' % n for n in range(40)) + b">"),
        "sbd.limits",
    ),
    "many-namespaces": (
        _swap(
            b"<BusinessScope>",
            b"<BusinessScope " + b" ".join(b'xmlns:n%d="urn:%d"' % (n, n) for n in range(20)) + b">",
        ),
        "sbd.limits",
    ),
    "huge-header": (_swap(b"urn:test", b"x" * 300 * KIB), "sbd.limits"),
    "huge-attribute": (_swap(b'encoding="UTF-8">', b'encoding="' + b"x" * 300 * KIB + b'">'), "sbd.limits"),
    "markup-after-content": (lambda data: data + b" " * 300 * KIB, "sbd.limits"),
    "endless-tag-in-content": (_swap(_CONTENT, b"<" + b"a" * 400 * KIB), "sbd.limits"),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("size", [None, 1_000])
def test_hostile_document_is_refused(attack: str, size: int | None) -> None:
    change, reason = HOSTILE[attack]

    with pytest.raises(SbdRefused) as refused:
        split(change(document()), size=size)

    assert refused.value.reason == reason


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "declaration",
    [
        b"",
        b" \r\n",
        b"<?xml version='1.0'?>",
        b"<?xml version='1.0'?> <!-- x -->",
        b"<?xml version='1.0' encoding='us-ascii'?>",
        b'<?xml version = "1.0" encoding = "utf-8" standalone = \'yes\' ?>',
    ],
)
def test_declarations_of_utf_8_or_less_are_read(declaration: bytes, size: int | None) -> None:
    data = document()
    data = declaration + data[data.index(b"<StandardBusinessDocument") :]

    assert split(data, size=size) == (PAYLOAD, HEADER)


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "limit", ["elements", "depth", "attributes", "namespaces", "sbdh_bytes", "sbd_bytes"]
)
def test_every_limit_is_exact(limit: str, size: int | None) -> None:
    data = document()
    elements = list(etree.fromstring(data).iter())
    most = {
        "elements": len(elements),
        "depth": max(1 + sum(1 for _ in each.iterancestors()) for each in elements),
        "attributes": max(len(each.attrib) for each in elements),
        "namespaces": 1,
        "sbdh_bytes": data.index(b">", data.index(b"<BinaryContent")) + 1,
        "sbd_bytes": len(data),
    }[limit]

    assert split(data, size=size, limits=replace(DEFAULT_LIMITS, **{limit: most}))
    with pytest.raises(SbdRefused) as refused:
        split(data, size=size, limits=replace(DEFAULT_LIMITS, **{limit: most - 1}))
    assert refused.value.reason == ("sbd.size" if limit == "sbd_bytes" else "sbd.limits")


def test_byte_order_mark_of_a_partner_with_that_quirk_is_read() -> None:
    splitter = SbdSplitter(allow_bom=True)

    assert splitter.feed(b"\xef\xbb\xbf" + document()) == PAYLOAD
    assert splitter.finish() == HEADER


def test_document_over_the_size_limit_is_refused_while_it_arrives() -> None:
    prefix, _ = build_sbd(HEADER)
    splitter = SbdSplitter(Limits(sbd_bytes=64 * KIB))
    splitter.feed(prefix)

    for _ in range(58):
        splitter.feed(b"QUJD" * 256)

    with pytest.raises(SbdRefused) as refused:
        splitter.feed(b"QUJD" * 2_048)

    assert refused.value.reason == "sbd.size"


@pytest.mark.parametrize("begun", [b"", b"<BinaryContent x='"])
def test_a_header_without_end_is_not_collected(begun: bytes) -> None:
    data = document()
    splitter = SbdSplitter()
    splitter.feed(data[: data.index(b"<BinaryContent")] + begun)

    with pytest.raises(SbdRefused) as refused:
        splitter.feed(b"x" * 300 * KIB)

    assert refused.value.reason == "sbd.limits"


def test_refusal_never_quotes_the_patient() -> None:
    moved = document().replace(b"<Type>PATIENTID</Type>", b"<Type>PATIENT</Type>")
    broken = document().replace(b"2512489996<", b"2512489996</Type><")

    for data in (moved, broken):
        with pytest.raises(SbdRefused) as refused:
            split(data)
        assert "2512489996" not in str(refused.value)
        assert "2512489996" not in repr(refused.value.__cause__)
    with pytest.raises(SbdRefused, match="BusinessScope/Scope/Type"):
        split(moved)


def prefixed(data: bytes) -> bytes:
    return re.sub(rb"<(/?)([A-Z])", rb"<\1s:\2", data).replace(b"xmlns=", b"xmlns:s=")


@pytest.mark.parametrize("named", [bytes, prefixed])
@pytest.mark.parametrize(
    "end",
    [
        b"</BinaryContent></StandardBusinessDocument>",
        b"\n</BinaryContent\n> \t</StandardBusinessDocument >\r\n",
    ],
)
@pytest.mark.parametrize("size", [None, 64 * KIB])
@pytest.mark.parametrize("decode", [True, False])
def test_a_plain_document_needs_no_parser_by_pieces(
    named: Callable[[bytes], bytes],
    end: bytes,
    size: int | None,
    decode: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b"QUJD" * 50_000
    data = named(build_sbd(HEADER)[0] + content + end)
    for parser in ("XMLParser", "XMLPullParser"):
        monkeypatch.setattr(etree, parser, None)

    read, header = split(data, size=size, decode=decode)

    assert header == HEADER
    assert read == (b"ABC" * 50_000 if decode else b"")


@pytest.mark.parametrize("place", [b"</BinaryContent", b">", b"</StandardBusinessDocument", b">\n"])
def test_what_is_no_white_space_of_xml_ends_nothing(place: bytes) -> None:
    data = document()
    at = data.rindex(place) if place != b">" else data.index(b">", data.index(b"</Bin"))

    with pytest.raises(SbdRefused) as refused:
        split(data[: at + len(place)] + b"\x0c" + data[at + len(place) :])

    assert refused.value.reason == "sbd.xml"


@pytest.mark.parametrize("size", [None, 1])
def test_the_same_namespace_may_be_declared_again_and_again(size: int | None) -> None:
    data = re.sub(rb"<([A-Z][A-Za-z]+)>", rb'<\1 xmlns:x="urn:x">', document())

    assert data.count(b"xmlns") > DEFAULT_LIMITS.namespaces
    assert split(data, size=size) == (PAYLOAD, HEADER)


@pytest.mark.parametrize("size", [None, 1])
def test_what_an_element_declares_is_counted_without_what_it_inherits(size: int | None) -> None:
    data = document()
    for number, name in enumerate(
        [b"<StandardBusinessDocument", b"<StandardBusinessDocumentHeader"]
    ):
        declared = b"".join(b' xmlns:n%d%d="urn:%d%d"' % (number, n, number, n) for n in range(10))
        data = re.sub(name + rb"\b", name + declared, data, count=1)

    assert split(data, size=size) == (PAYLOAD, HEADER)


@pytest.mark.parametrize("named", [bytes, prefixed])
@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "end",
    [
        b"</BinaryContent><!-- x --></StandardBusinessDocument>",
        b"</BinaryContent></StandardBusinessDocument><!-- x -->",
        b"<![CDATA[QUJD]]></BinaryContent></StandardBusinessDocument>",
        b"&#81;UJD</BinaryContent></StandardBusinessDocument>" + b" " * 2 * KIB,
    ],
)
def test_a_strange_end_is_read_too(
    named: Callable[[bytes], bytes], end: bytes, size: int | None
) -> None:
    data = named(build_sbd(HEADER)[0] + b"QUJD" + end)

    assert split(data, size=size) == (b"ABCABC" if b"UJD" in end else b"ABC", HEADER)


def test_refusal_names_the_element_of_a_document_with_prefixes_too() -> None:
    data = document().replace(b"<Type>PATIENTID</Type>", b"<Type>PATIENT</Type>")

    with pytest.raises(SbdRefused, match="BusinessScope/Scope/Type") as refused:
        split(prefixed(data))

    assert refused.value.reason == "sbd.schema"


@pytest.mark.parametrize("text", [b"QQ==QUJD", b"QQ== QQ==", b"QQ==="])
def test_base64_after_padding_is_refused_in_pieces_too(text: bytes) -> None:
    with pytest.raises(SbdRefused) as refused:
        split(text.join(build_sbd(HEADER)), size=1)

    assert refused.value.reason == "sbd.base64"


def test_octets_after_the_end_of_reading_are_refused() -> None:
    splitter = SbdSplitter()
    splitter.feed(document())
    splitter.finish()

    with pytest.raises(SbdRefused) as refused:
        splitter.feed(b" ")
    assert refused.value.reason == "sbd.xml"
