"""Pre-scan, hardened parse, exact look-ups and canonical form."""

from dataclasses import replace
from typing import Any

import pytest
from attack_rows import row
from cpu_time import cpu_time
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import xml
from envelope.errors import (
    FailedAuthentication,
    Gate,
    InvalidHeader,
    LocalProtocolError,
    RemoteProtocolError,
    TransportRefused,
)
from envelope.limits import DEFAULT_LIMITS

CPU_SECONDS = 0.2


def refusal(data: bytes, **options: object) -> TransportRefused:
    with pytest.raises(TransportRefused) as caught:
        xml.scan(data, **options)
    assert caught.value.gate is Gate.G3
    return caught.value


def attributes(count: int) -> bytes:
    return b" ".join(b"a%d='1'" % n for n in range(count))


def declarations(count: int, first: int = 0) -> bytes:
    return b" ".join(b"xmlns:p%d='urn:%d'" % (n, n) for n in range(first, first + count))


@pytest.mark.parametrize(
    "data",
    [
        b"<a/>",
        b"<?xml version='1.0'?><a/>",
        b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n<a>text</a>\r\n',
        b"<?xml version = '1.0' encoding = 'utf-8' ?><a/>",
        "<a>Ærø &amp; Åse &#13;</a>".encode(),
        b"<a b='x>y/>'><c d='&lt;'/>]]</a>",
    ],
)
def test_harmless_documents_are_parsed(data: bytes) -> None:
    scanned = xml.scan(data)
    assert scanned.data == data
    assert scanned.root.tag == "a"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE a><a/>", "xml.doctype"),
        (b"<?xml version='1.0'?>\n<!DOCTYPE a []><a/>", "xml.doctype"),
        (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><a>&x;</a>", "xml.doctype"),
        (b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/x'>%x;]><a/>", "xml.doctype"),
        (b"<!DOCTYPE a [<!ATTLIST a Id ID 'x'>]><a/>", "xml.doctype"),
        (b"<a>x<!-- c -->.evil</a>", "xml.comment"),
        (b"<a><![CDATA[x]]></a>", "xml.cdata"),
        (b"<?xml-stylesheet href='x'?><a/>", "xml.pi"),
        (b"<a>x<?p?>y</a>", "xml.pi"),
        (b" <?xml version='1.0'?><a/>", "xml.pi"),
        (b"<?xml version='1.1'?><a/>", "xml.version"),
        (b'<?xml version="1.1"?><a/>', "xml.version"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "xml.encoding"),
        (b"<" + b"a" * 60_000 + b"/>", "xml.limits"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "xml.encoding"),
        (b"<?xml version='1.0' encoding='UTF-7'?><a/>", "xml.encoding"),
        (b"<?xml version='1.0' encoding=''?><a/>", "xml.encoding"),
        ("<a/>".encode("utf-16"), "xml.encoding"),
        ("<a/>".encode("utf-16-be"), "xml.encoding"),
        ("<?xml version='1.0'?><a/>".encode("cp037"), "xml.encoding"),
        (b"\xef\xbb\xbf<a/>", "xml.encoding"),
        (b"<a>\xff</a>", "xml.encoding"),
        (b"<a>\xed\xa0\x80</a>", "xml.encoding"),
        (b"<?xml encoding='utf-8'?><a/>", "xml.syntax"),
        (b"<a>\0</a>", "xml.syntax"),
        (b"<a>\x01</a>", "xml.syntax"),
        ("<a>\ufffe</a>".encode(), "xml.syntax"),
        (b"<a>&undeclared;</a>", "xml.syntax"),
        (b"<a b='1' b='2'/>", "xml.syntax"),
        (b"<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>", "xml.syntax"),
        (b"<a/><b/>", "xml.syntax"),
        (b"", "xml.syntax"),
        (b"--", "xml.syntax"),
    ],
)
def test_hostile_documents_are_refused(data: bytes, reason: str) -> None:
    assert refusal(data).reason == reason


def test_a_byte_order_mark_is_removed_where_it_is_agreed() -> None:
    assert xml.scan(b"\xef\xbb\xbf<a/>", allow_bom=True).data == b"<a/>"


def test_a_document_over_its_size_is_refused_with_413() -> None:
    limits = replace(DEFAULT_LIMITS, soap_bytes=10)
    assert xml.scan(b"<a>123</a>", limits).root.text == "123"
    assert xml.scan(b"<a>12345</a>", limits, max_bytes=12).root.text == "12345"
    error = refusal(b"<a>12345</a>", limits=limits)
    assert (error.reason, error.status) == ("xml.limits", 413)


def test_text_longer_than_the_parser_takes_is_refused() -> None:
    data = b"<a>" + b"x" * 10_100_000 + b"</a>"
    assert refusal(data, max_bytes=len(data)).reason == "xml.limits"


def test_the_parser_alone_reads_nothing_else_and_adds_nothing() -> None:
    """Behind the pre-scan it never sees such a document; it would not give in either."""
    parser = xml._hardened_parser(xml._RefusingResolver())
    data = (
        b"<!DOCTYPE a SYSTEM 'file:///etc/hostname' [<!ENTITY x 'y'><!ATTLIST a b CDATA 'c'>]>"
        b"<a>&x;<![CDATA[z]]></a>"
    )
    assert etree.tostring(etree.fromstring(data, parser)) == b"<a>&x;<![CDATA[z]]></a>"
    for broken in (b"<a>", b"<a>" + b"x" * 10_100_000 + b"</a>"):
        with pytest.raises(etree.XMLSyntaxError):
            etree.fromstring(broken, parser)


BOMBS = {
    "C14-01 attributes on one element": b"<r " + attributes(100_000) + b"/>",
    "C14-02 namespaced attributes": b"<r "
    + declarations(20_000)
    + b" "
    + b" ".join(b"p%d:x='1'" % n for n in range(20_000))
    + b"/>",
    "C14-03 root namespaces times children": b"<r "
    + declarations(3_000)
    + b">"
    + b"<c/>" * 3_000
    + b"</r>",
    "C14-03 root namespaces times few children": b"<r "
    + declarations(3_000)
    + b">"
    + b"<c/>" * 300
    + b"</r>",
    "C14-04 PrefixList times children": b"<r><i PrefixList='"
    + b" ".join(b"p%d" % n for n in range(2_000))
    + b"'/>"
    + b"<c/>" * 20_000
    + b"</r>",
    "C14-06 in an unsigned header": b"<E><H><x:x xmlns:x='urn:x' "
    + attributes(30_000)
    + b"/></H></E>",
    "C14-05 in a Transform": b"<S><Transform><x " + attributes(30_000) + b"/></Transform></S>",
    "XML-15 depth 100,000": b"<a>" * 100_000,
    "XML-15 depth 257": b"<a>" * 257 + b"</a>" * 257,
    "XML-15 depth 1,000 unclosed": b"<a>" * 1_000,
    "XML-16 text node of 11 MB": b"<a>" + b"x" * 11_000_000 + b"</a>",
    "XML-16 attribute of 11 MB": b"<a b='" + b"x" * 11_000_000 + b"'/>",
    "XML-17 two million elements": b"<r>" + b"<c/>" * 2_000_000 + b"</r>",
    "closing tags only": b"</" * 500_000,
    "many namespaces over many elements": b"<r>"
    + b"".join(b"<c " + declarations(10, 10 * n) + b"/>" for n in range(100))
    + b"</r>",
}


def _bomb(name: str) -> Any:
    """A bomb whose name begins with the id of a case plays it."""
    case = name.split()[0]
    return row(case, name, id=name) if "-" in case else name


@pytest.mark.parametrize("payload", [False, True], ids=["soap", "payload"])
@pytest.mark.parametrize("name", [_bomb(name) for name in BOMBS])
def test_structure_bombs_are_refused_before_they_cost_anything(name: str, payload: bool) -> None:
    data = BOMBS[name]
    with cpu_time() as spent:
        error = refusal(data, max_bytes=len(data), payload=payload)
    assert spent.seconds < CPU_SECONDS
    expected = {"xml.limits", "xml.syntax"} if name == "closing tags only" else {"xml.limits"}
    assert error.reason in expected


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (b"<r>" + b"<c/>" * 1_999 + b"</r>", b"<r>" + b"<c/>" * 2_000 + b"</r>"),
        (b"<a>" * 64 + b"</a>" * 64, b"<a>" * 65 + b"</a>" * 65),
        (b"<r " + attributes(32) + b"/>", b"<r " + attributes(33) + b"/>"),
        (b"<r " + declarations(16) + b"/>", b"<r " + declarations(17) + b"/>"),
        (
            b"<r>" + b"".join(b"<c " + declarations(8, 8 * n) + b"/>" for n in range(8)) + b"</r>",
            b"<r>"
            + b"".join(b"<c " + declarations(13, 13 * n) + b"/>" for n in range(5))
            + b"</r>",
        ),
    ],
    ids=["elements", "depth", "attributes", "namespaces", "distinct namespaces"],
)
@pytest.mark.parametrize("payload", [False, True], ids=["soap", "payload"])
def test_every_limit_is_exact(inside: bytes, outside: bytes, payload: bool) -> None:
    xml.scan(inside, payload=payload)
    assert refusal(outside, payload=payload).reason == "xml.limits"


@pytest.mark.parametrize(
    "data",
    [
        b"<?xml version='1.0'?><r>" + b"<c></c>" * 1_999 + b"</r>",
        b"<a>" * 63 + b"<b/><b></b><b/>" + b"</a>" * 63,
        b"<a>" * 63 + b"<b c='/>'></b>" + b"</a>" * 63,
        b"<r " + attributes(32) + b">" + b"x" * 100 + b"</r>",
        b"<r " + declarations(16) + b" " + b" " * 100 + b"/>",
        b"<r>" + b"".join(b"<c " + declarations(8, 8 * n) + b"/>" for n in range(8)) + b"</r>",
        b"<r>" + b"=" * 100 + b"</r>",
    ],
    ids=["elements", "depth", "end in a value", "attributes", "namespaces", "distinct", "text"],
)
def test_a_document_at_its_limits_needs_no_second_walk(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml, "_Bounds", None)
    assert xml.scan(data).data == data


def test_more_tags_than_the_elements_can_have_are_not_even_cut_into_pieces() -> None:
    limits = replace(DEFAULT_LIMITS, elements=2)
    assert refusal(b"<?xml version='1.0'?>" + b"</a>" * 4, limits=limits).reason == "xml.syntax"
    assert refusal(b"</a>" * 5, limits=limits).reason == "xml.limits"


def test_text_that_looks_like_attributes_is_no_attack() -> None:
    xml.scan(b"<a>" + b"a=b xmlns /> " * 100 + b"</a>")


@pytest.mark.parametrize(
    "data",
    [
        b"<r><a><b></b><b><c/></b></a></r>",
        b"<r><a/><a><b/><b><c/></b></a></r>",
        b"<r><a><b><c/></b></a></r>",
    ],
)
def test_depth_is_counted_through_what_has_ended(data: bytes) -> None:
    assert xml.scan(data, replace(DEFAULT_LIMITS, depth=4)).data == data
    assert refusal(data, limits=replace(DEFAULT_LIMITS, depth=3)).reason == "xml.limits"


def test_a_forged_end_of_tag_inside_a_value_does_not_hide_depth() -> None:
    for start in (b"<a b='/>'>", b"<a>/>"):
        assert refusal(start * 65 + b"</a>" * 65).reason == "xml.limits"


def test_the_worst_document_within_the_limits_canonicalises_quickly() -> None:
    names = b" ".join(b"p%d:x%d='1'" % (n % 16, n) for n in range(16))
    data = b"<r " + declarations(16) + b">" + (b"<c " + names + b"/>") * 1_999 + b"</r>"
    root = xml.scan(data).root
    with cpu_time() as spent:
        assert xml.canonicalize(root, [f"p{n}" for n in range(16)])
    assert spent.seconds < CPU_SECONDS


def test_payload_documents_may_have_comments_but_never_a_doctype() -> None:
    data = b"<?xml version='1.0'?><!-- c --><?p i?><a>x<!-- c --><![CDATA[<y>]]><b/></a>"
    root = xml.scan(data, payload=True).root
    assert [child.tag for child in xml.children(root)] == ["b"]
    assert etree.tostring(root) == b"<a>x<!-- c --><![CDATA[<y>]]><b/></a>"
    entity = b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"
    assert refusal(entity, payload=True).reason == "xml.doctype"


@pytest.mark.attack("XML-08", "XML-10")
def test_xinclude_and_schema_locations_stay_inert() -> None:
    data = (
        b"<a xmlns:xi='http://www.w3.org/2001/XInclude' "
        b"xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' "
        b"xsi:schemaLocation='urn:x http://127.0.0.1:9/x.xsd'>"
        b"<xi:include href='/etc/hostname' parse='text'/></a>"
    )
    root = xml.scan(data).root
    assert len(root) == 1
    assert root[0].text is None


def test_a_syntax_error_does_not_quote_the_peer() -> None:
    assert "canary" not in str(refusal(b"<a><canary-2512489996></b></a>"))


NAMES = st.sampled_from([b"a", b"p:b", b"c"])
ATTRIBUTES = st.lists(
    st.sampled_from(
        [b" d='1'", b' e="/>"', b" f='>'", b" g='a=b'", b" p:h='x'", b" xmlns:q='urn:q'"]
    ),
    unique=True,
    max_size=6,
).map(b"".join)
TEXTS = st.sampled_from([b"", b"x", b"a=b", b" /> ", b"xmlns", b"&lt;"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 5) -> bytes:
    name, attrs = draw(NAMES), draw(ATTRIBUTES)
    if depth == 0 or draw(st.booleans()):
        return b"<" + name + attrs + b"/>"
    inner = b"".join(draw(st.lists(st.one_of(TEXTS, elements(depth=depth - 1)), max_size=4)))
    return b"<" + name + attrs + b">" + inner + b"</" + name + b">"


@given(elements(), st.integers(1, 8), st.integers(1, 6), st.integers(1, 5), st.integers(1, 3))
def test_counting_octets_and_walking_events_agree(
    element: bytes, count: int, depth: int, attrs: int, namespaces: int
) -> None:
    """The two ways to check the limits differ only in cost: comments do not change the verdict."""
    limits = replace(
        DEFAULT_LIMITS, elements=count, depth=depth, attributes=attrs, namespaces=namespaces
    )
    data = b"<r xmlns:p='urn:p'>" + element + b"</r>"

    def verdict(payload: bool) -> str:
        try:
            xml.scan(data, limits, payload=payload)
        except TransportRefused as error:
            return error.reason
        return "accepted"

    assert verdict(payload=False) == verdict(payload=True)


@given(
    st.one_of(st.binary(max_size=200), elements().map(lambda e: e[: len(e) // 2 + 3])),
    st.booleans(),
)
def test_any_octets_give_a_document_or_a_refusal(data: bytes, payload: bool) -> None:
    try:
        outcome = xml.scan(data, payload=payload).root.tag
    except RemoteProtocolError as error:
        outcome = error.reason
    assert outcome.startswith("xml.") or outcome == etree.fromstring(data).tag


def test_exact_look_ups() -> None:
    root = xml.scan(b"<r><a> x\n</a><b><c/></b><d/><d/></r>").root
    assert xml.text(xml.one(root, "a")) == "x"
    assert xml.find(root, "z") is None
    for name in ("z", "d"):
        with pytest.raises(InvalidHeader) as caught:
            xml.one(root, name)
        assert caught.value.reason == "xml.cardinality"
    with pytest.raises(InvalidHeader) as caught:
        xml.text(xml.one(root, "b"))
    assert caught.value.reason == "xml.content"


def test_canonical_form_is_taken_in_place() -> None:
    root = xml.scan(b"<r xmlns:p='urn:p' xmlns='urn:d'><a b='1' a='2'/>tail</r>").root
    assert xml.canonicalize(root[0]) == b'<a xmlns="urn:d" a="2" b="1"></a>'
    assert xml.canonicalize(root[0], ["p"]) == b'<a xmlns="urn:d" xmlns:p="urn:p" a="2" b="1"></a>'


@pytest.mark.parametrize(
    "prefixes", [["#default"], ["p", "#default"], [f"p{n}" for n in range(17)]]
)
def test_prefix_lists_that_cannot_be_honoured_are_refused(prefixes: list[str]) -> None:
    with pytest.raises(FailedAuthentication) as caught:
        xml.canonicalize(xml.scan(b"<a/>").root, prefixes)
    assert caught.value.reason == "c14n.failed"


def test_xsw_22_a_relative_namespace_has_no_canonical_form() -> None:
    root = xml.scan(b"<a xmlns:p='relative'><p:b/></a>").root
    with pytest.raises(FailedAuthentication) as caught:
        xml.canonicalize(root)
    assert caught.value.reason == "c14n.failed"


def test_schemas_are_compiled_once_from_the_package_only() -> None:
    assert xml.schema("ebms") is xml.schema("ebms")
    assert isinstance(xml.schema.__wrapped__("ebms"), etree.XMLSchema)
    with pytest.raises(LocalProtocolError):
        xml.schema("../messaging")
    with pytest.raises(LocalProtocolError):
        xml.parse_trusted(b"<a>")
    assert xml.parse_trusted(b"<a/>").tag == "a"
    assert xml.parse_trusted(b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>").text is None
