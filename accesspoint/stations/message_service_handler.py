"""The message service handler: wraps MedCom messages in ehmiSBDH envelopes, opens them, acknowledges and correlates.

Downwards a document becomes an envelope that asks for an acknowledgement. Upwards an envelope is
either the acknowledgement of one we sent, or a message: then the duplicate table decides, an SBDH
acknowledgement goes back as an envelope of its own, and a message that is new goes up to the end-user
application. Nothing here reads the MedCom message itself. A message that nobody acknowledges can be put into another
envelope: `awaiting` says when that falls due.

Spec: EHMI reliable messaging (envelope/duplicates.py has the table); ehmi digest 1.3, 2.7, 2.10.
"""

import hashlib
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from accesspoint.clock import Clock, to_microseconds
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.ids import Ids
from accesspoint.stations import Bell, Commit, withdrawing
from accesspoint.stations.awaiting import tell_if_late
from accesspoint.stations.contents import stored_content
from accesspoint.stations.document import Address, Document, Envelope, Stored, event_of
from accesspoint.stations.link import Link
from accesspoint.stations.reporting import Act, Reporter
from accesspoint.stations.sbd_file import (
    OpenedSbd,
    header_bytes,
    header_from_bytes,
    open_sbd,
    write_sbd,
)
from accesspoint.stations.sharing import Sharing
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.payloads import PayloadStore
from envelope.acknowledgement import (
    Acknowledgement,
    ReceiptException,
    build_acknowledgement,
    check_acknowledgement,
    read_acknowledgement,
)
from envelope.duplicates import OF_ACTION, Action, decide
from envelope.ehmi import (
    TIME_TO_ACKNOWLEDGE,
    check_envelope,
    envelope_for_message,
    is_acknowledgement,
    renew_envelope,
)
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.sbdh import StandardBusinessDocumentHeader

STATION: Final = "MSH"
_SEQUENCE: Final = {
    "duplicate-envelope": "Envelope identifier was used before for another message",
    "duplicate-content": "Message identifier was used before for other content",
}


@dataclass(frozen=True, slots=True)
class Received:
    """What the envelope table says of an arriving envelope: what to do, and the envelope that it repeats, if any.

    `problem` is the slug of why it is refused although each part of it may be well formed.
    """

    action: Action
    envelope_known: bool
    earlier: Row | None = None
    problem: str | None = None


class MessageServiceHandler:
    """One organisation's message service handler; `down` and `up` are joined by the application at start."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        reporter: Reporter,
        clock: Clock,
        ids: Ids,
        peppol_receivers: Collection[str] = (),
        sharing: Sharing | None = None,
        alert: timedelta = TIME_TO_ACKNOWLEDGE,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`peppol_receivers` are the GLNs that expect BinaryContent in Peppol's namespace; `sharing` is where copies go;
        `alert` is how long an acknowledgement is waited for before somebody is told."""
        self._database = database
        self._payloads = payloads
        self._reporter = reporter
        self._clock = clock
        self._ids = ids
        self._peppol_receivers = frozenset(peppol_receivers)
        self._sharing = sharing
        self._alert = alert
        self._limits = limits
        self.down: Link[Envelope]
        self.up: Link[Document]

    async def take_document(self, document: Document) -> Commit:
        """Take a message over from the end-user application: wrap it, remember the envelope, pass it down.

        Raises `LocalProtocolError` for a message that EHMI has no document type for.
        """
        now = self._clock.now()
        header = envelope_for_message(
            document,
            instance_identifier=self._ids.uuid(),
            created_at=now,
            original_envelope=document.original_bundle_identifier,
        )

        async def work(tx: Transaction) -> None:
            await self._reporter.report(tx, Act.MSH_TAKEN, document.delivery_facts())
            if self._sharing is not None:
                await self._sharing.owe(tx, document)

        return Commit(work).then(await self._pass_down(document.stored, header, "wrapped"))

    async def copy_document(
        self, document: Document, header: StandardBusinessDocumentHeader
    ) -> Commit:
        """Pass a message down once more, in another envelope: the copy to the document register."""
        return await self._pass_down(document.stored, header, "copied")

    async def resend(self, row: Row, *, asked: bool) -> Commit:
        """Put the message of an envelope that we sent into another one: new identifier, new times, nothing else.

        `asked` says that a person did. The earlier envelope is waited for no longer, but what still comes for it
        counts. Raises `ContentGone` where the content is not stored any more.
        """
        sent = header_from_bytes(bytes(row["header"]))
        header = renew_envelope(
            sent, instance_identifier=self._ids.uuid(), created_at=self._clock.now()
        )

        async def work(tx: Transaction) -> None:
            await tx.execute(
                "UPDATE envelopes SET look_at = NULL WHERE direction = 'out' AND envelope_id = $1",
                row["envelope_id"],
            )

        async with stored_content(self._database, self._payloads, row, self._limits) as content:
            if self._sharing is not None:
                header = await self._sharing.complete(header, content)
            passed = await self._pass_down(content, header, "resend-asked" if asked else "resent")
        return Commit(work).then(passed)

    async def _pass_down(
        self, content: Stored, header: StandardBusinessDocumentHeader, event: str
    ) -> Commit:
        """Write the envelope, remember that its acknowledgement is awaited, and pass it down."""
        now = self._clock.now()
        facts = DeliveryFacts.from_header(header, with_envelope=True)
        sbd = await self._write_sbd(header, content)
        envelope = Envelope(facts.message_identifier, sbd, header)
        with withdrawing(self._payloads, sbd.payload):
            passed = await self.down.pass_on(envelope, act=Act.MSH_PASSED_DOWN, facts=facts, at=now)

        async def work(tx: Transaction) -> None:
            await self._insert_envelope(
                tx,
                "out",
                header,
                content.payload_sha256,
                acknowledgement="awaited",
                due_at=to_microseconds(now + TIME_TO_ACKNOWLEDGE),
                look_at=to_microseconds(now + self._alert),
            )
            await self._note(tx, event, header)

        commit = Commit(work, frozenset({Bell.OUTBOX})).then(passed)
        return commit.publishing(self._payloads, sbd.payload)

    async def _write_sbd(
        self, header: StandardBusinessDocumentHeader, content: Stored | bytes
    ) -> Stored:
        """Write an envelope as its receiver expects it."""
        peppol = header.receiver_gln in self._peppol_receivers
        write = partial(write_sbd, self._payloads, header, content, peppol_binary_content=peppol)
        octets = len(content) if isinstance(content, bytes) else content.payload_bytes
        return await self._payloads.aside(write, octets)

    async def take_envelope(self, envelope: Envelope) -> Commit:
        """Take an envelope over from the access point and do what it asks for.

        Raises `SbdRefused` when it cannot even be told whom to answer; the access point keeps it then.
        """
        opening = open_sbd(self._payloads, envelope.stored, limits=self._limits)
        with ExitStack() as stack:
            opened = await self._payloads.aside(
                partial(stack.enter_context, opening), envelope.stored.payload_bytes
            )
            envelope.check_sealed(opened.header)
            facts = DeliveryFacts.from_header(opened.header, with_envelope=True)
            if is_acknowledgement(opened.header):
                return self._take_acknowledgement(opened, facts)
            return await self._take_message(opened, facts)

    async def _take_message(self, opened: OpenedSbd, facts: DeliveryFacts) -> Commit:
        header, content, now = opened.header, opened.sha256, self._clock.now()
        received = await self._find_received(header, content)
        action = received.action
        # A repetition is acknowledged as the first time: same content, new envelope, new time.
        earlier = received.earlier
        exception = self._find_fault(header, received)
        identifier = (
            self._ids.uuid() if earlier is None else str(earlier["acknowledgement_identifier"])
        )
        acknowledged = await self._acknowledge(header, exception, identifier)

        async def work(tx: Transaction) -> None:
            await self._reporter.report(tx, Act.MSH_OPENED, facts)
            if not received.envelope_known:
                await self._insert_envelope(
                    tx, "in", header, content, acknowledgement="negative" if exception else "positive",
                    answered_as=identifier, repetition=action is not Action.PROCESS,
                    refusal=None if exception is None else f"{exception.value} {exception.reason}",
                )  # fmt: skip
            opens = action is Action.PROCESS
            await self._note(
                tx, "opened" if opens else "duplicate-envelope", header, received.problem
            )

        commit = Commit(work, frozenset({Bell.OUTBOX})).then(acknowledged)
        # A repetition is shown to nobody, but the answer of the application may be what its sender misses.
        tells = OF_ACTION[action].tells and _break_of_profile(header) is None
        if exception is not None or not (tells or OF_ACTION[action].delivers):
            return commit
        try:
            document = self._document(header, facts, await self._payloads.aside(opened.publish))
            with withdrawing(self._payloads, document.stored.payload):
                passed = await self.up.pass_on(document, act=Act.MSH_PASSED_UP, facts=facts, at=now)
        except BaseException:
            # The acknowledgement was prepared already; it does not go without what it acknowledges.
            commit.withdraw()
            raise
        return commit.then(passed).publishing(self._payloads, document.stored.payload)

    def _take_acknowledgement(self, opened: OpenedSbd, facts: DeliveryFacts) -> Commit:
        answer = read_acknowledgement(opened.header, opened.signal)

        async def work(tx: Transaction) -> None:
            await self._reporter.report(tx, Act.ACK_FINALIZED, facts)
            event, problem = await self._correlate(tx, opened.header, answer)
            await self._note(tx, event, opened.header, problem)

        return Commit(work, frozenset({Bell.OUTBOX, Bell.RELAY}))

    async def _correlate(
        self, tx: Transaction, header: StandardBusinessDocumentHeader, answer: Acknowledgement
    ) -> tuple[str, str | None]:
        """Settle the envelope that this acknowledgement answers, and say what it was: event and problem.

        The first answer stands: the same again is a repetition, another one is unexpected, and neither changes
        anything.
        """
        unexpected = ("not-acknowledged", "acknowledgement-unexpected")
        row = await tx.fetch_one(
            "SELECT * FROM envelopes WHERE direction = 'out' AND envelope_id = $1",
            answer.original_instance_identifier,
        )
        if row is None:
            return unexpected
        sent = header_from_bytes(bytes(row["header"]))
        try:
            check_acknowledgement(answer, sent)
        except SbdRefused:
            return unexpected
        outcome = "positive" if answer.positive else "negative"
        settled = await tx.execute(
            "UPDATE envelopes SET acknowledgement = $1, acknowledgement_identifier = $2, acknowledged_at = $3"
            " WHERE direction = 'out' AND envelope_id = $4 AND acknowledgement = 'awaited'",
            outcome, header.instance_identifier, to_microseconds(self._clock.now()), answer.original_instance_identifier,
        )  # fmt: skip
        if settled != 1:
            repeated = row["acknowledgement"] == outcome
            return ("duplicate-acknowledgement", None) if repeated else unexpected
        if self._sharing is not None:
            await self._sharing.settle(tx, sent, positive=answer.positive)
        if answer.positive:
            if row["look_at"] is None:
                # Another envelope may have followed this one. The message has arrived: nobody need send it again.
                await tx.execute(
                    "UPDATE envelopes SET look_at = NULL WHERE direction = 'out' AND message_identifier = $1"
                    " AND receiver = $2 AND acknowledgement = 'awaited'",
                    row["message_identifier"], row["receiver"],
                )  # fmt: skip
            await tell_if_late(tx, row, at=self._clock.now())
            return "acknowledged", None
        return "not-acknowledged", "acknowledgement-negative"

    async def _acknowledge(
        self,
        original: StandardBusinessDocumentHeader,
        exception: ReceiptException | None,
        identifier: str,
    ) -> Commit:
        """Build the SBDH acknowledgement as an envelope of its own and pass it down."""
        now = self._clock.now()
        header, signal = build_acknowledgement(
            original,
            instance_identifier=self._ids.uuid(),
            message_identifier=identifier,
            created_at=now,
            exception=exception,
        )
        sbd = await self._write_sbd(header, signal)
        facts = DeliveryFacts.from_header(header, with_envelope=True)
        envelope = Envelope(facts.message_identifier, sbd, header)
        with withdrawing(self._payloads, sbd.payload):
            passed = await self.down.pass_on(envelope, act=Act.ACK_CREATED, facts=facts, at=now)

        async def work(tx: Transaction) -> None:
            content = hashlib.sha256(signal).hexdigest()
            await self._insert_envelope(tx, "out", header, content, acknowledgement="none")
            await self._note(tx, "acknowledgement-created", header)

        return Commit(work).then(passed).publishing(self._payloads, sbd.payload)

    def _find_fault(
        self, header: StandardBusinessDocumentHeader, received: Received
    ) -> ReceiptException | None:
        """What is wrong with the envelope, if anything; a repetition is answered exactly as the first time."""
        if received.problem is not None:
            return ReceiptException("Sequence", _SEQUENCE[received.problem])
        if received.earlier is None:
            return _break_of_profile(header)
        if received.earlier["acknowledgement"] != "negative":
            return None
        value, _, reason = str(received.earlier["refusal"] or "Syntax Refused before").partition(
            " "
        )
        return ReceiptException(value, reason)

    async def _find_received(
        self, header: StandardBusinessDocumentHeader, content: str
    ) -> Received:
        """What was received before: under this envelope identifier, and as this message between the same two.

        A repetition has the same content (SHA-256 `content`), or comes in a Bundle of its own; other content in the
        same Bundle is refused. A message identifier counts for its sender and receiver only, so that nobody can have
        the message of another taken for a repetition, or refused, by using its identifier first.
        """
        message = (_message_identifier(header), header.sender.value, header.receiver.value)
        by_envelope = await self._database.fetch_one(
            "SELECT * FROM envelopes WHERE direction = 'in' AND envelope_id = $1",
            header.instance_identifier,
        )
        if by_envelope is not None:
            named = (
                by_envelope["message_identifier"],
                by_envelope["sender"],
                by_envelope["receiver"],
            )
            if named != message:
                return Received(decide(True, False), True, problem="duplicate-envelope")
            if by_envelope["payload_sha256"] != content:
                return Received(Action.REFUSE, True, problem="duplicate-content")
            return Received(decide(True, True), True, by_envelope)
        of_message = await self._database.fetch(
            "SELECT * FROM envelopes WHERE direction = 'in' AND message_identifier = $1 AND sender = $2"
            " AND receiver = $3 ORDER BY created_at, envelope_id",
            *message,
        )
        if not of_message:
            return Received(decide(False, False), False)
        same = [row for row in of_message if row["payload_sha256"] == content]
        bundle = _bundle_identifier(header)
        if not same and bundle in {row["bundle_identifier"] for row in of_message}:
            return Received(Action.REFUSE, False, problem="duplicate-content")
        # In a new Bundle its application sent it again: whether it is still the same message, that of ours will see.
        return Received(decide(False, True), False, (same or of_message)[0])

    async def _insert_envelope(
        self,
        tx: Transaction,
        direction: str,
        header: StandardBusinessDocumentHeader,
        content: str,
        *,
        acknowledgement: str,
        due_at: int | None = None,
        look_at: int | None = None,
        answered_as: str | None = None,
        repetition: bool = False,
        refusal: str | None = None,
    ) -> None:
        await tx.execute(
            "INSERT INTO envelopes (direction, envelope_id, message_identifier, standard, sender, receiver, header,"
            " payload_sha256, repetition, acknowledgement, acknowledgement_identifier, due_at, look_at,"
            " bundle_identifier, refusal, created_at)"
            " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)",
            direction, header.instance_identifier, _message_identifier(header), header.standard, header.sender.value,
            header.receiver.value, tx.sealed("header", header.instance_identifier, header_bytes(header)), content, int(repetition), acknowledgement, answered_as,
            due_at, look_at, _bundle_identifier(header), refusal, to_microseconds(self._clock.now()),
        )  # fmt: skip

    async def _note(
        self,
        tx: Transaction,
        event: str,
        header: StandardBusinessDocumentHeader,
        problem: str | None = None,
    ) -> None:
        await self._reporter.note(
            tx,
            event,
            station=STATION,
            message_identifier=_message_identifier(header),
            subject=header.scope("ORIGINALMESSAGEIDENTIFIER") or _message_identifier(header),
            standard=header.standard,
            problem=problem,
        )

    def _document(
        self, header: StandardBusinessDocumentHeader, facts: DeliveryFacts, content: Stored
    ) -> Document:
        event_code, definition_version = event_of(header.standard, header.type_version)
        return Document(
            message_identifier=facts.message_identifier,
            message_envelope_identifier=facts.message_envelope_identifier or "",
            event_code=event_code,
            definition_version=definition_version,
            sender=Address(facts.sender_gln, facts.sender_sor),
            receiver=Address(facts.receiver_gln, facts.receiver_sor),
            patient_id=facts.patient_id,
            statistical_postfix=None,
            original_message_identifier=facts.orig_message_identifier,
            media_type=header.binary_content_mime_type,
            stored=content,
        )


def _break_of_profile(header: StandardBusinessDocumentHeader) -> ReceiptException | None:
    try:
        check_envelope(header)
        event_of(header.standard, header.type_version)
    except SbdRefused as refused:
        return ReceiptException("Syntax", refused.reason)
    except LocalProtocolError:
        return ReceiptException("Syntax", "sbd.version")
    return None


def _message_identifier(header: StandardBusinessDocumentHeader) -> str:
    return header.scope("MESSAGEIDENTIFIER") or ""


def _bundle_identifier(header: StandardBusinessDocumentHeader) -> str:
    return header.scope("MESSAGEENVELOPEIDENTIFIER") or ""
