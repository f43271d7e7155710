"""The two ways to read a SignedInfo, from its canonical form and from its tree, hold each other to the same result."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import EnvelopeError
from envelope.limits import DEFAULT_LIMITS
from envelope.signed_info import _read_canonical, _read_tree
from envelope.xml import canonicalize
from envelope.xmldsig import SIGNED_INFO, write_signed_info, write_signed_reference

DIGEST = bytes(range(32))
PRODUCT = (
    f'<S:E xmlns:S="urn:soap" xmlns:eb="urn:eb" xmlns:ds="{names.DS}"><ds:SignedInfo>'
    f'<ds:CanonicalizationMethod Algorithm="{names.EXC_C14N}">'
    f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="S eb"/></ds:CanonicalizationMethod>'
    f'<ds:SignatureMethod Algorithm="{names.RSA_SHA256}"/>'
    + "".join(
        f'<ds:Reference URI="{uri}"><ds:Transforms><ds:Transform Algorithm="{transform}">{listed}'
        f'</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="{names.SHA256}"/>'
        "<ds:DigestValue>AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=</ds:DigestValue></ds:Reference>"
        for uri, transform, listed in (
            ("#a", names.EXC_C14N, f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="S"/>'),
            ("#b", names.EXC_C14N, ""),
            ("cid:part@there", names.ATTACHMENT_CONTENT_SIGNATURE, ""),
        )
    )
    + "</ds:SignedInfo></S:E>"
)  # fmt: skip


def both(xml: str, limits=DEFAULT_LIMITS):
    element = etree.fromstring(xml.encode()).find(SIGNED_INFO)
    if element is None:
        return None, None, None
    try:
        slow = _read_tree(element, limits)
    except EnvelopeError as error:
        slow = error
    return element, _read_canonical(element, limits), slow


def assert_same(element, fast, slow):
    assert fast.octets == canonicalize(element, fast.canonicalization.prefixes)
    assert fast[:2] == slow[:2]
    # The reference as a value: what is stored, compared and repeated in a receipt.
    assert [each.signed() for each in fast.references] == [
        each.signed() for each in slow.references
    ]
    assert [each.transforms for each in fast.references] == [
        each.transforms for each in slow.references
    ]


@pytest.mark.parametrize("prefix", ["", "S12"])
def test_what_we_and_other_products_write_is_read_from_the_canonical_form(prefix):
    ours = write_signed_info(
        [write_signed_reference(uri, DIGEST, prefixes=prefix) for uri in ("#a", "cid:b@c")],
        names.RSA_SHA256,
        soap_prefix=prefix,
    )

    for xml in (f"<a>{ours}</a>", PRODUCT):
        element, fast, slow = both(xml)
        assert fast is not None
        assert_same(element, fast, slow)


CHANGES = st.sampled_from(
    ["", " ", "\n", "x", "<!-- -->", "<?p?>", "<ds:X/>", "&amp;", "&#13;", "é", "=", "<![CDATA[A]]>", 'Id="x" ',
     'Type="t" ', 'xmlns:ec="urn:other" ', 'xmlns:S="urn:other" ', 'xmlns="urn:none" ', "#default ", "a b c "]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(PRODUCT)), CHANGES), max_size=3))
@example([(PRODUCT.index("AAEC"), "<!-- -->")])
@example([(PRODUCT.index("PrefixList") + 12, "#default ")])
@example([(PRODUCT.index("<ds:Reference"), "x")])
def test_both_ways_read_the_same_from_whatever_was_changed(changes):
    xml = PRODUCT
    for at, text in sorted(changes, reverse=True):
        xml = xml[:at] + text + xml[at:]
    try:
        element, fast, slow = both(xml)
    except etree.XMLSyntaxError:
        return

    if fast is not None:
        assert_same(element, fast, slow)


@pytest.mark.parametrize("limit", ["references", "prefix_list"])
def test_what_is_over_a_limit_is_left_to_the_tree(limit):
    _, fast, slow = both(PRODUCT, replace(DEFAULT_LIMITS, **{limit: 1}))

    assert fast is None
    assert isinstance(slow, EnvelopeError)
    assert (slow.gate, slow.reason) == ("G5", "sig.limits" if limit == "references" else "alg.c14n")
    assert both(PRODUCT, replace(DEFAULT_LIMITS, **{limit: {"references": 3}.get(limit, 2)}))[1]


@pytest.mark.parametrize(
    ("present", "reason"),
    [('URI="#a"', "sig.reference"), ('URI="#b"', "sig.reference"), ('PrefixList="S"', None)],
)
def test_an_attribute_that_is_missing_says_nothing(present, reason):
    _, fast, slow = both(PRODUCT.replace(present, "", 1))

    assert fast is None
    assert getattr(slow, "reason", None) == reason
    assert reason or slow.references[0].transforms[0].prefixes == ()
