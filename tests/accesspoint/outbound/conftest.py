"""The sending side of the municipality's access point, and a clinic on loopback that answers as a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from as4_parts import directory_of, identity_of, trust_in
from as4_peer import Server
from as4_stage import Pki
from background import background
from station_parts import Parts, document

from accesspoint.as4.client import As4Client
from accesspoint.identity import Agreements, Identity
from accesspoint.outbound.lanes import UNKNOWN, Lanes
from accesspoint.outbound.sender import Sender
from accesspoint.outbound.submit import Submit
from accesspoint.retry import RetrySchedule
from accesspoint.stations.document import Envelope
from accesspoint.stations.sbd_file import write_sbd
from accesspoint.store.database import Row
from accesspoint.store.leases import Leases
from envelope.ehmi import envelope_for_message

SCHEDULE = RetrySchedule(timedelta(seconds=10), 2.0, timedelta(seconds=40), timedelta(seconds=60))


@dataclass
class Outbound:
    """Everything that sends, and what became of what was sent."""

    parts: Parts
    pki: Pki
    server: Server
    client: As4Client
    identity: Identity
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def submit(self) -> Submit:
        return Submit(
            payloads=self.parts.payloads,
            reporter=self.parts.reporter,
            clock=self.parts.clock,
            ids=self.parts.ids,
            domain="sender.example",
            lane_of=self.options["lanes"].lane_of if "lanes" in self.options else lambda _: UNKNOWN,
        )

    def envelope(self, number: int = 1, *, attachment: bytes = b"") -> Envelope:
        parts = self.parts
        message = document(parts, message_identifier=f"message-{number}")
        header = envelope_for_message(
            message, instance_identifier=parts.ids.uuid(), created_at=parts.clock.now()
        )
        content = parts.read(message.stored) + attachment
        return Envelope(
            message.message_identifier, write_sbd(parts.payloads, header, content), header
        )

    async def accept(self, number: int = 1, *, attachment: bytes = b"") -> str:
        """Accept an envelope for sending; our id of it."""
        commit = await self.submit.take_envelope(self.envelope(number, attachment=attachment))
        await self.parts.run(commit)
        row = await self.parts.one(
            "SELECT id FROM messages WHERE message_identifier = $1", f"message-{number}"
        )
        return str(row["id"])

    def sender(self, **changes: Any) -> Sender:
        parts = self.parts
        values: dict[str, Any] = {
            "directory": directory_of(self.server.url, self.pki.clinic.certificate),
            "trust": trust_in(self.pki, parts.clock),
            "agreements": Agreements(),
            "schedule": SCHEDULE,
            "lanes": Lanes(total=4, per_lane=4, schedule=SCHEDULE),
            "concurrency": 4,
            "leases": Leases("worker-1"),
        }
        return Sender(
            database=parts.database,
            payloads=parts.payloads,
            client=self.client,
            identity=self.identity,
            reporter=parts.reporter,
            bells=parts.bells,
            clock=parts.clock,
            ids=parts.ids,
            **{**values, **self.options, **changes},
        )

    def running(
        self, sender: Sender | None = None
    ) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        return background((sender or self.sender()).run())

    async def row(self, id_: str) -> Row:
        return await self.parts.one("SELECT * FROM messages WHERE id = $1", id_)

    async def states(self, id_: str) -> list[str]:
        rows = await self.parts.rows(
            "SELECT to_state FROM history WHERE message = $1 ORDER BY seq", id_
        )
        return [row["to_state"] for row in rows]


@pytest.fixture
async def outbound(pki: Pki, tmp_path: Path) -> AsyncIterator[Outbound]:
    as_client, _ = pki.tls_contexts("municipality")
    _, as_server = pki.tls_contexts("clinic")
    async with (
        Parts.open(tmp_path / "node", together=False, at=pki.now) as parts,
        Server.start(pki.clinic.signer(), as_server) as server,
        As4Client(as_client, timeout_seconds=5.0) as client,
    ):
        yield Outbound(parts, pki, server, client, identity_of(pki.municipality))
