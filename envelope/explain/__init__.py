"""From captured bytes to an annotated tree: what they are, what is signed and encrypted, which rule is broken.

`inspect` never stops at the first problem. It takes off one layer after the other, looks at each thing by itself
with the functions that the gates are made of, and asks the gates themselves for the verdict: what the receiving side
would answer, and which quirks of the partner's agreement would change that. What cannot be looked at says so, and
because of what. Nothing that comes out of here is evidence.

Spec: experience section 6 (explain); decisions D1, D3 and D9.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from envelope.errors import FailedAuthentication, TransportRefused
from envelope.events import ContentType
from envelope.explain.business import SERVICE, is_known, root_name, show_content
from envelope.explain.capture import describe_octets, peel, read_parts, show_part
from envelope.explain.foreign import name_foreign
from envelope.explain.gates import (
    EVERY_QUIRK,
    Capture,
    Course,
    Means,
    SentMessage,
    Trust,
    Unseen,
    Verdict,
    judge,
)
from envelope.explain.message import show_envelope
from envelope.explain.node import Mark, Node, broken, look
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import parse_user_message
from envelope.soap import parse_soap
from envelope.xml import scan
from envelope.xmldsig import SIGNATURE, read_signature

__all__ = [
    "Capture",
    "Course",
    "Inspection",
    "Mark",
    "Means",
    "Node",
    "Role",
    "SentMessage",
    "Trust",
    "Unseen",
    "Verdict",
    "inspect",
    "read_sent",
]  # fmt: skip

_SIGNALS: Final = frozenset({"Receipt", "Error", "SOAP Fault"})


class Role(StrEnum):
    """What a capture is in an exchange: that decides who could answer it at all."""

    MESSAGE = "message"
    RECEIPT = "receipt"
    ERROR = "error"
    METADATA = "service metadata"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The tree of a capture; `verdict` is None for what no gate judges, such as an answer of an SMP.

    `foreign` names what is neither a message nor a document known here, such as an image: nothing was judged.
    """

    root: Node
    verdict: Verdict | None
    foreign: str | None = None
    role: Role = Role.DOCUMENT


def inspect(data: bytes, means: Means, *, content_type: str | None = None) -> Inspection:
    """Look at captured bytes of any kind; `content_type` is that of the body where the capture does not say it.

    Raises nothing about the bytes: what a gate refuses stands in its node.
    """
    layers = peel(data, content_type)
    nodes = [*((layers.head,) if layers.head else ()), *layers.problems]
    verdict = foreign = None
    if layers.content_type is not None and layers.content_type.media_type == "multipart/related":
        verdict = judge(Capture(layers.body, layers.content_type), means)
        nodes += _show_multipart(layers.content_type, layers.body, means, verdict)
        kind = "multipart with a SOAP envelope"
    elif root_name(layers.body) == "Envelope":
        verdict = judge(Capture(layers.body), means)
        nodes += show_envelope(layers.body, None, means, verdict.looking)
        kind = "SOAP envelope"
    else:
        nodes.append(look("document", lambda: show_content("document", layers.body, means)))
        kind = "document"
        if not is_known(layers.body):
            whole = layers.body if layers.body.strip() else data
            foreign = name_foreign(whole, root_name(whole))
    root = Node(kind, describe_octets(data), children=tuple(nodes))
    return Inspection(root, verdict, foreign, _role(layers.body, root, judged=verdict is not None))


def _role(body: bytes, root: Node, *, judged: bool) -> Role:
    if not judged:
        return Role.METADATA if root_name(body) in SERVICE else Role.DOCUMENT
    labels = {node.label for node in root.children}
    # Where not even the XML could be read, the names in it have to do.
    unread = not labels & {"UserMessage", "PullRequest", *_SIGNALS} and b"UserMessage" not in body
    if "Receipt" in labels or (unread and b":Receipt" in body):
        return Role.RECEIPT
    return (
        Role.ERROR if labels & _SIGNALS or (unread and b"SignalMessage" in body) else Role.MESSAGE
    )


def read_sent(data: bytes, limits: Limits = DEFAULT_LIMITS) -> SentMessage:
    """What a receipt has to repeat, from a capture of the message itself, with or without its parts.

    Raises what the gates G3 and G4 raise, and `FailedAuthentication` for a message without one readable signature.
    """
    layers = peel(data, None)
    soap_part = layers.body
    if layers.content_type is not None and layers.content_type.media_type == "multipart/related":
        parts, refusal = read_parts(layers.content_type, layers.body, limits, EVERY_QUIRK)
        if not parts:
            raise refusal or TransportRefused("no part", reason="mime.truncated")
        soap_part = parts[0].octets
    document = parse_soap(scan(soap_part, limits, allow_bom=True))
    message = parse_user_message(document, limits, quirks=EVERY_QUIRK)
    security = document.security
    signatures = [] if security is None else security.findall(SIGNATURE)
    if len(signatures) != 1:
        raise FailedAuthentication("the message has no signature", reason="sig.missing")
    signature = read_signature(signatures[0], limits)
    return SentMessage(message.message_id, tuple(each.signed() for each in signature.references))


def _show_multipart(
    content_type: ContentType, body: bytes, means: Means, verdict: Verdict
) -> list[Node]:
    parts, refusal = read_parts(content_type, body, means.limits, verdict.policy.quirks)
    if refusal is not None:
        more, _ = read_parts(content_type, body, means.limits, EVERY_QUIRK)
        parts = more if len(more) > len(parts) else parts
    nodes = [broken("multipart", refusal)] if refusal is not None else []
    if not parts:
        return nodes
    root, others = parts[0], parts[1:]
    nodes.append(show_part(root, role="root part"))
    nodes += [show_part(part, role=f"part {number}") for number, part in enumerate(others, 1)]
    by_id = {part.content_id: part.octets for part in others if part.content_id}
    nodes += show_envelope(root.octets, by_id, means, verdict.looking)
    return nodes
