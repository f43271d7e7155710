"""Receipts, errors and pull requests, read and built."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import codes, names, signals, soap
from envelope.codes import Severity
from envelope.errors import InvalidHeader, LocalProtocolError, RemoteProtocolError
from envelope.limits import DEFAULT_LIMITS
from envelope.names import q
from envelope.signals import NonRepudiationReference, Receipt, SignalMessage
from envelope.xml import canonicalize, parse_trusted, scan

TIME = "2026-11-21T10:15:30.123Z"
SENT = "sent@sender.example"
OWN = "receipt@receiver.example"


def references(count: int = 3) -> list[bytes]:
    """The ds:Reference elements of a signature in canonical form, with a PrefixList and white space of their own."""
    inner = "".join(
        f"<ds:Reference URI='#r{n}'><ds:Transforms><ds:Transform Algorithm='{names.EXC_C14N}'>"
        f"<ec:InclusiveNamespaces xmlns:ec='{names.EC}' PrefixList='S12 x'/></ds:Transform></ds:Transforms>"
        f"<ds:DigestMethod Algorithm='{names.SHA256}'/>"
        f"<ds:DigestValue>\n{b64encode(bytes([n]) * 32).decode()}\n</ds:DigestValue></ds:Reference>\n"
        for n in range(count)
    )
    root = parse_trusted(
        f"<ds:SignedInfo xmlns:ds='{names.DS}' xmlns:x='urn:x'>{inner}</ds:SignedInfo>".encode()
    )
    return list(map(canonicalize, root))


def receipt(count: int = 3) -> bytes:
    block = signals.build_receipt_messaging(
        message_id=OWN,
        timestamp=TIME,
        ref_to_message_id=SENT,
        references=references(count),
        messaging_id="m",
    )
    return soap.write_envelope(block, soap.write_body("b"))


def error(*rows: codes.EbmsCode, ref: str | None = SENT) -> bytes:
    block = signals.build_error_messaging(
        message_id=OWN, timestamp=TIME, ref_to_message_id=ref, errors=rows, messaging_id="m"
    )
    return soap.write_envelope(block, soap.write_body("b"))


def read(data: bytes) -> SignalMessage:
    return signals.read_signal(soap.parse_soap(scan(data)))


def refusal(data: bytes) -> InvalidHeader:
    with pytest.raises(InvalidHeader) as caught:
        read(data)
    return caught.value


def signal(content: str) -> str:
    return (
        f"<eb:SignalMessage xmlns:eb='{names.EB}'><eb:MessageInfo><eb:Timestamp>{TIME}</eb:Timestamp>"
        f"<eb:MessageId>x</eb:MessageId></eb:MessageInfo>{content}</eb:SignalMessage>"
    )


def bundle(*messages: str) -> bytes:
    messaging = f"<eb:Messaging xmlns:eb='{names.EB}'>{''.join(messages)}</eb:Messaging>"
    return soap.write_envelope(messaging.encode(), soap.write_body("b"))


def test_a_receipt_repeats_every_reference_in_order() -> None:
    assert read(receipt()) == SignalMessage(
        OWN,
        TIME,
        SENT,
        Receipt(
            tuple(
                NonRepudiationReference(f"#r{n}", names.SHA256, bytes([n]) * 32) for n in range(3)
            )
        ),
    )


def test_references_are_copied_with_their_transforms_and_namespaces() -> None:
    originals = references()
    block = parse_trusted(
        signals.build_receipt_messaging(
            message_id=OWN,
            timestamp=TIME,
            ref_to_message_id=SENT,
            references=originals,
            messaging_id="m",
        )
    )
    copies = list(block.iter(q(names.DS, "Reference")))
    assert list(map(canonicalize, copies)) == originals
    assert [copy.getparent().tag for copy in copies] == [
        q(names.EBBP, "MessagePartNRInformation")
    ] * 3
    lists = list(block.iter(q(names.EC, "InclusiveNamespaces")))
    assert [element.get("PrefixList") for element in lists] == ["S12 x"] * 3


def test_an_error_carries_constant_texts_and_both_references() -> None:
    read_back = read(error(codes.FAILED_AUTHENTICATION, codes.FEATURE_NOT_SUPPORTED))
    assert read_back.ref_to_message_id == SENT
    first, second = read_back.errors
    assert first.known is codes.FAILED_AUTHENTICATION
    assert first.severity is Severity.FAILURE
    assert first.ref_to_message_in_error == SENT
    assert first.description == codes.FAILED_AUTHENTICATION.description
    assert second.severity is Severity.WARNING


def test_an_error_about_an_unreadable_message_refers_to_nothing() -> None:
    read_back = read(error(codes.INVALID_HEADER, ref=None))
    assert read_back.ref_to_message_id is None
    assert read_back.errors[0].ref_to_message_in_error is None


@pytest.mark.parametrize("code", codes.CODES.values(), ids=lambda row: row.code)
def test_every_code_of_the_table_survives_the_wire(code: codes.EbmsCode) -> None:
    entry = read(error(code)).errors[0]
    assert (entry.known, entry.severity, entry.category) == (code, code.severity, code.category)
    assert (entry.origin, entry.short_description) == (code.origin, code.short_description)


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("failure", Severity.FAILURE),
        ("Failure", Severity.FAILURE),
        ("WARNING", Severity.WARNING),
        ("fatal", Severity.FAILURE),
    ],
)
def test_only_a_warning_is_not_final(written: str, understood: Severity) -> None:
    data = bundle(signal(f"<eb:Error errorCode='EBMS:4001' severity='{written}'/>"))
    entry = read(data).errors[0]
    assert entry.severity is understood
    assert entry.known is None


def test_a_description_that_says_no_language_needs_a_quirk() -> None:
    data = bundle(
        signal(
            "<eb:Error errorCode='EBMS:0102' severity='failure'>"
            "<eb:Description>no language</eb:Description></eb:Error>"
        )
    )
    assert refusal(data).reason == "header.schema"
    document = soap.parse_soap(scan(data))
    before = etree.tostring(document.messaging)
    [entry] = signals.read_signal(document, bare_descriptions=True).errors
    assert (entry.code, entry.description) == ("EBMS:0102", "no language")
    assert etree.tostring(document.messaging) == before


def test_the_quirk_of_bare_descriptions_permits_nothing_else() -> None:
    data = bundle(signal("<eb:Error errorCode='EBMS:0102'/>"))
    with pytest.raises(InvalidHeader):
        signals.read_signal(soap.parse_soap(scan(data)), bare_descriptions=True)


def test_log_01_texts_of_a_peer_become_one_line() -> None:
    text = "a&#10;{forged: 1}&#13;&#x2028;b"
    data = bundle(
        signal(
            f"<eb:Error errorCode='EBMS:0004' severity='failure' shortDescription='{text}'>"
            f"<eb:Description xml:lang=''>{text + 'x' * 5000}</eb:Description></eb:Error>"
        )
    )
    entry = read(data).errors[0]
    assert entry.short_description == "a {forged: 1} b"
    assert entry.description is not None
    assert entry.description.isprintable()
    assert len(entry.description) == 1024


def test_a_pull_request_names_its_channel() -> None:
    assert read(bundle(signal("<eb:PullRequest mpc='urn:mpc'/>"))).pull_request_mpc == "urn:mpc"
    assert read(bundle(signal("<eb:PullRequest/>"))).pull_request_mpc == names.EB_DEFAULT_MPC


def test_rcp_06_a_receipt_without_references_proves_nothing() -> None:
    copied = (
        f"<eb:UserMessage><eb:MessageInfo><eb:Timestamp>{TIME}</eb:Timestamp><eb:MessageId>y</eb:MessageId>"
        "</eb:MessageInfo><eb:PartyInfo><eb:From><eb:PartyId>a</eb:PartyId><eb:Role>r</eb:Role></eb:From>"
        "<eb:To><eb:PartyId>b</eb:PartyId><eb:Role>r</eb:Role></eb:To></eb:PartyInfo><eb:CollaborationInfo>"
        "<eb:Service>s</eb:Service><eb:Action>a</eb:Action><eb:ConversationId/></eb:CollaborationInfo></eb:UserMessage>"
    )
    assert read(bundle(signal(f"<eb:Receipt>{copied}</eb:Receipt>"))).receipt == Receipt()


def test_rcp_07_receipt_and_error_in_one_signal_are_both_seen() -> None:
    nri = f"<n:NonRepudiationInformation xmlns:n='{names.EBBP}'><n:MessagePartNRInformation>"
    nri += "<n:MessagePartIdentifier>x</n:MessagePartIdentifier></n:MessagePartNRInformation></n:NonRepudiationInformation>"
    both = read(
        bundle(
            signal(
                f"<eb:Receipt>{nri}</eb:Receipt><eb:Error errorCode='EBMS:0004' severity='failure'/>"
            )
        )
    )
    assert both.receipt == Receipt()
    assert len(both.errors) == 1


def test_rcp_08_two_receipts_are_refused() -> None:
    data = receipt()
    start, end = data.index(b"<eb:SignalMessage"), data.index(b"</eb:Messaging>")
    twice = data[:end] + data[start:end] + data[end:]
    assert refusal(twice).reason == "soap.cardinality"


def test_signals_of_different_kinds_may_be_bundled() -> None:
    data = bundle(
        signal("<eb:PullRequest/>"), signal("<eb:Error errorCode='E' severity='warning'/>")
    )
    found = signals.read_signals(soap.parse_soap(scan(data)))
    assert [bool(entry.errors) for entry in found] == [False, True]
    assert refusal(data).reason == "soap.cardinality"


FOREIGN = b"<x xmlns='urn:x' a='b'><eb:Receipt/>text</x>"


@pytest.mark.parametrize(
    "place",
    [
        (b"<eb:Receipt>", False),
        (b"</eb:Receipt>", True),
        (b"</eb:SignalMessage>", True),
        (b"</eb:Messaging>", True),
    ],
    ids=lambda place: place[0].decode(),
)
def test_foreign_elements_are_accepted_where_ebms_extends_and_ignored(
    place: tuple[bytes, bool],
) -> None:
    data = receipt()
    tag, before = place
    extended = data.replace(tag, FOREIGN * 2 + tag if before else tag + FOREIGN * 2, 1)
    assert extended != data
    assert read(extended) == read(data)


def test_a_pull_request_may_be_extended() -> None:
    content = (
        f"<eb:PullRequest mpc='urn:mpc' x:a='b' xmlns:x='urn:x'>{FOREIGN.decode()}</eb:PullRequest>"
    )
    assert read(bundle(signal(content))).pull_request_mpc == "urn:mpc"


@pytest.mark.parametrize(
    "tag", [b"</eb:Receipt>", b"</eb:SignalMessage>", b"</eb:Messaging>", b"</eb:MessageInfo>"]
)
@pytest.mark.parametrize("junk", [b"<eb:X/>", b"<eb:MessageInfo/>", b"<x/>", b"text"])
def test_an_extension_is_of_another_namespace(tag: bytes, junk: bytes) -> None:
    assert refusal(receipt().replace(tag, junk + tag, 1)).reason == "header.schema"


@pytest.mark.parametrize(
    "tag", [b"<eb:SignalMessage>", b"<eb:MessageInfo>", b"</eb:MessageInfo>", b"<eb:Receipt>"]
)
def test_foreign_elements_elsewhere_are_refused(tag: bytes) -> None:
    data = receipt()
    assert tag in data
    assert refusal(data.replace(tag, FOREIGN + tag, 1)).reason == "header.schema"


def test_rcp_08_two_non_repudiation_informations_are_refused() -> None:
    """Whichever of the two was read, the other one would be taken for an extension."""
    data = receipt()
    start = data.index(b"<ebbp:NonRepudiationInformation")
    end = data.index(b"</eb:Receipt>")
    twice = data[:end] + data[start:end] + data[end:]
    assert refusal(twice).reason == "header.cardinality"


@pytest.mark.parametrize("wrapped", [FOREIGN, b"<x xmlns='urn:x'>%s</x>"])
def test_rcp_06_a_receipt_of_foreign_elements_only_is_refused(wrapped: bytes) -> None:
    data = receipt()
    start = data.index(b"<ebbp:NonRepudiationInformation")
    end = data.index(b"</eb:Receipt>")
    inside = wrapped.replace(b"%s", data[start:end])
    assert refusal(data[:start] + inside + data[end:]).reason == "header.cardinality"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<eb:Receipt>", b"<eb:Receipt><eb:X/>", "header.schema"),
        (b"<ds:Reference xmlns:ds=", b"<Reference xmlns='' xmlns:ds=", "xml.syntax"),
        (b" URI=", b" X=", "header.schema"),
        (b"</ds:DigestValue>", b"<ds:x/></ds:DigestValue>", "header.schema"),
        (b"<ds:DigestValue>\n", b"<ds:DigestValue>\n!!!", "header.base64"),
        (b"AAAA=\n", b"AAAA\n", "header.schema"),
        (SENT.encode(), b"with space@x", "header.messageid"),
        (SENT.encode(), b"a@x&#10;b", "header.messageid"),
        (TIME.encode(), b"-0001-01-01T00:00:00Z", "header.timestamp"),
    ],
)
def test_damaged_receipts_are_refused(old: bytes, new: bytes, reason: str) -> None:
    data = receipt()
    assert old in data
    with pytest.raises(RemoteProtocolError) as caught:
        read(data.replace(old, new, 1))
    assert caught.value.reason == reason


def test_a_reference_copied_without_its_namespace_is_refused() -> None:
    data = receipt(1).replace(f'xmlns:ds="{names.DS}"'.encode(), b'xmlns:ds="urn:wrong"')
    assert refusal(data).reason == "header.schema"


def test_c14_08_a_bomb_of_references_is_refused() -> None:
    assert refusal(receipt(DEFAULT_LIMITS.references + 1)).reason == "rcp.limits"
    errors = "<eb:Error errorCode='E' severity='failure'/>" * 33
    assert refusal(bundle(signal(errors))).reason == "header.limits"


@given(st.binary(max_size=40))
def test_base64_is_strict_but_for_white_space(value: bytes) -> None:
    text = b64encode(value).decode()
    assert signals.decode_base64("\r\n\t ".join(text) + "\n", "x") == value
    for junk in (text + "*", text + "A", "æ" + text):
        with pytest.raises(InvalidHeader):
            signals.decode_base64(junk, "x")


TEMPLATE = receipt()


@given(st.integers(0, len(TEMPLATE) - 1), st.binary(max_size=4), st.integers(0, 12))
def test_any_damage_gives_a_signal_or_a_refusal(at: int, junk: bytes, dropped: int) -> None:
    try:
        outcome: object = read(TEMPLATE[:at] + junk + TEMPLATE[at + dropped :])
    except RemoteProtocolError as refused:
        outcome = refused
    assert isinstance(outcome, SignalMessage | RemoteProtocolError)


@pytest.mark.parametrize(
    ("message_id", "timestamp", "ref"),
    [("no shape", TIME, SENT), (OWN, "now", SENT), (OWN, TIME, "a\nb")],
)
def test_nothing_is_built_that_we_would_refuse(message_id: str, timestamp: str, ref: str) -> None:
    with pytest.raises(LocalProtocolError):
        signals.build_receipt_messaging(
            message_id=message_id,
            timestamp=timestamp,
            ref_to_message_id=ref,
            references=references(),
            messaging_id="m",
        )


def test_empty_receipts_and_errors_are_not_built() -> None:
    with pytest.raises(LocalProtocolError):
        receipt(0)
    with pytest.raises(LocalProtocolError):
        error()
    with pytest.raises(LocalProtocolError):
        signals.build_receipt_messaging(
            message_id=OWN,
            timestamp=TIME,
            ref_to_message_id=SENT,
            references=[b"<x></x>"],
            messaging_id="m",
        )
