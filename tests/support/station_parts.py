"""The parts of one node that tests of stations, senders and receivers are made from: all real, none of them running.

Database, payload store and outbox stand in one directory; the clock moves only when told, identifiers come from a seed.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from as4_wire import medcom_message

from accesspoint.clock import ManualClock
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.delivery.outbox import Outbox
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.ids import SeededIds
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.document import Address, Document, Envelope, Stored
from accesspoint.stations.reporting import Act, Reporter
from accesspoint.stations.sbd_file import stored, write_sbd
from accesspoint.store.database import Database, Row, Transaction, sqlite_url
from accesspoint.store.payloads import PayloadStore
from envelope.acknowledgement import ReceiptException, build_acknowledgement
from envelope.ehmi import envelope_for_message
from envelope.sbdh import StandardBusinessDocumentHeader

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SENDER, RECEIVER = MUNICIPALITY.address, CLINIC.address
THIRD = Address("5790000000036", "900000000000032", "Tredjepart")
DEVICES = {"EUA": "eua-1", "MSH": "msh-1", "AP": "ap-1", "AP-MSH": "ap-1"}
MESSAGE = "0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"
BUNDLE = "0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d002"
ENVELOPE = "0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d003"

T = TypeVar("T")
Change = Callable[[StandardBusinessDocumentHeader], StandardBusinessDocumentHeader]


@dataclass
class Parts:
    """What every station is given, and what can be seen of it afterwards."""

    directory: Path
    database: Database
    payloads: PayloadStore
    clock: ManualClock
    ids: SeededIds
    bells: Bells
    reporter: Reporter

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        together: bool = True,
        reports: bool = True,
        at: datetime = AT,
        seed: int = 1,
        url: str | None = None,
    ) -> AsyncIterator["Parts"]:
        directory.mkdir(mode=0o700, exist_ok=True)
        clock = ManualClock(at)
        database = await Database.open(url or sqlite_url(directory / "store.db"))
        payloads = PayloadStore(directory / "payloads")
        outbox = Outbox(database, clock=clock, glns=[SENDER.gln, RECEIVER.gln])
        reporter = Reporter(
            clock=clock,
            outbox=outbox if reports else None,
            device_ids=DEVICES,
            together=together,
        )
        ids = SeededIds(clock, seed)
        try:
            yield cls(directory, database, payloads, clock, ids, Bells(), reporter)
        finally:
            payloads.close()
            await database.close()

    async def run(self, commit: Commit) -> None:
        await self.bells.run(self.database, commit)

    async def rows(self, sql: str, *values: Any) -> list[Row]:
        return await self.database.fetch(sql, *values)

    async def one(self, sql: str, *values: Any) -> Row:
        (row,) = await self.rows(sql, *values)
        return row

    async def events(self) -> list[tuple[str, str]]:
        """Station and sub type of every delivery event, in the order they became durable."""
        rows = await self.rows("SELECT station, subtype FROM outbox ORDER BY seq")
        return [(row["station"], row["subtype"]) for row in rows]

    async def outcomes(self) -> list[str]:
        rows = await self.rows("SELECT body FROM outbox ORDER BY seq")
        return [json.loads(bytes(row["body"], "utf-8"))["outcome"] for row in rows]

    async def journal(self) -> list[tuple[str, str, str | None]]:
        rows = await self.rows("SELECT station, event, problem FROM journal ORDER BY seq")
        return [(row["station"], row["event"], row["problem"]) for row in rows]

    async def until(self, event: str, times: int = 1) -> None:
        """Follow the journal until it has said this so many times."""
        async with asyncio.timeout(10):
            while [name for _, name, _ in await self.journal()].count(event) < times:
                await self.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)

    async def is_empty(self) -> bool:
        """Whether no table of the program has a row and no payload is published."""
        tables = await self.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND name NOT IN ('schema_version', 'transitions', 'audit_head')"
        )
        counts = [await self.one(f"SELECT COUNT(*) AS n FROM {t['name']}") for t in tables]
        assert len(counts) >= 10
        return not any(row["n"] for row in counts) and self.files() == 0

    def files(self) -> int:
        """How many payloads are published."""
        return len(list(self.payloads.entries()))

    def unpublished(self) -> int:
        """How many files stand in the temporary directories."""
        return sum(path.is_file() for path in (self.directory / "payloads" / "tmp").rglob("*"))

    def store(self, data: bytes) -> Stored:
        with self.payloads.create() as writer:
            writer.write(data)
            return stored(writer.finish())

    def read(self, what: Stored | str) -> bytes:
        with self.payloads.open(what if isinstance(what, str) else what.payload) as reader:
            return reader.read(1 << 24)


@dataclass
class Neighbour(Generic[T]):
    """The next station: takes whatever is passed to it, in the commit of the one that passes."""

    offered: list[tuple[T, Act, DeliveryFacts]] = field(default_factory=list)
    taken: list[T] = field(default_factory=list)
    failures: deque[BaseException] = field(default_factory=deque)

    async def pass_on(self, item: T, *, act: Act, facts: DeliveryFacts, at: datetime) -> Commit:
        if self.failures:
            raise self.failures.popleft()
        self.offered.append((item, act, facts))

        async def work(tx: Transaction) -> None:
            assert await tx.fetch("SELECT 1 AS n")
            self.taken.append(item)

        return Commit(work)


def document(parts: Parts, **changes: Any) -> Document:
    """A stored HomeCareObservation from the municipality to the clinic."""
    data, facts = medcom_message(MESSAGE, BUNDLE)
    values: dict[str, Any] = {
        "message_identifier": MESSAGE,
        "message_envelope_identifier": BUNDLE,
        "event_code": facts.event_code,
        "definition_version": facts.definition_version,
        "sender": SENDER,
        "receiver": RECEIVER,
        "patient_id": facts.patient_id,
        "statistical_postfix": None,
        "original_message_identifier": None,
        "media_type": facts.mime_type,
        "stored": parts.store(data),
    }
    return Document(**{**values, **changes})


def header_for(
    message: str = MESSAGE,
    envelope: str = ENVELOPE,
    *,
    bundle: str = BUNDLE,
    sender: Address = SENDER,
    receiver: Address = RECEIVER,
) -> StandardBusinessDocumentHeader:
    """The envelope header of a HomeCareObservation, as another message service handler writes it."""
    _, facts = medcom_message(message, bundle)
    return envelope_for_message(
        facts,
        instance_identifier=envelope,
        created_at=AT,
        sender_gln=sender.gln,
        receiver_gln=receiver.gln,
    )


def envelope(
    parts: Parts,
    message: str = MESSAGE,
    envelope_id: str = ENVELOPE,
    *,
    change: Change = lambda header: header,
    content: bytes | None = None,
    sender: Address = SENDER,
    receiver: Address = RECEIVER,
) -> Envelope:
    """A stored envelope as it arrives from the access point."""
    header = change(header_for(message, envelope_id, sender=sender, receiver=receiver))
    body = medcom_message(message, BUNDLE)[0] if content is None else content
    return Envelope(message, write_sbd(parts.payloads, header, body))


def acknowledge(
    parts: Parts,
    original: StandardBusinessDocumentHeader,
    exception: ReceiptException | None = None,
    *,
    message_identifier: str | None = None,
    change: Change = lambda header: header,
) -> Envelope:
    """An acknowledgement of what we sent, as the receiver's handler makes it."""
    identifier = message_identifier or parts.ids.uuid()
    header, signal = build_acknowledgement(
        original,
        instance_identifier=parts.ids.uuid(),
        message_identifier=identifier,
        created_at=parts.clock.now(),
        exception=exception,
    )
    return Envelope(identifier, write_sbd(parts.payloads, change(header), signal))


__all__ = [
    "AT",
    "BUNDLE",
    "DEVICES",
    "ENVELOPE",
    "MESSAGE",
    "RECEIVER",
    "SENDER",
    "THIRD",
    "Change",
    "Neighbour",
    "Parts",
    "acknowledge",
    "document",
    "envelope",
    "header_for",
]
