"""From request bytes to a stored and answered message: the gates in order, then one commit, then the receipt.

The order is safety, so it is stated once and here. Framing (G2) is pushed through a bounded parser. As
soon as the SOAP part is complete it passes pre-scan (G3), header rules (G4), security policy (G5) and
authentication of the sender (G6) before a payload byte is read, so a stranger exercises neither our
private key nor our disk. The duplicate look-up uses the authenticated sender. Then the key is unwrapped
(G7) and each part streams through decryption and digest into a temporary file that nobody sees until
its tag and digest hold (G8). Decompression (G9) and the business header (G10) read that file. Message,
payload reference, duplicate key, receipt and events are one commit (G11); only then does the receipt
leave. Two copies that race meet at the unique key: the second answers with the first one's receipt.

Spec: decisions D1 to D3; AS4 Profile 1.0 section 3 and 5; eDelivery AS4 1.15.
"""

import hashlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

import structlog

from accesspoint.aside import aside
from accesspoint.clock import Clock, timestamp
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.failpoints import failpoint
from accesspoint.http_connection import PLAIN_TYPE
from accesspoint.identity import Agreements, Identity
from accesspoint.ids import Ids
from accesspoint.inbound.consumer import Consumer
from accesspoint.inbound.inflating import inflate, inflate_all, octets_in
from accesspoint.inbound.reading import DatedCheck, Duplicate, Reading
from accesspoint.inbound.refusal import SOAP_TYPE, Answer, Intake
from accesspoint.inbound.repetition import TEST_SERVICE, is_same_errand
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.document import Stored
from accesspoint.stations.reporting import Act, Reporter, facts_to_json
from accesspoint.stations.sbd_file import stored
from accesspoint.store.database import Database, IntegrityViolation, Transaction
from accesspoint.store.evidence import (
    content_digest,
    find_duplicate,
    find_receipt,
    record_duplicate_key,
    record_receipt,
    record_signature,
    signed_digest,
)
from accesspoint.store.messages import NewMessage, advance, find_message, insert_message
from accesspoint.store.payloads import PayloadStore, SpoolQuota, TemporaryPayload
from envelope import soap, wsse
from envelope.ehmi import check_addressing
from envelope.errors import (
    DeliveryFailure,
    Gate,
    OtherError,
    ProcessingModeMismatch,
    RemoteProtocolError,
    SbdRefused,
    ValueInconsistent,
    ValueNotRecognized,
)
from envelope.events import ContentType
from envelope.lifetime import REMEMBERED, check_lifetime
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import UserMessage
from envelope.mime import MultipartParser
from envelope.parts import PartOpener
from envelope.pmode import Quirk, SecuritySuite
from envelope.quirks import MET_EARLY, met_in_header
from envelope.receipts import build_receipt, repeat_receipt
from envelope.receiving import State
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import PARTICIPANT_PREFIX, StandardBusinessDocumentHeader
from envelope.security_header import claimed_algorithm
from envelope.selection import is_test_service, select_mode
from envelope.signals import read_signal
from envelope.verified import (
    AuthenticatedUserMessage,
    DecryptedUserMessage,
    ParsedUserMessage,
    SignedReference,
    VerifiedUserMessage,
)
from envelope.wsse import Signer, WireIds
from envelope.xml import scan
from keys.certificate import der, fingerprint

TakeReceipt: TypeAlias = Callable[[bytes, Callable[[str, str, str], None]], Awaitable[bool]]
"""Takes a SOAP envelope that is a Receipt signal and says once who signed it; answers False for anything else."""
_log = structlog.get_logger("accesspoint.inbound")


class Receiver:
    """Receives user messages for the organisations that this access point serves."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        identity: Identity,
        agreements: Agreements,
        check: DatedCheck,
        served: Mapping[str, object],
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        ids: Ids,
        domain: str,
        take_receipt: TakeReceipt | None = None,
        heard: Callable[[str], None] = lambda party: None,
        consumer: Consumer | None = None,
        limits: Limits = DEFAULT_LIMITS,
        spool_bytes: int | None = None,
        remembered: timedelta = REMEMBERED,
    ) -> None:
        """The sending side has a door for receipts that come late, as requests (without it they are refused), and
        an ear for the party of whom something verified came. `spool_bytes` is how much may wait to be verified,
        `remembered` for how long MessageIds are.
        """
        self._database = database
        self._payloads = payloads
        self._identity = identity
        self._agreements = agreements
        self._check = check
        self._served = served
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._ids = ids
        self._domain = domain
        self._take_receipt = take_receipt
        self._heard = heard
        self._consumer = consumer
        self._limits = limits
        self._spooled = None if spool_bytes is None else SpoolQuota(spool_bytes)
        self._remembered = remembered
        # Who sends is known at G6 only. What is met before is read when any partner may send it, and held
        # against the agreement with the one that signed; everything after is read by that agreement alone.
        self._early_quirks = MET_EARLY & {
            quirk for mode in agreements.modes for quirk in mode.policy.quirks
        }

    async def receive(
        self, content_type: ContentType, body: AsyncIterator[bytes], intake: Intake
    ) -> Answer:
        """Run one request through the gates and answer it.

        Raises:
            RemoteProtocolError: the refusal, with its gate; the caller records and answers it.
        """
        reading = Reading(self, intake, self._clock.now())
        try:
            answer = await self._read(reading, content_type, body, intake)
            if intake.party is not None:
                self._heard(intake.party)
            return answer
        except RemoteProtocolError as error:
            if self._consumer is not None and intake.message_id is not None:
                await self._consumer.tell_refused(intake.message_id, error)
            raise
        finally:
            reading.close()

    async def _read(
        self,
        reading: Reading,
        content_type: ContentType,
        body: AsyncIterator[bytes],
        intake: Intake,
    ) -> Answer:
        if content_type.media_type == "application/soap+xml":
            async for chunk in body:
                reading.take_soap(chunk)
                intake.take(chunk)
            if self._take_receipt is not None and await self._take_receipt(
                reading.soap, intake.identify
            ):
                return Answer(202, PLAIN_TYPE, b"")
            await reading.finish_soap()
        else:
            parser = MultipartParser(content_type, self._limits, self._early_quirks)
            reading.parser = parser
            async for chunk in body:
                intake.take(chunk)
                for event in parser.events(chunk):
                    await reading.take(event)
                if reading.duplicate is not None:
                    break
            else:
                parser.close()
        if reading.duplicate is not None:
            return await self._answer_duplicate(reading.duplicate)
        failpoint("R2")
        return await self._accept(*reading.finish())

    def authenticate(
        self, soap_part: bytes, intake: Intake, at: datetime, met: Collection[Quirk]
    ) -> AuthenticatedUserMessage:
        """G3 to G6 on a complete SOAP part of what began `at`, whose framing needed the quirks `met`."""
        early = self._early_quirks
        scanned = scan(soap_part, self._limits, allow_bom=Quirk.BYTE_ORDER_MARK in early)
        document = soap.parse_soap(scanned)
        parsed = ParsedUserMessage.read(document, self._limits, quirks=early)
        sender = parsed.user_message.from_party.party_id.value
        mode = self._agreements.mode_for(sender).spoken_by(claimed_algorithm(document))
        check = self._check.as_of(at)
        authenticated = wsse.authenticate(
            parsed, policy=mode.policy, check=check, limits=self._limits
        )
        # Only now is there somebody to attribute the message to.
        intake.identify(
            parsed.user_message.message_id, sender, fingerprint(authenticated.certificate)
        )
        intake.suite = mode.suite
        intake.addressed_to = parsed.user_message.to_party.party_id.value
        strange = {*met, *met_in_header(soap_part, parsed.user_message)} - mode.policy.quirks
        if strange:
            raise ProcessingModeMismatch(
                f"not agreed with this partner: {', '.join(sorted(strange))}",
                reason="pmode.quirk",
                gate=Gate.G6,
            )
        return authenticated

    def check_lifetime(self, authenticated: AuthenticatedUserMessage, at: datetime) -> None:
        """Hold the signed times of a message that is not known yet against our clock, `at` its beginning and now."""
        clocks = (at, self._clock.now())
        check_lifetime(authenticated, clocks=clocks, remembered=self._remembered)

    def decrypt(self, authenticated: AuthenticatedUserMessage) -> DecryptedUserMessage:
        """G7: unwrap the content key."""
        return wsse.decrypt_key(
            authenticated, self._addressed(authenticated.user_message).decrypter
        )

    def _addressed(self, message: UserMessage) -> Identity:
        """Whose of ours the message is, by the name in To; our first where it is nobody's."""
        return self._identity.named(message.to_party.party_id.value)

    def open_part(self, decrypted: DecryptedUserMessage, content_id: str) -> PartOpener:
        """Begin decrypting and digesting one part."""
        return PartOpener(decrypted, content_id, limits=self._limits)

    def temporary(self) -> TemporaryPayload:
        """A place for octets that are not verified yet."""
        return self._payloads.temporary(self._spooled)

    @property
    def soap_bytes(self) -> int:
        """How large a SOAP part may be."""
        return self._limits.soap_bytes

    async def find_duplicate(self, authenticated: AuthenticatedUserMessage) -> Duplicate | None:
        """Look the authenticated (sender, MessageId) up; raises `ValueInconsistent` for other content under it."""
        found = await self._look_up(authenticated.user_message, authenticated.references)
        return None if found is None else Duplicate(authenticated, *found)

    async def _alarm(self, id_: str) -> None:
        """Put into the journal that the MessageId of an accepted message came again with other content."""

        async def work(tx: Transaction) -> None:
            accepted = await find_message(tx, id_)
            if accepted is not None:
                await self._reporter.note(
                    tx, "conflict-refused", station="AP", message_identifier=accepted["message_identifier"],
                    subject=accepted["message_identifier"], standard=accepted["standard"],
                    problem="duplicate-content", detail={"message": id_},
                )  # fmt: skip

        await self._bells.run(self._database, Commit(work))

    async def _look_up(
        self, message: UserMessage, references: Sequence[SignedReference]
    ) -> tuple[str, bool] | None:
        """Our id of the message accepted under this sender's MessageId, and whether its signature was this one."""
        party = message.from_party.party_id.value
        row = await self._database.read(
            lambda tx: find_duplicate(tx, party=party, message_id=message.message_id)
        )
        if row is None:
            return None
        accepted = await self._database.read(lambda tx: find_message(tx, row["message"]))
        if (
            accepted is None
            or row["content_digest"] != content_digest(references)
            or not is_same_errand(message, accepted)
        ):
            _log.error("as4.in.duplicate_content", party=party, message_id=message.message_id)
            await self._alarm(str(row["message"]))
            raise ValueInconsistent(
                "this MessageId was accepted before with other content",
                reason="duplicate.content",
                gate=Gate.G7,
            )
        return str(row["message"]), row["signed_digest"] == signed_digest(references)

    async def _answer_duplicate(self, duplicate: Duplicate) -> Answer:
        """Answer a repetition: the stored receipt byte for byte, or a new one where the partner signed anew."""
        message = duplicate.authenticated.user_message
        answer = await self._answer_with_receipt(message, duplicate.message)
        if duplicate.same_signature:
            return answer
        return replace(answer, body=self._repeat_receipt(duplicate.authenticated, answer.body))

    async def _answer_with_receipt(self, message: UserMessage, id_: str) -> Answer:
        _log.info("as4.in.duplicate", message_id=message.message_id, message=id_)
        receipt = await self._database.read(lambda tx: find_receipt(tx, id_))
        if receipt is None:
            raise DeliveryFailure(
                "the receipt of an accepted message is missing", reason="store.receipt"
            )
        return Answer(200, SOAP_TYPE, receipt, close=True)

    async def _accept(
        self, verified: VerifiedUserMessage, files: dict[str, TemporaryPayload]
    ) -> Answer:
        """G9 to G11: inflate, hold against the agreement, store, answer."""
        failpoint("R3")
        message = verified.user_message
        self._check_agreement(message)
        if is_test_service(message):
            return await self._accept_apart(verified, files, TEST_SERVICE)
        if self._consumer is not None and self._consumer.takes(message):
            return await self._accept_apart(verified, files, "consumer", self._consumer)
        if len(verified.parts) != 1:
            raise ProcessingModeMismatch(
                f"{len(verified.parts)} parts, the agreement has one", reason="pmode.parts"
            )
        header, facts, payload = await self._payloads.aside(
            partial(self._open_business_document, verified, files), octets_in(verified.parts)
        )
        return await self._store(verified, header, facts, payload)

    def _check_agreement(self, message: UserMessage) -> None:
        """G10, the part that the ebMS header decides: one of the P-Modes agreed with the sender must fit."""
        sender = message.from_party.party_id.value
        # An organisation with a name of its own is written to by that name, and by no other of ours.
        if (
            message.to_party.party_id.value
            != self._identity.of_property(message, "finalRecipient").party
        ):
            raise ProcessingModeMismatch(
                "the message is for another access point", reason="pmode.to"
            )
        wrote = message.property("originalSender")
        if self._identity.is_own(sender):
            if not self._identity.wrote(message, self._served):
                raise ProcessingModeMismatch(
                    "the message names us as its sender", reason="pmode.from"
                )
        elif wrote is not None:
            gln = wrote.value.removeprefix(PARTICIPANT_PREFIX)
            self._agreements.require_speaker(sender, gln, is_ours=gln in self._served)
        select_mode(self._agreements.agreed_with(sender), message)

    def _open_business_document(
        self, verified: VerifiedUserMessage, files: dict[str, TemporaryPayload]
    ) -> tuple[StandardBusinessDocumentHeader, DeliveryFacts, Stored]:
        """G9 and G10: inflate into the payload store while reading the business header.

        The header is held against its schema and the addressing of the message; what else the profile
        asks for is answered by the message service handler, with a negative acknowledgement.
        """
        part = verified.parts[0]
        splitter = SbdSplitter(self._limits, decode=False)
        try:
            with self._payloads.create() as writer:
                # Decompressor and splitter each hold what comes out to the size that a document may have.
                for piece in inflate(part, files[part.content_id], self._limits):
                    splitter.feed(piece)
                    writer.write(piece)
                    failpoint("R4")
                header = splitter.finish()
                self._check_routing(verified, header)
                facts = DeliveryFacts.from_header(header, with_envelope=True)
                return header, facts, stored(writer.finish())
        except SbdRefused as refused:
            raise OtherError(refused.detail, reason=refused.reason, gate=Gate.G10) from refused

    def _check_routing(
        self, verified: VerifiedUserMessage, header: StandardBusinessDocumentHeader
    ) -> None:
        """The ebMS header and the business header must tell the same story, and it must end here."""
        message = verified.user_message
        sender, recipient = message.property("originalSender"), message.property("finalRecipient")
        if sender is None or recipient is None:
            raise ProcessingModeMismatch(
                "a four-corner property is missing", reason="pmode.four-corner"
            )
        check_addressing(header, original_sender=sender.value, final_recipient=recipient.value)
        if header.receiver_gln not in self._served:
            raise ValueNotRecognized(
                "the final recipient is not served here", reason="pmode.recipient"
            )
        action = message.collaboration_info.action
        if not action.endswith(header.scope("DOCUMENTID") or "\0"):
            raise ValueNotRecognized(
                "the action does not name the document type", reason="pmode.action"
            )
        if message.collaboration_info.service.value != header.scope("PROCESSID"):
            raise ValueNotRecognized(
                "the service does not name the process", reason="pmode.service"
            )

    async def _store(
        self,
        verified: VerifiedUserMessage,
        header: StandardBusinessDocumentHeader,
        facts: DeliveryFacts,
        payload: Stored,
    ) -> Answer:
        """G11: one commit, then the receipt."""
        message = verified.user_message
        try:
            receipt = self._build_receipt(verified, signer := self._signer_for(verified))
        except BaseException:
            # No row will name it: with a key that is away each repetition would leave one more.
            await self._payloads.aside(partial(self._payloads.delete, payload.payload))
            raise
        new = NewMessage(
            id=self._ids.ulid(),
            direction="in",
            state=State.RECEIVED,
            message_id=message.message_id,
            conversation_id=message.collaboration_info.conversation_id,
            party=message.from_party.party_id.value,
            envelope_id=header.instance_identifier,
            message_identifier=facts.message_identifier,
            standard=header.standard,
            original_sender=header.sender.value,
            final_recipient=header.receiver.value,
            document_id=header.scope("DOCUMENTID") or "",
            process_id=header.scope("PROCESSID") or "",
            facts=facts_to_json(facts),
            payload=payload.payload,
            payload_bytes=payload.payload_bytes,
            payload_sha256=payload.payload_sha256,
            ref_to_message_id=message.ref_to_message_id,
        )

        async def work(tx: Transaction) -> None:
            await self._record(tx, new, verified, receipt, signer)
            await self._reporter.report(tx, Act.AP_RECEIVED, facts)
            await self._reporter.note(
                tx,
                "received",
                station="AP",
                message_identifier=new.message_identifier,
                subject=facts.orig_message_identifier or new.message_identifier,
                standard=new.standard,
                detail={"message": new.id, "message_id": new.message_id, "from": new.party},
            )
            failpoint("R11")

        commit = Commit(work, frozenset({Bell.DISPATCHER, Bell.OUTBOX}))
        return await self._commit(commit, verified, receipt, payload=payload.payload)

    async def _accept_apart(
        self,
        verified: VerifiedUserMessage,
        files: dict[str, TemporaryPayload],
        kind: str,
        consumer: Consumer | None = None,
    ) -> Answer:
        """What no station gets: processed like any message and receipted; a ping of the test service is for nobody.

        Spec: ebMS 3.0 Core section 5.2.2.8.
        """
        work_through = partial(
            inflate_all, verified, files, self._limits, keep=consumer is not None
        )
        payloads = await aside(work_through, octets_in(verified.parts))
        message, now = verified.user_message, self._clock.now()
        if consumer is not None:
            await consumer.deliver(message, payloads)
        receipt = self._build_receipt(verified, signer := self._signer_for(verified))
        id_ = self._ids.ulid()
        new = NewMessage(
            id=id_, direction="in", state=State.RECEIVED, message_id=message.message_id,
            conversation_id=message.collaboration_info.conversation_id, party=message.from_party.party_id.value,
            envelope_id=id_, message_identifier=id_, standard=kind, original_sender="", final_recipient="",
            document_id="", process_id="", facts="{}", payload=None, payload_bytes=0,
            payload_sha256=hashlib.sha256().hexdigest(),
        )  # fmt: skip

        async def work(tx: Transaction) -> None:
            await self._record(tx, new, verified, receipt, signer)
            row = {"id": id_, "direction": "in", "state": str(State.RECEIVED)}
            await advance(tx, row, [State.DELIVERING, State.DELIVERED], at=now, note=kind)

        return await self._commit(Commit(work), verified, receipt)

    async def _record(
        self, tx: Transaction, new: NewMessage, verified: VerifiedUserMessage, receipt: bytes, by: Signer
    ) -> None:  # fmt: skip
        now = self._clock.now()
        await insert_message(tx, new, at=now)
        failpoint("R9")
        await record_duplicate_key(
            tx,
            party=new.party,
            message_id=new.message_id,
            references=verified.references,
            message=new.id,
            at=now,
        )
        await record_signature(
            tx, new.id, verified.signature, certificate=der(verified.certificate), at=now
        )
        failpoint("R10")
        await record_receipt(tx, new.id, receipt, signer=fingerprint(by.certificate), at=now)

    async def _commit(
        self,
        commit: Commit,
        verified: VerifiedUserMessage,
        receipt: bytes,
        *,
        payload: str | None = None,
    ) -> Answer:
        try:
            failpoint("R8")
            await self._bells.run(self._database, commit)
            failpoint("R13")
        except IntegrityViolation:
            if payload is not None:
                await self._payloads.aside(partial(self._payloads.delete, payload))
            # A copy was accepted while this one was on its way through the gates: this is a repetition after all.
            message = verified.user_message
            earlier = await self._look_up(message, verified.references)
            if earlier is None:
                raise
            id_, same_signature = earlier
            repeated = await self._answer_with_receipt(message, id_)
            return repeated if same_signature else Answer(200, SOAP_TYPE, receipt)
        return Answer(200, SOAP_TYPE, receipt)

    def _build_receipt(self, verified: VerifiedUserMessage, signer: Signer) -> bytes:
        return build_receipt(
            verified,
            message_id=self._ids.message_id(self._domain),
            timestamp=timestamp(self._clock.now()),
            signer=signer,
            suite=self._suite_for(verified),
            ids=WireIds.new(self._ids.uuid()),
        )

    def _signer_for(self, message: AuthenticatedUserMessage | VerifiedUserMessage) -> Signer:
        """Whose key signs the answer; asked once for each, since keys may change at any moment."""
        return self._addressed(message.user_message).signer_for(self._suite_for(message))

    def _suite_for(self, message: AuthenticatedUserMessage | VerifiedUserMessage) -> SecuritySuite:
        """What the answer is signed with: the generation of the message."""
        mode = self._agreements.mode_for(message.user_message.from_party.party_id.value)
        return mode.spoken_by(message.signature.algorithm).suite

    def _repeat_receipt(self, repetition: AuthenticatedUserMessage, first: bytes) -> bytes:
        """A receipt for a repetition that was signed anew; what was accepted stands in the first receipt."""
        suite = self._suite_for(repetition)
        receipt = read_signal(soap.parse_soap(scan(first)), self._limits).receipt
        accepted = () if receipt is None else receipt.references
        return repeat_receipt(
            repetition,
            accepted=[
                SignedReference(r.uri, r.digest_algorithm, r.digest_value, (), b"")
                for r in accepted
            ],
            message_id=self._ids.message_id(self._domain),
            timestamp=timestamp(self._clock.now()),
            signer=self._signer_for(repetition),
            suite=suite,
            ids=WireIds.new(self._ids.uuid()),
        )
