"""A SOAP envelope as nodes: what its Messaging header says, its security, and what a receipt or an error means.

Where a header is refused as a whole, its elements are still listed by name, so that a person sees what came.

Spec: ebMS 3.0 Core section 5; AS4 Profile 1.0 section 5.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from envelope.errors import RemoteProtocolError
from envelope.explain.business import show_content
from envelope.explain.gates import Inflater, Means, Unseen, time_of
from envelope.explain.node import Mark, Node, broken, counted, look, unseen
from envelope.explain.security import Wire, short, show_security
from envelope.explain.signal import show_signal
from envelope.limits import Limits
from envelope.messaging import (
    STANDARD_PROPERTIES,
    TIMESTAMP,
    PartInfo,
    Party,
    UserMessage,
    read_user_message,
)
from envelope.pmode import SecurityPolicy
from envelope.signals import SignalMessage, read_signals
from envelope.soap import HEADER, SoapDocument, parse_soap, read_fault
from envelope.xml import scan

if TYPE_CHECKING:
    from lxml.etree import _Element

_MOST_ELEMENTS: Final = 60
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)


def show_envelope(
    soap_part: bytes, parts: Mapping[str, bytes] | None, means: Means, policy: SecurityPolicy
) -> tuple[Node, ...]:
    """Look at an envelope and at the parts that came with it; `parts` is None where there is only the envelope."""
    notes: list[Node] = []
    try:
        scanned = scan(soap_part, means.limits, allow_bom=True)
    except RemoteProtocolError as refusal:
        notes.append(broken("SOAP envelope", refusal))
        if refusal.reason != "xml.comment":
            return tuple(notes)
        # A comment changes nothing that exclusive canonicalisation signs: what it hides may be looked at all the same.
        try:
            scanned = scan(_COMMENT.sub(b"", soap_part), means.limits, allow_bom=True)
        except RemoteProtocolError:
            return tuple(notes)
        notes.append(Node("what follows", "was looked at with the comments taken out", Mark.NOTED))
    fault = None
    try:
        fault = read_fault(scanned)
        if fault is not None:
            notes.append(Node("SOAP Fault", f"{fault.code}: {fault.reason}", Mark.NOTED))
        document = parse_soap(scanned)
    except RemoteProtocolError as refusal:
        if fault is not None and scanned.root.find(HEADER) is None:
            return (*notes, unseen("ebMS header", "beside the Fault there is none"))
        return (*notes, broken("SOAP envelope", refusal, *_outline(scanned.root)))
    return (*notes, *_show_document(document, parts, means, policy))


def _show_document(
    document: SoapDocument,
    parts: Mapping[str, bytes] | None,
    means: Means,
    policy: SecurityPolicy,
) -> tuple[Node, ...]:
    nodes: list[Node] = []
    infos: dict[str, PartInfo] = {}
    at: datetime | None = None
    party: str | None = None
    for element in document.user_messages:
        node, message = _read_user_message(element, means.limits, policy)
        nodes.append(node)
        if message is not None:
            at = at or time_of(message.timestamp)
            party = party or message.from_party.party_id.value
            infos |= {info.content_id: info for info in message.parts}
        else:
            at = at or time_of(element.findtext(f".//{TIMESTAMP}") or "")
    if document.signal_messages:
        signals, refused = _read_signals(document, means.limits)
        nodes += [*refused, *(show_signal(signal, means.sent) for signal in signals)]
        at = at or next((time_of(signal.timestamp) for signal in signals), None)
    unsigned_error = document.security is None and not document.user_messages
    wire = Wire(parts, infos, party)
    looked = show_security(document, wire, means, policy, at)
    if unsigned_error:
        nodes.append(
            Node("Security", "none: the signal is not signed and proves nothing", Mark.NOTED)
        )
    else:
        nodes.append(looked.node)
    inflater = Inflater(means.limits)
    for content_id in dict.fromkeys((*infos, *(parts or {}))):
        info = infos.get(content_id)
        nodes.append(_show_payload(content_id, info, looked.octets, parts, means, inflater))
    return tuple(nodes)


def _outline(root: "_Element") -> tuple[Node, ...]:
    """The leaves of a tree that could not be read, by path, without the Security header and the Body."""
    found: list[Node] = []
    for element in root.iter():
        if not isinstance(element.tag, str) or len(element):
            continue
        path = [element, *element.iterancestors()]
        locals_ = [str(each.tag).rpartition("}")[2] for each in reversed(path)]
        if "Messaging" not in locals_ or "Security" in locals_ or len(found) == _MOST_ELEMENTS:
            continue
        name = element.get("name")
        text = (element.text or element.get("href") or "").strip()
        if locals_[-1] in ("Description", "Property"):
            text = _value_of(name, text)
        label = "/".join(locals_[locals_.index("Messaging") + 1 :])
        found.append(Node(f"{label} {name}" if name else label, text))
    return tuple(found)


def _read_user_message(
    element: "_Element", limits: Limits, policy: SecurityPolicy
) -> tuple[Node, UserMessage | None]:
    try:
        message = read_user_message(element, limits, quirks=policy.quirks)
    except RemoteProtocolError as refusal:
        return broken("UserMessage", refusal, *_outline(element)), None
    info = message.collaboration_info
    children = [
        Node("Timestamp", message.timestamp),
        Node("From", _party(message.from_party)),
        Node("To", _party(message.to_party)),
        Node("Service", _typed(info.service.value, info.service.type)),
        Node("Action", info.action),
        Node("ConversationId", info.conversation_id),
    ]
    if message.ref_to_message_id:
        children.append(Node("RefToMessageId", message.ref_to_message_id))
    if info.agreement_ref is not None:
        children.append(
            Node("AgreementRef", _typed(info.agreement_ref.value, info.agreement_ref.type))
        )
    children += [
        Node(f"property {each.name}", _typed(_value_of(each.name, each.value), each.type))
        for each in message.message_properties
    ]
    children += [
        Node(
            f"part {part.content_id}",
            ", ".join(f"{each.name} {_value_of(each.name, each.value)}" for each in part.properties)
            or "no properties",
        )
        for part in message.parts
    ]
    return Node("UserMessage", message.message_id, children=tuple(children)), message


def _value_of(name: str | None, value: str) -> str:
    """The value of a property that the standards name; products put titles and file names into others."""
    return value if name in STANDARD_PROPERTIES else counted(value)


def _party(party: Party) -> str:
    return f"{_typed(party.party_id.value, party.party_id.type)}, role {short(party.role)}"


def _typed(value: str, type_: str | None) -> str:
    return value if type_ is None else f"{value} (type {type_})"


def _read_signals(
    document: SoapDocument, limits: Limits
) -> tuple[tuple[SignalMessage, ...], list[Node]]:
    try:
        return tuple(read_signals(document, limits)), []
    except RemoteProtocolError as refusal:
        return (), [broken("SignalMessage", refusal, *_outline(document.root))]


def _show_payload(
    content_id: str,
    info: PartInfo | None,
    octets: Mapping[str, bytes],
    parts: Mapping[str, bytes] | None,
    means: Means,
    inflater: Inflater,
) -> Node:
    label = f"payload {content_id}"
    if parts is None:
        return unseen(label, "the MIME parts are not in this capture")
    if content_id not in parts:
        return Node(label, "the header lists it and no MIME part has its Content-ID", Mark.BROKEN)
    if content_id not in octets:
        return unseen(label, "it is encrypted and was not decrypted")
    content = octets[content_id]
    if info is None or info.compression_type is None:
        return look(label, lambda: show_content(label, content, means))

    def inflated() -> Node:
        try:
            plain = inflater.inflate(content)
        except Unseen as end:
            return unseen(label, str(end))
        node = show_content(label, plain, means)
        return Node(
            node.label,
            f"{node.value} (from {len(content)} octets of gzip)",
            node.mark, node.children, node.refusal, node.octets,
        )  # fmt: skip

    return look(label, inflated)
