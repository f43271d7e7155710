"""Verifying without a trace: of a stopped, a running and a killed node, and of a bare directory."""

import hashlib
import shutil

import pytest
from as4_stage import Stage
from exchange import exchange

from accesspoint.store.database import (
    Database,
    SchemaRefused,
    StorageRefused,
    sqlite_url,
)
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.reading import directory_to_read
from accesspoint.verification import verify_directory, verify_node


def picture(directory):
    """Every file with its content and the time it was written; directories too."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(directory.rglob("*"))
    }


async def test_a_stopped_node_is_verified_without_a_trace(sender):
    before = picture(sender.home)
    report = await verify_node(sender.configuration)
    report.check()
    assert report.subject == "municipality"
    assert picture(sender.home) == before


async def test_a_directory_without_keys_says_what_it_could_not_read(sender):
    report = await verify_directory(sender.home / "store")
    report.check()
    assert any("encrypted under a key" in note for note in report.of("I9").notes)


async def test_a_running_node_is_verified_beside_it_and_goes_on(pki, tmp_path):
    async with Stage(pki, tmp_path).pair(acknowledging={"fhir": "automatic"}) as nodes:
        await exchange(*nodes)
        for node in nodes:
            report = await verify_node(node.point.configuration)
            report.check()
            assert report.of("I14").notes == ("a node runs: what it holds is its own",)
        await exchange(*nodes)


async def test_what_a_killed_node_left_in_the_log_is_read_and_stays_there(sender, tmp_path):
    async with sender.open() as (database, _):
        await database.run(
            lambda tx: tx.execute(
                "INSERT INTO journal (at, station, event, message_identifier, subject, standard, detail)"
                " VALUES (0, 'AP', 'accepted', 'x', 'x', 'x', '')"
            )
        )
        # A copy in this moment is what a kill leaves: database, log and its index, and no lock.
        copy = tmp_path / "killed"
        shutil.copytree(sender.home, copy)
    log = copy / "store" / "accesspoint.db-wal"
    before = log.read_bytes()
    assert before
    report = await verify_directory(copy / "store")
    assert report.broken == ("I13",)
    assert log.read_bytes() == before


async def test_a_store_that_is_only_read_cannot_be_written(sender):
    database = await Database.open(sqlite_url(sender.database), read_only=True)
    try:
        with pytest.raises(StorageRefused):
            await database.run(lambda tx: tx.execute("DELETE FROM journal"))
        with pytest.raises(StorageRefused):
            await database.read(lambda tx: tx.execute("DELETE FROM journal"))
    finally:
        await database.close()
    payloads = PayloadStore(directory_to_read(sender.payloads))
    with pytest.raises(StorageRefused):
        payloads.create()
    with pytest.raises(StorageRefused):
        payloads.delete(next(payloads.entries()).id)


async def test_a_node_that_starts_meanwhile_is_noticed(sender):
    reading = await Database.open(sqlite_url(sender.database), read_only=True)
    try:
        assert not reading.in_use
        assert not reading.was_disturbed
        async with sender.open():
            assert reading.was_disturbed
    finally:
        await reading.close()


async def test_an_older_schema_is_refused_and_not_migrated(sender):
    newest = sender.one("SELECT MAX(version) FROM schema_version")
    sender.execute(f"DELETE FROM schema_version WHERE version = {newest}")
    with pytest.raises(SchemaRefused, match="start the node once"):
        await verify_directory(sender.home / "store")
    assert sender.one("SELECT MAX(version) FROM schema_version") == newest - 1


async def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StorageRefused):
        await verify_directory(tmp_path)
    assert list(tmp_path.iterdir()) == []
