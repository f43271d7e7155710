"""Accepting an envelope for sending: from here on the access point owes it to its receiver, or an answer why not.

The header is read once, streaming; a document that does not hold is refused before anything is stored. One that
answers a message that we received belongs to the same conversation and refers to it: the second push of a
two-way exchange, where that is agreed with the partner.

Spec: ebMS 3.0 Core section 2.2.3 (Two-Way/Push-and-Push).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from accesspoint.clock import Clock
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.failpoints import failpoint
from accesspoint.ids import Ids
from accesspoint.outbound.lanes import UNKNOWN, Route
from accesspoint.stations import Bell, Commit
from accesspoint.stations.document import Envelope
from accesspoint.stations.reporting import Act, Reporter, facts_to_json
from accesspoint.stations.sbd_file import read_header
from accesspoint.store.database import Transaction
from accesspoint.store.messages import NewMessage, find_request, insert_message
from accesspoint.store.payloads import PayloadStore
from envelope.ehmi import check_envelope
from envelope.sbdh import ScopeType
from envelope.sending import State


class Submit:
    """The outbound door of the access point station."""

    def __init__(
        self,
        *,
        payloads: PayloadStore,
        reporter: Reporter,
        clock: Clock,
        ids: Ids,
        domain: str,
        lane_of: Callable[[Route], str] = lambda route: UNKNOWN,
    ) -> None:
        """`lane_of` says to which destination messages of this route went lately."""
        self._payloads = payloads
        self._reporter = reporter
        self._clock = clock
        self._ids = ids
        self._domain = domain
        self._lane_of = lane_of

    async def take_envelope(self, envelope: Envelope) -> Commit:
        """Take an envelope over from the message service handler; raises `SbdRefused` for one that does not hold."""
        header = envelope.header
        if header is None:
            read = partial(read_header, self._payloads, envelope.stored)
            header = await self._payloads.aside(read, envelope.stored.payload_bytes)
        envelope.check_sealed(header)
        check_envelope(header)
        facts = DeliveryFacts.from_header(header, with_envelope=True)
        now = self._clock.now()
        recipient = header.receiver.value
        document_id, process_id = header.scope("DOCUMENTID") or "", header.scope("PROCESSID") or ""
        new = NewMessage(
            id=self._ids.ulid(),
            direction="out",
            state=State.ACCEPTED,
            message_id=self._ids.message_id(self._domain),
            conversation_id=self._ids.uuid(),
            party="",
            envelope_id=header.instance_identifier,
            message_identifier=facts.message_identifier,
            standard=header.standard,
            original_sender=header.sender.value,
            final_recipient=recipient,
            document_id=document_id,
            process_id=process_id,
            facts=facts_to_json(facts),
            payload=envelope.stored.payload,
            payload_bytes=envelope.stored.payload_bytes,
            payload_sha256=envelope.stored.payload_sha256,
            lane=self._lane_of((recipient, document_id, process_id)),
            # The copy to the document register is the message service handler's own affair.
            unasked=header.scope(ScopeType.XDS_METADATA) is not None,
        )

        async def work(tx: Transaction) -> None:
            await insert_message(tx, await self._as_reply(tx, new, facts), at=now)
            await self._reporter.report(tx, Act.AP_TAKEN, facts)
            await self._reporter.note(
                tx,
                "accepted",
                station="AP",
                message_identifier=new.message_identifier,
                subject=facts.orig_message_identifier or new.message_identifier,
                standard=new.standard,
                detail={
                    "message": new.id,
                    "message_id": new.message_id,
                    "bytes": new.payload_bytes,
                },
            )
            failpoint("S2")

        return Commit(work, frozenset({Bell.SENDER, Bell.OUTBOX}))

    async def _as_reply(self, tx: Transaction, new: NewMessage, facts: DeliveryFacts) -> NewMessage:
        """The same message, in the conversation of what it answers."""
        if facts.orig_message_identifier is None:
            return new
        request = await find_request(
            tx,
            facts.orig_message_identifier,
            sender=new.final_recipient,
            receiver=new.original_sender,
        )
        if request is None:
            return new
        return replace(
            new,
            ref_to_message_id=request["message_id"],
            conversation_id=request["conversation_id"] or new.conversation_id,
        )
