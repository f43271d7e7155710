"""Submit, Deliver and Notify: an access point behind the EU test service, so that the official run is a rehearsal.

Theory. The test service plays the applications on both sides. It asks an access point to send (Submit), and is
told what came (Deliver) and what became of it (Notify), each as an AS4 push without security to and from its own
address, under one service and with the message's facts as message properties. Here the access point is a whole
node with all its gates; only who takes its messages is another one. What is submitted is sent with the node's own
keys, agreements, client and judgement of receipts. It lives as long as the process: this is for tests, and no
configuration of a node in operation leads here.

A message is given to the test service before its receipt goes out; if that fails its sender is told 503 and
tries again. It is given before it is stored, so what was given is remembered: should storing fail, a repetition
is not given again. That memory ends with the process. Actions name the modes: `ONEWAY_ONLY_SIGN` is not encrypted,
`PING` goes to the test service of ebMS.

Spec: eDelivery AS4 conformance testing, user guide; ebMS 3.0 Core.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog
from aiohttp import web
from cryptography import x509

from accesspoint.app import AccessPoint
from accesspoint.as4.client import PostFailed
from accesspoint.clock import Clock, SystemClock, timestamp
from accesspoint.config import Configuration, ConfigurationProblem, Finding, Profile
from accesspoint.config_values import Address
from accesspoint.conformance.author import CONFORMANCE_SERVICE
from accesspoint.conformance.reading import Message, read_header
from accesspoint.doors import open_door
from accesspoint.generation import encryption_certificate
from accesspoint.identity import partner_certificates, party_of
from accesspoint.ids import Ids, SystemIds, random_fraction
from accesspoint.outbound.answers import Outcome, Verdict, judge
from accesspoint.store.evidence import Wire
from envelope import names, soap
from envelope.codes import MISSING_RECEIPT, OTHER
from envelope.errors import (
    EbmsError,
    Gate,
    MimeInconsistency,
    ProcessingModeMismatch,
    RemoteProtocolError,
    TransportRefused,
)
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
    build_messaging,
)
from envelope.mime import MultipartWriter, OutboundPart
from envelope.parts import PartSealer, SealedPart
from envelope.pmode import PMode
from envelope.wsse import SignedEnvelope, WireIds, build_user_message
from keys.certificate import der

SUBMIT: Final = "Submit"
DELIVER: Final = "Deliver"
NOTIFY: Final = "Notify"
ONLY_SIGN: Final = "ONEWAY_ONLY_SIGN"
PING: Final = "PING"
PATH: Final = "/conformance"
_DRIVER_ROLE: Final = f"{CONFORMANCE_SERVICE}/testdriver"
_SUT_ROLE: Final = f"{CONFORMANCE_SERVICE}/sut"
_OURS: Final = frozenset({"MimeType", "CompressionType"})
_ROUTING: Final = frozenset(
    {
        "MessageId",
        "ConversationId",
        "RefToMessageId",
        "ToPartyId",
        "ToPartyRole",
        "Service",
        "Action",
    }
)
"""Properties of a Submit that say how to send; the others travel as they are."""
_LARGEST: Final = 64 * 1024 * 1024
_log = structlog.get_logger("accesspoint.conformance")


def write_push(
    action: str,
    properties: Sequence[Property],
    parts: Sequence[tuple[PartInfo, bytes]],
    *,
    message_id: str,
    at: str,
    to_driver: bool,
) -> tuple[str, bytes]:
    """One push between test service and access point: its media type and its octets, without security."""
    roles = (_SUT_ROLE, _DRIVER_ROLE) if to_driver else (_DRIVER_ROLE, _SUT_ROLE)
    parties = [
        Party(PartyId(role.rpartition("/")[2], names.PARTY_UNREGISTERED), role) for role in roles
    ]
    message = UserMessage(
        message_id=message_id,
        timestamp=at,
        from_party=parties[0],
        to_party=parties[1],
        collaboration_info=CollaborationInfo(Service(CONFORMANCE_SERVICE), action, message_id),
        message_properties=tuple(properties),
        parts=tuple(info for info, _ in parts),
    )
    unique = hashlib.sha256(message_id.encode()).hexdigest()[:32]
    ids = WireIds.new(unique)
    messaging = build_messaging(message, messaging_id=ids.messaging)
    root = soap.write_envelope(messaging, soap.write_body(ids.body))
    writer = MultipartWriter(f"=_{unique}", f"root-{unique}@conformance.invalid", root)
    pieces = [writer.opening()]
    for info, content in parts:
        kind = info.mime_type or "application/octet-stream"
        pieces += [writer.head(OutboundPart(info.content_id, kind, len(content))), content]
    return writer.content_type(), b"".join([*pieces, writer.tail()])


@dataclass(frozen=True, slots=True)
class Submission:
    """What the test service asks to have sent."""

    message_id: str
    conversation_id: str
    ref_to_message_id: str | None
    to_party: str
    service: Service
    action: str
    properties: tuple[Property, ...]
    parts: tuple[tuple[PartInfo, bytes], ...]

    @classmethod
    def read(cls, push: Message, ids: Ids, domain: str) -> "Submission":
        """Read a Submit; what it leaves open is made here (a MessageId, a conversation).

        Raises as `read_header`, and `MimeInconsistency` for a part that is not there.
        """
        header = read_header(push)
        values = {one.name: one for one in header.message_properties}
        octets = {part.content_id: part.octets for part in push.payloads}
        if any(info.content_id not in octets for info in header.parts):
            raise MimeInconsistency("a PartInfo of the Submit names no part")

        def value(name: str) -> str:
            return values[name].value if name in values else ""

        return cls(
            message_id=value("MessageId") or ids.message_id(domain),
            conversation_id=value("ConversationId") or ids.uuid(),
            ref_to_message_id=value("RefToMessageId") or None,
            to_party=value("ToPartyId"),
            service=Service(
                value("Service"), values["Service"].type if "Service" in values else None
            ),
            action=value("Action"),
            properties=tuple(one for name, one in values.items() if name not in _ROUTING),
            parts=tuple((info, octets[info.content_id]) for info in header.parts),
        )


class RehearsalNode(AccessPoint):
    """An access point whose messages of the conformance service come from and go to the test service."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock,
        ids: Ids,
        test_service: str,
        listen: Address,
    ) -> None:
        """`test_service` is where Deliver and Notify go; `listen` is where Submit comes to."""
        super().__init__(configuration, clock=clock, ids=ids)
        self.test_service = test_service
        self.consumer = self
        self._listen = listen
        self._session: aiohttp.ClientSession | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._delivered: set[tuple[str, ...]] = set()

    async def serve(self, stack: AsyncExitStack) -> None:
        """Open the door for Submit too."""
        self._session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_post(PATH, self._take_submit)
        self.addresses["conformance"] = await open_door(stack, application, self._listen)
        stack.push_async_callback(self._stop_sending)
        await super().serve(stack)

    # What comes in: Deliver and Notify

    def takes(self, message: UserMessage) -> bool:
        """Take the messages of the conformance service."""
        return message.collaboration_info.service.value == CONFORMANCE_SERVICE

    async def deliver(self, message: UserMessage, payloads: Sequence[bytes]) -> None:
        """Give a message to the test service, once; raises `TransportRefused` when it does not take it now."""
        digests = (hashlib.sha256(payload).hexdigest() for payload in payloads)
        known = (message.from_party.party_id.value, message.message_id, *digests)
        if known in self._delivered:
            return
        info = message.collaboration_info
        facts = {
            "MessageId": message.message_id,
            "ConversationId": info.conversation_id,
            "RefToMessageId": message.ref_to_message_id or "",
            "FromPartyId": message.from_party.party_id.value,
            "ToPartyId": message.to_party.party_id.value,
            "ToPartyRole": message.to_party.role,
            "Service": info.service.value,
            "Action": info.action,
        }
        properties = [Property(name, value) for name, value in facts.items() if value]
        parts = [
            (PartInfo(info.content_id, _without_compression(info)), payload)
            for info, payload in zip(message.parts, payloads, strict=True)
        ]
        if not await self._push(DELIVER, [*properties, *message.message_properties], parts):
            raise TransportRefused(
                "the test service does not take it",
                reason="consumer.away",
                gate=Gate.G11,
                status=503,
            )
        self._delivered.add(known)

    async def tell_refused(self, message_id: str, error: RemoteProtocolError) -> None:
        """Notify the consumer's side that a message was refused."""
        if isinstance(error, EbmsError):
            await self._notify(message_id, "Error", error.ebms.code, error.ebms.short_description)

    async def _notify(self, message_id: str, kind: str, code: str = "", short: str = "") -> None:
        facts = {
            "RefToMessageId": message_id,
            "SignalType": kind,
            "ErrorCode": code,
            "ShortDescription": short,
        }
        await self._push(NOTIFY, [Property(name, text) for name, text in facts.items() if text], [])

    async def _push(
        self, action: str, properties: Sequence[Property], parts: Sequence[tuple[PartInfo, bytes]]
    ) -> bool:
        """Push to the test service; whether it took the message."""
        if self._session is None:
            return False
        content_type, body = write_push(
            action,
            properties,
            parts,
            message_id=self.ids.message_id(self.domain),
            at=timestamp(self.clock.now()),
            to_driver=True,
        )
        try:
            async with self._session.post(
                self.test_service, data=body, headers={"Content-Type": content_type}, allow_redirects=False
            ) as response:  # fmt: skip
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.error("conformance.push", action=action, error=type(error).__name__)
            return False

    # What goes out: Submit

    async def _take_submit(self, request: web.Request) -> web.StreamResponse:
        push = Message(request.headers.get("Content-Type", ""), await request.read())
        try:
            submission = Submission.read(push, self.ids, self.domain)
        except RemoteProtocolError as error:
            _log.error("conformance.submit", reason=error.reason)
            return web.Response(status=400)
        task = asyncio.create_task(self._send(submission))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return web.Response(status=202)

    async def _stop_sending(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, submission: Submission) -> None:
        """Send until there is an end, and notify the producer of it: a receipt, or an error.

        Spec: AS4 Profile 1.0 section 3.2.
        """
        try:
            end = await self._send_until_end(submission)
        except EbmsError as error:
            _log.error("conformance.send", reason=error.reason)
            end = ("Error", error.ebms.code, error.ebms.short_description)
        except Exception as error:  # noqa: BLE001 - the end of a task: a producer is told of every end
            _log.error("conformance.send", error=type(error).__name__)
            end = ("Error", OTHER.code, OTHER.short_description)
        await self._notify(submission.message_id, *end)

    async def _send_until_end(self, submission: Submission) -> tuple[str, str, str]:
        """Kind of signal, code of the error and its short description; raises what packing raises."""
        accepted, schedule, attempt = (
            self.clock.now(),
            self.configuration.sending.retry.schedule(),
            0,
        )
        wire, content_type, body = self._pack(submission)
        while True:
            verdict = await self._attempt(submission, wire, content_type, body)
            if verdict.outcome is Outcome.ACKNOWLEDGED:
                return "Receipt", "", ""
            if verdict.outcome is Outcome.REFUSED:
                code, _, short = verdict.detail.partition(" ")
                return "Error", code, short
            attempt += 1
            due = schedule.next_at(
                attempt=attempt,
                accepted_at=accepted,
                now=self.clock.now(),
                fraction=random_fraction(self.ids),
            )
            if due is None:
                return "Error", MISSING_RECEIPT.code, MISSING_RECEIPT.short_description
            await asyncio.sleep((due - self.clock.now()).total_seconds())

    async def _attempt(
        self, submission: Submission, wire: Wire, content_type: str, body: bytes
    ) -> Verdict:
        try:
            answer = await self.as4_client.post(
                wire.url, content_type=content_type, content_length=len(body), body=body
            )
        except PostFailed as failed:
            return Verdict(Outcome.RETRY, failed.slug, failed.detail)
        return judge(
            answer,
            message_id=submission.message_id,
            wire=wire,
            mode=self._mode_to(submission.to_party),
            check=self.trust.pinned(wire.certificate),
        )

    def _mode_to(self, party: str) -> PMode:
        mode = self.agreements.mode_for(party)
        return mode.under(mode.generations[0])

    def _recipient(self, party: str) -> tuple[str, x509.Certificate]:
        """Where messages to this party go, and the certificate that its generation encrypts for."""
        generation = self._mode_to(party).generations[0]
        for name, partner in self.configuration.partners.items():
            certificates = partner_certificates(partner)
            if partner.url is None or not certificates or party_of(name, certificates) != party:
                continue
            certificate = encryption_certificate(certificates, generation)
            if certificate is not None:
                return partner.url, certificate
        raise ProcessingModeMismatch("no partner of this name with a certificate to encrypt for")

    def _pack(self, submission: Submission) -> tuple[Wire, str, bytes]:
        """Compress, sign and encrypt once, in the generation agreed: every attempt carries the same octets.

        Raises `ProcessingModeMismatch` for whom no partner with a fitting certificate is configured, and as
        `MessageTrust.validate_recipient`, `PartSealer` and `build_user_message` do.
        """
        url, recipient = self._recipient(submission.to_party)
        self.trust.validate_recipient(der(recipient))
        mode = self._mode_to(submission.to_party)
        unique = self.ids.uuid()
        content_key = self.ids.token_bytes(16) if submission.action != ONLY_SIGN else None
        sealed: list[SealedPart] = []
        octets: list[bytes] = []
        infos: list[PartInfo] = []
        for info, content in submission.parts:
            mime_type = info.mime_type or "application/octet-stream"
            sealer = PartSealer(
                info.content_id, content_key, self.ids.token_bytes(12), mime_type=mime_type, compress=mode.compress
            )  # fmt: skip
            first = sealer.update(content)
            last, part = sealer.finish()
            sealed.append(part)
            octets.append(first + last)
            compression = (
                (Property("CompressionType", "application/gzip"),) if mode.compress else ()
            )
            others = tuple(one for one in info.properties if one.name not in _OURS)
            infos.append(
                PartInfo(info.content_id, (Property("MimeType", mime_type), *compression, *others))
            )
        ping = submission.action == PING
        service = Service(names.EB_TEST_SERVICE) if ping else submission.service
        action = names.EB_TEST_ACTION if ping else submission.action
        message = UserMessage(
            message_id=submission.message_id,
            timestamp=timestamp(self.clock.now()),
            from_party=self.identity.from_party(mode),
            to_party=self.identity.to_party(mode, submission.to_party),
            collaboration_info=CollaborationInfo(service, action, submission.conversation_id),
            message_properties=submission.properties,
            parts=tuple(infos),
            ref_to_message_id=submission.ref_to_message_id,
        )
        encrypted = content_key is not None and bool(sealed)
        signed = build_user_message(
            message,
            sealed,
            signer=self.identity.signer_for(mode.suite),
            suite=mode.suite,
            recipient=recipient if encrypted else None,
            content_key=content_key if encrypted else None,
            ids=WireIds.new(unique),
        )
        content_type, body = _frame(signed, sealed, octets, unique, encrypted=encrypted)
        wire = Wire(
            url=url,
            certificate=der(recipient),
            signed_at=message.timestamp,
            soap=signed.data,
            part=None,
            part_content_id=None,
            part_bytes=0,
            references=signed.references,
        )
        return wire, content_type, body


@asynccontextmanager
async def rehearse(
    configuration: Configuration, *, test_service: str, listen: Address
) -> AsyncIterator[RehearsalNode]:
    """Run a node behind the test service for the length of the context.

    Raises:
        ConfigurationProblem: the node is one in production, whose messages nobody else may take.
    """
    if configuration.profile is Profile.PRODUCTION:
        text = 'a node in production is not put behind a test service: set "test"'
        raise ConfigurationProblem((Finding("profile", text),))
    clock = SystemClock()
    node = RehearsalNode(
        configuration, clock=clock, ids=SystemIds(clock), test_service=test_service, listen=listen
    )
    async with AsyncExitStack() as stack:
        await node.begin(stack)
        yield node


def _frame(
    signed: SignedEnvelope,
    sealed: Sequence[SealedPart],
    octets: Sequence[bytes],
    unique: str,
    *,
    encrypted: bool,
) -> tuple[str, bytes]:
    writer = MultipartWriter(f"=_{unique}", f"root-{unique}@conformance.invalid", signed.data)
    pieces = [writer.opening()]
    for part, one in zip(sealed, octets, strict=True):
        kind = "application/octet-stream" if encrypted else "application/gzip"
        pieces += [writer.head(OutboundPart(part.content_id, kind, len(one))), one]
    return writer.content_type(), b"".join([*pieces, writer.tail()])


def _without_compression(info: PartInfo) -> tuple[Property, ...]:
    """What the consumer is told of a part: it gets the payload, not the archive."""
    return tuple(one for one in info.properties if one.name != "CompressionType")
