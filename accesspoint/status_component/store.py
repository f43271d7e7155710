"""Keeps each report once and for good, in columns that searches and pages find it by.

A report is one row of `events`, its JSON beside it, and a change of the row of its message, in one commit. A report
between other organisations than those of the message changes no row of it: it is of a copy, or of a stranger who used
the identifier.
Its id is made from device, sub type, message and envelope, so a repetition meets the row that is there,
after a restart too. Reports are never changed and never deleted.

Codes and organisations are stored once and pointed to: few different ones appear in very many events, and
the indexes stay small enough to be walked.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.status_component.resource import (
    Party,
    Resource,
    detail,
    device_id,
    identifier,
    parties,
    recorded,
    resource_id,
    verdict,
)
from accesspoint.store.database import Database, Row, Transaction, sqlite_url
from accesspoint.store.token_file import load_token

FILE: Final = "delivery-status.db"
PERSON_KEY_FILE: Final = "delivery-status-persons.key"
DEVICE: Final = "device"
"""The system under which device ids stand among the codes; no URI, so none can be taken for it."""
STATION: Final = "station"
MESSAGE_TYPE: Final = ""
"""Message types have no code system."""
ENDS: Final = ("msg-received-and-finalized", "msg-finalized")
PASSES_ON: Final = ("msg-sent", "msg-created-and-sent")

_EVENT: Final = """
INSERT INTO events (id, recorded_at, received_at, outcome, device, station, type, subtype, standard, orig_standard,
  sender, receiver, message, message_envelope, transport_envelope, orig_message, orig_envelope, patient)
VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)
ON CONFLICT (id) DO NOTHING RETURNING seq
"""
_MESSAGE: Final = """
INSERT INTO messages (message, standard, version, sender, receiver, patient, orig_message, orig_standard,
  first_at, last_at, finalized_at, undelivered_at, refused_at, verdict, events)
VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$9,$10,$11,$12,$13,1)
ON CONFLICT (message) DO UPDATE SET
  first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at),
  finalized_at = coalesce(finalized_at, excluded.finalized_at),
  undelivered_at = coalesce(undelivered_at, excluded.undelivered_at),
  refused_at = coalesce(refused_at, excluded.refused_at),
  patient = coalesce(patient, excluded.patient),
  verdict = coalesce(verdict, excluded.verdict),
  events = events + 1
WHERE (SELECT sor FROM parties WHERE id = messages.sender) = (SELECT sor FROM parties WHERE id = excluded.sender)
  AND (SELECT sor FROM parties WHERE id = messages.receiver) = (SELECT sor FROM parties WHERE id = excluded.receiver)
"""
_STORED: Final = (
    "SELECT e.seq, e.received_at, r.body FROM events e JOIN resources r ON r.seq = e.seq "
)
_EXCHANGE: Final = """
WITH RECURSIVE exchange (message) AS (
  SELECT value FROM json_each($1)
  UNION SELECT e.message FROM exchange x JOIN events e ON e.orig_message = x.message)
SELECT e.seq, e.received_at, r.body FROM events e JOIN resources r ON r.seq = e.seq
WHERE e.message IN (SELECT message FROM exchange) ORDER BY e.seq
"""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """One report as the status component keeps it; `position` grows in the order of arrival."""

    position: int
    received_at: datetime
    resource: Resource

    @property
    def message_identifier(self) -> str:
        """The message that was reported."""
        return identifier(self.resource, "ehmiMessage") or ""


class EventStore:
    """The reports in a SQLite file that one process has; `open` makes it."""

    def __init__(
        self, database: Database, place: TemporaryDirectory[str] | None, person_key: bytes
    ) -> None:
        """`person_key` is what the audit log writes persons down with: a file beside the database, and not in it."""
        self.database = database
        self.person_key = person_key
        self._place = place
        self._news = asyncio.Condition()
        self._codes: dict[tuple[str, str], int] = {}
        self._parties: dict[Party, int] = {}

    @classmethod
    async def open(cls, directory: Path | None = None) -> "EventStore":
        """Open or make the store in a directory; without one the reports live as long as this object.

        Raises: StorageRefused, StorageFailure.
        """
        place = None
        if directory is None:
            place = TemporaryDirectory(prefix="ehmi-status-")
            directory = Path(place.name)
        migrations = files("accesspoint.status_component") / "migrations"
        try:
            key = load_token(directory / PERSON_KEY_FILE).encode()
            database = await Database.open(
                sqlite_url((directory / FILE).absolute()), migrations=migrations
            )
        except BaseException:
            if place is not None:
                place.cleanup()
            raise
        return cls(database, place, key)

    async def close(self) -> None:
        """Let go of the file."""
        await self.database.close()
        if self._place is not None:
            self._place.cleanup()

    async def add(self, resource: Resource, *, received_at: datetime) -> tuple[StoredReport, bool]:
        """Store a checked report unless it is there; returns it and whether it is new, after the commit.

        Raises: StorageFailure; nothing may be promised then.
        """
        if await self.add_all([resource], received_at=received_at):
            async with self._news:
                self._news.notify_all()
            is_new = True
        else:
            is_new = False
        stored = await self.read(resource_id(resource))
        if stored is None:
            raise LookupError("a report that was stored is not there")
        return stored, is_new

    async def add_all(self, resources: Iterable[Resource], *, received_at: datetime) -> int:
        """Store checked reports in one commit and return how many are new; nobody who waits is woken."""

        async def work(tx: Transaction) -> tuple[int, _Insertion]:
            insertion = _Insertion(tx, self._codes, self._parties)
            at = to_microseconds(received_at)
            return sum([await insertion.add(resource, at) for resource in resources]), insertion

        added, insertion = await self.database.run(work)
        # Only what is committed may be remembered.
        self._codes |= insertion.new_codes
        self._parties |= insertion.new_parties
        return added

    async def read(self, logical_id: str) -> StoredReport | None:
        """Return the report with this id."""
        row = await self.database.fetch_one(_STORED + "WHERE e.id = $1", logical_id)
        return None if row is None else _report(row)

    async def reports(self, after: int = 0) -> list[StoredReport]:
        """Return all reports after this position in the order of arrival."""
        rows = await self.database.fetch(_STORED + "WHERE e.seq > $1 ORDER BY e.seq", after)
        return [_report(row) for row in rows]

    async def of_positions(self, positions: Collection[int]) -> dict[int, tuple[str, bytes]]:
        """Return the id and the JSON of the reports at these positions."""
        rows = await self.database.fetch(
            "SELECT e.seq, e.id, r.body FROM events e JOIN resources r ON r.seq = e.seq"
            " WHERE e.seq IN (SELECT value FROM json_each($1))",
            orjson.dumps(list(positions)).decode(),
        )
        return {row["seq"]: (row["id"], zlib.decompress(row["body"])) for row in rows}

    async def of_exchange(self, message_identifiers: Collection[str]) -> list[StoredReport]:
        """Return the reports about these messages and about everything that answers them, and so on."""
        wanted = orjson.dumps(list(message_identifiers)).decode()
        return [_report(row) for row in await self.database.fetch(_EXCHANGE, wanted)]

    async def wait_for(
        self, message_identifiers: Collection[str], count: int, *, seconds: float
    ) -> list[StoredReport]:
        """Wait until the exchange of these messages has `count` reports and return them.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(seconds), self._news:
            while len(found := await self.of_exchange(message_identifiers)) < count:
                await self._news.wait()
            return found

    async def follow(self, position: int = 0) -> AsyncIterator[StoredReport]:
        """Yield every report after this position, those to come as well, until the caller stops."""
        while True:
            async with self._news:
                while not (found := await self.reports(position)):
                    await self._news.wait()
            for report in found:
                position = report.position
                yield report


class _Insertion:
    """Reports on their way into the tables, in one unit of work."""

    def __init__(
        self,
        tx: Transaction,
        codes: Mapping[tuple[str, str], int],
        known_parties: Mapping[Party, int],
    ) -> None:
        """What is remembered of committed rows is only looked at; what this work adds is kept apart."""
        self._tx = tx
        self._known_codes, self._known_parties = codes, known_parties
        self.new_codes: dict[tuple[str, str], int] = {}
        self.new_parties: dict[Party, int] = {}

    async def add(self, resource: Resource, received_at: int) -> bool:
        """Store one report; False when it is there."""
        sender, receiver = [
            await self._party(next(parties(resource, role)))
            for role in ("ehmiSender", "ehmiReceiver")
        ]
        subtype = resource["subtype"][0]
        standard = await self._code(
            MESSAGE_TYPE, detail(resource, "ehmiMessage", "ehmiMessageType") or ""
        )
        orig_type = detail(resource, "ehmiOrigMessage", "ehmiMessageType")
        orig_standard = None if orig_type is None else await self._code(MESSAGE_TYPE, orig_type)
        at, outcome = to_microseconds(recorded(resource)), int(resource["outcome"])
        message = identifier(resource, "ehmiMessage") or ""
        orig_message = identifier(resource, "ehmiOrigMessage")
        patient = identifier(resource, "ehmiPatient")
        inserted = await self._tx.fetch_one(
            _EVENT,
            resource_id(resource),
            at,
            received_at,
            outcome,
            await self._code(DEVICE, device_id(resource) or ""),
            await self._code(STATION, resource["source"]["type"][0]["code"]),
            await self._code(resource["type"]["system"], resource["type"]["code"]),
            await self._code(subtype["system"], subtype["code"]),
            standard,
            orig_standard,
            sender,
            receiver,
            message,
            identifier(resource, "ehmiMessageEnvelope"),
            identifier(resource, "ehmiTransportEnvelope"),
            orig_message,
            identifier(resource, "ehmiOrigTransportEnvelope"),
            patient,
        )
        if inserted is None:
            return False
        stored = resource | {"id": resource_id(resource)}
        await self._tx.execute(
            "INSERT INTO resources (seq, body) VALUES ($1, $2)",
            inserted["seq"],
            zlib.compress(orjson.dumps(stored), 1),
        )
        failed = outcome != 0
        await self._tx.execute(
            _MESSAGE,
            message,
            standard,
            detail(resource, "ehmiMessage", "ehmiMessageVersion") or "",
            sender,
            receiver,
            patient,
            orig_message,
            orig_standard,
            at,
            at if not failed and subtype["code"] in ENDS else None,
            at if failed and subtype["code"] in PASSES_ON else None,
            at if failed and subtype["code"] not in PASSES_ON else None,
            verdict(resource),
        )
        return True

    async def _code(self, system: str, code: str) -> int:
        key = (system, code)
        known = self._known_codes.get(key) or self.new_codes.get(key)
        if known is None:
            find = "SELECT id FROM codes WHERE code = $1 AND system = $2"
            make = "INSERT INTO codes (system, code) VALUES ($1, $2) RETURNING id"
            row = await self._tx.fetch_one(find, code, system) or await self._tx.fetch_one(
                make, system, code
            )
            known = self.new_codes[key] = _id(row)
        return known

    async def _party(self, party: Party) -> int:
        known = self._known_parties.get(party) or self.new_parties.get(party)
        if known is not None:
            return known
        values = party.sor, " ".join(party.glns), party.name
        row = await self._tx.fetch_one(
            "SELECT id FROM parties WHERE sor = $1 AND glns = $2 AND name = $3", *values
        )
        if row is None:
            row = await self._tx.fetch_one(
                "INSERT INTO parties (sor, glns, name, folded) VALUES ($1, $2, $3, $4) RETURNING id",
                *values,
                party.name.casefold(),
            )
            for gln in party.glns:
                await self._tx.execute(
                    "INSERT INTO party_glns (gln, party) VALUES ($1, $2) ON CONFLICT (gln, party) DO NOTHING",
                    gln,
                    _id(row),
                )
        known = self.new_parties[party] = _id(row)
        return known


def _id(row: Row | None) -> int:
    """The number of a row that was just found or made."""
    if row is None:
        raise LookupError("a row that was made is not there")
    return int(row["id"])


def unpack(body: bytes) -> Resource:
    """The resource of a row of `resources`."""
    resource: Resource = orjson.loads(zlib.decompress(body))
    return resource


def _report(row: Row) -> StoredReport:
    return StoredReport(row["seq"], from_microseconds(row["received_at"]), unpack(row["body"]))
