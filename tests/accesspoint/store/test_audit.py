"""The audit trail on both databases: in order, chained, never changed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from accesspoint.store.audit import FIRST, AuditBroken, list_audit, record_audit, verify_audit
from accesspoint.store.database import Database, IntegrityViolation, Row, Transaction

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url)
    yield database
    await database.close()


async def record(database: Database, action: str) -> None:
    async def work(tx: Transaction) -> None:
        await record_audit(
            tx, actor="anna@example", action=action, object="01K", reason="asked", at=AT
        )

    await database.run(work)


async def rows_of(database: Database) -> list[Row]:
    return await database.read(lambda tx: list_audit(tx))


async def test_each_row_follows_from_the_one_before_it(database: Database) -> None:
    await asyncio.gather(*(record(database, f"act-{number}") for number in range(8)))

    rows = await rows_of(database)

    assert len(rows) == 8
    assert verify_audit(rows, previous=FIRST) == rows[-1]["digest"]
    assert verify_audit(rows[3:], previous=rows[2]["digest"]) == rows[-1]["digest"]


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_a_row_that_was_taken_out_shows(database: Database, gone: int) -> None:
    for number in range(4):
        await record(database, f"act-{number}")
    rows = await rows_of(database)
    seq = rows[gone]["seq"]

    await database.run(lambda tx: tx.execute("DELETE FROM audit WHERE seq = $1", seq))

    with pytest.raises(AuditBroken) as broken:
        verify_audit(await rows_of(database), previous=FIRST)
    assert broken.value.seq == rows[gone + 1]["seq"]


async def test_a_changed_row_shows_and_the_database_changes_none(database: Database) -> None:
    await record(database, "payload-viewed")

    with pytest.raises(IntegrityViolation):
        await database.run(lambda tx: tx.execute("UPDATE audit SET actor = 'nobody'"))

    (row,) = await rows_of(database)
    assert row["actor"] == "anna@example"
    with pytest.raises(AuditBroken):
        verify_audit([{**row, "actor": "nobody"}])
