import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from accesspoint.store.database import (
    Database,
    IntegrityKind,
    IntegrityViolation,
    StorageBusy,
    StorageFailure,
    StorageRefused,
    Transaction,
    sqlite_path,
    sqlite_url,
)
from accesspoint.store.sqlite import SqliteDatabase

INSERT = "INSERT INTO parcels (name, state, body) VALUES ($1, $2, $3)"
Migrations = Callable[..., Path]


def parcel(name: str, state: str = "new", body: bytes = b"") -> Callable[[Transaction], object]:
    async def work(tx: Transaction) -> str:
        await tx.execute(INSERT, name, state, body)
        return name

    return work


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch("SELECT name FROM parcels ORDER BY name")]


class FaultyDisk(apsw.VFS):
    """A real SQLite file layer whose `xSync` or `xWrite` fails while `broken` holds its name."""

    def __init__(self) -> None:
        self.broken = ""
        self.syncs = 0
        super().__init__("faulty-disk", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        disk = self

        class FaultyFile(apsw.VFSFile):
            def __init__(self) -> None:
                super().__init__("", name, flags)

            def xSync(self, sync: int) -> None:  # noqa: N802
                disk.syncs += 1
                if disk.broken == "sync":
                    raise apsw.IOError("the disk lost a write")
                super().xSync(sync)

            def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
                if disk.broken == "full":
                    raise apsw.FullError("no space left")
                super().xWrite(data, offset)

        return FaultyFile()


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.unregister()


async def test_pragmas_of_both_connections_are_the_durable_ones(database: Database) -> None:
    assert isinstance(database, SqliteDatabase)
    pragma = database._writer.pragma
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("trusted_schema") == 0
    assert pragma("cell_size_check") == 1
    assert pragma("busy_timeout") > 0
    assert database._reader.pragma("query_only") == 1
    assert database._reader.pragma("trusted_schema") == 0


async def test_files_are_private(database: Database, url: str) -> None:
    await database.run(parcel("a"))
    beside = sqlite_path(url).parent.glob("accesspoint.db*")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in beside}
    assert set(modes) >= {"accesspoint.db", "accesspoint.db-wal", "accesspoint.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_run_returns_the_works_result_after_it_is_readable(database: Database) -> None:
    assert await database.run(parcel("a", body=b"\x00\xff")) == "a"
    row = await database.fetch_one("SELECT id, name, body FROM parcels WHERE name = $1", "a")
    assert row is not None
    assert (row["id"], row["name"], row["body"]) == (1, "a", b"\x00\xff")
    assert await database.fetch_one("SELECT id FROM parcels WHERE name = $1", "b") is None


async def test_one_parameter_may_be_used_twice_and_literals_keep_their_dollar(
    database: Database,
) -> None:
    async def work(tx: Transaction) -> list[object]:
        rows = await tx.fetch("SELECT $2 AS b, $1 AS a, $2 AS again, '$1' AS literal", "x", "y")
        return [dict(row) for row in rows]

    assert await database.run(work) == [{"b": "y", "a": "x", "again": "y", "literal": "$1"}]


async def test_row_count_tells_who_was_first(database: Database) -> None:
    await database.run(parcel("a"))
    move = "UPDATE parcels SET state = $1 WHERE name = $2 AND state = $3"
    assert await database.run(lambda tx: tx.execute(move, "sent", "a", "new")) == 1
    assert await database.run(lambda tx: tx.execute(move, "sent", "a", "new")) == 0


async def test_works_of_one_tick_share_one_commit(
    url: str, migrations: Migrations, disk: FaultyDisk
) -> None:
    database = await SqliteDatabase.start(
        sqlite_path(url), migrations=migrations(), vfs="faulty-disk"
    )
    await database.run(parcel("warm"))
    before = disk.syncs
    await asyncio.gather(*(database.run(parcel(f"p{n}")) for n in range(50)))
    assert disk.syncs - before == 1
    assert len(await names(database)) == 51
    await database.close()


async def test_every_commit_reaches_the_disk_before_run_returns(
    url: str, migrations: Migrations, disk: FaultyDisk
) -> None:
    database = await SqliteDatabase.start(
        sqlite_path(url), migrations=migrations(), vfs="faulty-disk"
    )
    for number in range(5):
        before = disk.syncs
        await database.run(parcel(f"p{number}"))
        assert disk.syncs > before
    await database.close()


async def test_a_work_that_raises_takes_only_itself_back(database: Database) -> None:
    async def fails(tx: Transaction) -> None:
        await tx.execute(INSERT, "half", "new", None)
        raise LookupError("no")

    results = await asyncio.gather(
        database.run(parcel("a")),
        database.run(fails),
        database.run(parcel("a")),
        database.run(parcel("b")),
        return_exceptions=True,
    )
    assert results[0] == "a"
    assert isinstance(results[1], LookupError)
    assert isinstance(results[2], IntegrityViolation)
    assert results[2].kind is IntegrityKind.UNIQUE
    assert results[3] == "b"
    assert await names(database) == ["a", "b"]


async def test_integrity_rules_are_named_without_values(database: Database) -> None:
    with pytest.raises(IntegrityViolation) as caught:
        await database.run(parcel("2512489996", state="lost"))
    assert caught.value.kind is IntegrityKind.CHECK
    assert "2512489996" not in str(caught.value)
    stamp = "INSERT INTO stamps (parcel, at) VALUES ($1, $2)"
    with pytest.raises(IntegrityViolation) as caught:
        await database.run(lambda tx: tx.execute(stamp, "nobody", 1))
    assert caught.value.kind is IntegrityKind.FOREIGN_KEY
    with pytest.raises(IntegrityViolation) as caught:
        await database.run(lambda tx: tx.execute(INSERT, None, "new", None))
    assert caught.value.kind is IntegrityKind.NOT_NULL


async def test_a_work_that_awaits_the_network_is_refused(database: Database) -> None:
    async def slow(tx: Transaction) -> None:
        await tx.execute(INSERT, "slow", "new", None)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await database.run(slow)
    assert await names(database) == []


async def test_a_transaction_is_of_no_use_after_its_work(database: Database) -> None:
    kept: list[Transaction] = []

    async def work(tx: Transaction) -> None:
        kept.append(tx)

    await database.run(work)
    with pytest.raises(RuntimeError, match="outside its unit of work"):
        await kept[0].execute(INSERT, "late", "new", None)


async def test_a_caller_cancelled_before_the_flush_wrote_nothing(database: Database) -> None:
    task = asyncio.ensure_future(database.run(parcel("cancelled")))
    other = asyncio.ensure_future(database.run(parcel("other")))
    await asyncio.sleep(0)
    task.cancel()
    await other
    assert await names(database) == ["other"]


@pytest.mark.parametrize("fault", ["sync", "full"])
async def test_a_commit_that_fails_stops_everything(
    url: str, migrations: Migrations, disk: FaultyDisk, fault: str
) -> None:
    database = await SqliteDatabase.start(
        sqlite_path(url), migrations=migrations(), vfs="faulty-disk"
    )
    await database.run(parcel("before"))
    disk.broken = fault
    results = await asyncio.gather(
        database.run(parcel("a")), database.run(parcel("b")), return_exceptions=True
    )
    assert [type(result) for result in results] == [StorageFailure, StorageFailure]
    disk.broken = ""
    assert isinstance(await database.wait_failed(), StorageFailure)
    with pytest.raises(StorageFailure, match="stopped"):
        await database.run(parcel("after"))
    assert "before" in await names(database)
    await database.close()
    again = await Database.open(url, migrations=migrations())
    assert "before" in await names(again)
    assert "after" not in await names(again)
    await again.close()


async def test_a_work_cannot_hide_a_broken_disk(
    url: str, migrations: Migrations, disk: FaultyDisk
) -> None:
    database = await SqliteDatabase.start(
        sqlite_path(url), migrations=migrations(), vfs="faulty-disk"
    )
    database._writer.pragma("cache_size", 5)

    async def hides(tx: Transaction) -> str:
        disk.broken = "full"
        try:
            await tx.execute(INSERT, "spills", "new", os.urandom(200_000))
        except StorageFailure:
            return "all is well"
        return "not reached"

    with pytest.raises(StorageFailure):
        await database.run(hides)
    assert database.failure is not None
    disk.broken = ""
    await database.close()


async def test_a_work_cannot_hide_damaged_data(url: str, migrations: Migrations) -> None:
    database = await Database.open(url, migrations=migrations())
    for number in range(200):
        await database.run(parcel(f"p{number}", body=bytes(100)))
    await database.close()
    path = sqlite_path(url)
    damaged = bytearray(path.read_bytes())
    page = damaged.index(b"p150") // 4096
    damaged[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(bytes(damaged))
    database = await Database.open(url, migrations=migrations())

    async def hides(tx: Transaction) -> str:
        try:
            await tx.fetch("SELECT name FROM parcels ORDER BY name")
        except StorageFailure:
            return "all is well"
        return "not reached"

    with pytest.raises(StorageFailure):
        await database.run(hides)
    assert database.failure is not None
    with pytest.raises(StorageFailure, match="stopped"):
        await database.run(parcel("after"))
    await database.close()


async def test_reads_see_one_snapshot_and_cannot_write(database: Database) -> None:
    await database.run(parcel("a"))

    async def counts(tx: Transaction) -> int:
        row = await tx.fetch_one("SELECT count(*) AS n FROM parcels")
        assert row is not None
        return int(row["n"])

    assert await database.read(counts) == 1
    with pytest.raises(StorageRefused, match="only reads"):
        await database.read(parcel("b"))
    assert database.failure is None
    assert await database.run(parcel("c")) == "c"


async def test_a_foreign_writer_makes_us_wait_but_not_fail(database: Database, url: str) -> None:
    foreign = apsw.Connection(str(sqlite_path(url)))
    foreign.execute("BEGIN IMMEDIATE")
    assert isinstance(database, SqliteDatabase)
    database._writer.set_busy_timeout(1)
    with pytest.raises(StorageBusy):
        await database.run(parcel("a"))
    foreign.execute("ROLLBACK")
    foreign.close()
    assert await database.run(parcel("a")) == "a"


async def test_opening_waits_for_whoever_has_the_file_for_a_moment(
    url: str, migrations: Migrations
) -> None:
    """As one who reads has it alone while he takes up the log that a killed process left."""
    await (await Database.open(url, migrations=migrations())).close()
    other = apsw.Connection(str(sqlite_path(url)))
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").fetchall()
    leaving = threading.Timer(0.2, other.close)
    leaving.start()
    database = await Database.open(url, migrations=migrations())
    leaving.join()
    assert await database.run(parcel("a")) == "a"
    await database.close()


async def test_close_leaves_the_log_to_whoever_still_reads(
    url: str, migrations: Migrations
) -> None:
    database = await Database.open(url, migrations=migrations())
    await database.run(parcel("before"))
    path = sqlite_path(url)
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM parcels").fetchall()
    await database.run(parcel("meanwhile"))
    await database.close()
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    other.close()
    again = await Database.open(url, migrations=migrations())
    assert await names(again) == ["before", "meanwhile"]
    await again.close()


async def test_close_commits_what_is_queued_and_folds_the_log(
    url: str, migrations: Migrations
) -> None:
    database = await Database.open(url, migrations=migrations())
    waiting = asyncio.ensure_future(database.run(parcel("queued")))
    await asyncio.sleep(0)
    await database.close()
    assert await waiting == "queued"
    assert not sqlite_path(url).with_name("accesspoint.db-wal").exists()
    with pytest.raises(StorageFailure, match="closed"):
        await database.run(parcel("late"))
    again = await Database.open(url, migrations=migrations())
    assert await names(again) == ["queued"]
    await again.close()


async def test_a_second_opener_is_refused(
    database: Database, url: str, migrations: Migrations
) -> None:
    with pytest.raises(StorageRefused, match="another process"):
        await Database.open(url, migrations=migrations())
    assert await database.run(parcel("a")) == "a"


async def test_a_database_readable_by_others_is_refused(url: str, migrations: Migrations) -> None:
    sqlite_path(url).touch(mode=0o600)
    sqlite_path(url).chmod(0o644)
    with pytest.raises(StorageRefused, match="0644"):
        await Database.open(url, migrations=migrations())


async def test_a_linked_database_is_refused(
    tmp_path: Path, url: str, migrations: Migrations
) -> None:
    (tmp_path / "elsewhere").touch(mode=0o600)
    sqlite_path(url).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageRefused):
        await Database.open(url, migrations=migrations())


async def test_a_file_that_is_no_database_breaks_and_frees_the_lock(
    url: str, migrations: Migrations
) -> None:
    sqlite_path(url).touch(mode=0o600)
    sqlite_path(url).write_bytes(b"not a database" * 500)
    with pytest.raises(StorageFailure):
        await Database.open(url, migrations=migrations())
    sqlite_path(url).write_bytes(b"")
    await (await Database.open(url, migrations=migrations())).close()


async def test_a_killed_process_loses_nothing_that_run_returned(
    url: str, migrations: Migrations
) -> None:
    directory = migrations()
    child = os.fork()
    if child == 0:

        async def crash() -> None:
            database = await Database.open(url, migrations=directory)
            await database.run(parcel("kept"))
            os._exit(9)

        try:
            asyncio.new_event_loop().run_until_complete(crash())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert sqlite_path(url).with_name("accesspoint.db-wal").stat().st_size > 0
    database = await Database.open(url, migrations=directory)
    assert await names(database) == ["kept"]
    await database.close()


async def test_damage_after_an_unclean_stop_is_found_at_start(
    url: str, migrations: Migrations
) -> None:
    database = await Database.open(url, migrations=migrations())
    for number in range(200):
        await database.run(parcel(f"p{number}", body=bytes(100)))
    await database.close()
    path = sqlite_path(url)
    damaged = bytearray(path.read_bytes())
    page = damaged.index(b"p150") // 4096
    damaged[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(bytes(damaged))
    wal = path.with_name("accesspoint.db-wal")
    wal.touch(mode=0o600)
    wal.write_bytes(b"\x00" * 32)
    with pytest.raises(StorageFailure, match=r"damaged: (?s:.*)page 4"):
        await Database.open(url, migrations=migrations())


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite://relative.db",
        "sqlite:relative.db",
        "sqlite:////",
        "sqlite:///a?mode=ro",
        "sqlite:///a#b",
    ],
)
def test_urls_that_do_not_name_one_absolute_file_are_refused(wrong: str) -> None:
    with pytest.raises(StorageRefused):
        sqlite_path(wrong)


def test_a_path_with_odd_characters_survives_the_url() -> None:
    path = Path("/var/lib/ær o#?%41/x.db")
    assert sqlite_path(sqlite_url(path)) == path


async def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(StorageRefused, match="mysql"):
        await Database.open("mysql://localhost/x")
