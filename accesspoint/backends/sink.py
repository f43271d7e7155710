"""The catch-all backend for testers: takes every message and outcome, and keeps nothing but what the store has already."""

from accesspoint.stations.document import Document
from accesspoint.store.payloads import PayloadStore


class SinkBackend:
    """Confirms everything; it stays readable in the store until retention ends it."""

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Take the message."""

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """Take the outcome."""

    async def close(self) -> None:
        """Nothing is open."""
