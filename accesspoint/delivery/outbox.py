"""The transactional outbox of delivery events: no event without its cause, no cause without its event.

`record` writes the event in the caller's unit of work, so both become durable together or not at all.
The relay then claims due rows, sends them and settles them. What holds:

* At least once: a row stays `waiting` until the status component has answered; a crash while sending
  only lets the lease run out, and the event goes again with the same id.
* Fenced: each claim counts `attempts` up, and a result is stored only under the count that it was claimed with.
  A node that slept past its lease changes nothing once another one has the row.
* In order per aggregate (the message identifier): only the oldest waiting row of a message is claimed.
* A parked row (the status component will never take it, or we may not report it) is out of the way; later
  ones go on.
* Nothing looks back over a window of time: what is owed is a state, and a restart finds it there.

Spec: reliability section 2.2, transactional outbox; EHMI delivery status, asynchronous decoupling.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import orjson
import structlog

from accesspoint.clock import Clock, to_microseconds
from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, event_id
from accesspoint.store.columns import ColumnDamaged, fault_of
from accesspoint.store.database import Database, Dialect, Transaction

_log = structlog.get_logger("accesspoint.delivery")
LEASE: Final = timedelta(seconds=30)
"""How long a claimed row stays away from others; longer than one attempt may take (`relay.attempt_seconds`)."""
NOT_SERVED: Final = "sender-not-served"
"""The problem of an event of organisations that this node does not act for (any more)."""

_INSERT: Final = """
INSERT INTO outbox (event_id, aggregate, station, device_id, subtype, sor, gln, body, state, problem, next_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (event_id) DO NOTHING
"""
_OLDEST_OF_EACH: Final = """
FROM outbox AS head
WHERE state = 'waiting'
  AND NOT EXISTS (SELECT 1 FROM outbox AS older
                  WHERE older.aggregate = head.aggregate AND older.state = 'waiting' AND older.seq < head.seq)
"""
_SELECT_DUE: Final = (
    "SELECT seq, event_id, device_id, sor, gln, body, attempts "
    + _OLDEST_OF_EACH
    + " AND next_at <= $1 ORDER BY next_at, seq LIMIT $2 "
)
_SELECT_NEXT: Final = "SELECT min(next_at) AS next_at " + _OLDEST_OF_EACH
_LEASE: Final = "UPDATE outbox SET next_at = $2, attempts = attempts + 1 WHERE seq = $1"
_SENT: Final = (
    "UPDATE outbox SET state = 'sent', sent_at = $2, problem = NULL, detail = NULL"
    " WHERE seq = $1 AND attempts = $3 AND state = 'waiting'"
)
_PARK: Final = (
    "UPDATE outbox SET state = 'parked', problem = $2, detail = $4"
    " WHERE seq = $1 AND attempts = $3 AND state = 'waiting'"
)
_POSTPONE: Final = (
    "UPDATE outbox SET next_at = $2, problem = $4, detail = $5"
    " WHERE seq = $1 AND attempts = $3 AND state = 'waiting'"
)
_RESUME: Final = "UPDATE outbox SET next_at = $1 WHERE state = 'waiting' AND next_at > $2"
_UNPARK: Final = "UPDATE outbox SET state = 'waiting', next_at = $1, problem = NULL, detail = NULL WHERE state = 'parked' AND "
_UNPARK_JUDGED: Final = _UNPARK + "problem <> $2"
_UNPARK_SERVED: Final = _UNPARK + "problem = $2 AND gln = $3"
_COUNT: Final = (
    "SELECT state, count(*) AS events, min(created_at) AS oldest FROM outbox GROUP BY state"
)


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """One event to send now; `attempts` counts this attempt too."""

    seq: int
    event_id: str
    device_id: str
    sor: str
    gln: str
    body: bytes
    attempts: int


class Fate(StrEnum):
    """What an attempt led to."""

    SENT = "sent"
    PARKED = "parked"
    POSTPONED = "postponed"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of one attempt: `problem` says why it is not sent, `detail` what was named, `delay` when it is tried again."""

    event: ClaimedEvent
    fate: Fate
    problem: str | None = None
    delay: timedelta = timedelta()
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many events are in each state, and how old the oldest waiting one is."""

    waiting: int
    sent: int
    parked: int
    oldest_waiting: timedelta | None


class Outbox:
    """The outbox table; `woken` is set when there may be something new to send."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        glns: Collection[str],
        lease: timedelta = LEASE,
        woken: asyncio.Event | None = None,
    ) -> None:
        """`glns` are the organisations this node acts for; tokens are asked for in their name.

        `woken` is set by whoever has committed an event: the one who records it cannot know when that is.
        """
        self._database = database
        self._lease = lease
        self._clock = clock
        self._glns = frozenset(glns)
        self.woken = woken or asyncio.Event()

    async def record(
        self, tx: Transaction, event: DeliveryEvent, *, acting: str | None = None
    ) -> None:
        """Write the event in the caller's unit of work; one that is already there is left as it is.

        `acting` is the GLN of the party that the station acts for; unsaid it is the one that this node serves.

        Where this node acts for neither the sender nor the receiver any more, no token can be asked for: the
        event is parked at once, so that what it tells of still becomes durable.
        """
        context = self._acting_for(event, acting)
        sor, gln = context or (event.facts.sender_sor, event.facts.sender_gln)
        now, id_ = self._now(), str(event_id(event))
        await tx.execute(
            _INSERT,
            id_,
            event.facts.message_identifier,
            event.station,
            event.device_id,
            event.subtype,
            sor,
            gln,
            tx.sealed("body", id_, orjson.dumps(build_audit_event(event)).decode()),
            "waiting" if context else "parked",
            None if context else NOT_SERVED,
            now,
            now,
        )

    def _acting_for(self, event: DeliveryEvent, acting: str | None) -> tuple[str, str] | None:
        """SOR and GLN of the party whose token the event is sent with."""
        facts = event.facts
        # Whoever writes to itself is one party: the sender.
        parties = {
            facts.receiver_gln: facts.receiver_sor,
            facts.sender_gln: facts.sender_sor,
        }
        for gln in (acting, facts.sender_gln, facts.receiver_gln):
            if gln in parties and gln in self._glns:
                return parties[gln], gln
        return None

    async def exchange(
        self, settlements: Sequence[Settlement], *, limit: int
    ) -> tuple[list[ClaimedEvent], timedelta | None]:
        """Settle what has been tried and claim up to `limit` due events, in one unit of work.

        Returns the claimed events and, when fewer than `limit` were due, how long until the next one.
        """

        async def work(tx: Transaction) -> tuple[list[ClaimedEvent], timedelta | None]:
            now = self._now()
            for settlement in settlements:
                await self._settle(tx, settlement, now)
            claimed = await self._claim(tx, now, limit)
            if len(claimed) == limit:
                return claimed, None
            row = await tx.fetch_one(_SELECT_NEXT)
            if row is None or row["next_at"] is None:
                return claimed, None
            return claimed, timedelta(microseconds=max(0, row["next_at"] - now))

        return await self._database.run(work)

    async def _settle(self, tx: Transaction, settlement: Settlement, now: int) -> None:
        claimed = settlement.event.seq, settlement.event.attempts
        if settlement.fate is Fate.SENT:
            touched = await tx.execute(_SENT, claimed[0], now, claimed[1])
        elif settlement.fate is Fate.PARKED:
            touched = await tx.execute(
                _PARK, claimed[0], settlement.problem, claimed[1], settlement.detail
            )
        else:
            due = now + settlement.delay // timedelta(microseconds=1)
            touched = await tx.execute(
                _POSTPONE, claimed[0], due, claimed[1], settlement.problem, settlement.detail
            )
        if touched != 1:
            _log.warning("delivery_fenced", event_id=settlement.event.event_id)

    async def _claim(self, tx: Transaction, now: int, limit: int) -> list[ClaimedEvent]:
        if limit < 1:
            return []
        rows = await tx.fetch(_SELECT_DUE + tx.skip_locked, now, limit)
        until = now + self._lease // timedelta(microseconds=1)
        claimed: list[ClaimedEvent] = []
        for row in rows:
            await tx.execute(_LEASE, row["seq"], until)
            attempts = row["attempts"] + 1
            if (fault := fault_of(row)) is None:
                claimed.append(
                    ClaimedEvent(
                        seq=row["seq"],
                        event_id=row["event_id"],
                        device_id=row["device_id"],
                        sor=row["sor"],
                        gln=row["gln"],
                        body=row["body"].encode(),
                        attempts=attempts,
                    )
                )
                continue
            _log.error("delivery_event_unreadable", event_id=row["event_id"], detail=str(fault))
            if isinstance(fault, ColumnDamaged):
                await tx.execute(_PARK, row["seq"], fault.problem, attempts, str(fault))
            else:
                # Another node may have its key already.
                await tx.execute(_POSTPONE, row["seq"], until, attempts, fault.problem, str(fault))
        return claimed

    async def resume(self) -> None:
        """Make everything that waits due now: at the start of a node that has the table to itself.

        On PostgreSQL other nodes may hold leases, so there the leases run out by themselves.
        """
        if self._database.dialect is not Dialect.SQLITE:
            return

        async def work(tx: Transaction) -> None:
            now = self._now()
            await tx.execute(_RESUME, now, now)

        await self._database.run(work)

    async def release_parked(self) -> int:
        """Let parked events be tried once more, as each start of a node does; returns how many.

        Those of organisations that are still not served stay: no token is given for them.
        """

        async def work(tx: Transaction) -> int:
            now = self._now()
            judged = await tx.execute(_UNPARK_JUDGED, now, NOT_SERVED)
            return judged + sum(
                [await tx.execute(_UNPARK_SERVED, now, NOT_SERVED, gln) for gln in self._glns]
            )

        released = await self._database.run(work)
        self.woken.set()
        return released

    async def backlog(self) -> Backlog:
        """Count the events by state."""
        rows = {row["state"]: row for row in await self._database.fetch(_COUNT)}
        counts = {
            state: rows[state]["events"] if state in rows else 0
            for state in ("waiting", "sent", "parked")
        }
        oldest = rows["waiting"]["oldest"] if "waiting" in rows else None
        age = None if oldest is None else timedelta(microseconds=self._now() - oldest)
        return Backlog(**counts, oldest_waiting=age)

    def _now(self) -> int:
        return to_microseconds(self._clock.now())
