"""User messages: reading, building, and every rule about their values."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import messaging, names, soap
from envelope.errors import (
    DecompressionFailure,
    EbmsError,
    ExternalPayloadError,
    InvalidHeader,
    LocalProtocolError,
    MimeInconsistency,
    RemoteProtocolError,
    ValueInconsistent,
)
from envelope.limits import DEFAULT_LIMITS
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
from envelope.pmode import Quirk
from envelope.xml import parse_trusted, scan

EXAMPLE = UserMessage(
    message_id="b5a5b0c0-8f0f-4a5e-9c0f-3f7d2a1f0001@sender.example",
    timestamp="2026-11-21T10:15:30.123Z",
    from_party=Party(PartyId("red", names.PARTY_UNREGISTERED), names.EB_INITIATOR),
    to_party=Party(PartyId("urn:party:blue"), names.EB_RESPONDER),
    collaboration_info=CollaborationInfo(
        Service("urn:ehmi:sdn-emergence", "process"),
        "urn:example::action##1",
        "conversation-1",
        AgreementRef("urn:agreement:1", None, "pmode-1"),
    ),
    message_properties=(
        Property("originalSender", "0088:5790000000012", "iso6523"),
        Property("finalRecipient", "0088:5790000000029"),
    ),
    parts=(
        PartInfo(
            "part-1@sender.example",
            (
                Property("MimeType", "application/xml"),
                Property("CompressionType", "application/gzip"),
            ),
        ),
        PartInfo("part-2@sender.example"),
    ),
    ref_to_message_id="earlier@sender.example",
    mpc=names.EB_DEFAULT_MPC,
)
MINIMAL = replace(
    EXAMPLE,
    collaboration_info=CollaborationInfo(Service("urn:s"), "a", ""),
    message_properties=(),
    parts=(),
    ref_to_message_id=None,
    mpc=None,
)


def wire(message: UserMessage) -> bytes:
    block = messaging.build_messaging(message, messaging_id="m-1")
    return soap.write_envelope(block, soap.write_body("b-1"))


def parse(data: bytes) -> UserMessage:
    return messaging.parse_user_message(soap.parse_soap(scan(data)))


TEMPLATE = wire(EXAMPLE)


def changed(old: str, new: str, count: int = 1) -> bytes:
    assert old.encode() in TEMPLATE
    return TEMPLATE.replace(old.encode(), new.encode(), count)


def refusal(data: bytes) -> EbmsError:
    with pytest.raises(EbmsError) as caught:
        parse(data)
    return caught.value


@pytest.mark.parametrize("message", [EXAMPLE, MINIMAL], ids=["everything", "the least"])
def test_what_is_built_is_what_is_read(message: UserMessage) -> None:
    assert parse(wire(message)) == message


def test_the_header_block_can_be_signed_and_must_be_understood() -> None:
    block = parse_trusted(messaging.build_messaging(MINIMAL, messaging_id="m-1"))
    assert block.get(soap.WSU_ID) == "m-1"
    assert block.get(soap.MUST_UNDERSTAND) == "true"


def test_properties_are_found_by_their_exact_name() -> None:
    message = parse(TEMPLATE)
    assert message.property("originalSender") == EXAMPLE.message_properties[0]
    assert message.property("OriginalSender") is None
    assert message.parts[0].mime_type == "application/xml"
    assert message.parts[0].compression_type == "application/gzip"
    assert message.parts[1].mime_type is None


def test_pretty_printing_changes_nothing() -> None:
    data = TEMPLATE.replace(b"><", b">\n  <").replace(b">red<", b">\n\tred\r\n <")
    assert parse(data) == EXAMPLE


SEGMENT = st.text("abcXYZ019_-", min_size=1, max_size=12)
MESSAGE_IDS = st.builds("{}.{}@{}".format, SEGMENT, SEGMENT, SEGMENT)
PHRASES = st.lists(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9),
    min_size=1,
    max_size=3,
).map(" ".join)
URIS = SEGMENT.map("urn:x:{}".format)
LINES = (
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Cn"]), min_size=1, max_size=20
    )
    .map(str.strip)
    .filter(bool)
)
TYPED = st.one_of(st.tuples(PHRASES, PHRASES), st.tuples(URIS, st.none()))
IDENTIFIERS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
PROPERTIES = st.lists(
    st.builds(
        Property,
        PHRASES.map("x-{}".format),
        LINES,
        st.one_of(st.none(), PHRASES),
    ),
    max_size=3,
).map(tuple)
CONTENT_IDS = IDENTIFIERS.filter(lambda text: not {"<", ">"} & set(text))
PARTIES = st.builds(
    Party,
    st.one_of(st.builds(PartyId, IDENTIFIERS, PHRASES), st.builds(PartyId, URIS, st.none())),
    IDENTIFIERS,
)
USER_MESSAGES = st.builds(
    UserMessage,
    message_id=MESSAGE_IDS,
    timestamp=st.datetimes().map(lambda at: at.isoformat() + "Z"),
    from_party=PARTIES,
    to_party=PARTIES,
    collaboration_info=st.builds(
        CollaborationInfo,
        TYPED.map(lambda pair: Service(*pair)),
        PHRASES,
        st.one_of(st.just(""), PHRASES),
        st.one_of(
            st.none(), st.tuples(TYPED, PHRASES).map(lambda pair: AgreementRef(*pair[0], pair[1]))
        ),
    ),
    message_properties=PROPERTIES,
    parts=st.lists(
        st.builds(PartInfo, CONTENT_IDS, PROPERTIES),
        max_size=4,
        unique_by=lambda part: part.content_id,
    ).map(tuple),
    ref_to_message_id=st.one_of(st.none(), MESSAGE_IDS),
    mpc=st.one_of(st.none(), URIS),
)


@given(USER_MESSAGES)
def test_parse_after_serialize_is_identity(message: UserMessage) -> None:
    assert parse(wire(message)) == message


@given(st.integers(0, len(TEMPLATE) - 1), st.binary(max_size=4), st.integers(0, 12))
def test_any_damage_gives_a_message_or_a_refusal(at: int, junk: bytes, dropped: int) -> None:
    try:
        outcome: object = parse(TEMPLATE[:at] + junk + TEMPLATE[at + dropped :])
    except RemoteProtocolError as error:
        outcome = error
    assert isinstance(outcome, UserMessage | RemoteProtocolError)


@pytest.mark.parametrize(
    "message_id",
    [
        "no-at-sign",
        "two@at@signs",
        "with space@x",
        "trailing@x ",
        "&lt;brackets@x&gt;",
        "tab&#9;@x",
        "line@x&#13;&#10;",
        "æ@x",
        "ａ@x",
        "a\u200bb@x",
        "a..b@x",
        ".a@x",
        '"quoted"@x',
        "a@",
        "@x",
        "a" * 250 + "@xxxxx",
    ],
)
@pytest.mark.parametrize("element", ["MessageId", "RefToMessageId"])
def test_rpl_06_message_ids_have_one_spelling(message_id: str, element: str) -> None:
    value = EXAMPLE.message_id if element == "MessageId" else EXAMPLE.ref_to_message_id
    error = refusal(changed(f"<eb:{element}>{value}<", f"<eb:{element}>{message_id}<"))
    assert isinstance(error, InvalidHeader)
    assert error.reason == "header.messageid"


@pytest.mark.parametrize(
    "message_id",
    ["Bkw-20180112-110916514-LvB0@Bkw", "a@[192.0.2.1]", "a!#$%&amp;'*+/=?^_`{|}~-@b.c"],
)
def test_message_ids_of_other_products_are_accepted(message_id: str) -> None:
    assert parse(changed(EXAMPLE.message_id, message_id)).message_id == message_id.replace(
        "&amp;", "&"
    )


@pytest.mark.parametrize(
    "timestamp",
    [
        "-0044-03-15T00:00:00Z",
        "12026-11-21T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-06-30T23:59:60Z",
        "2026-02-30T10:00:00Z",
        "2026-11-21",
        "2026-11-21 10:00:00Z",
        "",
    ],
)
def test_times_that_are_no_instant_are_refused(timestamp: str) -> None:
    error = refusal(changed(EXAMPLE.timestamp, timestamp))
    assert error.reason in {"header.timestamp", "header.schema"}


@pytest.mark.parametrize(
    "timestamp",
    ["2026-11-21T10:15:30", "2026-11-21T10:15:30.123456789012+01:00", "9999-12-31T23:59:59Z"],
)
def test_times_of_other_products_are_accepted(timestamp: str) -> None:
    assert parse(changed(EXAMPLE.timestamp, timestamp)).timestamp == timestamp


@pytest.mark.parametrize(
    "identifier", ["５７９０", "579‑0", "57\u200b90", "рaypal", "a b", "a&#13;&#10;b"]
)
def test_pty_06_party_ids_are_plain_ascii(identifier: str) -> None:
    error = refusal(changed(">red<", f">{identifier}<"))
    assert isinstance(error, InvalidHeader)
    assert error.reason == "header.characters"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0088:5790000000029<", "0088&#13;&#10;X-Injected: 1<"),
        ("0088:5790000000029<", "a&#x2028;b<"),
        (">conversation-1<", ">a&#10;b<"),
        ('name="finalRecipient"', 'name="final&#10;Recipient"'),
        ('type="iso6523"', 'type="iso&#x7f;"'),
    ],
)
def test_xml_14_no_value_breaks_a_line(old: str, new: str) -> None:
    assert refusal(changed(old, new)).reason == "header.characters"


def test_pty_07_two_party_ids() -> None:
    error = refusal(
        changed("<eb:PartyId>urn:party:blue<", "<eb:PartyId>urn:a</eb:PartyId><eb:PartyId>urn:b<")
    )
    assert isinstance(error, InvalidHeader)
    assert error.reason == "header.cardinality"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<eb:PartyId>urn:party:blue<", "<eb:PartyId>blue<"),
        ('<eb:Service type="process">urn:ehmi', "<eb:Service>urn ehmi"),
        (">urn:agreement:1<", ">agreement<"),
    ],
)
def test_an_untyped_identifier_must_be_a_uri(old: str, new: str) -> None:
    error = refusal(changed(old, new))
    assert isinstance(error, ValueInconsistent)
    assert error.reason == "header.uri"


@pytest.mark.parametrize(
    ("old", "new", "untyped"),
    [
        ("<eb:PartyId>urn:party:blue<", "<eb:PartyId>blue<", True),
        (f'<eb:PartyId type="{names.PARTY_UNREGISTERED}">red<', "<eb:PartyId>red<", True),
        ('<eb:Service type="process">urn:ehmi', "<eb:Service>urn ehmi", True),
        ("<eb:PartyId>urn:party:blue<", "<eb:PartyId>urn:party:green<", False),
    ],
)
def test_a_partner_with_that_quirk_may_name_without_type(old: str, new: str, untyped: bool) -> None:
    document = soap.parse_soap(scan(changed(old, new)))
    message = messaging.parse_user_message(document, quirks=frozenset({Quirk.UNTYPED_NAMES}))
    assert message.has_untyped_names() is untyped


def test_xsw_16_two_user_messages() -> None:
    start, end = TEMPLATE.index(b"<eb:UserMessage"), TEMPLATE.index(b"</eb:Messaging>")
    data = TEMPLATE[:end] + TEMPLATE[start:end] + TEMPLATE[end:]
    assert refusal(data).reason == "soap.cardinality"


@pytest.mark.parametrize("signal_first", [True, False])
def test_a_signal_may_stand_beside_the_user_message(signal_first: bool) -> None:
    start, end = TEMPLATE.index(b"<eb:UserMessage"), TEMPLATE.index(b"</eb:Messaging>")
    info = b"<eb:MessageInfo><eb:Timestamp>2026-11-21T10:00:00Z</eb:Timestamp><eb:MessageId>x</eb:MessageId></eb:MessageInfo>"
    signal = b"<eb:SignalMessage>" + info + b"<eb:PullRequest/></eb:SignalMessage>"
    at = start if signal_first else end
    assert parse(TEMPLATE[:at] + signal + TEMPLATE[at:]) == EXAMPLE


def test_a_fragment_of_a_split_message_is_not_taken_for_a_whole_one() -> None:
    fragment = "<mf:MessageFragment xmlns:mf='urn:mf' groupId='g'/>"
    error = refusal(changed("</eb:UserMessage>", "</eb:UserMessage>" + fragment))
    assert isinstance(error, InvalidHeader)
    assert error.reason == "header.fragment"


def test_xsw_a_foreign_element_after_the_messages_is_accepted_and_not_searched() -> None:
    start, end = TEMPLATE.index(b"<eb:UserMessage"), TEMPLATE.index(b"</eb:Messaging>")
    hidden = TEMPLATE[start:end].replace(EXAMPLE.message_id.encode(), b"hidden@x")
    foreign = b"<x xmlns='urn:x'>" + hidden + b"</x>"
    assert hidden != TEMPLATE[start:end]
    assert parse(TEMPLATE[:end] + foreign + TEMPLATE[end:]) == EXAMPLE
    error = refusal(TEMPLATE[:start] + foreign + TEMPLATE[start:])
    assert (type(error), error.reason) == (InvalidHeader, "header.schema")


@pytest.mark.parametrize(
    ("place", "junk"),
    [
        ("</eb:Messaging>", "<eb:X/>"),
        ("</eb:Messaging>", "<x/>"),
        ("</eb:UserMessage>", "<x xmlns='urn:x'/>"),
        ("</eb:MessageInfo>", "<x xmlns='urn:x'/>"),
        ("</eb:PayloadInfo>", "<x xmlns='urn:x'/>"),
    ],
)
def test_an_extension_elsewhere_is_refused(place: str, junk: str) -> None:
    error = refusal(changed(place, junk + place))
    assert (type(error), error.reason) == (InvalidHeader, "header.schema")


def test_a_signal_alone_is_no_user_message() -> None:
    start, end = TEMPLATE.index(b"<eb:UserMessage"), TEMPLATE.index(b"</eb:Messaging>")
    info = b"<eb:MessageInfo><eb:Timestamp>2026-11-21T10:00:00Z</eb:Timestamp><eb:MessageId>x</eb:MessageId></eb:MessageInfo>"
    signal = b"<eb:SignalMessage>" + info + b"<eb:PullRequest/></eb:SignalMessage>"
    assert refusal(TEMPLATE[:start] + signal + TEMPLATE[end:]).reason == "soap.cardinality"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<eb:Action>urn:example::action##1</eb:Action>", ""),
        ("<eb:Action>urn:example::action##1</eb:Action>", "<eb:Action> </eb:Action>"),
        ("<eb:Action>", "<eb:Action>x</eb:Action><eb:Action>"),
        (">red<", "><b xmlns=''>red</b><"),
        ("<eb:PayloadInfo>", "<eb:PayloadInfo><eb:Unknown/>"),
        ("<eb:CollaborationInfo>", "<eb:CollaborationInfo bad='1'>"),
        ("<eb:MessageInfo>", "<eb:MessageInfo>text"),
        ("</eb:UserMessage>", "</eb:UserMessage><eb:Unknown/>"),
        ("</eb:UserMessage>", "<x xmlns='urn:x'/></eb:UserMessage>"),
        (' name="finalRecipient"', ""),
        (
            '<eb:PartInfo href="cid:part-2@sender.example"></eb:PartInfo>',
            "<eb:PartInfo><eb:PartProperties/></eb:PartInfo>",
        ),
    ],
)
def test_a_header_that_does_not_fit_the_schema_is_refused(old: str, new: str) -> None:
    error = refusal(changed(old, new))
    assert isinstance(error, InvalidHeader)
    assert error.reason == "header.schema"


@pytest.mark.parametrize(
    "href",
    [
        'href="http://127.0.0.1:9/x"',
        'href="#body"',
        'href="CID:part-2@sender.example"',
        'href=""',
        "",
    ],
)
def test_att_09_payloads_come_with_the_message(href: str) -> None:
    error = refusal(changed('href="cid:part-2@sender.example"', href))
    assert isinstance(error, ExternalPayloadError)
    assert error.reason == "att.external"


@pytest.mark.parametrize(
    "content_id", ["", "%3Ca%3E", "a b", "a%20b", "%C3%A6", "æ", "a%00b", "a%0Ab"]
)
def test_att_08_content_ids_are_plain_ascii(content_id: str) -> None:
    error = refusal(changed("cid:part-2@sender.example", f"cid:{content_id}"))
    assert isinstance(error, MimeInconsistency)
    assert error.reason == "att.cid"


def test_content_ids_are_percent_decoded_once() -> None:
    message = parse(changed("cid:part-2@sender.example", "cid:a%2Bb%25+c%40d"))
    assert message.parts[1].content_id == "a+b%+c@d"
    assert parse(wire(message)) == message


@pytest.mark.parametrize("href", ["cid:part-1@sender.example", "cid:part%2D1@sender.example"])
def test_att_10_two_part_infos_for_one_part(href: str) -> None:
    error = refusal(changed("cid:part-2@sender.example", href))
    assert isinstance(error, ValueInconsistent)
    assert error.reason == "att.duplicate"


def test_more_part_infos_than_parts_may_come() -> None:
    many = "".join(f'<eb:PartInfo href="cid:x{n}"/>' for n in range(DEFAULT_LIMITS.parts))
    error = refusal(changed("<eb:PayloadInfo>", "<eb:PayloadInfo>" + many))
    assert error.reason == "att.limits"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">application/gzip<", ">gzip<"),
        ('name="MimeType"', 'name="mimetype"'),
    ],
)
def test_att_14_a_compressed_part_says_how_and_what_it_was(old: str, new: str) -> None:
    error = refusal(changed(old, new))
    assert isinstance(error, DecompressionFailure)
    assert error.reason == "gzip.property"


def test_ta29_a_character_set_is_an_encoding_name() -> None:
    error = refusal(
        changed(
            '<eb:Property name="CompressionType">',
            '<eb:Property name="CharacterSet">!utf-8</eb:Property><eb:Property name="CompressionType">',
        )
    )
    assert isinstance(error, ValueInconsistent)
    assert error.reason == "header.characterset"


def test_a_property_that_decides_something_stands_once() -> None:
    error = refusal(changed('name="finalRecipient"', 'name="originalSender"'))
    assert isinstance(error, ValueInconsistent)
    assert error.reason == "header.duplicate"
    twice = TEMPLATE.replace(b'"finalRecipient"', b'"note"').replace(b'"originalSender"', b'"note"')
    assert len(parse(twice).message_properties) == 2


def test_a_refusal_does_not_quote_the_peer() -> None:
    assert "2512489996" not in str(refusal(changed(">red<", ">2512489996 æ<")))


@pytest.mark.parametrize(
    "message",
    [
        replace(MINIMAL, message_id="no shape"),
        replace(MINIMAL, timestamp="yesterday"),
        replace(MINIMAL, from_party=Party(PartyId("untyped"), "role")),
        replace(MINIMAL, from_party=Party(PartyId("", "type"), "role")),
        replace(MINIMAL, message_properties=(Property("a", "x\ny"),)),
        replace(MINIMAL, message_properties=(Property("a", " padded "),)),
        replace(MINIMAL, message_properties=(Property("a", "nul\0"),)),
        replace(MINIMAL, parts=(PartInfo("a"), PartInfo("a"))),
        replace(MINIMAL, parts=(PartInfo("æ"),)),
    ],
)
def test_nothing_is_built_that_we_would_refuse(message: UserMessage) -> None:
    with pytest.raises(LocalProtocolError):
        messaging.build_messaging(message, messaging_id="m-1")
