"""What a backend is: something that takes a message for good, or says that it did not.

A delivery has one id for ever. A backend that did not confirm may see the id again; one that confirmed
never does. The same holds for outcomes, by which the submitter learns what became of what it sent.
"""

from typing import Any, Final, Protocol

from accesspoint.stations.document import Document
from accesspoint.stations.link import Handover
from accesspoint.stations.relay import Carrier, NotTaken
from accesspoint.store.outcomes import KIND as OUTCOME
from accesspoint.store.payloads import PayloadStore

NOT_NOW: Final = "backend-not-accepting"
NEVER_SO: Final = "backend-refused"


class DeliveryRefused(Exception):
    """The backend did not take the message now; `detail` names the reason without personal data.

    `slug` is the problem: `NOT_NOW` goes away by itself, `NEVER_SO` wants a person.
    """

    def __init__(self, detail: str, *, slug: str = NOT_NOW) -> None:
        super().__init__(detail)
        self.slug = slug


class Backend(Protocol):
    """Takes received MedCom messages and outcomes over."""

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Take the message for good; return only when it is durable there. Raises `DeliveryRefused`."""
        ...

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """Take an outcome, a JSON text, for good; return only when it is durable there. Raises `DeliveryRefused`."""
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


def backend_carrier(backend: Backend, payloads: PayloadStore) -> Carrier:
    """How the relay of hand-overs brings messages and outcomes to a backend."""

    async def carry(handover: Handover) -> None:
        try:
            if handover.kind == OUTCOME:
                outcome = handover.item.encode()
                await backend.tell(handover.id, handover.message_identifier, outcome)
            else:
                await backend.deliver(handover.id, Document.from_json(handover.item), payloads)
        except DeliveryRefused as refused:
            raise NotTaken(refused.slug, str(refused)) from refused

    return carry


def manifest_of(delivery_id: str, document: Document) -> dict[str, Any]:
    """What is said of a delivery beside its octets: identifiers, kind, who to whom, size and digest; no patient."""
    return {
        "delivery": delivery_id,
        "message_identifier": document.message_identifier,
        "message_envelope_identifier": document.message_envelope_identifier,
        "answers": document.original_message_identifier,
        "type": document.event_code,
        "standard": document.document_type.standard,
        "sender": document.sender.gln,
        "receiver": document.receiver.gln,
        "media_type": document.media_type,
        "bytes": document.stored.payload_bytes,
        "sha256": document.stored.payload_sha256,
    }
