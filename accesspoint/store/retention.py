"""Retention: what goes when, written as one table of rules.

Payloads go early, evidence late: a day after confirmed delivery the payload of a message, after 60 days that
of one that was not delivered, after a year the row with its history, receipt, digests and duplicate key. Each
batch leaves a line in the audit log, in the same transaction, with the ids and digests of what went.
What waits for a person or is still being tried stays, however old it is, except that what was held or set
aside goes with the undelivered.

A rule finds rows and lets go of them in one transaction; the same transaction tells which payloads no row
refers to any more, and only after its commit are these deleted. A crash in between leaves an orphan, which
the sweeper knows (points S19 and S20). Each rule works in batches, so that no commit is long.

Spec: decisions, row Retention; reliability sections 2.2 (PURGED) and 2.6 (I9).
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from accesspoint.clock import Clock, to_microseconds
from accesspoint.config import Retention as Periods
from accesspoint.failpoints import failpoint
from accesspoint.retry import format_duration
from accesspoint.store.audit import DELETED, OVER, expire_audit, record_audit
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.lanes import NEVER
from accesspoint.store.messages import advance
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.references import find_referenced
from envelope.receiving import State as Received
from envelope.sending import State as Sent

BATCH: Final = 50
LEAST_FOR_KEYS: Final = timedelta(days=7)
"""For so long a submitter may repeat a request, whatever else is let go of."""
_ALL: Final = 1 << 40
_log = structlog.get_logger("accesspoint.store")

LetGo = Callable[[Transaction, Sequence[Row], datetime], Awaitable[list[str]]]
"""Lets go of the rows that a rule found; returns the payloads they referred to."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What goes, after how long, how it is found ($1 is the latest time, $2 how many), and how it goes.

    The rows found have a column `octets`: the size of the payloads they let go of. With `proof` the audit log tells
    which rows those were; what has no part of a message in it goes without.
    """

    name: str
    after: timedelta
    find: str
    let_go: LetGo
    proof: bool = True


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows a rule finds or let go of, and the octets of their payloads."""

    rule: Rule
    rows: int
    octets: int


async def _purge_messages(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
    """PURGED: the payload and the ciphertext go; ids, digests, signed image and receipt stay."""
    payloads: list[str] = []
    for row in rows:
        held = row["state"] == Received.HELD
        # Retention is the operator's standing word: what was held is set aside and let go in one step.
        path = [Received.QUARANTINED, Received.PURGED] if held else [Sent.PURGED]
        await advance(
            tx, row, path, at=at, note="retention",
            columns={"payload": None, "next_at": to_microseconds(at)},
        )  # fmt: skip
        wire = await tx.fetch_one("SELECT part FROM wires WHERE message = $1", row["id"])
        await tx.execute(
            "UPDATE wires SET part = NULL, part_octets = NULL WHERE message = $1", row["id"]
        )
        payloads += [name for name in (row["payload"], wire and wire["part"]) if name]
    return payloads


def _empty(table: str, value: str) -> LetGo:
    async def let_go(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
        for row in rows:
            await tx.execute(
                f"UPDATE {table} SET payload = {value} WHERE id = $1",  # noqa: S608 (names of ours)
                row["id"],
            )
        return [row["payload"] for row in rows if row["payload"]]

    return let_go


def _delete(table: str, *keys: str) -> LetGo:
    condition = " AND ".join(f"{key} = ${number}" for number, key in enumerate(keys, start=1))

    async def let_go(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
        for row in rows:
            await tx.execute(
                f"DELETE FROM {table} WHERE {condition}",  # noqa: S608 (names of ours)
                *(row[key] for key in keys),
            )
        return []

    return let_go


BELONGING: Final = ("wires", "receipts", "signatures", "duplicates", "history")
"""The tables whose rows belong to a message and go with it."""


async def _forget_messages(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
    for row in rows:
        for table in BELONGING:
            await tx.execute(f"DELETE FROM {table} WHERE message = $1", row["id"])  # noqa: S608 (names of ours)
        await tx.execute("DELETE FROM messages WHERE id = $1", row["id"])
    return []


async def _never_shared(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
    """Nobody knows that the message arrived, so it is not shared: the hand-over ends, and its payload goes."""
    for row in rows:
        await tx.execute(
            "UPDATE handovers SET state = 'set-aside', problem = 'acknowledgement-missing', payload = ''"
            " WHERE id = $1 AND state = 'waiting'",
            row["id"],
        )
    return [row["payload"] for row in rows if row["payload"]]


async def _expire_audit(tx: Transaction, rows: Sequence[Row], at: datetime) -> list[str]:
    if rows:
        await expire_audit(tx, up_to=rows[-1]["seq"], at=at)
    return []


def _proof(rows: Sequence[Row]) -> str:
    """What is written down of rows that go, as JSON: id and SHA-256 of the payload of each, where it has one."""
    told = [[row.get("id") or row["envelope_id"], row.get("payload_sha256")] for row in rows]
    return json.dumps(told, separators=(",", ":"))


_MESSAGE: Final = (
    "SELECT id, direction, state, payload, payload_sha256, payload_bytes AS octets FROM messages"
)
_DOCUMENT: Final = "SELECT id, payload, payload_sha256, payload_bytes AS octets FROM documents AS d WHERE payload <> ''"
_HANDOVER: Final = "SELECT id, payload, payload_sha256, payload_bytes AS octets FROM handovers"
_RECEIPTED: Final = "EXISTS (SELECT 1 FROM history AS h WHERE h.message = messages.id AND h.to_state = 'ACKNOWLEDGED')"


def _awaited(table: str) -> str:
    """Whether an envelope still waits for its acknowledgement: what it carried may have to go out again."""
    return (
        "EXISTS (SELECT 1 FROM envelopes AS e WHERE e.direction = 'out' AND e.acknowledgement = 'awaited'"  # noqa: S608 (names of ours)
        f" AND e.message_identifier = {table}.message_identifier)"
    )


_OPEN: Final = (
    "EXISTS (SELECT 1 FROM handovers AS h WHERE h.message_identifier = d.message_identifier"
    " AND h.state = 'waiting')"
    " OR EXISTS (SELECT 1 FROM messages AS m WHERE m.message_identifier = d.message_identifier"
    " AND m.direction = d.direction AND m.state NOT IN ('NOTIFIED', 'DELIVERED', 'PURGED'))"
)
"""Whether a document is still on its way."""


def _oldest(table: str) -> str:
    """Find by age where rows stand in the order of their time: nothing behind the first young one is looked at."""
    return (
        f"SELECT seq, 0 AS octets FROM {table} WHERE at <= $1"  # noqa: S608 (names of ours)
        f" AND seq IN (SELECT seq FROM {table} ORDER BY seq LIMIT $2)"
    )


def rules(periods: Periods) -> tuple[Rule, ...]:
    """Return the table of rules for these periods."""
    delivered, undelivered, metadata = periods.delivered, periods.undelivered, periods.metadata
    return (
        Rule("messages sent and confirmed: payload", delivered,
             f"{_MESSAGE} WHERE direction = 'out' AND state = 'NOTIFIED' AND updated_at <= $1 AND {_RECEIPTED}"
             f" AND NOT {_awaited('messages')} ORDER BY id LIMIT $2", _purge_messages),
        Rule("messages not delivered or not acknowledged, submitter told: payload", undelivered,
             f"{_MESSAGE} WHERE direction = 'out' AND state = 'NOTIFIED' AND updated_at <= $1"
             " ORDER BY id LIMIT $2", _purge_messages),
        Rule("messages received and passed on: payload", delivered,
             f"{_MESSAGE} WHERE direction = 'in' AND state = 'DELIVERED' AND updated_at <= $1 ORDER BY id LIMIT $2",
             _purge_messages),
        Rule("messages held or in quarantine: payload", undelivered,
             f"{_MESSAGE} WHERE direction = 'in' AND state IN ('HELD', 'QUARANTINED') AND updated_at <= $1"
             " ORDER BY id LIMIT $2", _purge_messages),
        Rule("documents delivered to the backend: payload", delivered,
             f"{_DOCUMENT} AND direction = 'in' AND delivered_at <= $1"
             " AND acknowledgement NOT IN ('awaited', 'transient-error') ORDER BY id LIMIT $2",
             _empty("documents", "NULL")),
        Rule("documents sent and confirmed: payload", delivered,
             f"{_DOCUMENT} AND direction = 'out' AND NOT ({_OPEN}) AND ("
             " (acknowledgement = 'ok' AND acknowledged_at <= $1) OR (acknowledgement = 'none' AND created_at <= $1))"
             " ORDER BY id LIMIT $2", _empty("documents", "NULL")),
        Rule("documents not confirmed, not delivered, or set aside: payload", undelivered,
             f"{_DOCUMENT} AND created_at <= $1 AND NOT ({_OPEN}) ORDER BY id LIMIT $2",
             _empty("documents", "NULL")),
        Rule("hand-overs taken: payload", delivered,
             f"{_HANDOVER} WHERE state = 'done' AND payload <> '' AND done_at <= $1"
             f" AND NOT (target = 'down' AND {_awaited('handovers')}) ORDER BY id LIMIT $2",
             _empty("handovers", "''")),
        Rule("hand-overs set aside or not acknowledged: payload", undelivered,
             f"{_HANDOVER} WHERE state IN ('set-aside', 'done') AND payload <> '' AND created_at <= $1 ORDER BY id LIMIT $2",
             _empty("handovers", "''")),
        Rule("copies whose message was never acknowledged", undelivered,
             f"{_HANDOVER} WHERE target = 'sharing' AND state = 'waiting' AND next_at = {NEVER} AND created_at <= $1"
             " ORDER BY id LIMIT $2", _never_shared),
        Rule("messages with history, receipt, digests and duplicate key", metadata,
             "SELECT id, payload_sha256, 0 AS octets FROM messages WHERE direction IN ('out', 'in') AND state = 'PURGED'"
             " AND next_at <= $1 ORDER BY id LIMIT $2", _forget_messages),
        Rule("envelopes", metadata,
             "SELECT direction, envelope_id, 0 AS octets FROM envelopes WHERE created_at <= $1"
             " ORDER BY created_at LIMIT $2", _delete("envelopes", "direction", "envelope_id")),
        Rule("documents", metadata,
             "SELECT id, 0 AS octets FROM documents WHERE payload IS NULL AND created_at <= $1"
             " ORDER BY created_at LIMIT $2", _delete("documents", "id")),
        Rule("hand-overs", metadata,
             "SELECT id, 0 AS octets FROM handovers WHERE state <> 'waiting' AND COALESCE(payload, '') = ''"
             " AND created_at <= $1 ORDER BY created_at LIMIT $2", _delete("handovers", "id")),
        Rule("ids of hand-overs taken from neighbours", metadata,
             "SELECT id, 0 AS octets FROM handovers_taken WHERE at <= $1 ORDER BY at LIMIT $2",
             _delete("handovers_taken", "id"), proof=False),
        Rule("keys of submissions", max(metadata, LEAST_FOR_KEYS),
             "SELECT idempotency_key, 0 AS octets FROM submissions WHERE at <= $1 ORDER BY at LIMIT $2",
             _delete("submissions", "idempotency_key"), proof=False),
        Rule("delivery events sent", metadata,
             "SELECT seq, 0 AS octets FROM outbox WHERE state = 'sent' AND sent_at <= $1 ORDER BY sent_at LIMIT $2",
             _delete("outbox", "seq"), proof=False),
        Rule("refusals", periods.refusals,
             _oldest("refusals"),
             _delete("refusals", "seq"), proof=False),
        Rule("journal", periods.journal,
             _oldest("journal"),
             _delete("journal", "seq"), proof=False),
        Rule("audit log", periods.audit,
             f"SELECT seq, 0 AS octets FROM audit WHERE {OVER} ORDER BY seq LIMIT $2",  # noqa: S608 (a condition of ours)
             _expire_audit, proof=False),  # which is a line itself
    )  # fmt: skip


class RetentionKeeper:
    """Holds the rules against one store."""

    def __init__(
        self, database: Database, payloads: PayloadStore, *, clock: Clock, periods: Periods
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._clock = clock
        self._rules = rules(periods)

    async def preview(self) -> list[Count]:
        """Return what each rule would let go of now; changes nothing."""
        return [await self._count(rule) for rule in self._rules]

    async def apply(self) -> list[Count]:
        """Let go of everything whose time is over; return how much that was."""
        counts: list[Count] = []
        for rule in self._rules:
            rows = octets = 0
            while found := await self._apply_batch(rule):
                rows += len(found)
                octets += sum(int(row["octets"]) for row in found)
                if len(found) < BATCH:
                    break
            counts.append(Count(rule, rows, octets))
            if rows:
                _log.info("retention", rule=rule.name, rows=rows)
        return counts

    async def _count(self, rule: Rule) -> Count:
        latest = to_microseconds(self._clock.now() - rule.after)
        row = await self._database.fetch_one(
            f"SELECT COUNT(*) AS count, COALESCE(SUM(octets), 0) AS octets FROM ({rule.find}) AS found",  # noqa: S608 (the table above)
            latest, _ALL,
        )  # fmt: skip
        return Count(rule, int(row["count"]), int(row["octets"])) if row else Count(rule, 0, 0)

    async def _apply_batch(self, rule: Rule) -> list[Row]:
        now = self._clock.now()

        async def work(tx: Transaction) -> tuple[list[Row], list[str]]:
            rows = await tx.fetch(
                f"{rule.find} {tx.skip_locked}", to_microseconds(now - rule.after), BATCH
            )
            payloads = await rule.let_go(tx, rows, now)
            if rows and rule.proof:
                await record_audit(
                    tx, actor="system", action=DELETED, object=rule.name, detail=_proof(rows),
                    reason=f"older than {format_duration(rule.after)}", at=now,
                )  # fmt: skip
            referenced = await find_referenced(tx, payloads)
            return rows, [name for name in payloads if name not in referenced]

        rows, unreferenced = await self._database.run(work)
        for name in dict.fromkeys(unreferenced):
            failpoint("S19")
            await self._payloads.aside(lambda: self._payloads.delete(name))  # noqa: B023 (awaited here)
            failpoint("S20")
        return rows
