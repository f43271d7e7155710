"""Who takes messages that are no business of the stations: the drivers of a conformance test, and nobody in operation.

Such a message may have any number of parts. It passes every gate, is stored with its receipt, and is given
away before the receipt goes out; a consumer that does not take it makes the sender try again.
"""

from collections.abc import Sequence
from typing import Protocol

from envelope.errors import RemoteProtocolError
from envelope.messaging import UserMessage


class Consumer(Protocol):
    """Takes verified messages of services that no station knows."""

    def takes(self, message: UserMessage) -> bool:
        """Whether messages of this service and action are for this consumer."""

    async def deliver(self, message: UserMessage, payloads: Sequence[bytes]) -> None:
        """Take a message, its payloads decompressed and in the order of the header; raises
        `TransportRefused` with status 503 when it does not take it now, and the sender tries again.
        """

    async def tell_refused(self, message_id: str, error: RemoteProtocolError) -> None:
        """Hear that a message of an authenticated sender was refused."""
