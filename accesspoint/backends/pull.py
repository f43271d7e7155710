"""The pull backend: the organisation's own systems fetch what waits for them, and confirm what they have for good.

What waits is leased, several at a time, to whoever asks, for as long as it asks for; then it is fetched and
confirmed. A lease that runs out, or is given back, lets the next one have it, under the same id. A confirmation
is for good and may be repeated; it needs no lease, because whoever has the message has it, whether in time or
not. Only what was handed out once can be confirmed. Messages and outcomes are the same thing here: rows of
`handovers` with their targets, settled by the same commit as any other hand-over.

Spec: reliability section 2.2 (idempotent consumers), points D7, D8, S15 and S16.
"""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import orjson
import structlog

from accesspoint.backends.base import manifest_of
from accesspoint.clock import Clock, from_microseconds, to_microseconds
from accesspoint.failpoints import failpoint
from accesspoint.ids import Ids
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.document import Document
from accesspoint.stations.link import BACKEND
from accesspoint.stations.reporting import Reporter
from accesspoint.stations.settling import handover_of, set_aside, settle
from accesspoint.store.columns import ColumnDamaged, fault_of
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.outcomes import TARGET as SUBMITTER
from accesspoint.store.payloads import PayloadStore

CHUNK_BYTES: Final = 64 * 1024
MOST: Final = 100
LONGEST: Final = timedelta(hours=1)

_FREE: Final = "state = 'waiting' AND target = $1 AND (lease_until IS NULL OR lease_until <= $2)"
_LEASE: Final = f"""
WITH due AS MATERIALIZED (
  SELECT id FROM handovers WHERE {_FREE} ORDER BY created_at, id LIMIT $5 {{skip_locked}})
UPDATE handovers SET lease_owner = $3, lease_until = $4, lease_epoch = lease_epoch + 1, attempts = attempts + 1
WHERE id IN (SELECT id FROM due) RETURNING *
"""  # noqa: S608
_RELEASE: Final = (
    "UPDATE handovers SET lease_owner = NULL, lease_until = NULL"
    " WHERE id = $1 AND target = $2 AND state = 'waiting' AND lease_owner = $3"
)
_log = structlog.get_logger("accesspoint.backends")


class Kind(StrEnum):
    """What can be pulled; the value is the target of the hand-overs."""

    DELIVERY = BACKEND
    OUTCOME = SUBMITTER


class Unknown(Exception):
    """Nothing with this id waits or waited here."""


class NotHandedOut(Exception):
    """It was never leased to anybody, so nobody can have it."""


class LeaseLost(Exception):
    """The lease is not, or not any more, this one."""


class Confirmed(Exception):
    """It was confirmed before; `at` says when."""

    def __init__(self, at: datetime) -> None:
        super().__init__("confirmed before")
        self.at = at


@dataclass(frozen=True, slots=True)
class Leased:
    """What a lease holds: its token, when it runs out, and what is said of each piece."""

    token: str
    until: datetime
    items: list[dict[str, Any]]


class PullDesk:
    """Hands out, takes back and settles what the backend fetches."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        ids: Ids,
        systems: Collection[str] = (),
    ) -> None:
        """`systems` are the names of those that fetch for themselves, where one address has several."""
        self._systems = frozenset(systems)
        self._database = database
        self._payloads = payloads
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._ids = ids

    def target(self, kind: Kind, system: str | None) -> str:
        """The target of what this system fetches; outcomes are for all of them. Raises Unknown for no system of ours."""
        if system is None or kind is Kind.OUTCOME:
            return kind
        if system not in self._systems:
            raise Unknown
        return f"{BACKEND}:{system}"

    async def list(self, target: str, *, limit: int) -> list[dict[str, Any]]:
        """What is not confirmed yet, oldest first; leases nothing."""
        rows = await self._database.fetch(
            "SELECT * FROM handovers WHERE state = 'waiting' AND target = $1 ORDER BY created_at, id LIMIT $2",
            target, limit,
        )  # fmt: skip
        return [_described(row) for row in rows if fault_of(row) is None]

    async def lease(self, target: str, *, limit: int, duration: timedelta) -> Leased:
        """Lease up to `limit` pieces that nobody holds, oldest first."""
        now = self._clock.now()
        token, until = self._ids.uuid(), now + min(duration, LONGEST)
        free = await self._database.fetch_one(
            f"SELECT id FROM handovers WHERE {_FREE} LIMIT 1",  # noqa: S608
            target, to_microseconds(now),
        )  # fmt: skip
        if free is None:
            # Looking is a read; a lease is a commit.
            return Leased(token, until, [])

        async def work(tx: Transaction) -> list[Row]:
            rows = await tx.fetch(
                _LEASE.format(skip_locked=tx.skip_locked), target, to_microseconds(now), token,
                to_microseconds(until), min(limit, MOST),
            )  # fmt: skip
            return [row for row in rows if await self._opens(tx, row)]

        rows = await self._database.run(work)
        rows = sorted(rows, key=lambda row: (row["created_at"], row["id"]))
        return Leased(token, until, [_described(row) for row in rows])

    async def _opens(self, tx: Transaction, row: Row) -> bool:
        """Whether a piece can be handed out; a damaged one is set aside, and one without its key waits for the lease to end."""
        fault = fault_of(row)
        if fault is not None:
            _log.error("payload_damaged", handover=row["id"], detail=str(fault))
        if isinstance(fault, ColumnDamaged):
            await set_aside(
                tx, row, problem=fault.problem, why=type(fault).__name__, reporter=self._reporter
            )
        return fault is None

    async def find(self, target: str, id_: str) -> Row:
        """The row of what waits.

        Raises: Unknown, or Confirmed for what the backend has for good.
        """
        return await self._database.read(lambda tx: _find(tx, target, id_))

    async def content(self, row: Row) -> AsyncIterator[bytes]:
        """The octets of a message, whose digest the store checks while it reads them."""
        with self._payloads.open(row["payload"], sha256=row["payload_sha256"]) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                yield chunk
        failpoint("D7")

    async def confirm(self, target: str, id_: str) -> datetime:
        """Settle what the backend has for good, durably, and return when.

        Raises: Unknown, NotHandedOut, or Confirmed when it was settled before.
        """
        at = self._clock.now()

        async def work(tx: Transaction) -> None:
            row = await _find(tx, target, id_, lock=True)
            if int(row["attempts"]) == 0:
                raise NotHandedOut
            await settle(tx, handover_of(row), reporter=self._reporter, at=at)
            failpoint("D8")

        await self._bells.run(self._database, Commit(work, frozenset({Bell.OUTBOX})))
        return at

    async def release(self, target: str, id_: str, token: str) -> None:
        """Give a leased piece back before its time.

        Raises: Unknown, Confirmed, or LeaseLost when this lease does not hold it.
        """

        async def work(tx: Transaction) -> None:
            await _find(tx, target, id_, lock=True)
            if await tx.execute(_RELEASE, id_, target, token) != 1:
                raise LeaseLost

        await self._bells.run(self._database, Commit(work, frozenset({Bell.BACKEND})))


async def _find(tx: Transaction, target: str, id_: str, *, lock: bool = False) -> Row:
    row = await tx.fetch_one(
        f"SELECT * FROM handovers WHERE id = $1 AND target = $2 AND state <> 'set-aside' {tx.for_update if lock else ''}",  # noqa: S608
        id_, target,
    )  # fmt: skip
    if row is None:
        raise Unknown
    if row["state"] == "done":
        raise Confirmed(from_microseconds(int(row["done_at"])))
    return row


def _described(row: Row) -> dict[str, Any]:
    """What is said of a piece: the outcome itself, or the manifest of a message; and how often it was handed out."""
    told: dict[str, Any] = (
        orjson.loads(row["item"])
        if row["target"] == Kind.OUTCOME
        else {"id": row["id"], **manifest_of(row["id"], Document.from_json(row["item"]))}
    )
    return {**told, "handed_out": int(row["attempts"])}
