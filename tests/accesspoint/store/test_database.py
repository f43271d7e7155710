"""What both dialects promise alike."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from accesspoint.store.database import (
    Database,
    Dialect,
    IntegrityKind,
    IntegrityViolation,
    StorageFailure,
    StorageRefused,
    Transaction,
)

INSERT = "INSERT INTO parcels (name, state, body) VALUES ($1, $2, $3)"
Work = Callable[[Transaction], Coroutine[Any, Any, Any]]


def parcel(name: str, state: str = "new", body: bytes = b"") -> Work:
    async def work(tx: Transaction) -> str:
        await tx.execute(INSERT, name, state, body)
        return name

    return work


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch("SELECT name FROM parcels ORDER BY name")]


async def test_a_row_goes_in_and_comes_out(either: Database) -> None:
    assert await either.run(parcel("a", body=b"\x00\xff")) == "a"
    row = await either.fetch_one("SELECT * FROM parcels WHERE name = $1", "a")
    assert row is not None
    assert dict(row) == {"id": 1, "name": "a", "state": "new", "body": b"\x00\xff"}
    assert await either.fetch("SELECT * FROM parcels WHERE name = $1", "b") == []


async def test_counts_are_the_rows_touched(either: Database) -> None:
    await asyncio.gather(*(either.run(parcel(name)) for name in "abc"))
    move = "UPDATE parcels SET state = 'sent' WHERE state = $1"
    assert await either.run(lambda tx: tx.execute(move, "new")) == 3
    assert await either.run(lambda tx: tx.execute(move, "new")) == 0
    assert await either.run(lambda tx: tx.execute("DELETE FROM parcels WHERE name = $1", "a")) == 1


async def test_on_conflict_tells_the_duplicate_without_an_error(either: Database) -> None:
    insert = INSERT + " ON CONFLICT (name) DO NOTHING"
    assert await either.run(lambda tx: tx.execute(insert, "a", "new", None)) == 1
    assert await either.run(lambda tx: tx.execute(insert, "a", "new", None)) == 0


async def test_returning_gives_the_new_number(either: Database) -> None:
    row = await either.run(lambda tx: tx.fetch_one(INSERT + " RETURNING id", "a", "new", None))
    assert row is not None
    assert row["id"] == 1


async def test_a_work_is_all_or_nothing(either: Database) -> None:
    async def half(tx: Transaction) -> None:
        await tx.execute(INSERT, "a", "new", None)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await either.run(half)
    assert await names(either) == []
    assert either.failure is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("known", "new"), IntegrityKind.UNIQUE),
        (("2512489996", "lost"), IntegrityKind.CHECK),
        ((None, "new"), IntegrityKind.NOT_NULL),
    ],
)
async def test_broken_rules_have_a_kind_and_no_values(
    either: Database, values: tuple[Any, ...], kind: IntegrityKind
) -> None:
    await either.run(parcel("known"))
    with pytest.raises(IntegrityViolation) as caught:
        await either.run(lambda tx: tx.execute(INSERT, *values, None))
    assert caught.value.kind is kind
    assert "2512489996" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_missing_parent_is_a_foreign_key_violation(either: Database) -> None:
    insert = "INSERT INTO stamps (parcel, at) VALUES ($1, $2)"
    with pytest.raises(IntegrityViolation) as caught:
        await either.run(lambda tx: tx.execute(insert, "nobody", 1_700_000_000_000_000))
    assert caught.value.kind is IntegrityKind.FOREIGN_KEY


async def test_reads_cannot_write(either: Database) -> None:
    with pytest.raises(StorageRefused, match="only reads"):
        await either.read(parcel("a"))
    assert await names(either) == []
    assert either.failure is None


async def test_two_claimers_never_get_the_same_row(either: Database) -> None:
    for number in range(20):
        await either.run(parcel(f"p{number:02}"))

    async def claim(tx: Transaction) -> list[str]:
        chosen = f"SELECT id FROM parcels WHERE state = 'new' ORDER BY id LIMIT 3 {tx.skip_locked}"
        update = f"UPDATE parcels SET state = 'sent' WHERE id IN ({chosen}) RETURNING name"
        return [row["name"] for row in await tx.fetch(update)]

    claims = await asyncio.gather(*(either.run(claim) for _ in range(10)))
    claimed = [name for group in claims for name in group]
    assert len(claimed) == len(set(claimed))
    assert all(len(group) <= 3 for group in claims)


async def test_a_closed_database_refuses(either: Database) -> None:
    await either.close()
    with pytest.raises(StorageFailure, match="closed"):
        await either.run(parcel("a"))
    with pytest.raises(StorageFailure, match="closed"):
        await either.fetch("SELECT 1 AS one")


async def test_a_sound_database_passes_its_check(either: Database) -> None:
    await either.run(parcel("a"))
    await either.check_integrity()
    assert either.failure is None


async def test_the_transaction_knows_its_dialect(either: Database) -> None:
    async def dialect(tx: Transaction) -> Dialect:
        return tx.dialect

    assert await either.run(dialect) is either.dialect


async def test_it_is_migrated_once(either: Database, tmp_path: Path) -> None:
    rows = await either.fetch("SELECT version, compatible, name FROM schema_version")
    assert [dict(row) for row in rows] == [{"version": 1, "compatible": 1, "name": "step"}]
    assert either.schema_version == 1


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_the_packaged_tables_are_made_in_both_dialects(
    request: pytest.FixtureRequest, url: str, dialect: str
) -> None:
    if dialect == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    for _ in range(2):
        database = await Database.open(url)
        assert database.schema_version >= 1
        assert await database.fetch("SELECT * FROM messages") == []
        await database.close()
