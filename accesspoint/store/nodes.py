"""The `nodes` table: which processes work on this store, since when, and when each was last alive.

It tells people who is there; no decision is made by it. Who holds what is decided by the leases alone.
"""

from datetime import datetime
from typing import Final

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Dialect, Row, Transaction

_BEAT: Final = """
INSERT INTO nodes (owner, name, version, schema_version, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at
"""
_REPLACE: Final = "DELETE FROM nodes WHERE name = $1 AND owner <> $2 AND seen_at <= $3"
_LIST: Final = """
SELECT n.*,
  (SELECT COUNT(*) FROM messages AS m WHERE m.lease_owner = n.owner)
  + (SELECT COUNT(*) FROM handovers AS h WHERE h.lease_owner = n.owner) AS leases
FROM nodes AS n ORDER BY n.name, n.started_at
"""


async def record_node(
    tx: Transaction,
    *,
    owner: str,
    name: str,
    version: str,
    schema_version: int,
    at: datetime,
    silent_since: datetime,
) -> None:
    """Write down that this process lives, in the place of earlier ones of its name that have been silent since then."""
    await tx.execute(_REPLACE, name, owner, to_microseconds(silent_since))
    await tx.execute(_BEAT, owner, name, version, schema_version, to_microseconds(at))


async def forget_node(tx: Transaction, *, owner: str) -> None:
    """Remove a process that stops in order."""
    await tx.execute("DELETE FROM nodes WHERE owner = $1", owner)


async def list_nodes(tx: Transaction) -> list[Row]:
    """Every process that is written down, with the number of leases that each holds."""
    return await tx.fetch(_LIST)


async def read_clock(tx: Transaction) -> int | None:
    """The database server's clock in microseconds, or None where the store is a file and has none."""
    if tx.dialect is not Dialect.POSTGRESQL:
        return None
    row = await tx.fetch_one(
        "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT AS now"
    )
    return None if row is None else int(row["now"])
