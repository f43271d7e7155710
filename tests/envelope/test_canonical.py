"""Templates against libxml2: what is written is canonical where it stands, and holds what a tree would hold.

The tree is built here, by the element API and from the same values, as an independent way to the same document.
"""

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import canonical, codes, messaging, names, signals, soap
from envelope.errors import LocalProtocolError, RemoteProtocolError
from envelope.messaging import (
    AgreementRef,
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.names import q
from envelope.xml import canonicalize, parse_trusted, scan

TIME = "2026-11-21T10:15:30.123Z"
NAMESPACES = {
    "S12": names.S12,
    "eb": names.EB,
    "wsse": names.WSSE,
    "wsu": names.WSU,
    "ds": names.DS,
}


def element(parent, tag, text="", **attributes):
    made = etree.SubElement(parent, q(names.EB, tag))
    made.text = text
    for key, value in attributes.items():
        if value is not None:
            made.set(key, value)
    return made


def properties(parent, name, entries):
    if entries:
        holder = element(parent, name)
        for entry in entries:
            element(holder, "Property", entry.value, name=entry.name, type=entry.type)


def tree(message: UserMessage) -> etree._Element:
    """The Messaging of `message` in an Envelope, element by element."""
    envelope = etree.Element(soap.ENVELOPE, nsmap=NAMESPACES)
    header = etree.SubElement(envelope, soap.HEADER)
    block = etree.SubElement(header, soap.MESSAGING)
    block.set(soap.MUST_UNDERSTAND, "true")
    block.set(soap.WSU_ID, "id-m")
    root = element(block, "UserMessage", mpc=message.mpc)
    info = element(root, "MessageInfo")
    element(info, "Timestamp", message.timestamp)
    element(info, "MessageId", message.message_id)
    if message.ref_to_message_id is not None:
        element(info, "RefToMessageId", message.ref_to_message_id)
    parties = element(root, "PartyInfo")
    for name, party in (("From", message.from_party), ("To", message.to_party)):
        holder = element(parties, name)
        element(holder, "PartyId", party.party_id.value, type=party.party_id.type)
        element(holder, "Role", party.role)
    collaboration = message.collaboration_info
    info = element(root, "CollaborationInfo")
    agreement = collaboration.agreement_ref
    if agreement is not None:
        element(info, "AgreementRef", agreement.value, type=agreement.type, pmode=agreement.pmode)
    element(info, "Service", collaboration.service.value, type=collaboration.service.type)
    element(info, "Action", collaboration.action)
    element(info, "ConversationId", collaboration.conversation_id)
    properties(root, "MessageProperties", message.message_properties)
    if message.parts:
        payload = element(root, "PayloadInfo")
        for part in message.parts:
            href = "cid:" + quote(part.content_id, safe="@!$&'()*+,;=:/?~")
            properties(element(payload, "PartInfo", href=href), "PartProperties", part.properties)
    etree.SubElement(envelope, soap.BODY, {soap.WSU_ID: "id-b"})
    return envelope


def stands_as_written(envelope: bytes, block: bytes, body: bytes) -> None:
    """Both are what anybody gets who canonicalises them in the envelope, with the SOAP prefix listed or not."""
    document = soap.parse_soap(scan(envelope))
    for prefixes in ((), ("S12",)):
        assert canonicalize(document.messaging, prefixes) == block
        assert canonicalize(document.body, prefixes) == body


# What breaks XML, what canonical form escapes, what the rules for headers refuse, and what they allow.
HOSTILE = st.text(
    st.sampled_from("aZ09 \t\r\n&<>\"'=%#;:@./+~]![{}\\\x00\x07\x7f\x85\xa0æ\u2028\ud800\ufffe￿𝄞"),
    max_size=8,
)
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=12)
GLN = st.sampled_from(["urn:x", "0088:5790000000012", "a&<>\"'b", "a b"])
VALUES = st.one_of(GLN, GLN, PRINTABLE, HOSTILE)
MAYBE = st.one_of(st.none(), VALUES)
IDS = st.one_of(st.sampled_from(["a@b", "x&'y@[<>&]", "a@b c", "a"]), VALUES)
PROPERTIES = st.lists(
    st.builds(
        Property, st.one_of(VALUES, st.sampled_from(sorted(messaging.STANDARD_PROPERTIES))), VALUES, MAYBE
    ),
    max_size=2,
).map(tuple)  # fmt: skip
PARTIES = st.builds(Party, st.builds(PartyId, VALUES, MAYBE), VALUES)
MESSAGES = st.builds(
    UserMessage,
    message_id=IDS,
    timestamp=st.one_of(st.just(TIME), st.just(TIME), HOSTILE),
    from_party=PARTIES,
    to_party=PARTIES,
    collaboration_info=st.builds(
        CollaborationInfo,
        st.builds(Service, VALUES, MAYBE),
        VALUES,
        st.one_of(st.just(""), VALUES),
        st.one_of(st.none(), st.builds(AgreementRef, VALUES, MAYBE, MAYBE)),
    ),
    message_properties=PROPERTIES,
    parts=st.lists(st.builds(PartInfo, IDS, PROPERTIES), max_size=2).map(tuple),
    ref_to_message_id=st.one_of(st.none(), IDS),
    mpc=MAYBE,
)
PLAIN = UserMessage(
    "a@b",
    TIME,
    Party(PartyId("red", "t"), "r"),
    Party(PartyId("urn:blue"), "r"),
    CollaborationInfo(Service("s", "t"), "a", "c", AgreementRef("g", "t", "p")),
    (Property("n", "v", "t"),),
    (PartInfo("p@b", (Property("n", "v"),)),),
    "e@b",
    "mpc",
)


def held_against_the_tree(message: UserMessage) -> None:
    """What the rules for inbound messages let through is written as the tree is, anything else not at all."""
    expected = None
    with contextlib.suppress(RemoteProtocolError, ValueError):
        envelope = tree(message)
        block = envelope[0][0]
        if messaging.read_user_message(block[0]) == message:
            expected = canonicalize(block), canonicalize(envelope[1])
    if expected is None:
        with pytest.raises(LocalProtocolError, match="user message cannot be built"):
            messaging.build_messaging(message, messaging_id="id-m")
        return
    block = messaging.build_messaging(message, messaging_id="id-m")
    body = soap.write_body("id-b")
    assert (block, body) == expected
    stands_as_written(soap.write_envelope(block, body), block, body)


@given(MESSAGES)
def test_user_messages(message: UserMessage) -> None:
    held_against_the_tree(message)


def each_value_replaced(value, hostile):
    """`value` again and again, each time with another one of the texts inside it replaced."""
    if isinstance(value, str):
        yield hostile
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            for changed in each_value_replaced(inner, hostile):
                yield (*value[:number], changed, *value[number + 1 :])
    elif value is not None:
        fields = {name: getattr(value, name) for name in value.__slots__}
        for name, inner in fields.items():
            for changed in each_value_replaced(inner, hostile):
                yield type(value)(**{**fields, name: changed})


@given(VALUES)
def test_one_hostile_value_in_each_place(hostile: str) -> None:
    for message in each_value_replaced(PLAIN, hostile):
        held_against_the_tree(message)


@given(st.text(st.sampled_from("a&<>\"' \t\r\n]æ𝄞")))
def test_text_and_attributes(value: str) -> None:
    written = f"<x a={canonical.attribute(value)}>{canonical.content(value)}</x>".encode()
    root = parse_trusted(written)
    assert (root.get("a"), root.text or "") == (value, value)
    assert canonicalize(root) == written


@pytest.mark.parametrize("ref", ["a@b", "x&<>\"'y", None])
@pytest.mark.parametrize("row", codes.CODES.values(), ids=lambda row: row.code)
def test_errors(row: codes.EbmsCode, ref: str | None) -> None:
    block = signals.build_error_messaging(
        message_id="x&'y@b",
        timestamp=TIME,
        ref_to_message_id=ref,
        errors=[row, row],
        messaging_id="id-m",
    )
    body = soap.write_body("id-b")
    stands_as_written(soap.write_envelope(block, body), block, body)
    signal = signals.read_signal(soap.parse_soap(scan(soap.write_envelope(block, body))))
    assert (signal.message_id, signal.ref_to_message_id) == ("x&'y@b", ref)
    assert [error.known for error in signal.errors] == [row, row]


REFERENCE = (
    "<{p}Reference xmlns{x}='{ds}' URI='#a&amp;&lt;\"b'{more}><{p}Transforms><{p}Transform Algorithm='{c14n}'>"
    "<{e}:InclusiveNamespaces xmlns:{e}='{ec}' PrefixList='S12'/></{p}Transform></{p}Transforms>"
    "<{p}DigestMethod Algorithm='{sha}'/><{p}DigestValue> AA\nAA </{p}DigestValue></{p}Reference>"
)


@given(
    prefix=st.sampled_from(["", "ds", "dsig-1", "eb", "ebbp", "S12", "wsu"]),
    inner=st.sampled_from(["ec", "eb", "ebbp", "S12", "wsu", "x"]),
    more=st.sampled_from(
        [
            "",
            f" xmlns:eb='{names.EB}' eb:a='b'",
            f" xmlns:S12='{names.S12}' S12:a='b'",
            f" xmlns:a='{names.EBBP}' a:a='b'",
            " xmlns:wsu='urn:other' wsu:Id='b'",
            " Id='b' xml:lang='da'",
        ]
    ),
)  # fmt: skip
def test_receipts_of_any_product(prefix: str, inner: str, more: str) -> None:
    if prefix and f"xmlns:{prefix}=" in more:
        return
    written = REFERENCE.format(
        p=f"{prefix}:" if prefix else "", x=f":{prefix}" if prefix else "", e=inner, more=more,
        ds=names.DS, c14n=names.EXC_C14N, ec=names.EC, sha=names.SHA256,
    )  # fmt: skip
    reference = canonicalize(parse_trusted(written.encode()))
    ours = canonicalize(parse_trusted(REFERENCE.format(
        p="ds:", x=":ds", e="ec", more="",
        ds=names.DS, c14n=names.EXC_C14N, ec=names.EC, sha=names.SHA256,
    ).encode()))  # fmt: skip
    block = signals.build_receipt_messaging(
        message_id="r@b",
        timestamp=TIME,
        ref_to_message_id="a@b",
        references=[reference, ours],
        messaging_id="id-m",
    )
    body = soap.write_body("id-b")
    stands_as_written(soap.write_envelope(block, body), block, body)
    copies = list(parse_trusted(block).iter(q(names.DS, "Reference")))
    assert list(map(values, copies)) == [values(parse_trusted(each)) for each in (reference, ours)]


def values(root):
    return [(node.tag, dict(node.attrib), node.text) for node in root.iter()]
