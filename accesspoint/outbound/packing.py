"""Building the signed image of an outbound message: the ciphertext, then the SOAP part that signs it.

The SOAP part comes first on the wire but holds the digest of the part, so the part is made first and
kept: a retry then sends the same bytes without touching a key (decision D11). Payload octets stream
from the store through gzip, digest and cipher into a file; nothing holds them whole. A payload of one
chunk is kept in the row of its image instead, which is committed anyway: a file of its own would cost
more than the rest of the image.

Spec: eDelivery AS4 1.15: compress, sign, encrypt.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from accesspoint.discovery.directory import Endpoint
from accesspoint.failpoints import failpoint
from accesspoint.identity import Identity
from accesspoint.ids import Ids
from accesspoint.store.database import Row
from accesspoint.store.evidence import Wire
from accesspoint.store.payloads import PayloadReader, PayloadStore, PayloadWriter
from envelope.messaging import (
    AgreementRef,
    CollaborationInfo,
    PartInfo,
    Property,
    Service,
    UserMessage,
)
from envelope.mime import MultipartWriter, OutboundPart
from envelope.names import ISO6523_ACTORID
from envelope.parts import PartSealer, SealedPart
from envelope.pmode import Mep, PMode
from envelope.wsse import WireIds, build_user_message
from keys.certificate import load_certificate

CHUNK_BYTES: Final = 64 * 1024
CONTENT_KEY_BYTES: Final = 16
IV_BYTES: Final = 12
PAYLOAD_TYPE: Final = "application/xml"
_PLAIN: Final = (Property("MimeType", PAYLOAD_TYPE),)
_COMPRESSED: Final = (*_PLAIN, Property("CompressionType", "application/gzip"))


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it goes out: media type, exact length, and the bytes in order."""

    content_type: str
    content_length: int
    body: AsyncIterator[bytes]


def build_wire(
    message: Row,
    *,
    mode: PMode,
    endpoint: Endpoint,
    partner: str,
    signed_at: str,
    identity: Identity,
    payloads: PayloadStore,
    ids: Ids,
) -> Wire:
    """Compress, sign and encrypt a stored message for one endpoint.

    Called again for the same message with the same `signed_at` it signs the same octets, so SignedInfo
    does not change when only the receiver's certificate did.
    """
    content_id = f"{message['id'].lower()}@{identity_domain(message)}"
    recipient = load_certificate(endpoint.certificate)
    content_key = ids.token_bytes(CONTENT_KEY_BYTES) if mode.encrypt else None
    sealer = PartSealer(
        content_id,
        content_key,
        ids.token_bytes(IV_BYTES),
        mime_type=PAYLOAD_TYPE,
        compress=mode.compress,
    )
    with ExitStack() as unpublished:
        with payloads.open(message["payload"], sha256=message["payload_sha256"]) as reader:
            octets: bytes | None = None
            part: PayloadWriter | None = None
            if reader.size <= CHUNK_BYTES:
                first = sealer.update(reader.read(CHUNK_BYTES))
                last, sealed = sealer.finish()
                octets = first + last
            else:
                part = unpublished.enter_context(payloads.create())
                sealed = _seal_to_file(sealer, reader, part)
        user_message = UserMessage(
            message_id=message["message_id"],
            timestamp=signed_at,
            from_party=identity.from_party(mode),
            to_party=identity.to_party(mode, partner),
            collaboration_info=CollaborationInfo(
                service=Service(message["process_id"], mode.service_type),
                action=message["document_id"],
                conversation_id=message["conversation_id"],
                agreement_ref=None
                if mode.agreement is None
                else AgreementRef(mode.agreement, mode.agreement_type),
            ),
            message_properties=(
                Property("originalSender", message["original_sender"], ISO6523_ACTORID),
                Property("finalRecipient", message["final_recipient"], ISO6523_ACTORID),
            ),
            parts=(PartInfo(content_id, _COMPRESSED if mode.compress else _PLAIN),),
            ref_to_message_id=message["ref_to_message_id"] if mode.mep is Mep.TWO_WAY else None,
        )
        signed = build_user_message(
            user_message,
            [sealed],
            signer=identity.signer_for(mode.suite),
            suite=mode.suite,
            recipient=recipient if mode.encrypt else None,
            content_key=content_key,
            ids=WireIds.new(message["id"].lower()),
        )
        return Wire(
            url=endpoint.url,
            certificate=endpoint.certificate,
            signed_at=signed_at,
            soap=signed.data,
            # Published when it is signed: a key that is away leaves no part behind, however often it is asked.
            part=None if part is None else part.finish().id,
            part_content_id=content_id,
            part_bytes=sealed.wire_bytes,
            references=signed.references,
            part_octets=octets,
        )


def _seal_to_file(sealer: PartSealer, reader: PayloadReader, writer: PayloadWriter) -> SealedPart:
    while chunk := reader.read(CHUNK_BYTES):
        writer.write(sealer.update(chunk))
    last, sealed = sealer.finish()
    writer.write(last)
    return sealed


def build_request(message: Row, wire: Wire, payloads: PayloadStore) -> Request:
    """The HTTP request for a stored image; building it again gives the same bytes."""
    writer = MultipartWriter(
        boundary=f"=_{message['id'].lower()}",
        root_content_id=f"root-{message['id'].lower()}@{identity_domain(message)}",
        root=wire.soap,
    )
    part = OutboundPart(wire.part_content_id or "", "application/octet-stream", wire.part_bytes)

    opening, tail = writer.opening() + writer.head(part), writer.tail()

    async def body() -> AsyncIterator[bytes]:
        failpoint("S8")
        if wire.part_octets is not None:
            yield opening + wire.part_octets + tail
            failpoint("S10")
            return
        yield opening
        with await payloads.aside(partial(payloads.open, wire.part or "")) as reader:
            while chunk := await payloads.aside(partial(reader.read, CHUNK_BYTES)):
                yield chunk
                failpoint("S9")
        yield tail
        failpoint("S10")

    length = len(opening) + wire.part_bytes + len(tail)
    return Request(writer.content_type(), length, body())


def identity_domain(message: Row) -> str:
    """The right side of the message's own MessageId, reused for its content ids."""
    return str(message["message_id"]).rpartition("@")[2]
