"""The receiving side of the clinic's access point, called as the HTTP handler calls it, with its real parts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from as4_parts import trust_in
from as4_peer import HttpAnswer
from as4_stage import Pki
from as4_wire import Author, Wire
from station_parts import RECEIVER, Parts

from accesspoint.identity import Agreements, Identity
from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import Answer, Intake, Refuser
from envelope.mime import parse_content_type
from envelope.pmode import SecuritySuite

PEER = "127.0.0.9"


@dataclass
class Inbound:
    """Everything that receives, and what became of what was received."""

    parts: Parts
    pki: Pki
    identity: Identity
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def author(self) -> Author:
        return Author(self.pki.municipality.signer(), self.pki.clinic.certificate)

    def receiver(self, **changes: Any) -> Receiver:
        parts = self.parts
        values: dict[str, Any] = {
            "agreements": Agreements(),
            "check": trust_in(self.pki, parts.clock),
            "served": {RECEIVER.gln: RECEIVER},
            **self.options,
            **changes,
        }
        return Receiver(
            database=parts.database,
            payloads=parts.payloads,
            identity=self.identity,
            reporter=parts.reporter,
            bells=parts.bells,
            clock=parts.clock,
            ids=parts.ids,
            domain="receiver.example",
            **values,
        )

    @property
    def refuser(self) -> Refuser:
        parts = self.parts
        return Refuser(
            database=parts.database,
            identity=self.identity,
            suite=SecuritySuite(),
            clock=parts.clock,
            ids=parts.ids,
        )

    async def receive(
        self,
        wire: Wire,
        *,
        receiver: Receiver | None = None,
        chunk_bytes: int = 4096,
        intake: Intake | None = None,
    ) -> Answer:
        """Let one request in; raises what the receiver raises."""
        return await self.receive_octets(
            wire.body, wire.content_type, receiver=receiver, chunk_bytes=chunk_bytes, intake=intake
        )

    async def receive_octets(
        self,
        body: bytes,
        content_type: str,
        *,
        receiver: Receiver | None = None,
        chunk_bytes: int = 4096,
        intake: Intake | None = None,
    ) -> Answer:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), chunk_bytes):
                yield body[start : start + chunk_bytes]

        return await (receiver or self.receiver()).receive(
            parse_content_type(content_type), chunks(), intake or Intake(PEER)
        )

    async def messages(self) -> list[Any]:
        return await self.parts.rows("SELECT * FROM messages ORDER BY id")

    async def stored_nothing(self) -> bool:
        return await self.parts.is_empty() and self.parts.unpublished() == 0


def as_http(answer: Answer) -> HttpAnswer:
    return HttpAnswer(answer.status, answer.content_type, answer.body)
