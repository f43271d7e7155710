"""Outbound messages by destination: which lanes have something due, and what changes for a whole lane at once.

The statements read one partial index, by lane and then by time, that holds only what waits. So a lane costs
the same whether one message waits in it or ten thousand, and the messages of a dead destination are passed
over, not sorted out.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.store.database import Row, Transaction
from envelope.sending import State

NEVER: Final = 9_000_000_000_000_000
"""The `next_at` of a message that no time brings forward, in microseconds: one that is UNCERTAIN."""
DUE_STATES: Final = (
    State.ACCEPTED,
    State.RESOLVED,
    State.READY,
    State.RETRY_WAIT,
    State.UNCERTAIN,
)
"""Where a message waits to be driven; an UNCERTAIN one is when a person asked for it."""
# As the index has it, word for word: the database uses a partial index only for its own condition.
_WAITS: Final = f"direction = 'out' AND state IN ({', '.join(repr(str(s)) for s in DUE_STATES)})"


async def lane_heads(
    tx: Transaction, *, now: datetime, busy: Collection[str] = ()
) -> list[tuple[str, datetime]]:
    """Each lane in which a message waits that nobody holds and that is not `busy`, with the time its first one is due."""
    numbers = ", ".join(f"${index}" for index in range(2, 2 + len(busy)))
    others = f" AND id NOT IN ({numbers})" if busy else ""
    rows = await tx.fetch(
        "WITH RECURSIVE lanes (lane) AS ("  # noqa: S608
        f" SELECT MIN(lane) FROM messages WHERE {_WAITS}"
        f" UNION ALL SELECT (SELECT MIN(lane) FROM messages WHERE {_WAITS} AND lane > lanes.lane)"
        " FROM lanes WHERE lanes.lane IS NOT NULL)"
        f" SELECT lane, (SELECT next_at FROM messages WHERE {_WAITS} AND messages.lane = lanes.lane"
        f" AND (lease_until IS NULL OR lease_until <= $1){others} ORDER BY next_at LIMIT 1) AS due"
        " FROM lanes WHERE lane IS NOT NULL",
        to_microseconds(now), *busy,
    )  # fmt: skip
    return [
        (str(row["lane"]), from_microseconds(int(row["due"])))
        for row in rows
        if row["due"] is not None and row["due"] < NEVER
    ]


async def waiting_lanes(tx: Transaction) -> list[tuple[str, str]]:
    """The lanes in which messages wait for another attempt, each with the partner that they are for."""
    rows = await tx.fetch(
        f"SELECT DISTINCT lane, party FROM messages WHERE {_WAITS} AND state = 'RETRY_WAIT' AND lane <> ''"  # noqa: S608
    )
    return [(str(row["lane"]), str(row["party"])) for row in rows]


async def move_lane(tx: Transaction, row: Row, lane: str) -> int:
    """Move a message to the lane that its look-up led to, and what waits with it for the same look-up."""
    return await tx.execute(
        f"UPDATE messages SET lane = $1 WHERE {_WAITS} AND lane = $2 AND final_recipient = $3"  # noqa: S608
        " AND document_id = $4 AND process_id = $5",
        lane, row["lane"], row["final_recipient"], row["document_id"], row["process_id"],
    )  # fmt: skip


async def wake_lane(tx: Transaction, lane: str, *, now: datetime) -> int:
    """Let every message of a lane that waits for another attempt be due now: its destination answers again."""
    return await tx.execute(
        f"UPDATE messages SET next_at = $1 WHERE {_WAITS} AND lane = $2 AND next_at > $1 AND state = 'RETRY_WAIT'",  # noqa: S608
        to_microseconds(now), lane,
    )  # fmt: skip


async def overdue_in_lane(
    tx: Transaction, lane: str, *, accepted_before: datetime, limit: int
) -> list[Row]:
    """Messages that wait in a lane, held by nobody, and were accepted so long ago that no more is tried."""
    return await tx.fetch(
        f"SELECT * FROM messages WHERE {_WAITS} AND lane = $1 AND created_at <= $2 AND lease_owner IS NULL"  # noqa: S608
        " AND state IN ('ACCEPTED', 'RETRY_WAIT') ORDER BY next_at LIMIT $3",
        lane, to_microseconds(accepted_before), limit,
    )  # fmt: skip
