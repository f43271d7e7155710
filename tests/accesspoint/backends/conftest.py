"""What waits for a backend: messages and outcomes, owed in the tables of one node."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from station_parts import SENDER, Parts, document

from accesspoint.backends.pull import PullDesk
from accesspoint.stations.link import Apart
from accesspoint.stations.reporting import Act
from accesspoint.store.database import Transaction
from accesspoint.store.messages import NewMessage, advance, insert_message


@dataclass
class Owed:
    """A node with something to hand over."""

    parts: Parts

    @property
    def desk(self) -> PullDesk:
        parts = self.parts
        return PullDesk(
            database=parts.database,
            payloads=parts.payloads,
            reporter=parts.reporter,
            bells=parts.bells,
            clock=parts.clock,
            ids=parts.ids,
        )

    async def message(self, identifier: str) -> str:
        """Owe the backend a message; the id of its delivery."""
        parts = self.parts
        item = document(parts, message_identifier=identifier)
        commit = await Apart("backend", parts.ids).pass_on(
            item, act=Act.EUA_FINALIZED, facts=item.delivery_facts(), at=parts.clock.now()
        )
        await parts.run(commit)
        row = await parts.one(
            "SELECT id FROM handovers WHERE message_identifier = $1 AND kind = 'document'",
            identifier,
        )
        return str(row["id"])

    async def outcome(
        self,
        identifier: str,
        *path: str,
        problem: str | None = None,
        detail: str = "",
        standard: str = "homecareobservation-message",
    ) -> dict[str, Any]:
        """Send a message along `path` to its end, and so owe its submitter an outcome; the row of the message."""
        parts, now = self.parts, self.parts.clock.now()
        new = NewMessage(
            id=f"x-{identifier}", direction="out", state="ACCEPTED", message_id=f"{identifier}@here",
            conversation_id="c", party="", envelope_id="e", message_identifier=identifier, standard=standard,
            original_sender=SENDER.gln, final_recipient="5790000000029", document_id="d", process_id="p",
            facts="{}", payload=None, payload_bytes=0, payload_sha256="",
        )  # fmt: skip

        async def work(tx: Transaction) -> None:
            await insert_message(tx, new, at=now)
            row = {"id": new.id, "direction": "out", "state": "ACCEPTED"}
            await advance(tx, row, path, at=now, detail=detail, columns={"problem": problem})

        await parts.database.run(work)
        return await self.row(identifier)

    async def row(self, identifier: str) -> dict[str, Any]:
        return dict(await self.parts.one("SELECT * FROM messages WHERE id = $1", f"x-{identifier}"))

    async def advance(self, identifier: str, *path: str) -> None:
        row = await self.row(identifier)
        await self.parts.database.run(
            lambda tx: advance(tx, row, path, at=self.parts.clock.now(), columns={"problem": None})
        )


@pytest.fixture
async def owed(tmp_path: Path) -> AsyncIterator[Owed]:
    async with Parts.open(tmp_path / "node") as parts:
        yield Owed(parts)


@pytest.fixture
async def shared(tmp_path: Path, postgresql_url: str) -> AsyncIterator[Owed]:
    """The same on a real PostgreSQL server."""
    async with Parts.open(tmp_path / "shared", url=postgresql_url) as parts:
        yield Owed(parts)
