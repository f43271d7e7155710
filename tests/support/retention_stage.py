"""A store with a few messages in it, and a clock that moves when told, for retention and the sweeper."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from accesspoint.clock import ManualClock, to_microseconds
from accesspoint.config import Retention
from accesspoint.store.database import Database, Row, Transaction, Value
from accesspoint.store.housekeeping import Housekeeper
from accesspoint.store.messages import NewMessage, advance, insert_message
from accesspoint.store.payloads import PayloadStore

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OUT = {
    "ACCEPTED": [],
    "ACKNOWLEDGED": ["RESOLVED", "READY", "SENDING", "ACKNOWLEDGED"],
    "NOTIFIED": ["RESOLVED", "READY", "SENDING", "ACKNOWLEDGED", "NOTIFIED"],
    "NOTIFIED-failed": ["FAILED", "NOTIFIED"],
    "UNCERTAIN": ["RESOLVED", "READY", "SENDING", "UNCERTAIN"],
}
IN = {
    "RECEIVED": [],
    "DELIVERED": ["DELIVERING", "DELIVERED"],
    "DELIVERY_WAIT": ["DELIVERING", "DELIVERY_WAIT"],
    "HELD": ["HELD"],
    "QUARANTINED": ["DELIVERING", "QUARANTINED"],
}


@dataclass
class Kept:
    """The store under test."""

    database: Database
    payloads: PayloadStore
    directory: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(AT))
    periods: Retention = field(default_factory=Retention)

    @property
    def housekeeper(self) -> Housekeeper:
        return Housekeeper(self.database, self.payloads, clock=self.clock, periods=self.periods)

    def publish(self, data: bytes = b"octets", *, age: timedelta = timedelta()) -> str:
        with self.payloads.create() as writer:
            writer.write(data)
            payload = writer.finish().id
        written = (self.clock.now() - age).timestamp()
        os.utime(self.directory / payload[:2] / payload, (written, written))
        return payload

    def there(self, payload: str) -> bool:
        return (self.directory / payload[:2] / payload).exists()

    async def message(self, id_: str, direction: str, state: str, payload: str | None) -> None:
        path = (OUT if direction == "out" else IN)[state]
        first = "ACCEPTED" if direction == "out" else "RECEIVED"
        new = NewMessage(
            id=id_, direction=direction, state=first, message_id=f"{id_}@a.example", conversation_id="c", party="p",
            envelope_id=f"e-{id_}", message_identifier=f"i-{id_}", standard="s", original_sender="0088:1",
            final_recipient="0088:2", document_id="d", process_id="p", facts="{}", payload=payload, payload_bytes=6,
            payload_sha256="00",
        )  # fmt: skip

        async def work(tx: Transaction) -> None:
            await insert_message(tx, new, at=self.clock.now())
            if path:
                row = {"id": id_, "direction": direction, "state": first}
                await advance(tx, row, path, at=self.clock.now())
            await tx.execute(
                "INSERT INTO receipts (message, body, signer, at) VALUES ($1,$2,'s',$3)",
                id_, b"<receipt/>", self.now(),
            )  # fmt: skip
            await tx.execute(
                "INSERT INTO duplicates (party, message_id, content_digest, signed_digest, message, at)"
                " VALUES ('p',$1,'c','s',$1,$2)",
                id_, self.now(),
            )  # fmt: skip

        await self.database.run(work)

    async def wire(self, message: str, part: str | None) -> None:
        await self.execute(
            "INSERT INTO wires (message, url, certificate, signed_at, soap, part, part_content_id, part_bytes,"
            " signed_references, part_octets) VALUES ($1,'u',$2,'t',$2,$3,'c',1,'[]',$4)",
            message, b"soap", part, None if part else b"ciphertext",
        )  # fmt: skip

    async def document(self, id_: str, direction: str, payload: str, acknowledgement: str, *,
                       delivered: bool = False) -> None:  # fmt: skip
        at = self.now()
        await self.execute(
            "INSERT INTO documents (direction, message_identifier, id, event_code, sender, receiver, media_type, payload,"
            " payload_bytes, payload_sha256, acknowledgement, delivered_at, created_at, acknowledged_at)"
            " VALUES ($1,$2,$3,'e','s','r','t',$4,6,'00',$5,$6,$7,$8)",
            direction, f"i-{id_}", id_, payload, acknowledgement, at if delivered else None, at,
            at if acknowledgement == "ok" else None,
        )  # fmt: skip

    async def handover(self, id_: str, payload: str, state: str) -> None:
        at = self.now()
        await self.execute(
            "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
            " payload_bytes, payload_sha256, state, next_at, created_at, done_at)"
            " VALUES ($1,'backend','document',$1,'{}','a','{}','t',$2,6,'00',$3,$4,$4,$5)",
            id_, payload, state, at, at if state == "done" else None,
        )  # fmt: skip

    async def execute(self, sql: str, *values: Value) -> None:
        await self.database.run(lambda tx: tx.execute(sql, *values))

    async def rows(self, sql: str, *values: Value) -> list[Row]:
        return await self.database.fetch(sql, *values)

    async def state(self, id_: str) -> str | None:
        row = await self.database.fetch_one("SELECT state FROM messages WHERE id = $1", id_)
        return None if row is None else str(row["state"])

    def now(self) -> int:
        return to_microseconds(self.clock.now())
