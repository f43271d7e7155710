"""The copy of a sent message to the document register (EMR), from which others may find it.

When a message of a type that is shared is wrapped, the same commit stores a hand-over of its own that is due
at no time yet. The positive SBDH acknowledgement of the message makes it due, in the commit that settles the
acknowledgement; a negative one sets it aside. Then the copy is made: the metadata from the message, an
envelope of its own with the register as its receiver, and from there on it is sent, retried, acknowledged
and reported like any other. Nothing about the message itself depends on any of this.

The envelope identifier of the copy follows from the message, so that making it twice makes it once.

Spec: ehmi digest 1.4 step 12; decision D12; silence X-13.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Self

from accesspoint.aside import Room, aside
from accesspoint.clock import Clock, to_microseconds
from accesspoint.config_organisation import Sharing as Settings
from accesspoint.stations import Bells, Commit
from accesspoint.stations.document import Address, Document, Stored
from accesspoint.stations.link import Handover, insert_handover, owed_document
from accesspoint.stations.relay import Carrier, NeverTaken
from accesspoint.stations.reporting import Act
from accesspoint.stations.sbd_file import read_content
from accesspoint.stations.settling import SHARING
from accesspoint.store.database import Database, Transaction
from accesspoint.store.lanes import NEVER
from accesspoint.store.payloads import PayloadStore
from envelope import fhir
from envelope.ehmi import envelope_for_message
from envelope.errors import LocalProtocolError
from envelope.fhir.document_reference import SHARED, build_document_reference
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.sbdh import DOCUMENT_REFERENCE, Scope, ScopeType, StandardBusinessDocumentHeader

NOT_SHARED: Final = "sharing-not-built"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:ehmi-accesspoint:sharing")

PassDown = Callable[[Document, StandardBusinessDocumentHeader], Awaitable[Commit]]
"""Prepares passing a message down in this envelope."""


class Sharing:
    """What one message service handler owes the document register."""

    def __init__(
        self,
        register: Address,
        *,
        database: Database,
        payloads: PayloadStore,
        bells: Bells,
        clock: Clock,
        home_community: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        room: Room | None = None,
    ) -> None:
        """`home_community` is the OID that the metadata names, where one is agreed; `room` is that of the whole node."""
        self._register = register
        self._database = database
        self._payloads = payloads
        self._bells = bells
        self._clock = clock
        self._home_community = home_community
        self._limits = limits
        self._room = room or Room()

    @classmethod
    def configured(
        cls,
        settings: Settings | None,
        *,
        database: Database,
        payloads: PayloadStore,
        bells: Bells,
        clock: Clock,
        room: Room,
    ) -> Self | None:
        """What the configuration says, None where nothing is shared."""
        if settings is None:
            return None
        return cls(
            Address(settings.gln, settings.sor, settings.name),
            database=database, payloads=payloads, bells=bells, clock=clock, home_community=settings.home_community, room=room,
        )  # fmt: skip

    async def owe(self, tx: Transaction, document: Document) -> None:
        """Store in the caller's commit that this message is shared once it was sent; a second time changes nothing.

        Messages about nobody, acknowledgements, and those of types without metadata are not shared.
        """
        if document.event_code not in SHARED or document.patient_id is None:
            return
        id_ = _id_of(document.sender.gln, document.message_identifier)
        if await tx.fetch_one("SELECT id FROM handovers WHERE id = $1", id_) is not None:
            return
        owed = owed_document(document, id_=id_, target=SHARING, act=Act.MSH_PASSED_DOWN)
        await insert_handover(tx, owed, at=self._clock.now(), due_at=NEVER)

    async def settle(
        self, tx: Transaction, sent: StandardBusinessDocumentHeader, *, positive: bool
    ) -> None:
        """Make the copy of a message due that was acknowledged, or set it aside, in the caller's commit."""
        id_ = _id_of(sent.sender_gln, sent.scope("MESSAGEIDENTIFIER") or "")
        if positive:
            await tx.execute(
                "UPDATE handovers SET next_at = $1 WHERE id = $2 AND state = 'waiting' AND next_at = $3",
                to_microseconds(self._clock.now()), id_, NEVER,
            )  # fmt: skip
        else:
            await tx.execute(
                "UPDATE handovers SET state = 'set-aside', problem = 'acknowledgement-negative'"
                " WHERE id = $1 AND state = 'waiting' AND next_at = $2",
                id_, NEVER,
            )  # fmt: skip

    def carrier(self, pass_down: PassDown) -> Carrier:
        """How the relay of hand-overs makes a copy that is due."""

        async def carry(handover: Handover) -> None:
            envelope_id = str(uuid.uuid5(uuid.UUID(handover.id), "envelope"))
            made = await self._database.fetch_one(
                "SELECT envelope_id FROM envelopes WHERE direction = 'out' AND envelope_id = $1",
                envelope_id,
            )
            if made is None:
                document = Document.from_json(handover.item)
                header = await self._wrap(document, envelope_id)
                await self._bells.run(self._database, await pass_down(document, header))

        return carry

    async def _wrap(self, document: Document, envelope_id: str) -> StandardBusinessDocumentHeader:
        """The header of the copy: the message's own, addressed to the register, with the metadata."""
        try:
            header = envelope_for_message(
                replace(document, receiver=self._register),
                instance_identifier=envelope_id,
                created_at=self._clock.now(),
            )
            return await self.complete(header, document.stored)
        except (fhir.MessageRefused, LocalProtocolError) as error:
            raise NeverTaken(NOT_SHARED, type(error).__name__) from error

    async def complete(
        self, header: StandardBusinessDocumentHeader, content: Stored
    ) -> StandardBusinessDocumentHeader:
        """The header with the metadata of its content, where it is that of a copy; any other as it is.

        Raises MessageRefused and LocalProtocolError for content that cannot be described.
        """
        if header.receiver_gln != self._register.gln:
            return header
        async with self._room.of(content.payload_bytes):
            metadata = await self._describe(header, content)
        scope = Scope(ScopeType.XDS_METADATA, metadata, DOCUMENT_REFERENCE)
        return replace(header, scopes=(*header.scopes, scope))

    async def _describe(self, header: StandardBusinessDocumentHeader, content: Stored) -> str:
        data = await read_content(self._payloads, content, self._limits)

        def describe() -> str:
            return build_document_reference(
                fhir.read_message(data, limits=self._limits),
                data,
                reference_id=str(uuid.uuid5(_NAMESPACE, header.instance_identifier)),
                home_community=self._home_community,
            )

        return await aside(describe, len(data))


def _id_of(sender: str, message_identifier: str) -> str:
    """The id of what is owed for a message, the same for ever: identifiers are their sender's."""
    return str(uuid.uuid5(_NAMESPACE, f"{sender}:{message_identifier}"))
