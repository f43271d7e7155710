"""Which rows refer to payloads: the one list that everything which deletes files asks.

A payload may be referred to by several rows, such as a document and the hand-over that brings it to the
backend. It may go when none refers to it any more, and then nothing finds its way to it.
"""

from collections.abc import Collection
from typing import Final

from accesspoint.store.database import Transaction

REFERENCES: Final = (
    ("messages", "payload"),
    ("documents", "payload"),
    ("handovers", "payload"),
    ("wires", "part"),
)
"""Table and column of every reference. A test holds this list against the schema."""


async def find_referenced(tx: Transaction, payloads: Collection[str]) -> set[str]:
    """Return those of `payloads` that some row refers to."""
    if not payloads:
        return set()
    numbers = ", ".join(f"${number}" for number in range(1, len(payloads) + 1))
    found: set[str] = set()
    for table, column in REFERENCES:
        rows = await tx.fetch(
            f"SELECT {column} AS payload FROM {table} WHERE {column} IN ({numbers}) AND {column} <> ''",  # noqa: S608 (names of ours)
            *payloads,
        )
        found.update(row["payload"] for row in rows)
    return found
