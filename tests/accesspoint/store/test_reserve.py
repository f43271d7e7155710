from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_disk import fill, free, small_disk

from accesspoint.clock import ManualClock
from accesspoint.store.database import Database, StorageFailure, StorageFull, sqlite_url
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.reserve import LOOK_SECONDS, Reserve

MIB = 1024 * 1024
ENTRY = "INSERT INTO journal (at, station, event, message_identifier, subject, standard, detail)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16) as where:
        yield where


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 21, tzinfo=UTC))


async def write(database: Database, octets: int) -> None:
    await database.run(
        lambda tx: tx.execute(f"{ENTRY} VALUES (1,'AP','e','m','m','s',$1)", "x" * octets)
    )


async def count(database: Database) -> int:
    row = await database.fetch_one("SELECT COUNT(*) AS n FROM journal")
    assert row is not None
    return int(row["n"])


def test_below_the_reserve_nothing_new_is_taken_in_until_there_is_room(
    disk: Path, clock: ManualClock
) -> None:
    reserve = Reserve(disk, 8 * MIB, monotonic=clock.monotonic)
    assert reserve.has_room()
    filler = fill(disk, leave=7 * MIB)
    assert reserve.has_room()  # one look counts for a second
    clock.advance(timedelta(seconds=LOOK_SECONDS))
    assert not reserve.has_room()
    with pytest.raises(StorageFull, match="less room"):
        reserve.require()
    filler.unlink()
    clock.advance(timedelta(seconds=LOOK_SECONDS))
    reserve.require()


def test_the_emergency_file_is_allocated_given_up_and_made_again(
    disk: Path, clock: ManualClock
) -> None:
    before = free(disk)
    reserve = Reserve(disk, 8 * MIB, monotonic=clock.monotonic)
    assert before - free(disk) == 2 * MIB
    filler = fill(disk)
    assert free(disk) == 0
    assert reserve.release() is True
    assert free(disk) == 2 * MIB
    assert reserve.release() is False
    filler.unlink()
    clock.advance(timedelta(seconds=LOOK_SECONDS))
    assert reserve.has_room()
    assert before - free(disk) == 2 * MIB


def test_a_node_that_starts_on_a_full_disk_gets_the_room_at_once(
    disk: Path, clock: ManualClock
) -> None:
    Reserve(disk, 8 * MIB, monotonic=clock.monotonic)
    fill(disk)
    assert not Reserve(disk, 8 * MIB, monotonic=clock.monotonic).has_room()
    assert free(disk) == 2 * MIB


async def test_on_a_full_disk_commits_go_on_in_the_emergency_room(
    disk: Path, clock: ManualClock
) -> None:
    """The disk is filled to its last block by somebody else: what was accepted can still be finished."""
    url = sqlite_url(disk / "accesspoint.db")
    reserve = Reserve(disk, 8 * MIB, monotonic=clock.monotonic)
    database = await Database.open(url)
    database.make_room = reserve.release
    await write(database, 100)
    fill(disk)
    assert free(disk) == 0
    for _ in range(20):
        await write(database, 10_000)
    assert database.failure is None
    assert not (disk / "emergency-room").exists()
    assert await count(database) == 21
    await database.close()
    again = await Database.open(url)
    await again.check_integrity()
    assert await count(again) == 21
    await again.close()


async def test_without_any_room_a_commit_stops_the_database_and_loses_nothing_before(
    disk: Path,
) -> None:
    url = sqlite_url(disk / "accesspoint.db")
    database = await Database.open(url)
    await write(database, 100)
    filler = fill(disk)

    async def write_on() -> None:
        for _ in range(50):
            await write(database, 100_000)

    with pytest.raises(StorageFailure, match="full"):
        await write_on()
    assert database.failure is not None
    kept = await count(database)
    await database.close()
    filler.unlink()
    again = await Database.open(url)
    await again.check_integrity()
    assert await count(again) == kept
    await again.close()


def test_a_payload_that_finds_no_room_is_dropped_and_the_store_goes_on(disk: Path) -> None:
    store = PayloadStore(disk / "payloads")
    filler = fill(disk, leave=MIB)

    def write_on() -> None:
        with store.create() as writer:
            for _ in range(64):
                writer.write(bytes(65_536))

    with pytest.raises(StorageFull, match="No space left"):
        write_on()
    assert store.failure is None
    assert list(store.entries()) == []
    assert free(disk) > MIB // 2
    filler.unlink()
    with store.create() as writer:
        writer.write(b"small")
        ref = writer.finish()
    with store.open(ref.id) as reader:
        assert reader.read() == b"small"
    store.close()
