import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from retention_stage import DAY, HOUR, Kept

from accesspoint.store.database import Database, StorageBusy, Transaction
from accesspoint.store.orphans import OrphanSweeper
from accesspoint.store.payload_directory import DirectoryPlace
from accesspoint.store.payloads import PayloadEntry, PayloadStore
from accesspoint.store.references import REFERENCES


class Watched(DirectoryPlace):
    """A directory that lets a test step in between listing and removing."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.deleted: list[str] = []

    def delete(self, name: str) -> bool:
        self.deleted.append(name)
        return super().delete(name)

    def entries(self) -> Iterator[PayloadEntry]:
        # Another node may publish and purge while we list: an entry may be gone when it is looked at.
        return iter(list(super().entries()))


@pytest.fixture
async def kept(packaged: Database, tmp_path: Path) -> AsyncIterator[Kept]:
    place = Watched(tmp_path / "payloads")
    payloads = PayloadStore(place)
    yield Kept(packaged, payloads, tmp_path / "payloads")
    payloads.close()


async def refer(kept: Kept, table: str, payload: str) -> None:
    if table == "messages":
        await kept.message("M1", "out", "ACCEPTED", payload)
    elif table == "documents":
        await kept.document("D1", "out", payload, "awaited")
    elif table == "handovers":
        await kept.handover("H1", payload, "waiting")
    else:
        await kept.message("M2", "out", "ACCEPTED", None)
        await kept.wire("M2", payload)


async def sweep_twice(kept: Kept, sweeper: OrphanSweeper) -> int:
    first = await sweeper.sweep()
    kept.clock.advance(HOUR)
    return first + await sweeper.sweep()


async def test_an_old_orphan_goes_at_the_second_look(kept: Kept) -> None:
    orphan = kept.publish(age=DAY)
    sweeper = kept.housekeeper.orphans
    assert [entry.id for entry in await sweeper.find()] == [orphan]
    assert await sweeper.sweep() == 0
    assert kept.there(orphan)
    kept.clock.advance(timedelta(minutes=49))
    assert await sweeper.sweep() == 0
    kept.clock.advance(timedelta(minutes=1))
    assert await sweeper.sweep() == 1
    assert not kept.there(orphan)
    assert await sweeper.sweep() == 0


async def test_a_young_file_is_not_looked_at_twice(kept: Kept) -> None:
    young = kept.publish(age=DAY - 2 * HOUR)
    assert await sweep_twice(kept, kept.housekeeper.orphans) == 0
    assert kept.there(young)


@pytest.mark.parametrize(("table", "column"), REFERENCES)
async def test_what_a_row_refers_to_is_never_an_orphan(kept: Kept, table: str, column: str) -> None:
    live, orphan = kept.publish(age=1000 * DAY), kept.publish(age=1000 * DAY)
    await refer(kept, table, live)
    assert await sweep_twice(kept, kept.housekeeper.orphans) == 1
    assert kept.there(live)
    assert not kept.there(orphan)


async def test_a_wall_clock_that_was_set_forward_makes_no_file_old(kept: Kept) -> None:
    """Published a moment ago, its row not committed yet, and the clock jumps by a month."""
    payload = kept.publish()
    sweeper = kept.housekeeper.orphans
    kept.clock.set_wall(kept.clock.now() + 30 * DAY)
    assert [entry.id for entry in await sweeper.find()] == [payload]
    assert await sweeper.sweep() == 0
    await refer(kept, "messages", payload)
    kept.clock.advance(HOUR)
    assert await sweeper.sweep() == 0
    assert kept.there(payload)


@pytest.mark.parametrize("table", [table for table, _ in REFERENCES])
async def test_a_row_that_is_committed_between_the_look_and_the_removal_saves_its_file(
    kept: Kept, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, orphan = kept.publish(age=2 * DAY), kept.publish(age=2 * DAY)
    sweeper = kept.housekeeper.orphans
    await sweeper.sweep()
    kept.clock.advance(HOUR)
    find = OrphanSweeper.find

    async def look_and_lose_the_race(self: OrphanSweeper) -> list[PayloadEntry]:
        found = await find(self)
        assert {entry.id for entry in found} == {payload, orphan}
        await refer(kept, table, payload)
        return found

    monkeypatch.setattr(OrphanSweeper, "find", look_and_lose_the_race)
    assert await sweeper.sweep() == 1
    assert kept.payloads._place.deleted == [orphan]
    with kept.payloads.open(payload) as reader:
        assert reader.read() == b"octets"


async def test_on_sqlite_no_commit_comes_between_the_check_and_the_removal(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishers are queued while the sweeper removes: each is before its check, or after its removal."""
    if kept.database.dialect != "sqlite":
        pytest.skip("PostgreSQL commits side by side; age and the two looks protect there")
    orphan = kept.publish(age=2 * DAY)
    sweeper = kept.housekeeper.orphans
    await sweeper.sweep()
    kept.clock.advance(HOUR)
    steps: list[str] = []
    delete = kept.payloads.delete
    monkeypatch.setattr(
        kept.payloads, "delete", lambda name: steps.append("removed") or delete(name)
    )

    async def publish(tx: Transaction) -> None:
        steps.append("committed")

    def check(point: str) -> None:
        steps.append("checked")
        # A request that ends just now wants its commit.
        kept.database._loop.create_task(kept.database.run(publish))

    monkeypatch.setattr("accesspoint.store.orphans.failpoint", check)
    assert await sweeper.sweep() == 1
    await kept.database.run(publish)
    assert steps[:2] == ["checked", "removed"]
    assert not kept.there(orphan)


async def test_a_refused_transaction_removes_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = kept.publish(age=2 * DAY)
    sweeper = kept.housekeeper.orphans
    await sweeper.sweep()
    kept.clock.advance(HOUR)

    async def busy(work: object) -> None:
        raise StorageBusy("the database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(kept.database, "run", busy)
        with pytest.raises(StorageBusy):
            await sweeper.sweep()
    assert kept.there(orphan)
    assert await sweeper.sweep() == 1


async def test_a_file_that_another_node_removed_meanwhile_is_no_error(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = kept.publish(age=2 * DAY)
    sweeper = kept.housekeeper.orphans
    await sweeper.sweep()
    kept.clock.advance(HOUR)
    monkeypatch.setattr(
        "accesspoint.store.orphans.failpoint",
        lambda name: os.unlink(kept.directory / orphan[:2] / orphan),
    )
    await sweeper.sweep()
    assert await sweeper.find() == []
