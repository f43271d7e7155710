"""Whom a citizen permits to see where messages about it are; kept with the reports, given and taken back at once.

Spec: EHMI delivery status 1.0.2, user stories P4 and P7.
"""

from datetime import datetime

from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.store.database import Database, Transaction


async def give(database: Database, patient: str, relative: str, *, at: datetime) -> None:
    """Permit a relative from now on; nothing changes where it is permitted already. Raises: StorageFailure."""

    async def work(tx: Transaction) -> None:
        await tx.execute(
            "INSERT INTO permissions (patient, relative, given_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (patient, relative) WHERE ended_at IS NULL DO NOTHING",
            patient,
            relative,
            to_microseconds(at),
        )

    await database.run(work)


async def withdraw(database: Database, patient: str, number: int, *, at: datetime) -> None:
    """End one of the patient's own permissions; nothing happens to another's. Raises: StorageFailure."""

    async def work(tx: Transaction) -> None:
        await tx.execute(
            "UPDATE permissions SET ended_at = $1 WHERE id = $2 AND patient = $3 AND ended_at IS NULL",
            to_microseconds(at),
            number,
            patient,
        )

    await database.run(work)


async def given_by(database: Database, patient: str) -> list[tuple[int, datetime]]:
    """Return number and beginning of each permission that holds, without whom it is for."""
    rows = await database.fetch(
        "SELECT id, given_at FROM permissions WHERE patient = $1 AND ended_at IS NULL ORDER BY id",
        patient,
    )
    return [(row["id"], from_microseconds(row["given_at"])) for row in rows]


async def given_to(database: Database, relative: str) -> list[str]:
    """Return the patients who permit this relative, in the order in which they did."""
    rows = await database.fetch(
        "SELECT patient FROM permissions WHERE relative = $1 AND ended_at IS NULL ORDER BY id",
        relative,
    )
    return [str(row["patient"]) for row in rows]
