"""The other side of the wire: a client that posts any octets, and a server that answers whatever a test wants.

`Client` posts over mutual TLS and verifies nothing about the request. `Server` plays the receiving access
point with the clinic's or the municipality's own certificates: honest unless told otherwise.
"""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web
from as4_wire import Wire
from cryptography import x509

from accesspoint.clock import timestamp
from accesspoint.network.listening import Listeners
from envelope import soap
from envelope.codes import EbmsCode
from envelope.errors import CertificateRefused
from envelope.events import PartData
from envelope.messaging import PartyId, parse_user_message
from envelope.mime import MultipartParser, parse_content_type
from envelope.pmode import EDELIVERY_1_15, SecurityPolicy, SecuritySuite
from envelope.receipts import match_receipt
from envelope.security_token import TokenReference
from envelope.signals import (
    SignalMessage,
    build_error_messaging,
    build_receipt_messaging,
    read_signal,
)
from envelope.soap import SoapDocument
from envelope.verified import ParsedSignal, ReceiptEvidence, SignedReference
from envelope.wsse import Signer, WireIds, authenticate_signal, sign_signal
from envelope.xml import canonicalize, parse_trusted, scan
from envelope.xmldsig import read_signature

SOAP_TYPE = "application/soap+xml; charset=UTF-8"


@dataclass(frozen=True)
class HttpAnswer:
    """What came back."""

    status: int
    content_type: str
    body: bytes
    headers: Any = field(default_factory=dict, repr=False)

    def signal(self) -> tuple[SoapDocument, SignalMessage]:
        document = soap.parse_soap(scan(self.body))
        return document, read_signal(document)


@dataclass
class Client:
    """Posts to one node as the access point whose TLS certificate it has."""

    url: str
    tls: ssl.SSLContext
    session: aiohttp.ClientSession

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, tls: ssl.SSLContext) -> AsyncIterator["Client"]:
        connector = aiohttp.TCPConnector(ssl=tls, limit=64)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            yield cls(url, tls, session)

    async def post(self, wire: Wire, **headers: str) -> HttpAnswer:
        """Send a message as one request with a true Content-Length."""
        return await self.post_octets(wire.body, {"Content-Type": wire.content_type, **headers})

    async def post_octets(self, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        async with self.session.post(
            self.url, data=body, headers=headers, allow_redirects=False
        ) as response:
            content_type = response.headers.get("Content-Type", "")
            return HttpAnswer(
                response.status, content_type, await response.read(), response.headers
            )

    async def open(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the node, for octets below HTTP."""
        host, _, port = self.url.removeprefix("https://").removesuffix("/as4").partition(":")
        return await asyncio.open_connection(host, int(port), ssl=tls or self.tls)

    async def post_raw(self, request: bytes, *, drip: bytes = b"") -> bytes:
        """Send octets below HTTP and read one plain refusal, or until the node closes; meanwhile `drip`, again and again."""
        reader, writer = await self.open()
        dripping = asyncio.create_task(_drip(writer, drip))
        try:
            writer.write(request)
            await writer.drain()
            answer = b""
            async with asyncio.timeout(5):
                while not answer.endswith(b"accepted.\n") and (chunk := await reader.read(65536)):
                    answer += chunk
            return answer
        except (TimeoutError, ConnectionError):
            return answer
        finally:
            dripping.cancel()
            writer.transport.abort()


async def _drip(writer: asyncio.StreamWriter, octets: bytes) -> None:
    while octets and not writer.is_closing():
        await asyncio.sleep(0.02)
        writer.write(octets)


@dataclass(frozen=True)
class SignedBy:
    """A certificate check that knows one certificate."""

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
            raise CertificateRefused("signed by somebody else")
        return "the certificate expected"


def verify_receipt(
    answer: HttpAnswer,
    wire: Wire,
    signer: x509.Certificate,
    *,
    policy: SecurityPolicy = EDELIVERY_1_15,
) -> ReceiptEvidence:
    """A signed receipt of `signer` for every reference of `wire`; raises what the sender's gate raises."""
    document, _ = answer.signal()
    authenticated = authenticate_signal(
        ParsedSignal.read(document), policy=policy, check=SignedBy(signer), party=None
    )
    return match_receipt(authenticated, message_id=wire.message_id, expected=wire.references)


@dataclass(frozen=True)
class Arrived:
    """A message as the server got it, read as far as a receipt needs."""

    message_id: str
    references: tuple[SignedReference, ...]
    body: bytes

    @classmethod
    def read(cls, content_type: str, body: bytes) -> "Arrived":
        declared = parse_content_type(content_type)
        first = []
        if declared.media_type == "application/soap+xml":
            first.append(body)
        else:
            for event in MultipartParser(declared).feed(body):
                if isinstance(event, PartData):
                    first.append(bytes(event.data))
                elif first:
                    break
        document = soap.parse_soap(scan(b"".join(first)))
        signature = next(document.security.iter("{http://www.w3.org/2000/09/xmldsig#}Signature"))
        references = tuple(one.signed() for one in read_signature(signature).references)
        return cls(parse_user_message(document).message_id, references, body)


@dataclass
class Answers:
    """Signals as an access point with these keys would write them, or as a liar would."""

    signer: Signer
    suite: SecuritySuite = field(default_factory=SecuritySuite)

    def receipt(
        self,
        arrived: Arrived,
        *,
        message_id: str | None = None,
        references: Sequence[SignedReference] | None = None,
        signed: bool = True,
        signer: Signer | None = None,
        change: Callable[[Any], None] = lambda messaging: None,
    ) -> bytes:
        ids = WireIds.new(uuid.uuid4().hex)
        chosen = arrived.references if references is None else references
        messaging = build_receipt_messaging(
            message_id=f"{uuid.uuid4()}@peer.example",
            timestamp=timestamp(datetime.now(UTC)),
            ref_to_message_id=message_id or arrived.message_id,
            references=[reference.xml for reference in chosen],
            messaging_id=ids.messaging,
        )
        return self._finish(_changed(messaging, change), ids, signed, signer)

    def error(
        self,
        code: EbmsCode,
        *,
        message_id: str | None,
        signed: bool = True,
        signer: Signer | None = None,
        change: Callable[[Any], None] = lambda messaging: None,
    ) -> bytes:
        ids = WireIds.new(uuid.uuid4().hex)
        messaging = build_error_messaging(
            message_id=f"{uuid.uuid4()}@peer.example",
            timestamp=timestamp(datetime.now(UTC)),
            ref_to_message_id=message_id,
            errors=[code],
            messaging_id=ids.messaging,
        )
        return self._finish(_changed(messaging, change), ids, signed, signer)

    def _finish(self, messaging: bytes, ids: WireIds, signed: bool, signer: Signer | None) -> bytes:
        if signed:
            return sign_signal(messaging, signer=signer or self.signer, suite=self.suite, ids=ids)
        return soap.write_envelope(messaging, soap.write_body(ids.body))


def _changed(messaging: bytes, change: Callable[[Any], None]) -> bytes:
    root = parse_trusted(messaging)
    change(root)
    return canonicalize(root)


Behaviour = Callable[[Arrived, web.Request], Awaitable[web.StreamResponse]]


def answered(body: bytes, *, status: int = 200, content_type: str = SOAP_TYPE) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": content_type})


@dataclass
class Server:
    """An access point of its own making; `behaviour` None answers every message with an honest receipt."""

    answers: Answers
    url: str = ""
    behaviour: Behaviour | None = None
    arrived: list[Arrived] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def start(cls, signer: Signer, tls: ssl.SSLContext) -> AsyncIterator["Server"]:
        server = cls(Answers(signer))
        application = web.Application(client_max_size=8 * 1024 * 1024)
        application.router.add_post("/as4", server._handle)
        listeners = Listeners()
        server.url = await listeners.start(application, tls=tls) + "/as4"
        try:
            yield server
        finally:
            await listeners.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        arrived = Arrived.read(request.headers["Content-Type"], await request.read())
        self.arrived.append(arrived)
        if self.behaviour is None:
            return answered(self.answers.receipt(arrived))
        return await self.behaviour(arrived, request)
