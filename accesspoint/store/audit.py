"""The `audit` table: who did what to what, when and why, each row chained to the one before it by a digest.

A row is written in the commit of the act that it tells of, or, for what was only looked at, before it is shown: what
was not recorded did not happen. It names persons and systems that act, and may name the person that was searched
for; it never holds what they saw. Taking out or changing a row breaks the chain for `verify_audit`; the last rows
can only be missed by comparing with the digest of an earlier export.

Spec: hostile LOG-07, LOG-08, ADM-09, ADM-10.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Dialect, Row, Transaction

FIRST: Final = "0" * 64
"""What the first row of all says is the digest before it."""
LONGEST_REASON: Final = 500
_LOCK: Final = 0x61756469
"""One writer of the chain at a time, on all nodes of a PostgreSQL database."""
_COLUMNS: Final = ("at", "actor", "action", "object", "person", "reason", "previous")


class AuditBroken(Exception):
    """The chain does not hold; `seq` is the first row that does not follow from the one before it."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the audit trail is broken at row {seq}")
        self.seq = seq


async def record_audit(
    tx: Transaction, *, actor: str, action: str, object: str, at: datetime, reason: str | None = None,  # noqa: A002
    person: str | None = None,
) -> None:  # fmt: skip
    """Write one row at the end of the trail; `person` is the patient number that was searched for, if one was."""
    if tx.dialect is Dialect.POSTGRESQL:
        await tx.fetch("SELECT pg_advisory_xact_lock($1)", _LOCK)
    last = await tx.fetch_one("SELECT digest FROM audit ORDER BY seq DESC LIMIT 1")
    row: Row = {
        "at": to_microseconds(at),
        "actor": actor,
        "action": action,
        "object": object,
        "person": person,
        "reason": reason,
        "previous": FIRST if last is None else last["digest"],
    }
    await tx.execute(
        "INSERT INTO audit (at, actor, action, object, person, reason, previous, digest)"
        " VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
        *(row[name] for name in _COLUMNS), digest_of(row),
    )  # fmt: skip


async def list_audit(tx: Transaction, *, after: int = 0, limit: int = 500) -> list[Row]:
    """The rows after a position, oldest first."""
    return await tx.fetch("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2", after, limit)


def digest_of(row: Row) -> str:
    """The SHA-256 over a row and, through `previous`, over everything before it, in hexadecimal digits."""
    written = json.dumps([row[name] for name in _COLUMNS], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(written.encode("ascii")).hexdigest()


def verify_audit(rows: Iterable[Row], *, previous: str | None = None) -> str:
    """Return the digest of the last row, once each row follows from the one before it.

    `previous` is the digest before the first row given, where it is known: retention lets the oldest rows go.

    Raises: AuditBroken.
    """
    for row in rows:
        if (previous is not None and row["previous"] != previous) or digest_of(row) != row[
            "digest"
        ]:
            raise AuditBroken(int(row["seq"]))
        previous = row["digest"]
    return FIRST if previous is None else previous
