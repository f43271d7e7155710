"""SOAP 1.2 envelopes: the blocks of an inbound one by element identity, an outbound one, faults.

What `parse_soap` returns are the very elements that every later gate looks at. Nothing is searched for by name
a second time, so a signed original hidden somewhere else in the document is never mistaken for the header.

Spec: SOAP 1.2 part 1; ebMS 3.0 Core section 5.1; decisions D1 (gate G4), D3.
"""

from dataclasses import dataclass
from enum import StrEnum

from lxml import etree
from lxml.etree import _Element

from envelope import names
from envelope.canonical import attribute
from envelope.errors import FailedAuthentication, Gate, InvalidHeader, TransportRefused
from envelope.names import q
from envelope.xml import ScannedXml

ENVELOPE = q(names.S12, "Envelope")
HEADER = q(names.S12, "Header")
BODY = q(names.S12, "Body")
FAULT = q(names.S12, "Fault")
MUST_UNDERSTAND = q(names.S12, "mustUnderstand")
ROLE = q(names.S12, "role")
MESSAGING = q(names.EB, "Messaging")
USER_MESSAGE = q(names.EB, "UserMessage")
SIGNAL_MESSAGE = q(names.EB, "SignalMessage")
SECURITY = q(names.WSSE, "Security")
WSU_ID = q(names.WSU, "Id")

MEDIA_TYPE = "application/soap+xml"
"""The media type of an envelope that travels without parts, and of the root part of one that has them."""

_OUR_ROLES = frozenset({None, "", names.S12_ULTIMATE_RECEIVER, names.S12 + "/role/next"})
_BOOLEANS = {None: False, "0": False, "false": False, "1": True, "true": True}
_SPACE = " \t\r\n"
_ENVELOPE_START = (
    f"<?xml version='1.0' encoding='UTF-8'?>\n<S12:Envelope xmlns:S12=\"{names.S12}\"><S12:Header>"
).encode()


@dataclass(frozen=True, slots=True)
class SoapDocument:
    """One inbound envelope with the elements that the gates work on, and the octets it was parsed from.

    `security` is None when no `wsse:Security` is addressed to the ultimate receiver.
    """

    root: _Element
    header: _Element
    messaging: _Element
    security: _Element | None
    body: _Element
    data: bytes

    @property
    def user_messages(self) -> list[_Element]:
        """The `eb:UserMessage` children of the Messaging header."""
        return self.messaging.findall(USER_MESSAGE)

    @property
    def signal_messages(self) -> list[_Element]:
        """The `eb:SignalMessage` children of the Messaging header."""
        return self.messaging.findall(SIGNAL_MESSAGE)


class FaultCode(StrEnum):
    """The SOAP 1.2 fault codes that are sent when no ebMS context exists."""

    VERSION_MISMATCH = "VersionMismatch"
    MUST_UNDERSTAND = "MustUnderstand"
    SENDER = "Sender"
    RECEIVER = "Receiver"


_FAULT_REASONS = {
    FaultCode.VERSION_MISMATCH: "Only SOAP 1.2 is understood.",
    FaultCode.MUST_UNDERSTAND: "A mandatory header block is not understood.",
    FaultCode.SENDER: "The message cannot be processed.",
    FaultCode.RECEIVER: "The message cannot be processed now.",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP 1.2 Fault that a peer answered; `reason` is the peer's text, at most 200 characters, for the log."""

    code: str
    reason: str


def _no_text(element: _Element, name: str) -> None:
    if (element.text and element.text.strip(_SPACE)) or any(
        child.tail and child.tail.strip(_SPACE) for child in element
    ):
        raise InvalidHeader(f"text directly inside {name}", reason="soap.schema")


def _check_version(root: _Element) -> None:
    if root.tag == ENVELOPE:
        return
    if root.tag == q(names.S11, "Envelope"):
        raise TransportRefused("SOAP 1.1 envelope", reason="soap.version", gate=Gate.G4, status=500)
    raise TransportRefused("root is not a SOAP 1.2 Envelope", reason="soap.envelope", gate=Gate.G4)


def _is_mandatory(block: _Element) -> bool:
    value = block.get(MUST_UNDERSTAND)
    try:
        return _BOOLEANS[value.strip(_SPACE) if value else value]
    except KeyError:
        raise InvalidHeader("mustUnderstand is not a boolean", reason="soap.schema") from None


def _header_blocks(header: _Element) -> tuple[_Element, _Element | None]:
    """Pick Messaging and Security out of the header blocks and judge the others."""
    messaging: list[_Element] = []
    security: list[_Element] = []
    for block in header:
        tag = block.tag
        mandatory = _is_mandatory(block)
        if tag == MESSAGING:
            messaging.append(block)
        elif tag == SECURITY:
            security.append(block)
        elif str(tag).rpartition("}")[2] == "Messaging":
            raise InvalidHeader("Messaging in a foreign namespace", reason="soap.namespace")
        elif mandatory and block.get(ROLE) in _OUR_ROLES:
            raise TransportRefused(
                "mandatory header block not understood",
                reason="soap.mustunderstand",
                gate=Gate.G4,
                status=500,
            )
    if len(messaging) != 1:
        raise InvalidHeader(f"{len(messaging)} Messaging headers", reason="soap.cardinality")
    if messaging[0].get(ROLE) not in _OUR_ROLES:
        raise InvalidHeader("Messaging for another role", reason="soap.role")
    # Roles of Security headers are no way to hide a second one (wrapping), so any two are refused.
    if len(security) > 1:
        raise FailedAuthentication(
            f"{len(security)} Security headers", reason="sec.cardinality", gate=Gate.G5
        )
    ours = bool(security) and security[0].get(ROLE) in _OUR_ROLES
    return messaging[0], security[0] if ours else None


def parse_soap(scanned: ScannedXml) -> SoapDocument:
    """Take a pre-scanned envelope apart.

    Raises `TransportRefused` (G4: `soap.version`, `soap.envelope`, `soap.mustunderstand`), `InvalidHeader`
    (`soap.cardinality`, `soap.namespace`, `soap.role`, `soap.schema`) and `FailedAuthentication`
    (`sec.cardinality`).

    Spec: ebMS 3.0 Core section 5.1.2; eDelivery AS4 1.15: one ebMS header, SOAP 1.2 only.
    """
    root = scanned.root
    _check_version(root)
    parts = list(root)
    if [part.tag for part in parts] != [HEADER, BODY]:
        raise InvalidHeader("Envelope is not one Header and one Body", reason="soap.cardinality")
    header, body = parts
    _no_text(root, "Envelope")
    _no_text(header, "Header")
    messaging, security = _header_blocks(header)
    return SoapDocument(root, header, messaging, security, body, scanned.data)


def read_fault(scanned: ScannedXml) -> Fault | None:
    """The Fault in an answer's Body, or None; raises `TransportRefused` when the answer is not SOAP 1.2.

    A Fault may stand beside an ebMS header or alone, so this reads only the Body.
    """
    _check_version(scanned.root)
    bodies = scanned.root.findall(BODY)
    faults = bodies[0].findall(FAULT) if len(bodies) == 1 else []
    if len(faults) != 1:
        return None
    code = faults[0].findtext(f"{q(names.S12, 'Code')}/{q(names.S12, 'Value')}") or ""
    reason = faults[0].findtext(f"{q(names.S12, 'Reason')}/{q(names.S12, 'Text')}") or ""
    return Fault(code.strip(_SPACE).rpartition(":")[2][:64], " ".join(reason.split())[:200])


def messaging_start(messaging_id: str) -> str:
    """The start tag of an `eb:Messaging` in canonical form, with mustUnderstand and a wsu:Id to sign by."""
    return (
        f'<eb:Messaging xmlns:S12="{names.S12}" xmlns:eb="{names.EB}" xmlns:wsu="{names.WSU}"'
        f' wsu:Id={attribute(messaging_id)} S12:mustUnderstand="true">'
    )


def write_messaging(content: str, *, messaging_id: str) -> bytes:
    """The `eb:Messaging` header block around what is written in the prefix eb, in canonical form."""
    return f"{messaging_start(messaging_id)}{content}</eb:Messaging>".encode()


def write_body(body_id: str) -> bytes:
    """The empty Body with a wsu:Id to sign by, in canonical form."""
    return (
        f'<S12:Body xmlns:S12="{names.S12}" xmlns:wsu="{names.WSU}"'
        f" wsu:Id={attribute(body_id)}></S12:Body>"
    ).encode()


def write_envelope(messaging: bytes, body: bytes, *, security: str = "") -> bytes:
    """The document around header blocks and Body, each of which declares its own prefixes but S12.

    Security stands first, as every WSS4J product writes it.
    """
    return b"".join(
        (_ENVELOPE_START, security.encode(), messaging, b"</S12:Header>", body, b"</S12:Envelope>")
    )


def serialize(element: _Element) -> bytes:
    """The UTF-8 octets of a whole document, with an XML declaration."""
    return etree.tostring(element, encoding="UTF-8", xml_declaration=True)


def fault(code: FaultCode) -> bytes:
    """A SOAP 1.2 Fault with the constant text of its code, for a peer that no ebMS Error can answer.

    Spec: SOAP 1.2 part 1 section 5.4; a VersionMismatch carries the Upgrade header of section 5.4.7.
    """
    envelope = etree.Element(ENVELOPE, nsmap={"S12": names.S12})
    if code is FaultCode.VERSION_MISMATCH:
        header = etree.SubElement(envelope, HEADER)
        upgrade = etree.SubElement(header, q(names.S12, "Upgrade"))
        etree.SubElement(upgrade, q(names.S12, "SupportedEnvelope"), {"qname": "S12:Envelope"})
    element = etree.SubElement(etree.SubElement(envelope, BODY), FAULT)
    value = etree.SubElement(etree.SubElement(element, q(names.S12, "Code")), q(names.S12, "Value"))
    value.text = f"S12:{code}"
    reason = etree.SubElement(element, q(names.S12, "Reason"))
    sentence = etree.SubElement(reason, q(names.S12, "Text"), {q(names.XML, "lang"): "en"})
    sentence.text = _FAULT_REASONS[code]
    return serialize(envelope)
