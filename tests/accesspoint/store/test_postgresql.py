import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

asyncpg = pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")

from accesspoint.store.database import (  # noqa: E402
    Database,
    SchemaRefused,
    StorageError,
    StorageFailure,
    StorageRefused,
    Transaction,
)

Migrations = Callable[..., Path]
INSERT = "INSERT INTO parcels (name, state, body) VALUES ($1, $2, $3)"


@pytest.mark.parametrize("setting", ["synchronous_commit"])
async def test_a_server_that_may_forget_is_refused(
    postgresql_url: str, migrations: Migrations, setting: str
) -> None:
    connection = await asyncpg.connect(postgresql_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET {setting} = off")
    await connection.close()
    with pytest.raises(StorageRefused, match=f"{setting} off"):
        await Database.open(postgresql_url, migrations=migrations())


async def test_a_server_that_is_not_there_is_a_failure(
    tmp_path: Path, migrations: Migrations
) -> None:
    with pytest.raises(StorageFailure, match="cannot be reached"):
        await Database.open(f"postgresql://postgres@/x?host={tmp_path}", migrations=migrations())


async def test_a_connection_cut_inside_a_work_is_a_failure_but_not_the_end(
    postgresql_url: str, migrations: Migrations
) -> None:
    database = await Database.open(postgresql_url, migrations=migrations())

    async def cut(tx: Transaction) -> None:
        await tx.execute(INSERT, "lost", "new", None)
        other = await asyncpg.connect(postgresql_url)
        me = await tx.fetch_one("SELECT pg_backend_pid() AS pid")
        assert me is not None
        await other.execute("SELECT pg_terminate_backend($1)", me["pid"])
        await other.close()
        await tx.execute(INSERT, "never", "new", None)

    with pytest.raises(StorageFailure):
        await database.run(cut)
    assert database.failure is None
    assert await database.run(lambda tx: tx.execute(INSERT, "next", "new", None)) == 1
    rows = await database.fetch("SELECT name FROM parcels")
    assert [row["name"] for row in rows] == ["next"]
    await database.close()


async def test_processes_that_start_together_migrate_once(
    postgresql_url: str, migrations: Migrations
) -> None:
    directory = migrations()
    databases = await asyncio.gather(
        *(Database.open(postgresql_url, migrations=directory) for _ in range(4))
    )
    assert {database.schema_version for database in databases} == {1}
    await asyncio.gather(*(database.close() for database in databases))


async def test_a_newer_schema_is_refused(postgresql_url: str, migrations: Migrations) -> None:
    second = "CREATE TABLE b (id {serial});\n"
    first = "CREATE TABLE a (id {serial});\n"
    await (await Database.open(postgresql_url, migrations=migrations(first, second))).close()
    (migrations() / "0002_step.sql").unlink()
    with pytest.raises(SchemaRefused):
        await Database.open(postgresql_url, migrations=migrations(first))


async def test_a_step_that_fails_half_way_leaves_the_old_schema(
    postgresql_url: str, migrations: Migrations
) -> None:
    first = "CREATE TABLE a (id {serial});\n"
    broken = "CREATE TABLE b (id {serial});\nCREATE TABLE a (id {serial});\n"
    with pytest.raises(asyncpg.DuplicateTableError):
        await Database.open(postgresql_url, migrations=migrations(first, broken))
    (migrations() / "0002_step.sql").unlink()
    database = await Database.open(postgresql_url, migrations=migrations(first))
    assert database.schema_version == 1
    rows = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {row["tablename"] for row in rows} == {"a", "schema_version"}
    await database.close()


async def test_a_value_that_does_not_fit_is_not_repeated(
    postgresql_url: str, migrations: Migrations
) -> None:
    database = await Database.open(postgresql_url, migrations=migrations())
    with pytest.raises(StorageError) as caught:
        await database.run(lambda tx: tx.execute(INSERT, 2512489996, "new", None))
    assert "2512489996" not in str(caught.value)
    assert caught.value.__cause__ is None
    await database.close()
