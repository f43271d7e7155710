"""Writes the messages of the kit: as a well-behaved access point would, or with one thing changed on purpose.

What is changed is changed before it is signed, so that a receiver refuses for the reason that the case is
about and not because a digest differs. The keys are those of the kit's own access point.

Spec: eDelivery AS4 1.15: compress, sign, encrypt.
"""

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from cryptography import x509
from lxml import etree

from accesspoint.clock import timestamp
from accesspoint.conformance.reading import Message, Q
from envelope import names, soap
from envelope.compression import Compressor
from envelope.errors import EbmsError
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.mime import MultipartWriter, OutboundPart
from envelope.parts import PartSealer, SealedPart
from envelope.pmode import SecuritySuite
from envelope.signals import build_error_messaging, build_receipt_messaging
from envelope.verified import AuthenticatedUserMessage, SignedReference
from envelope.wsse import Signer, WireIds, build_user_message, sign_signal
from envelope.xml import canonicalize
from envelope.xmldsig import read_signature, write_signed_info, write_signed_reference
from envelope.xmlenc import GcmEncryption

CONFORMANCE_SERVICE = "http://www.esens.eu/as4/conformancetest"
"""The service of the EU test service's own messages; ours use it too, so that no business is touched."""
DOCUMENT = b'<?xml version="1.0" encoding="UTF-8"?>\n<TEST>conformance</TEST>\n'
_SOAP_TYPE: Final = "application/soap+xml; charset=UTF-8"


class Order(StrEnum):
    """In which order a part is worked on."""

    COMPRESS_SIGN_ENCRYPT = "compress, sign, encrypt"
    SIGN_COMPRESS_ENCRYPT = "sign, compress, encrypt"
    COMPRESS_SIGN_ENCRYPT_COMPRESS = "compress, sign, encrypt, compress"


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload as a producer gives it; `properties` are further part properties."""

    content: bytes = DOCUMENT
    mime_type: str = "application/xml"
    compress: bool = True
    properties: tuple[Property, ...] = ()
    damage: Callable[[bytes], bytes] = lambda octets: octets
    """Changes the octets after compression and before they are signed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be; `change` works on the Messaging header before it is signed."""

    payloads: Sequence[Payload] = field(default_factory=lambda: (Payload(),))
    service: Service = field(default_factory=lambda: Service(CONFORMANCE_SERVICE))
    action: str = "SIMPLE_ONEWAY"
    message_id: str = field(default_factory=lambda: f"{uuid.uuid4()}@conformance.invalid")
    conversation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    ref_to_message_id: str | None = None
    properties: tuple[Property, ...] = ()
    encrypt: bool = True
    order: Order = Order.COMPRESS_SIGN_ENCRYPT
    change: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A finished message: media type, octets, and what a receipt for it has to repeat."""

    message_id: str
    content_type: str
    body: bytes
    references: tuple[SignedReference, ...]


def gzip(data: bytes) -> bytes:
    """One gzip member, as our own sender writes it."""
    compressor = Compressor()
    return compressor.compress(data) + compressor.finish()


def property_element(parent: Any, name: str) -> Any:
    """The property of this name below `parent`."""
    return next(one for one in parent.iter(Q(names.EB, "Property")) if one.get("name") == name)


@dataclass(frozen=True)
class Author:
    """An access point that writes to `recipient`: what it signs with, and who both say they are."""

    signer: Signer
    party: PartyId
    recipient: x509.Certificate
    to_party: PartyId
    roles: tuple[str, str] = (names.EB_INITIATOR, names.EB_RESPONDER)
    suite: SecuritySuite = field(default_factory=SecuritySuite)
    four_corners: Mapping[str, Property] = field(default_factory=dict)

    def write(self, draft: Draft) -> Request:
        """Turn a draft into the octets of a request."""
        name = uuid.uuid4().hex
        content_key = uuid.uuid4().bytes if draft.encrypt and draft.payloads else None
        sealed, octets = [], []
        for number, payload in enumerate(draft.payloads):
            part, wire = self._seal(payload, f"part{number}-{name}", content_key, draft.order)
            sealed.append(part)
            octets.append(wire)
        message = self._message(draft, [part.content_id for part in sealed])
        signed = build_user_message(
            message,
            sealed,
            signer=self.signer,
            suite=self.suite,
            recipient=None if content_key is None else self.recipient,
            content_key=content_key,
            ids=WireIds.new(name),
        )
        soap, references = signed.data, signed.references
        if draft.change is not None:
            soap, references = self._changed(soap, draft.change)
        writer = MultipartWriter(f"=_{name}", f"root-{name}@conformance.invalid", soap)
        pieces = [writer.opening()]
        for part, wire in zip(sealed, octets, strict=True):
            kind = part.mime_type if content_key is None else "application/octet-stream"
            pieces += [writer.head(OutboundPart(part.content_id, kind, len(wire))), wire]
        body = b"".join([*pieces, writer.tail()])
        return Request(draft.message_id, writer.content_type(), body, references)

    def receipt(self, request: Message) -> bytes:
        """A signed receipt for whatever came, over every reference that stands in it: nothing of it is verified."""
        return self._receipt(
            request.message_id, map(canonicalize, request.all(names.DS, "Reference"))
        )

    def receipt_for(self, proven: AuthenticatedUserMessage) -> Message:
        """The receipt for a message whose signature was verified, as an answer; it repeats what was verified."""
        references = [one.xml for one in proven.references]
        return Message(_SOAP_TYPE, self._receipt(proven.user_message.message_id, references), 200)

    def _receipt(self, message_id: str, references: Iterable[bytes]) -> bytes:
        ids = WireIds.new(uuid.uuid4().hex)
        messaging = build_receipt_messaging(
            message_id=f"{uuid.uuid4()}@conformance.invalid",
            timestamp=timestamp(datetime.now(UTC)),
            ref_to_message_id=message_id,
            references=list(references),
            messaging_id=ids.messaging,
        )
        return sign_signal(messaging, signer=self.signer, suite=self.suite, ids=ids)

    def answer(self, request: Message) -> Message:
        """A receipt for whatever came, as an answer: only for keys that are made for the run."""
        return Message(_SOAP_TYPE, self.receipt(request), 200)

    def refusal(self, error: EbmsError) -> Message:
        """An ebMS error as an answer: unsigned and about nothing, since our keys vouch for nothing that is refused."""
        ids = WireIds.new(uuid.uuid4().hex)
        messaging = build_error_messaging(
            message_id=f"{uuid.uuid4()}@conformance.invalid",
            timestamp=timestamp(datetime.now(UTC)),
            ref_to_message_id=None,
            errors=[error.ebms],
            messaging_id=ids.messaging,
        )
        body = soap.write_envelope(messaging, soap.write_body(ids.body))
        return Message(_SOAP_TYPE, body, 200)

    def _seal(
        self, payload: Payload, content_id: str, content_key: bytes | None, order: Order
    ) -> tuple[SealedPart, bytes]:
        content_id = f"{content_id}@conformance.invalid"
        vector = uuid.uuid4().bytes[:12]
        sealer = PartSealer(
            content_id, content_key, vector, mime_type=payload.mime_type, compress=payload.compress
        )
        first = sealer.update(payload.content)
        last, part = sealer.finish()
        compressed = gzip(payload.content) if payload.compress else payload.content
        travelling = payload.damage(compressed)
        if order is Order.SIGN_COMPRESS_ENCRYPT:
            part = replace(part, digest=hashlib.sha256(payload.content).digest())
        elif travelling != compressed:
            part = replace(part, digest=hashlib.sha256(travelling).digest())
        else:
            wire = first + last
            return part, gzip(wire) if order is Order.COMPRESS_SIGN_ENCRYPT_COMPRESS else wire
        if content_key is None:
            return part, travelling
        cipher = GcmEncryption(content_key, vector)
        return part, cipher.update(travelling) + cipher.finish()

    def _message(self, draft: Draft, content_ids: Sequence[str]) -> UserMessage:
        given = {one.name for one in draft.properties}
        corners = (one for name, one in self.four_corners.items() if name not in given)
        return UserMessage(
            message_id=draft.message_id,
            timestamp=timestamp(datetime.now(UTC)),
            from_party=Party(self.party, self.roles[0]),
            to_party=Party(self.to_party, self.roles[1]),
            collaboration_info=CollaborationInfo(
                draft.service, draft.action, draft.conversation_id
            ),
            message_properties=(*corners, *draft.properties),
            parts=tuple(
                PartInfo(content_id, _part_properties(payload))
                for content_id, payload in zip(content_ids, draft.payloads, strict=True)
            ),
            ref_to_message_id=draft.ref_to_message_id,
        )

    def _changed(
        self, soap: bytes, change: Callable[[Any], None]
    ) -> tuple[bytes, tuple[SignedReference, ...]]:
        """Change the Messaging header and sign it again: the true sender may write what it likes."""
        root = etree.fromstring(soap)
        messaging = next(root.iter(Q(names.EB, "Messaging")))
        change(messaging)
        signature = next(root.iter(Q(names.DS, "Signature")))
        references = [one.signed() for one in read_signature(signature).references]
        digest = hashlib.sha256(canonicalize(messaging)).digest()
        references[0] = write_signed_reference(references[0].uri, digest)
        signed_info = write_signed_info(references, self.suite.signature_algorithm)
        signature.replace(signature[0], etree.fromstring(signed_info))
        value = self.signer.sign(signed_info.encode(), self.suite.signature_algorithm)
        signature[1].text = base64.b64encode(value).decode()
        return etree.tostring(root, encoding="UTF-8"), tuple(references)


def _part_properties(payload: Payload) -> tuple[Property, ...]:
    compression = (Property("CompressionType", "application/gzip"),) if payload.compress else ()
    return (Property("MimeType", payload.mime_type), *compression, *payload.properties)
