"""The end-user application edge: the only place that reads MedCom FHIR, once, on the way out and on the way in.

Outwards it recognises a message, holds it against the named rules, refuses a broken one before anything
is promised, and stores it for good. Inwards it validates what arrived, hands it to the backend (or sets it
aside, when it refuses it) and answers with a MedCom FHIR Acknowledgement, which is a message of its own. What was
received before is not shown again; it is answered as the first time.

Spec: MedCom FHIR Acknowledgement 2.0; reliable messaging for FHIR messages (medcom digest 13 to 15).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, cast

import envelope.fhir as fhir
from accesspoint.aside import Room, aside
from accesspoint.clock import Clock, to_microseconds
from accesspoint.ids import Ids
from accesspoint.stations import Bell, Commit, withdrawing
from accesspoint.stations.answering import (
    CODES,
    Code,
    NotAnswerable,
    Verdict,
    describe_response,
    find_received,
    findings_from_json,
    findings_to_json,
    is_answered_so,
)
from accesspoint.stations.document import Address, Document, Stored
from accesspoint.stations.judging import Judge, code_for
from accesspoint.stations.link import BACKEND, Link, insert_handover, owed_document
from accesspoint.stations.reporting import Act, Reporter
from accesspoint.stations.sbd_file import read_content, stored
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.payloads import PayloadStore
from envelope.ehmi import check_envelope, envelope_for_message
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.fhir.duplicates import (
    BUNDLE_REUSED,
    MESSAGE_REUSED,
    Action,
    content_digest,
    decide,
)
from envelope.limits import DEFAULT_LIMITS, Limits

STATION: Final = "EUA"
INVALID: Final = "message-invalid"
NOT_JUDGED: Final = "message-not-judged"
OTHER_MESSAGE: Final = fhir.Finding(
    "envelope-message-identifier",
    "error",
    "Bundle.entry[0].resource.id",
    "the envelope's MESSAGEIDENTIFIER is the id of another message",
    kind=fhir.Kind.NOT_FOUND,
)
"""An envelope that names another message than it carries: what was acknowledged as one would be shown as the other."""


class SubmissionRefused(Exception):
    """The message is not sent; `rule` names why, `findings` point at the places, neither holds patient data."""

    def __init__(self, rule: str, detail: str, findings: tuple[fhir.Finding, ...] = ()) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Submission:
    """What was accepted for sending: the identifiers to follow it by."""

    document: Document
    warnings: tuple[fhir.Finding, ...]
    notes: tuple[str, ...]


class EndUserApplication:
    """One organisation's end-user application edge; `down` is joined by the application at start.

    `served` are the organisations that may speak through this node, by GLN; `known` are further ones it
    can address. In the test profile a message that names somebody else as its sender is sent in the name
    of `organisation` and a note says so; elsewhere it is refused.
    """

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        reporter: Reporter,
        clock: Clock,
        ids: Ids,
        organisation: Address,
        served: Mapping[str, Address],
        known: Mapping[str, Address],
        readdress: bool,
        acknowledge: bool,
        systems: Mapping[str, Sequence[str]] = MappingProxyType({}),
        on_demand: bool = False,
        judge: Judge | None = None,
        limits: Limits = DEFAULT_LIMITS,
        room: Room | None = None,
    ) -> None:
        """With `acknowledge` messages are answered by themselves, with `on_demand` when somebody says how.

        `systems` are the targets that messages for a GLN are brought to, each of them; others go to `backend`.
        `room` is that of the whole node.
        """
        self._database = database
        self._payloads = payloads
        self._reporter = reporter
        self._clock = clock
        self._ids = ids
        self._organisation = organisation
        self._served = served
        self._known = known
        self._learnt: dict[str, Address] = {}
        self._readdress = readdress
        self._acknowledge = acknowledge
        self._systems = systems
        self._on_demand = on_demand
        self._judge = judge or Judge()
        self._limits = limits
        self._room = room or Room()
        self.down: Link[Document]

    def find_addresses(self, wanted: str) -> list[Address]:
        """The known addresses that have this SOR id, or this name in any case; what was learnt is none of them."""
        name = wanted.strip().casefold()
        return [
            one
            for one in self._known.values()
            if one.sor == wanted or (one.name or "").casefold() == name
        ]

    def learn(self, address: Address) -> None:
        """Know what stands behind one more GLN, as long as this process lives."""
        self._learnt[address.gln] = address

    async def submit(self, data: bytes, *, to: str | None = None) -> tuple[Submission, Commit]:
        """Accept a MedCom FHIR message for sending to GLN `to`, or to whom the message names.

        Raises `SubmissionRefused` with the named rules that it breaks.
        """
        if len(data) > self._limits.fhir_bytes:
            raise SubmissionRefused(
                "message-too-large", f"{len(data)} bytes, limit {self._limits.fhir_bytes}"
            )
        async with self._room.of(len(data)):
            return await self._submit(data, to)

    async def _submit(self, data: bytes, to: str | None) -> tuple[Submission, Commit]:
        try:
            message = await aside(partial(fhir.read_message, data), len(data))
            facts = fhir.recognise(message)
        except fhir.MessageRefused as refused:
            raise SubmissionRefused(
                "message-not-recognised", str(refused), tuple(refused.findings)
            ) from refused
        findings = await self._judge.judge_sent(message, data)
        errors = tuple(f for f in findings if f.severity == "error")
        if errors:
            if code_for(errors) == "transient-error":
                raise SubmissionRefused(NOT_JUDGED, "the external validator did not answer", errors)
            raise SubmissionRefused(errors[0].rule, f"{len(errors)} rules are broken", errors)
        sender, receiver, notes = self._address(facts, to)
        unstored = Document(
            message_identifier=facts.message_id,
            message_envelope_identifier=facts.bundle_id,
            event_code=facts.event_code,
            definition_version=facts.definition_version,
            sender=sender,
            receiver=receiver,
            patient_id=facts.patient_id,
            statistical_postfix=facts.statistical_postfix,
            original_message_identifier=facts.response.identifier if facts.response else None,
            media_type=facts.mime_type,
            stored=Stored("", len(data), ""),
        )
        self._check_sendable(unstored)
        stands = await self._payloads.aside(partial(self._store, data), len(data))
        document = replace(
            unstored, stored=stands, original_bundle_identifier=await self._find_answered(unstored)
        )
        warnings = tuple(f for f in findings if f.severity != "error")
        return Submission(document, warnings, notes), await self._send(document)

    async def _find_answered(self, document: Document) -> str | None:
        """The Bundle.id of the message that an acknowledgement answers, where it was received here."""
        if document.original_message_identifier is None:
            return None
        row = await self._database.fetch_one(
            "SELECT bundle_identifier FROM documents WHERE direction = 'in' AND message_identifier = $1 AND sender = $2",
            document.original_message_identifier, document.receiver.gln,
        )  # fmt: skip
        return None if row is None else row["bundle_identifier"] or None

    def note_conflict(self, message_identifier: str, event_code: str, problem: str) -> Commit:
        """Put into the journal that one identifier or key was used for two things, which somebody must look into."""

        async def work(tx: Transaction) -> None:
            await self._reporter.note(
                tx, "submission-refused", station=STATION, message_identifier=message_identifier,
                subject=message_identifier, standard=event_code, problem=problem,
            )  # fmt: skip

        return Commit(work)

    async def take_document(self, document: Document) -> Commit:
        """Take a message over from the message service handler: validate, hand to the backend, acknowledge.

        A message that is answered with a fatal error is kept and set aside: its sender knows, and the backend
        is not given it. One that nobody can be told about goes to the backend all the same.
        """
        async with self._room.of(document.stored.payload_bytes):
            return await self._take_document(document)

    async def _take_document(self, document: Document) -> Commit:
        data = await read_content(self._payloads, document.stored, self._limits)
        findings: tuple[fhir.Finding, ...] = ()
        message: fhir.FhirMessage | None = None
        facts: fhir.MessageFacts | None = None
        content = ""
        try:
            message = await aside(partial(fhir.read_message, data), len(data))
            content = await aside(partial(content_digest, message), len(data))
            facts = fhir.recognise(message)
        except fhir.MessageRefused as refused:
            findings = tuple(refused.findings)
        action, earlier = await self._find_earlier(document)
        if earlier is not None:
            return await self._take_again(document, message, earlier, content)
        response: fhir.Response | None = None
        if message is not None and facts is not None:
            findings = tuple(fhir.errors_of(await self._judge.judge_received(message, data)))
            if facts.message_id != document.message_identifier:
                findings = (*findings, OTHER_MESSAGE)
            else:
                response = facts.response
        if action is Action.REFUSE and not document.is_acknowledgement:
            findings = (*findings, BUNDLE_REUSED)
        if response is not None and response.code in CODES:
            delivered = self._deliver(document, acknowledgement=response.code, content=content)
            return delivered.then(self._correlate(document, response))
        code: Code = code_for(findings)
        problem = {"ok": None, "fatal-error": INVALID, "transient-error": NOT_JUDGED}[code]
        answer = await self._payloads.aside(
            partial(self._answer, document, message, code, findings)
        )
        if answer is None:
            owed = self._on_demand and message is not None and not document.is_acknowledgement
            return self._deliver(
                document,
                acknowledgement="awaited" if owed else "none",
                problem=problem,
                content=content,
            )
        taken = self._deliver(
            document, acknowledgement=code, problem=problem, set_aside=problem is not None,
            content=content, answer=findings,
        )  # fmt: skip
        return taken.then(await self._send(answer))

    async def _find_earlier(self, document: Document) -> tuple[Action, Row | None]:
        """What the table says of a message, and the row of its first copy where it was received before."""
        rows = await self._database.fetch(
            "SELECT * FROM documents WHERE direction = 'in' AND sender = $1 AND receiver = $2"
            " AND (message_identifier = $3 OR bundle_identifier = $4)",
            document.sender.gln, document.receiver.gln, document.message_identifier,
            document.message_envelope_identifier,
        )  # fmt: skip
        bundle = document.message_envelope_identifier
        same = [row for row in rows if row["message_identifier"] == document.message_identifier]
        seen = any(row["bundle_identifier"] == bundle for row in same or rows)
        return decide(seen, bool(same)), same[0] if same else None

    async def _take_again(
        self,
        document: Document,
        message: fhir.FhirMessage | None,
        earlier: Row,
        content: str,
    ) -> Commit:
        """Answer a message that was received before as the first time, and show it to nobody.

        Other content under its identifier is no repetition: its sender is told so, and the first one stays.
        """
        code, problem = str(earlier["acknowledgement"]), None
        findings = findings_from_json(earlier["answer"])
        if earlier["content_sha256"] != content:
            code, problem, findings = "fatal-error", "duplicate-content", (MESSAGE_REUSED,)

        async def work(tx: Transaction) -> None:
            await self._note(tx, "resubmitted", document, problem=problem)

        answered = code in CODES and not document.is_acknowledgement
        if not answered or message is None:
            return Commit(work)
        answer = await self._payloads.aside(
            partial(self._try_to_build, document, message, cast(Code, code), findings)
        )
        return Commit(work) if answer is None else Commit(work).then(await self._send(answer))

    async def answer(
        self,
        message_identifier: str,
        verdict: Verdict,
        *,
        sender: str | None = None,
        receiver: str | None = None,
    ) -> Commit | None:
        """Answer a received message as somebody decided; None when it was answered so before, which changes nothing.

        `sender` and `receiver` are the GLNs it came from and was for, needed where the identifier is used twice. Raises
        `UnknownMessage`, and `NotAnswerable` with the reason.
        """
        row, document = await find_received(self._database, message_identifier, sender, receiver)
        if is_answered_so(row, verdict.code):
            return None
        async with self._room.of(document.stored.payload_bytes):
            answer, findings = await self._answer_as(verdict, document)

        async def work(tx: Transaction) -> None:
            settled = await tx.execute(
                "UPDATE documents SET acknowledgement = $1, acknowledged_at = $2, answer = $3"
                " WHERE id = $4 AND acknowledgement = $5",
                verdict.code, to_microseconds(self._clock.now()), findings_to_json(findings), row["id"],
                row["acknowledgement"],
            )  # fmt: skip
            if settled != 1:
                raise NotAnswerable("somebody else answered it at this moment; look again")
            await self._note(tx, "acknowledgement-asked", document, detail=verdict.code)

        return Commit(work).then(await self._send(answer))

    async def _answer_as(
        self, verdict: Verdict, document: Document
    ) -> tuple[Document, tuple[fhir.Finding, ...]]:
        """The FHIR Acknowledgement that somebody decided on, and what it says of the message."""
        try:
            data = await read_content(self._payloads, document.stored, self._limits)
            message = await aside(partial(fhir.read_message, data), len(data))
        except fhir.MessageRefused as refused:
            raise NotAnswerable(
                "the message cannot be read, so nobody can be answered"
            ) from refused
        findings = await aside(partial(verdict.findings, message), len(data))
        build = partial(self._try_to_build, document, message, verdict.code, findings)
        answer = await self._payloads.aside(build)
        if answer is None:
            raise NotAnswerable("the message names no sender or no header id to answer to")
        return answer, findings

    def _answer(
        self,
        document: Document,
        message: fhir.FhirMessage | None,
        code: Code,
        findings: tuple[fhir.Finding, ...],
    ) -> Document | None:
        """The FHIR Acknowledgement that goes out, or None where there is nobody to answer or answers are off."""
        if not self._acknowledge or message is None:
            return None
        return self._try_to_build(document, message, code, findings)

    def _try_to_build(
        self,
        document: Document,
        message: fhir.FhirMessage,
        code: Code,
        findings: tuple[fhir.Finding, ...],
    ) -> Document | None:
        try:
            return self._build_acknowledgement(document, message, code, findings)
        except (LocalProtocolError, fhir.MessageRefused):
            # Without header id or sender there is nobody to answer, and an Acknowledgement is never answered.
            return None

    def _check_sendable(self, document: Document) -> None:
        """Hold the envelope that this message will get against the profile, before anything is promised."""
        try:
            check_envelope(
                envelope_for_message(
                    document, instance_identifier="submission", created_at=self._clock.now()
                )
            )
        except LocalProtocolError as error:
            raise SubmissionRefused("message-not-in-ehmi", str(error)) from error
        except SbdRefused as refused:
            raise SubmissionRefused("message-not-in-ehmi", refused.detail) from refused

    async def _send(self, document: Document) -> Commit:
        """Pass a message down whose file was just published: without this commit the file goes too."""
        now = self._clock.now()
        with withdrawing(self._payloads, document.stored.payload):
            facts = document.delivery_facts()
            passed = await self.down.pass_on(document, act=Act.EUA_SENT, facts=facts, at=now)

        async def work(tx: Transaction) -> None:
            expects = "none" if document.is_acknowledgement else "awaited"
            await self._insert_document(tx, "out", document, acknowledgement=expects)
            await self._reporter.report(tx, Act.EUA_CREATED, facts)
            await self._note(tx, "created", document)

        commit = Commit(work, frozenset({Bell.OUTBOX})).then(passed)
        return commit.publishing(self._payloads, document.stored.payload)

    def _deliver(
        self,
        document: Document,
        *,
        acknowledgement: str,
        problem: str | None = None,
        set_aside: bool = False,
        content: str = "",
        answer: tuple[fhir.Finding, ...] = (),
    ) -> Commit:
        """Store a received message and owe it to the backend; the end event is reported once the backend has it.

        What is set aside is kept the same way, but brought to nobody: its journey ends here.
        """
        now = self._clock.now()
        targets = self._systems.get(document.receiver.gln, (BACKEND,))
        # All in one commit: from then on each is owed by itself, whatever becomes of the others.
        deliveries = [
            owed_document(document, id_=self._ids.uuid(), target=target, act=Act.EUA_FINALIZED)
            for target in targets
        ]

        async def work(tx: Transaction) -> None:
            await self._insert_document(
                tx,
                "in",
                document,
                acknowledgement=acknowledgement,
                content=content,
                answer=findings_to_json(answer),
            )
            for delivery in deliveries:
                await insert_handover(
                    tx, delivery, at=now, set_aside=problem if set_aside else None
                )
            if set_aside:
                await self._reporter.report(tx, Act.EUA_FINALIZED, document.delivery_facts())
            event = "set-aside" if set_aside else "taken-by-application"
            await self._note(tx, event, document, problem=problem)

        return Commit(work, frozenset({Bell.OUTBOX if set_aside else Bell.BACKEND}))

    def _correlate(self, document: Document, response: fhir.Response) -> Commit:
        """Settle the message that this FHIR Acknowledgement answers; `response.identifier` is the only key.

        Only whom the message was sent to can settle it. `ok` and `fatal-error` stand; `transient-error` may still
        become either.
        """

        async def work(tx: Transaction) -> None:
            await tx.execute(
                "UPDATE documents SET acknowledgement = $1, acknowledged_at = $2"
                " WHERE direction = 'out' AND message_identifier = $3 AND receiver = $4"
                " AND acknowledgement IN ('awaited', 'transient-error')",
                response.code, to_microseconds(self._clock.now()), response.identifier, document.sender.gln,
            )  # fmt: skip
            row = await tx.fetch_one(
                "SELECT acknowledgement FROM documents WHERE direction = 'out' AND message_identifier = $1"
                " AND receiver = $2",
                response.identifier,
                document.sender.gln,
            )
            problem = None if response.code == "ok" else "fhir-acknowledgement-negative"
            if row is None or row["acknowledgement"] != response.code:
                problem = "fhir-acknowledgement-unexpected"
            await self._note(
                tx, "fhir-acknowledged", document,
                subject=response.identifier, problem=problem, detail=describe_response(response),
            )  # fmt: skip

        return Commit(work)

    def _build_acknowledgement(
        self,
        document: Document,
        message: fhir.FhirMessage,
        code: Code,
        findings: tuple[fhir.Finding, ...],
    ) -> Document:
        """The FHIR Acknowledgement of `message`, as this station itself sends it: nothing is read back from it,
        since it repeats the organisations of the message, which may lack identifiers."""
        bundle_id, message_id = self._ids.uuid(), self._ids.uuid()
        bundle = fhir.build_acknowledgement(
            message,
            code=code,
            findings=findings,
            bundle_id=bundle_id,
            message_id=message_id,
            provenance_id=self._ids.uuid(),
            outcome_id=self._ids.uuid(),
            at=self._clock.now(),
        )
        return Document(
            message_identifier=message_id,
            message_envelope_identifier=bundle_id,
            event_code="acknowledgement-message",
            definition_version="2.0",
            sender=document.receiver,
            receiver=document.sender,
            patient_id=None,
            statistical_postfix=code,
            original_message_identifier=document.message_identifier,
            original_bundle_identifier=document.message_envelope_identifier,
            media_type=fhir.MIME_TYPES[message.format],
            stored=self._store(fhir.serialize(bundle, message.format)),
        )

    def _address(
        self, facts: fhir.MessageFacts, to: str | None
    ) -> tuple[Address, Address, tuple[str, ...]]:
        """Who sends to whom: the message's own organisations, or the caller's wish where it may differ."""
        notes: list[str] = []
        named = facts.sender.gln
        sender = self._served.get(named)
        if sender is None:
            if not self._readdress:
                raise SubmissionRefused(
                    "sender-not-served", f"GLN {named} does not speak through this access point"
                )
            sender = self._organisation
            notes.append(
                f"the message names sender {named}; sent as {sender.gln} on this test network"
            )
        wanted = to or facts.receiver.gln
        receiver = self._known.get(wanted) or self._learnt.get(wanted)
        if receiver is None:
            if wanted != facts.receiver.gln:
                raise SubmissionRefused(
                    "receiver-unknown", f"GLN {wanted} has no SOR id here and is not in the message"
                )
            receiver = Address(facts.receiver.gln, facts.receiver.sor, facts.receiver.name)
        elif wanted != facts.receiver.gln:
            notes.append(
                f"the message names receiver {facts.receiver.gln}; the envelope goes to {wanted}"
            )
        return sender, receiver, tuple(notes)

    def _store(self, data: bytes) -> Stored:
        with self._payloads.create() as writer:
            writer.write(data)
            return stored(writer.finish())

    async def _insert_document(
        self,
        tx: Transaction,
        direction: str,
        document: Document,
        *,
        acknowledgement: str,
        content: str = "",
        answer: str = "",
    ) -> None:
        await tx.execute(
            "INSERT INTO documents (direction, message_identifier, id, event_code, sender, receiver, media_type,"
            " payload, payload_bytes, payload_sha256, acknowledgement, bundle_identifier, content_sha256, answer,"
            " created_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)",
            direction, document.message_identifier, self._ids.ulid(), document.event_code, document.sender.gln,
            document.receiver.gln, document.media_type, document.stored.payload, document.stored.payload_bytes,
            document.stored.payload_sha256, acknowledgement, document.message_envelope_identifier, content, answer,
            to_microseconds(self._clock.now()),
        )  # fmt: skip

    async def _note(
        self,
        tx: Transaction,
        event: str,
        document: Document,
        *,
        subject: str | None = None,
        problem: str | None = None,
        detail: str = "",
    ) -> None:
        await self._reporter.note(
            tx,
            event,
            station=STATION,
            message_identifier=document.message_identifier,
            subject=subject or document.original_message_identifier or document.message_identifier,
            standard=document.document_type.standard,
            problem=problem,
            detail=detail,
        )
