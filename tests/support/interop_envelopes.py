"""Both halves of an exchange from the pure packages alone: compose and post a message; receive one and answer it.

A few lines of aiohttp stand where the access point stands: everything that is decided is decided by `envelope` and
`keys`, and by the peer on the other side. The stations are those of tests/interop/conftest.py.
"""

import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from as4_peer import SignedBy
from cryptography import x509

from envelope import names
from envelope.compression import Decompressor
from envelope.errors import EbmsError, Gate
from envelope.events import PartData, PartEnded, PartStarted
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
from envelope.mime import MultipartParser, MultipartWriter, OutboundPart, parse_content_type
from envelope.parts import PartOpener, PartSealer, SealedPart, verify_parts
from envelope.pmode import DOMIBUS_LIKE, EDELIVERY_1_15, PMode, Quirk, SecurityPolicy, SecuritySuite
from envelope.receipts import build_receipt, match_receipt
from envelope.signals import build_error_messaging, read_signal
from envelope.soap import parse_soap, write_body, write_envelope
from envelope.verified import (
    ParsedSignal,
    ParsedUserMessage,
    ReceiptEvidence,
    VerifiedUserMessage,
)
from envelope.wsse import (
    SignedEnvelope,
    WireIds,
    authenticate,
    authenticate_signal,
    build_user_message,
    decrypt_key,
    sign_signal,
)
from envelope.xml import scan

SOAP = "application/soap+xml; charset=UTF-8"
IN_CLEAR = replace(EDELIVERY_1_15, encryption_required=False, quirks=frozenset({Quirk.UNENCRYPTED}))
SERVICE = Service("urn:ehmi:sdn-emergence", "process")
FOUR_CORNER = (
    Property("originalSender", "0088:5790000000012", names.ISO6523_ACTORID),
    Property("finalRecipient", "0088:5790000000029", names.ISO6523_ACTORID),
)


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def receive(
    content_type: str,
    body: bytes,
    chunk: int,
    *,
    partner: x509.Certificate,
    station: Any,
    policy: SecurityPolicy = EDELIVERY_1_15,
) -> tuple[VerifiedUserMessage, list[bytes]]:
    """All gates over one request body that arrives in pieces of `chunk` octets."""
    parser = MultipartParser(parse_content_type(content_type), quirks=policy.quirks)
    root = bytearray()
    decrypted = None
    opener: PartOpener | None = None
    evidences, payloads, octets = [], [], bytearray()
    for start in range(0, len(body), chunk):
        for event in parser.feed(body[start : start + chunk]):
            if isinstance(event, PartStarted) and event.index > 0:
                assert decrypted is not None
                assert event.content_id is not None
                opener, octets = PartOpener(decrypted, event.content_id), bytearray()
            elif isinstance(event, PartData) and opener is None:
                root += event.data
            elif isinstance(event, PartData):
                octets += opener.update(event.data)
            elif isinstance(event, PartEnded) and opener is None:
                parsed = ParsedUserMessage.read(parse_soap(scan(bytes(root))))
                authentic = authenticate(parsed, policy=policy, check=SignedBy(partner))
                decrypted = decrypt_key(authentic, station.issued.decrypter())
            elif isinstance(event, PartEnded):
                evidence = opener.finish()
                evidences.append(evidence)
                payloads.append(
                    gunzip(bytes(octets)) if evidence.part.compressed else bytes(octets)
                )
    parser.close()
    assert decrypted is not None
    return verify_parts(decrypted, evidences), payloads


def gunzip(octets: bytes) -> bytes:
    decompressor = Decompressor(DEFAULT_LIMITS)
    plain = b"".join(decompressor.decompress(octets))
    decompressor.finish()
    return plain


@dataclass
class Endpoint:
    """What the tiny server saw, and how it answers; `spoil` changes the request or the receipt on the way."""

    station: Any
    partner: x509.Certificate
    chunk: int = 4096
    policy: SecurityPolicy = EDELIVERY_1_15
    spoil: Callable[[bytes], bytes] = bytes
    spoil_request: Callable[[bytes], bytes] = bytes
    seen: list[tuple[VerifiedUserMessage, list[bytes]]] = field(default_factory=list)
    refused: list[EbmsError] = field(default_factory=list)

    async def post(self, request: web.Request) -> web.Response:
        body = self.spoil_request(await request.read())
        try:
            verified, payloads = receive(
                request.headers["Content-Type"],
                body,
                self.chunk,
                partner=self.partner,
                station=self.station,
                policy=self.policy,
            )
        except EbmsError as error:
            self.refused.append(error)
            return self.error(error, body)
        self.seen.append((verified, payloads))
        receipt = build_receipt(
            verified,
            message_id=f"{uuid.uuid4()}@clinic.example",
            timestamp=timestamp(),
            signer=self.station.issued.signer(),
            suite=SecuritySuite(),
            ids=WireIds.new(str(uuid.uuid4())),
        )
        return web.Response(body=self.spoil(receipt), headers={"Content-Type": SOAP})

    def error(self, error: EbmsError, body: bytes) -> web.Response:
        """About the message in `body`; signed once the sender is known (decision D3)."""
        message_id = re.search(rb"MessageId>([^<]+)<", body)
        ids = WireIds.new(str(uuid.uuid4()))
        messaging = build_error_messaging(
            message_id=f"{uuid.uuid4()}@clinic.example",
            timestamp=timestamp(),
            ref_to_message_id=message_id.group(1).decode() if message_id else None,
            errors=[error.ebms],
            messaging_id=ids.messaging,
        )
        if error.gate in (Gate.G7, Gate.G8, Gate.G9):
            signer = self.station.issued.signer()
            answer = sign_signal(messaging, signer=signer, suite=SecuritySuite(), ids=ids)
        else:
            answer = write_envelope(messaging, write_body(ids.body))
        return web.Response(body=answer, headers={"Content-Type": SOAP})


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[str]:
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/as4", endpoint.post)
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("/as4"))


@dataclass(frozen=True)
class Composed:
    """One finished message: what it says, its SOAP part, the wire octets of its parts, and the request."""

    message: UserMessage
    envelope: SignedEnvelope
    parts: dict[str, bytes]
    content_type: str
    body: bytes


def compose(
    station: Any,
    recipient: x509.Certificate,
    *payloads: bytes,
    suite: SecuritySuite | None = None,
    compress: bool = True,
    encrypt: bool = True,
    mime_type: str = "application/xml",
    message_id: str | None = None,
    properties: Sequence[Property] = FOUR_CORNER,
    **agreement: Any,
) -> Composed:
    """Seal, sign and write one message from the municipality to the clinic."""
    content_key = os.urandom(16) if encrypt and payloads else None
    sealed, wires, parts = [], {}, []
    for payload in payloads:
        content_id, wire, facts = seal(payload, content_key, compress, mime_type)
        sealed.append(facts)
        wires[content_id] = wire
        parts.append(part_info(facts))
    message = user_message(parts, message_id, properties, **agreement)
    envelope = build_user_message(
        message,
        sealed,
        signer=station.issued.signer(),
        suite=suite or SecuritySuite(),
        recipient=recipient if content_key else None,
        content_key=content_key,
        ids=WireIds.new(str(uuid.uuid4())),
    )
    octets = [
        (
            facts.content_id,
            "application/octet-stream" if content_key else media_in_clear(facts),
            wires[facts.content_id],
        )
        for facts in sealed
    ]
    return Composed(message, envelope, wires, *multipart(envelope.data, octets))


def user_message(
    parts: Sequence[PartInfo],
    message_id: str | None = None,
    properties: Sequence[Property] = FOUR_CORNER,
    *,
    mode: PMode = DOMIBUS_LIKE,
    service: Service = SERVICE,
    action: str = "deliver",
) -> UserMessage:
    """What the municipality says to the clinic about these parts, in the words of an agreement."""
    agreement = AgreementRef(mode.agreement, mode.agreement_type) if mode.agreement else None
    return UserMessage(
        message_id=message_id or f"{uuid.uuid4()}@municipality.example",
        timestamp=timestamp(),
        from_party=Party(PartyId("municipality-ap", mode.party_id_type), mode.initiator_role),
        to_party=Party(PartyId("clinic-ap", mode.party_id_type), mode.responder_role),
        collaboration_info=CollaborationInfo(
            service=service,
            action=action,
            agreement_ref=agreement,
            conversation_id="conversation-2",
        ),
        message_properties=tuple(properties),
        parts=tuple(parts),
    )


def seal(
    payload: bytes, content_key: bytes | None, compress: bool, mime_type: str
) -> tuple[str, bytes, SealedPart]:
    """One part: its content id, its octets on the wire, and what the header needs of it."""
    content_id = f"payload-{uuid.uuid4()}@municipality.example"
    sealer = PartSealer(
        content_id, content_key, os.urandom(12), mime_type=mime_type, compress=compress
    )
    wire = sealer.update(payload)
    last, facts = sealer.finish()
    return content_id, wire + last, facts


def media_in_clear(facts: SealedPart) -> str:
    return "application/gzip" if facts.compressed else facts.mime_type


def part_info(facts: SealedPart) -> PartInfo:
    properties = [Property("MimeType", facts.mime_type)]
    if facts.compressed:
        properties.append(Property("CompressionType", "application/gzip"))
    return PartInfo(facts.content_id, tuple(properties))


def multipart(soap: bytes, parts: Sequence[tuple[str, str, bytes]]) -> tuple[str, bytes]:
    """A request of a SOAP part and of parts as (content id, media type, octets): its Content-Type and its body."""
    writer = MultipartWriter(f"boundary-{uuid.uuid4()}", "root@municipality.example", soap)
    heads = [OutboundPart(content_id, media, len(octets)) for content_id, media, octets in parts]
    body = writer.opening()
    for head, (_, _, octets) in zip(heads, parts, strict=True):
        body += writer.head(head) + octets
    body += writer.tail()
    assert len(body) == writer.total_length(heads)
    return writer.content_type(), body


async def post(url: str, content_type: str, body: bytes) -> tuple[int, bytes]:
    async with (
        ClientSession() as session,
        session.post(url, data=body, headers={"Content-Type": content_type}) as response,
    ):
        return response.status, await response.read()


def match(answer: bytes, sent: Composed, signer: x509.Certificate) -> ReceiptEvidence:
    """The receipt in an answer, authenticated and compared digest by digest; raises what `envelope` raises."""
    document = parse_soap(scan(answer))
    signal = read_signal(document)
    assert signal.errors == (), signal
    authentic = authenticate_signal(
        ParsedSignal.read(document),
        policy=EDELIVERY_1_15,
        check=SignedBy(signer),
        party=sent.message.to_party.party_id,
    )
    return match_receipt(
        authentic, message_id=sent.message.message_id, expected=sent.envelope.references
    )
