import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import running

asyncpg = pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")

from accesspoint.store import postgresql  # noqa: E402
from accesspoint.store.database import (  # noqa: E402
    Database,
    IntegrityViolation,
    SchemaRefused,
    StorageError,
    StorageFailure,
    StorageInterrupted,
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


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_works_that_lock_each_other_out_are_done_again(
    postgresql_url: str, migrations: Migrations
) -> None:
    database = await Database.open(postgresql_url, migrations=migrations())
    for name in ("a", "b"):
        await database.run(lambda tx, name=name: tx.execute(INSERT, name, "new", None))
    both, one_is_done = asyncio.Barrier(2), asyncio.Event()
    begun = 0

    async def crosswise(first: str, second: str) -> None:
        async def work(tx: Transaction) -> None:
            nonlocal begun
            begun += 1
            if begun > 2:
                # At once it might take its first row before the other, which waits for it, and be locked out again.
                await one_is_done.wait()
            await tx.execute("UPDATE parcels SET state = 'sent' WHERE name = $1", first)
            if begun <= 2:
                await both.wait()
            await tx.execute("UPDATE parcels SET state = 'sent' WHERE name = $1", second)

        await database.run(work)
        one_is_done.set()

    await asyncio.gather(crosswise("a", "b"), crosswise("b", "a"))
    assert begun == 3
    rows = await database.fetch("SELECT state FROM parcels")
    assert [row["state"] for row in rows] == ["sent", "sent"]
    await database.close()


async def test_a_connection_cut_at_the_commit_leaves_it_unknown_and_the_key_tells(
    postgresql_url: str, migrations: Migrations
) -> None:
    """The commit is on disk, its confirmation is lost: whoever does the work again meets the key."""
    database = await Database.open(postgresql_url, migrations=migrations())

    async def insert(tx: Transaction) -> None:
        await tx.execute(INSERT, "once", "new", None)

    async with connected(postgresql_url) as other:

        async def committed_and_cut(tx: Transaction) -> None:
            await insert(tx)
            connection = tx._connection  # type: ignore[attr-defined]
            await connection.execute("COMMIT")
            me = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("SELECT pg_terminate_backend($1)", me)

        with pytest.raises(StorageInterrupted):
            await database.run(committed_and_cut)
    with pytest.raises(IntegrityViolation):
        await database.run(insert)
    assert len(await database.fetch("SELECT * FROM parcels")) == 1
    await database.close()


async def test_a_node_paused_inside_a_transaction_lets_go_of_its_locks(
    postgresql_url: str, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._SESSION, "idle_in_transaction_session_timeout", "100ms")
    paused = await Database.open(postgresql_url, migrations=migrations())
    monkeypatch.undo()
    other = await Database.open(postgresql_url, migrations=migrations())
    await other.run(lambda tx: tx.execute(INSERT, "a", "new", None))
    holds, awake = asyncio.Event(), asyncio.Event()

    async def sleep(tx: Transaction) -> None:
        await tx.execute("UPDATE parcels SET state = 'sent' WHERE name = 'a'")
        holds.set()
        await awake.wait()
        await tx.execute("UPDATE parcels SET state = 'sent' WHERE name = 'a'")

    sleeper = asyncio.create_task(paused.run(sleep))
    await holds.wait()
    async with asyncio.timeout(5):
        await other.run(lambda tx: tx.execute("UPDATE parcels SET body = $1", b"other"))
    awake.set()
    with pytest.raises(StorageInterrupted):
        await sleeper
    (row,) = await paused.fetch("SELECT * FROM parcels")
    assert (row["state"], row["body"]) == ("new", b"other")
    await paused.close()
    await other.close()


async def test_every_new_connection_asks_again_whether_the_server_may_forget(
    postgresql_url: str, migrations: Migrations
) -> None:
    database = await Database.open(postgresql_url, migrations=migrations())
    async with connected(postgresql_url) as other:
        name = await other.fetchval("SELECT current_database()")
        await other.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        async def use() -> None:
            while True:
                with contextlib.suppress(
                    StorageInterrupted
                ):  # of the connection that was open before
                    await database.fetch("SELECT 1 AS one")
                    return

        async with asyncio.timeout(5):
            with pytest.raises(StorageRefused, match="synchronous_commit off"):
                await use()
    await database.close()


async def test_a_server_that_stops_at_once_and_comes_back_is_used_again(
    migrations: Migrations,
) -> None:
    with running() as server:
        database = await Database.open(server.create("again"), migrations=migrations())
        await database.run(lambda tx: tx.execute(INSERT, "before", "new", None))

        async def die(tx: Transaction) -> None:
            await tx.execute(INSERT, "lost", "new", None)
            await asyncio.to_thread(server.stop_at_once)
            await tx.execute(INSERT, "never", "new", None)

        with pytest.raises(StorageInterrupted):
            await database.run(die)
        with pytest.raises(StorageInterrupted):
            await database.fetch("SELECT 1 AS one")
        assert database.failure is None
        await asyncio.to_thread(server.start_again)
        await database.run(lambda tx: tx.execute(INSERT, "after", "new", None))
        rows = await database.fetch("SELECT name FROM parcels ORDER BY name")
        assert [row["name"] for row in rows] == ["after", "before"]
        await database.close()
