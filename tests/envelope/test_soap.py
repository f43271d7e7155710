"""Envelopes taken apart by element identity, built, and faults."""

import pytest

from envelope import names, soap
from envelope.errors import (
    FailedAuthentication,
    Gate,
    InvalidHeader,
    RemoteProtocolError,
    TransportRefused,
)
from envelope.names import q
from envelope.xml import parse_trusted, scan

MESSAGING = f"<eb:Messaging xmlns:eb='{names.EB}'><eb:UserMessage/></eb:Messaging>"
SECURITY = f"<w:Security xmlns:w='{names.WSSE}'/>"
BODY = "<s:Body/>"
UNKNOWN = "<x:x xmlns:x='urn:x' %s/>"


def envelope(*blocks: str, body: str = BODY, namespace: str = names.S12) -> bytes:
    return f"<s:Envelope xmlns:s='{namespace}'><s:Header>{''.join(blocks)}</s:Header>{body}</s:Envelope>".encode()


def refusal(data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        soap.parse_soap(scan(data))
    return caught.value


@pytest.mark.parametrize("blocks", [(MESSAGING, SECURITY), (SECURITY, MESSAGING)])
def test_header_order_is_free(blocks: tuple[str, str]) -> None:
    data = envelope(*blocks)
    document = soap.parse_soap(scan(data))
    assert document.messaging.getparent() is document.header
    assert document.body.getparent() is document.root
    assert document.security is not None
    assert len(document.user_messages) == 1
    assert document.signal_messages == []
    assert document.data == data


def test_an_unknown_header_is_ignored_unless_it_is_mandatory_for_us() -> None:
    for harmless in ("", "s:mustUnderstand='0'", "s:mustUnderstand='true' s:role='urn:other'"):
        soap.parse_soap(scan(envelope(MESSAGING, UNKNOWN % harmless)))
    for mandatory in (
        "s:mustUnderstand='true'",
        "s:mustUnderstand=' 1 '",
        f"s:mustUnderstand='1' s:role='{names.S12_ULTIMATE_RECEIVER}'",
    ):
        error = refusal(envelope(MESSAGING, UNKNOWN % mandatory))
        assert isinstance(error, TransportRefused)
        assert (error.reason, error.status, error.gate) == ("soap.mustunderstand", 500, Gate.G4)


def test_mandatory_messaging_and_security_are_understood() -> None:
    mandatory = f"xmlns:s='{names.S12}' s:mustUnderstand='true' "
    blocks = [block.replace(" xmlns", f" {mandatory} xmlns", 1) for block in (MESSAGING, SECURITY)]
    assert soap.parse_soap(scan(envelope(*blocks))).security is not None


def test_a_security_header_for_another_role_is_not_ours() -> None:
    other = f"<w:Security xmlns:w='{names.WSSE}' s:role='urn:other'/>"
    assert soap.parse_soap(scan(envelope(MESSAGING, other))).security is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (envelope(), "soap.cardinality"),
        (envelope(MESSAGING, MESSAGING), "soap.cardinality"),
        (
            envelope(MESSAGING, MESSAGING.replace(" xmlns", " s:role='urn:other' xmlns", 1)),
            "soap.cardinality",
        ),
        (envelope(MESSAGING.replace(" xmlns", " s:role='urn:other' xmlns", 1)), "soap.role"),
        (envelope(MESSAGING.replace(names.EB, names.EB[:-1])), "soap.namespace"),
        (envelope(MESSAGING, MESSAGING.replace(names.EB, names.EB + "/")), "soap.namespace"),
        (envelope(MESSAGING.replace("http://", "https://")), "soap.namespace"),
        (envelope(MESSAGING, body=""), "soap.cardinality"),
        (envelope(MESSAGING, body=BODY * 2), "soap.cardinality"),
        (envelope(MESSAGING, body=BODY + "<s:Header/>"), "soap.cardinality"),
        (envelope(MESSAGING, body=BODY + "text"), "soap.schema"),
        (envelope(MESSAGING, "text"), "soap.schema"),
        (envelope(MESSAGING, UNKNOWN % "s:mustUnderstand='yes'"), "soap.schema"),
        (f"<s:Envelope xmlns:s='{names.S12}'>{BODY}</s:Envelope>".encode(), "soap.cardinality"),
    ],
)
def test_envelopes_with_two_readings_are_refused(data: bytes, reason: str) -> None:
    error = refusal(data)
    assert isinstance(error, InvalidHeader)
    assert error.reason == reason


@pytest.mark.parametrize("role", ["", "s:role='urn:other'"])
def test_xsw_10_two_security_headers(role: str) -> None:
    second = f"<w:Security xmlns:w='{names.WSSE}' {role}/>"
    error = refusal(envelope(SECURITY, MESSAGING, second))
    assert isinstance(error, FailedAuthentication)
    assert error.reason == "sec.cardinality"


def test_soap_1_1_is_a_version_mismatch() -> None:
    error = refusal(envelope(MESSAGING, namespace=names.S11))
    assert isinstance(error, TransportRefused)
    assert (error.reason, error.status) == ("soap.version", 500)


def test_something_else_is_no_envelope() -> None:
    assert refusal(b"<html/>").reason == "soap.envelope"


def test_a_built_envelope_is_read_again() -> None:
    messaging = soap.write_messaging("", messaging_id="m-1")
    data = soap.write_envelope(messaging, soap.write_body("b-1"), security=SECURITY)
    document = soap.parse_soap(scan(data))
    assert [block.tag for block in document.header] == [soap.SECURITY, soap.MESSAGING]
    assert document.body.get(soap.WSU_ID) == "b-1"
    assert data.count(b"xmlns:eb=") == 1
    assert document.messaging.get(soap.WSU_ID) == "m-1"
    unsigned = soap.write_envelope(messaging, soap.write_body("b-2"))
    assert soap.parse_soap(scan(unsigned)).security is None


@pytest.mark.parametrize("code", list(soap.FaultCode))
def test_faults_are_read_again(code: soap.FaultCode) -> None:
    fault = soap.read_fault(scan(soap.fault(code)))
    assert fault is not None
    assert fault.code == code
    assert fault.reason.endswith(".")


def test_a_fault_text_of_a_peer_becomes_one_short_line() -> None:
    data = soap.fault(soap.FaultCode.RECEIVER).replace(b"The message", b"x\n\t&#13;y" + b"z" * 500)
    fault = soap.read_fault(scan(data))
    assert fault is not None
    assert fault.reason.startswith("x yz")
    assert len(fault.reason) == 200


def test_no_fault_where_there_is_none() -> None:
    assert soap.read_fault(scan(envelope(MESSAGING))) is None
    assert soap.read_fault(scan(envelope(MESSAGING, body=""))) is None
    with pytest.raises(TransportRefused):
        soap.read_fault(scan(b"<html/>"))


def test_version_mismatch_names_the_version_understood() -> None:
    root = parse_trusted(soap.fault(soap.FaultCode.VERSION_MISMATCH))
    supported = root.find(f".//{q(names.S12, 'SupportedEnvelope')}")
    assert supported is not None
    assert supported.get("qname") == "S12:Envelope"
