"""What a backend is: something that takes a message for good, or says that it did not.

A delivery has one id for ever. A backend that did not confirm may see the id again; one that confirmed
never does.
"""

from typing import Protocol

from accesspoint.stations.document import Document
from accesspoint.store.payloads import PayloadStore


class DeliveryRefused(Exception):
    """The backend did not take the message now; `detail` names the reason without personal data."""


class Backend(Protocol):
    """Takes received MedCom messages over."""

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Take the message for good; return only when it is durable there. Raises `DeliveryRefused`."""
        ...
