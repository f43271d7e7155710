"""First contact of the pure packages with phase4: envelopes and receipts, both ways, without the access point.

A few lines of aiohttp stand where the access point will: everything that is decided is decided by `envelope` and
`keys`, and on the other side by phase4.
"""

import asyncio
import base64
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography import x509

from envelope import names
from envelope.codes import FAILED_AUTHENTICATION
from envelope.compression import Decompressor
from envelope.errors import CertificateRefused, InvalidReceipt, RemoteProtocolError
from envelope.events import PartData, PartEnded, PartStarted
from envelope.limits import DEFAULT_LIMITS
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.mime import MultipartParser, MultipartWriter, OutboundPart, parse_content_type
from envelope.parts import PartOpener, PartSealer, verify_parts
from envelope.pmode import EDELIVERY_1_15, SecuritySuite, TokenForm
from envelope.receipts import build_receipt, match_receipt
from envelope.security_token import TokenReference
from envelope.signals import build_error_messaging, read_signal
from envelope.soap import build_soap, parse_soap, serialize
from envelope.verified import ParsedSignal, ParsedUserMessage, VerifiedUserMessage
from envelope.wsse import (
    WireIds,
    authenticate,
    authenticate_signal,
    build_user_message,
    decrypt_key,
)
from envelope.xml import scan

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.matrix(peer="phase4", profile="eDelivery AS4 1.15"),
]

Job = Callable[..., dict[str, Any]]
SOAP = "application/soap+xml; charset=UTF-8"


@dataclass(frozen=True)
class OnePartner:
    """Knows and trusts exactly one certificate."""

    certificate: x509.Certificate

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        return self.certificate if reference.matches(self.certificate) else None

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> object:
        if certificate != self.certificate:
            raise CertificateRefused("not the partner's certificate", reason="cert.untrusted")
        return "pinned"


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def receive(
    content_type: str, body: bytes, chunk: int, *, partner: x509.Certificate, station: Any
) -> tuple[VerifiedUserMessage, list[bytes]]:
    """All gates over one request body that arrives in pieces of `chunk` octets."""
    parser = MultipartParser(parse_content_type(content_type))
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
                authentic = authenticate(parsed, policy=EDELIVERY_1_15, check=OnePartner(partner))
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
    """What the tiny server saw, and how it answers; `answer` gets the verified message and gives the body."""

    station: Any
    partner: x509.Certificate
    chunk: int = 4096
    spoil: Callable[[bytes], bytes] = bytes
    seen: list[tuple[VerifiedUserMessage, list[bytes]]] = field(default_factory=list)
    refused: list[RemoteProtocolError] = field(default_factory=list)

    async def post(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            verified, payloads = receive(
                request.headers["Content-Type"],
                body,
                self.chunk,
                partner=self.partner,
                station=self.station,
            )
        except RemoteProtocolError as error:
            self.refused.append(error)
            return self.error()
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

    def error(self) -> web.Response:
        messaging = build_error_messaging(
            message_id=f"{uuid.uuid4()}@clinic.example",
            timestamp=timestamp(),
            ref_to_message_id=None,
            errors=[FAILED_AUTHENTICATION],
            messaging_id="id-messaging",
        )
        envelope = serialize(build_soap(messaging, security=None, body_id="id-body"))
        return web.Response(body=envelope, headers={"Content-Type": SOAP})


@asynccontextmanager
async def serving(endpoint: Endpoint):
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/as4", endpoint.post)
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("/as4"))


@pytest.mark.matrix(direction="peer to us")
class TestPhase4SendsToUs:
    @pytest.mark.parametrize("compress", [True, False], ids=["gzip", "as-is"])
    @pytest.mark.parametrize(
        "token", ["BST_DIRECT_REFERENCE", "ISSUER_SERIAL", "SKI_KEY_IDENTIFIER"]
    )
    async def test_we_verify_and_phase4_verifies_our_receipt(
        self,
        phase4_sender,
        phase4_job: Job,
        municipality,
        clinic,
        payload: Path,
        compress: bool,
        token: str,
    ) -> None:
        endpoint = Endpoint(clinic, municipality.issued.certificate)
        async with serving(endpoint) as url:
            job = phase4_job(url, compress=compress, token=token)
            answer = await asyncio.to_thread(phase4_sender.ask, job)
        assert endpoint.refused == []
        [(verified, payloads)] = endpoint.seen
        assert payloads == [payload.read_bytes()]
        message = verified.user_message
        assert message.message_id == answer["message_id"]
        assert message.from_party.party_id.value == "municipality-ap"
        assert message.collaboration_info.service == Service("urn:ehmi:sdn-emergence", "process")
        assert message.property("finalRecipient") == Property(
            "finalRecipient", "0088:5790000000029", "iso6523-actorid-upis"
        )
        assert verified.certificate == municipality.issued.certificate
        assert answer["result"] == "SUCCESS", answer
        assert answer["receipt"] | {"message_id": ""} == {
            "message_id": "",
            "ref_to_message_id": message.message_id,
            "signature_verified": True,
            "references": "matched",
            "verified": True,
        }

    @pytest.mark.parametrize("mime_type", ["text/plain", "text/xml", "application/pdf"])
    async def test_forms_of_digest_agree_for_uncompressed_payloads(
        self, phase4_sender, phase4_job: Job, municipality, clinic, tmp_path: Path, mime_type: str
    ) -> None:
        """Line ends and XML are signed in a form of their own; both sides must arrive at the same octets."""
        file = tmp_path / "payload"
        file.write_bytes(b"<a  b='1'>\r\n<c/>\n<!-- note -->\r\n\xc3\xa6</a>\n")
        endpoint = Endpoint(clinic, municipality.issued.certificate)
        async with serving(endpoint) as url:
            job = phase4_job(url, compress=False, mime_type=mime_type, payload=str(file))
            answer = await asyncio.to_thread(phase4_sender.ask, job)
        assert endpoint.refused == []
        assert endpoint.seen[0][1] == [file.read_bytes()]
        assert answer["receipt"]["verified"], answer

    async def test_five_mebibytes_in_small_pieces(
        self, phase4_sender, phase4_job: Job, municipality, clinic, tmp_path: Path
    ) -> None:
        file = tmp_path / "large"
        file.write_bytes(os.urandom(5 * 1024 * 1024))
        endpoint = Endpoint(clinic, municipality.issued.certificate, chunk=1500)
        async with serving(endpoint) as url:
            job = phase4_job(url, mime_type="application/octet-stream", payload=str(file))
            answer = await asyncio.to_thread(phase4_sender.ask, job)
        assert sha256(endpoint.seen[0][1][0]).digest() == sha256(file.read_bytes()).digest()
        assert answer["receipt"]["verified"], answer

    async def test_phase4_sees_a_changed_digest_in_our_receipt(
        self, phase4_sender, phase4_job: Job, municipality, clinic
    ) -> None:
        """The planted fault: were this accepted, the tests above would prove nothing."""

        def spoil(receipt: bytes) -> bytes:
            start = receipt.index(b"DigestValue>") + len(b"DigestValue>")
            end = receipt.index(b"<", start)
            changed = base64.b64encode(sha256(receipt[start:end]).digest())
            return receipt[:start] + changed + receipt[end:]

        endpoint = Endpoint(clinic, municipality.issued.certificate, spoil=spoil)
        async with serving(endpoint) as url:
            answer = await asyncio.to_thread(phase4_sender.ask, phase4_job(url))
        assert len(endpoint.seen) == 1
        assert answer["result"] != "SUCCESS"
        assert "receipt" not in answer

    async def test_we_refuse_a_signer_we_do_not_know_and_phase4_reads_our_error(
        self, phase4_sender, phase4_job: Job, clinic
    ) -> None:
        endpoint = Endpoint(clinic, clinic.issued.certificate)
        async with serving(endpoint) as url:
            answer = await asyncio.to_thread(phase4_sender.ask, phase4_job(url))
        assert endpoint.seen == []
        assert [error.reason for error in endpoint.refused] == ["cert.untrusted"]
        assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
        assert [error["code"] for error in answer["errors"]] == ["EBMS:0101"]


def compose(
    station: Any,
    recipient: x509.Certificate,
    payload: bytes,
    *,
    suite: SecuritySuite,
    compress: bool,
) -> tuple[UserMessage, Any, str, bytes]:
    """Seal, sign and write one message; returns it, its envelope, the Content-Type and the body."""
    content_id = f"payload-{uuid.uuid4()}@municipality.example"
    content_key = os.urandom(16)
    sealer = PartSealer(
        content_id, content_key, os.urandom(12), mime_type="application/xml", compress=compress
    )
    wire = sealer.update(payload)
    last, sealed = sealer.finish()
    wire += last
    properties = [Property("MimeType", "application/xml")]
    if compress:
        properties.append(Property("CompressionType", "application/gzip"))
    message = UserMessage(
        message_id=f"{uuid.uuid4()}@municipality.example",
        timestamp=timestamp(),
        from_party=Party(PartyId("municipality-ap", names.PARTY_UNREGISTERED), names.EB_INITIATOR),
        to_party=Party(PartyId("clinic-ap", names.PARTY_UNREGISTERED), names.EB_RESPONDER),
        collaboration_info=CollaborationInfo(
            service=Service("urn:ehmi:sdn-emergence", "process"),
            action="deliver",
            conversation_id="conversation-2",
        ),
        message_properties=(
            Property("originalSender", "0088:5790000000012", names.ISO6523_ACTORID),
            Property("finalRecipient", "0088:5790000000029", names.ISO6523_ACTORID),
        ),
        parts=(PartInfo(content_id, tuple(properties)),),
    )
    envelope = build_user_message(
        message,
        [sealed],
        signer=station.issued.signer(),
        suite=suite,
        recipient=recipient,
        content_key=content_key,
        ids=WireIds.new(str(uuid.uuid4())),
    )
    writer = MultipartWriter(f"boundary-{uuid.uuid4()}", "root@municipality.example", envelope.data)
    part = OutboundPart(content_id, "application/octet-stream", len(wire))
    body = writer.opening() + writer.head(part) + wire + writer.tail()
    assert len(body) == writer.total_length([part])
    return message, envelope, writer.content_type(), body


async def post(url: str, content_type: str, body: bytes) -> tuple[int, bytes]:
    async with (
        ClientSession() as session,
        session.post(url, data=body, headers={"Content-Type": content_type}) as response,
    ):
        return response.status, await response.read()


@pytest.mark.matrix(direction="us to peer")
class TestWeSendToPhase4:
    @pytest.mark.parametrize("compress", [True, False], ids=["gzip", "as-is"])
    @pytest.mark.parametrize(
        "form",
        list(TokenForm),
        ids=lambda form: form.value,
    )
    async def test_phase4_verifies_and_we_verify_its_receipt(
        self,
        phase4_receiver,
        municipality,
        clinic,
        payload: Path,
        form: TokenForm,
        compress: bool,
    ) -> None:
        receiver, url = phase4_receiver
        suite = SecuritySuite(
            signing_token=form,
            encryption_token=TokenForm.BINARY_SECURITY_TOKEN
            if form is TokenForm.PKI_PATH
            else form,
        )
        message, envelope, content_type, body = compose(
            municipality,
            clinic.issued.certificate,
            payload.read_bytes(),
            suite=suite,
            compress=compress,
        )
        status, answer = await post(url, content_type, body)
        assert status == 200, answer
        document = parse_soap(scan(answer))
        signal = read_signal(document)
        assert signal.errors == (), signal
        receipt = match_receipt(
            authenticate_signal(
                ParsedSignal.read(document),
                policy=EDELIVERY_1_15,
                check=OnePartner(clinic.issued.certificate),
                party=message.to_party.party_id,
            ),
            message_id=message.message_id,
            expected=envelope.references,
        )
        assert receipt.message_id == message.message_id
        received = await asyncio.to_thread(receiver.listen)
        assert received["received"] == message.message_id
        assert received["signature_verified"]
        assert received["decrypted"]
        assert received["from"] == {
            "id": "municipality-ap",
            "type": names.PARTY_UNREGISTERED,
            "role": names.EB_INITIATOR,
        }
        assert received["properties"]["originalSender"]["value"] == "0088:5790000000012"
        [part] = received["payloads"]
        assert part["sha256"] == sha256(payload.read_bytes()).hexdigest()
        assert part["mime_type"] == "application/xml"

    async def test_marker_in_the_receipt_of_phase4_does_not_disturb(
        self, phase4_receiver, municipality, clinic, payload: Path
    ) -> None:
        """phase4 writes its version beside the NonRepudiationInformation, as the schema of ebMS allows."""
        receiver, url = phase4_receiver
        message, envelope, content_type, body = compose(
            municipality,
            clinic.issued.certificate,
            payload.read_bytes(),
            suite=SecuritySuite(),
            compress=True,
        )
        _, answer = await post(url, content_type, body)
        received = await asyncio.to_thread(receiver.listen)
        assert received["received"] == message.message_id
        assert b"urn:fdc:com.helger.phase4:ns:info" in answer
        document = parse_soap(scan(answer))
        authentic = authenticate_signal(
            ParsedSignal.read(document),
            policy=EDELIVERY_1_15,
            check=OnePartner(clinic.issued.certificate),
            party=message.to_party.party_id,
        )
        evidence = match_receipt(
            authentic,
            message_id=message.message_id,
            expected=envelope.references,
        )
        assert evidence.message_id == message.message_id

    async def test_phase4_sees_a_changed_octet_of_the_payload(
        self, phase4_receiver, municipality, clinic, payload: Path
    ) -> None:
        receiver, url = phase4_receiver
        _, _, content_type, body = compose(
            municipality,
            clinic.issued.certificate,
            payload.read_bytes(),
            suite=SecuritySuite(),
            compress=True,
        )
        place = body.rindex(b"\r\n--") - 40
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        _, answer = await post(url, content_type, changed)
        signal = read_signal(parse_soap(scan(answer)))
        assert signal.receipt is None
        assert [error.code for error in signal.errors] == ["EBMS:0102"]
        assert receiver.silent()

    async def test_receipt_of_phase4_does_not_serve_for_another_message(
        self, phase4_receiver, municipality, clinic, payload: Path
    ) -> None:
        receiver, url = phase4_receiver
        first, _, content_type, body = compose(
            municipality,
            clinic.issued.certificate,
            payload.read_bytes(),
            suite=SecuritySuite(),
            compress=True,
        )
        second = compose(
            municipality,
            clinic.issued.certificate,
            payload.read_bytes(),
            suite=SecuritySuite(),
            compress=True,
        )[1]
        _, answer = await post(url, content_type, body)
        await asyncio.to_thread(receiver.listen)
        document = parse_soap(scan(answer))
        authentic = authenticate_signal(
            ParsedSignal.read(document),
            policy=EDELIVERY_1_15,
            check=OnePartner(clinic.issued.certificate),
            party=None,
        )
        with pytest.raises(InvalidReceipt):
            match_receipt(
                authentic,
                message_id=first.message_id,
                expected=second.references,
            )
