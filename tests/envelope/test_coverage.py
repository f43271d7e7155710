"""Signature wrapping and coverage: what is signed must be what is read, by identity.

Every hostile message here keeps a signature value that verifies, so only the coverage gate stands between it
and acceptance.
"""

import base64
import hashlib
from copy import deepcopy

import pytest
from lxml import etree

from envelope import names
from envelope.coverage import index_ids
from envelope.errors import CoverageIncomplete, FailedAuthentication, RemoteProtocolError
from envelope.names import q
from envelope.pmode import Quirk

ENVELOPE, HEADER, BODY = (q(names.S12, name) for name in ("Envelope", "Header", "Body"))
MESSAGING = q(names.EB, "Messaging")
SECURITY = q(names.WSSE, "Security")
SIGNED_INFO = q(names.DS, "SignedInfo")
WSU_ID = q(names.WSU, "Id")
WRAPPER = "{urn:any}Wrapper"


@pytest.fixture
def sent(workshop):
    return workshop.send()


def refused_with(workshop, data, reason, gate="G5", **how):
    with pytest.raises(RemoteProtocolError) as refused:
        workshop.authenticate(data, **how)
    assert refused.value.reason == reason
    assert refused.value.gate == gate
    return refused.value


def header_of(root):
    return root[0]


def messaging_of(root):
    return root[0].find(MESSAGING)


def forged(messaging):
    """A copy that says something else."""
    copy = deepcopy(messaging)
    next(copy.iter(q(names.EB, "Action"))).text = "urn:forged"
    return copy


def test_the_unchanged_message_is_accepted(workshop, sent):
    authenticated = workshop.authenticate(sent.data)

    assert [reference.uri for reference in authenticated.references] == [
        "#id-4711-messaging",
        "#id-4711-body",
        "cid:message-1@alpha.example",
        "cid:picture@alpha.example",
    ]
    assert authenticated.references == sent.envelope.references


def test_the_references_may_stand_in_another_order(workshop, sent):
    def reverse(root):
        info = next(root.iter(SIGNED_INFO))
        info[2:] = list(reversed(info[2:]))

    workshop.authenticate(workshop.resign(workshop.edit(sent.data, reverse)))


# Wrapping


def test_signed_body_moved_aside(workshop, sent):
    """XSW-01."""

    def wrap(root):
        body = root[1]
        wrapper = etree.SubElement(header_of(root), WRAPPER)
        wrapper.append(body)
        etree.SubElement(root, BODY, {WSU_ID: "other"})

    refused_with(workshop, workshop.edit(sent.data, wrap), "sig.coverage")


def test_signed_messaging_moved_under_another_header(workshop, sent):
    """XSW-02."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        fake.set(WSU_ID, "other")
        messaging.addprevious(fake)
        etree.SubElement(header_of(root), WRAPPER).append(messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "sig.coverage")


@pytest.mark.parametrize("first", [True, False])
def test_forged_messaging_with_the_same_id(workshop, sent, first):
    """XSW-03 and XSW-04: neither the first nor the last of two wins."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        wrapper = etree.Element(WRAPPER)
        header_of(root).insert(0 if first else len(header_of(root)), wrapper)
        messaging.addprevious(fake)
        wrapper.append(messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "id.duplicate")


def test_original_nested_in_the_forged_messaging(workshop, sent):
    """XSW-05: refused by the schema of the header before the signature is looked at."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        fake.set(WSU_ID, "other")
        messaging.addprevious(fake)
        fake.append(messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "header.schema", "G4")


def into_object(root, messaging):
    signature = next(root.iter(q(names.DS, "Signature")))
    etree.SubElement(signature, q(names.DS, "Object")).append(messaging)


def into_key_info(root, messaging):
    list(root.iter(q(names.DS, "KeyInfo")))[-1].append(messaging)


def into_security(root, messaging):
    header_of(root).find(SECURITY).append(messaging)


@pytest.mark.parametrize("hide", [into_object, into_key_info, into_security])
@pytest.mark.parametrize("same_id", [True, False])
def test_original_hidden_in_the_security_header(workshop, sent, hide, same_id):
    """XSW-06 and XSW-07."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        if not same_id:
            fake.set(WSU_ID, "other")
        messaging.addprevious(fake)
        hide(root, messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "sec.schema")


def test_original_in_the_body(workshop, sent):
    """XSW-08."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        fake.set(WSU_ID, "other")
        messaging.addprevious(fake)
        root[1].append(messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "sig.coverage")


def test_wrapped_as_a_whole_under_another_prefix(workshop, sent):
    """XSW-12: the prefixes of the signed block are redefined around a copy of it."""

    def wrap(root):
        messaging = messaging_of(root)
        fake = forged(messaging)
        fake.set(WSU_ID, "other")
        messaging.addprevious(fake)
        wrapper = etree.SubElement(header_of(root), WRAPPER, nsmap={"eb": "urn:other"})
        wrapper.append(messaging)

    refused_with(workshop, workshop.edit(sent.data, wrap), "sig.coverage")


ID_NAMES = [WSU_ID, "Id", "ID", "id", q(names.XML, "id"), "AssertionID"]


@pytest.mark.parametrize("name", ID_NAMES)
@pytest.mark.parametrize("target", ["id-4711-messaging", "id-4711-body", "EK-4711", "X509-4711"])
def test_the_same_id_under_another_attribute(workshop, sent, name, target):
    """XSW-14."""

    def twin(root):
        etree.SubElement(header_of(root), WRAPPER, {name: target})

    refused_with(workshop, workshop.edit(sent.data, twin), "id.duplicate")


@pytest.mark.parametrize("first", ID_NAMES)
@pytest.mark.parametrize("second", ID_NAMES)
def test_all_pairs_of_id_attributes(first, second):
    root = etree.fromstring("<a><b/><c/></a>")
    root[0].set(first, "x")
    root[1].set(second, "y")
    assert index_ids(root) == {"x": root[0], "y": root[1]}

    root[1].set(second, "x")
    with pytest.raises(FailedAuthentication) as refused:
        index_ids(root)
    assert refused.value.reason == "id.duplicate"


def test_one_element_with_two_equal_ids():
    root = etree.fromstring(f'<a Id="x" xmlns:u="{names.WSU}" u:Id="x"/>')

    with pytest.raises(FailedAuthentication):
        index_ids(root)


# Coverage; the signature value is made good again after each change


def references(root):
    return next(root.iter(SIGNED_INFO))[2:]


def drop_reference(number):
    def drop(root):
        references(root)[number].getparent().remove(references(root)[number])

    return drop


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_something_is_not_referenced(workshop, sent, number):
    """COV-03, COV-04, COV-06."""
    data = workshop.resign(workshop.edit(sent.data, drop_reference(number)))

    refusal = refused_with(workshop, data, "sig.coverage")

    assert isinstance(refusal, CoverageIncomplete)
    assert refusal.gate == "G5"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_something_is_referenced_twice(workshop, sent, number):
    def double(root):
        reference = references(root)[number]
        reference.addnext(deepcopy(reference))

    refused_with(workshop, workshop.resign(workshop.edit(sent.data, double)), "sig.coverage")


def test_one_target_fifty_times(workshop, sent):
    """COV-12."""

    def repeat(root):
        for _ in range(50):
            references(root)[0].addnext(deepcopy(references(root)[0]))

    refused_with(workshop, workshop.resign(workshop.edit(sent.data, repeat)), "sig.limits")


def refer_to(uri, number=0):
    def change(root):
        references(root)[number].set("URI", uri)

    return change


@pytest.mark.parametrize(
    "uri",
    [
        "#absent",
        "#",
        "id-4711-messaging",
        "Xid-4711-messaging",
        "http://127.0.0.1:9/x",
        "https://example.org/#id-4711-messaging",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "#xpointer(/)",
        "#xpointer(id('id-4711-messaging'))",
        "# id-4711-messaging",
        "#id-4711-messaging#",
        "CID:message-1@alpha.example",
    ],
)
def test_reference_that_resolves_to_nothing_here(workshop, sent, uri):
    """COV-09 and COV-11."""
    data = workshop.resign(workshop.edit(sent.data, refer_to(uri)))

    refused_with(workshop, data, "sig.reference")


def test_reference_to_the_whole_document(workshop, sent):
    """XSW-19."""
    data = workshop.resign(workshop.edit(sent.data, refer_to("")))

    refused_with(workshop, data, "sig.reference")


def test_reference_to_a_descendant(workshop, sent):
    """COV-08: the UserMessage instead of the Messaging that holds it."""

    def change(root):
        next(root.iter(q(names.EB, "UserMessage"))).set("id", "inner")
        refer_to("#inner")(root)

    data = workshop.resign(workshop.edit(sent.data, change))
    with pytest.raises(RemoteProtocolError) as refused:
        workshop.authenticate(data)
    assert refused.value.reason in ("sig.coverage", "header.schema")


@pytest.mark.parametrize("target", ["X509-4711", "EK-4711", "ED-4711-1"])
def test_reference_to_something_else_beside(workshop, sent, target):
    def add(root):
        reference = deepcopy(references(root)[0])
        reference.set("URI", "#" + target)
        references(root)[0].addnext(reference)

    refused_with(workshop, workshop.resign(workshop.edit(sent.data, add)), "sig.coverage")


@pytest.mark.parametrize(
    "uri",
    ["cid:other@alpha.example", "cid:Message-1@alpha.example", "cid:message-1@alpha.example%20"],
)
def test_reference_to_another_part(workshop, sent, uri):
    """ATT-08 at the signature: case and spaces make another content id."""
    data = workshop.resign(workshop.edit(sent.data, refer_to(uri, 2)))

    refused_with(workshop, data, "sig.coverage")


def test_percent_encoding_makes_no_other_content_id(workshop, sent):
    data = workshop.edit(sent.data, refer_to("cid:message-1%40alpha.example", 2))

    assert workshop.authenticate(workshop.resign(data)).part_digests.keys() == sent.parts.keys()


def test_extra_part_reference(workshop, sent):
    def add(root):
        reference = deepcopy(references(root)[2])
        reference.set("URI", "cid:extra@alpha.example")
        references(root)[2].addnext(reference)

    refused_with(workshop, workshop.resign(workshop.edit(sent.data, add)), "sig.coverage")


@pytest.mark.parametrize("content", ["<x/>", "payload"])
def test_payload_in_the_signed_body(workshop, sent, content):
    """COV-05."""

    def fill(root):
        if content == "payload":
            root[1].text = content
        else:
            root[1].append(etree.fromstring(content))

    refused_with(workshop, workshop.edit(sent.data, fill), "sig.coverage")


def test_unsigned_body_is_a_quirk(workshop, sent):
    data = workshop.resign(workshop.edit(sent.data, drop_reference(1)))

    workshop.authenticate(data, policy=workshop.policy(quirks=frozenset({Quirk.UNSIGNED_BODY})))


def test_the_quirk_lets_no_payload_into_the_unsigned_body(workshop, sent):
    def fill(root):
        drop_reference(1)(root)
        etree.SubElement(root[1], "{urn:x}payload")

    data = workshop.resign(workshop.edit(sent.data, fill))

    refused_with(
        workshop,
        data,
        "sig.coverage",
        policy=workshop.policy(quirks=frozenset({Quirk.UNSIGNED_BODY})),
    )


# Timestamps


def add_timestamp(root, *, stamp_id="TS"):
    security = header_of(root).find(SECURITY)
    stamp = etree.SubElement(security, q(names.WSU, "Timestamp"), {WSU_ID: stamp_id})
    etree.SubElement(stamp, q(names.WSU, "Created")).text = "2026-11-21T12:00:00Z"
    return stamp


def sign_element(root, element, uri):
    reference = deepcopy(references(root)[0])
    reference.set("URI", uri)
    digest = hashlib.sha256(etree.tostring(element, method="c14n", exclusive=True)).digest()
    reference[2].text = base64.b64encode(digest).decode()
    references(root)[0].addnext(reference)


def test_unsigned_timestamp(workshop, sent):
    """COV-07."""
    refused_with(workshop, workshop.edit(sent.data, add_timestamp), "sig.coverage")


def test_signed_timestamp_is_tolerated_and_verified(workshop, sent):
    def signed(root):
        sign_element(root, add_timestamp(root), "#TS")

    data = workshop.resign(workshop.edit(sent.data, signed))

    workshop.authenticate(data)
    later = data.replace(
        b"2026-11-21T12:00:00Z</wsu:Created>", b"2026-11-22T12:00:00Z</wsu:Created>"
    )
    assert later != data
    refused_with(workshop, later, "sig.digest", "G6")


def test_signed_timestamp_moved_away(workshop, sent):
    """XSW-15."""

    def moved(root):
        stamp = add_timestamp(root)
        sign_element(root, stamp, "#TS")
        etree.SubElement(header_of(root), WRAPPER).append(stamp)
        add_timestamp(root, stamp_id="fresh")

    refused_with(workshop, workshop.resign(workshop.edit(sent.data, moved)), "sig.coverage")


def test_two_timestamps(workshop, sent):
    def two(root):
        add_timestamp(root)
        add_timestamp(root, stamp_id="TS2")

    refused_with(workshop, workshop.edit(sent.data, two), "sec.schema")
