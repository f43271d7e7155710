"""Whoever has the database or a copy of it: whom the messages are about is nowhere in it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from as4_stage import CLINIC, MUNICIPALITY, Node, Pki, Stage
from exchange import exchange
from patient_search import patients_in
from postgresql_server import running
from status_parts import STATUS_AWAY

from accesspoint.cli import backup as backup_verb
from accesspoint.cli import retention as retention_verb
from accesspoint.config import load
from accesspoint.store.configured import KEY_FILE
from accesspoint.store.database import StorageRefused
from accesspoint.store.encryption import create_payload_key
from accesspoint.verification import verify_directory, verify_node
from envelope.fhir.synthetic import TEST_CPR

SECTIONS: Mapping[str, Any] = {
    "acknowledging": {"fhir": "automatic"},
    "delivery_status": STATUS_AWAY,
}
BOTH = (MUNICIPALITY.key, CLINIC.key)
Found = dict[str, set[str]]


def in_files(directory: Path) -> Found:
    """The files below a directory that tell of the patient, and how."""
    looked = {
        path: patients_in(path.read_bytes(), deep=1)
        for path in directory.rglob("*")
        if path.is_file()
    }
    return {str(path.relative_to(directory)): found for path, found in looked.items() if found}


def in_values(table: str, rows: list[Mapping[str, Any]]) -> Found:
    """The columns that do, read as they stand, by no code of ours."""
    found: Found = {}
    for row in rows:
        for column, value in row.items():
            octets = value if isinstance(value, bytes) else str(value).encode()
            if seen := patients_in(octets):
                found.setdefault(f"{table}.{column}", set()).update(seen)
    return found


def in_sqlite(path: Path) -> Found:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.row_trace = lambda cursor, row: {
        column[0]: value for column, value in zip(cursor.get_description(), row, strict=True)
    }
    tables = [
        row["name"]
        for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    found: Found = {}
    for table in tables:
        found |= in_values(table, list(connection.execute(f"SELECT * FROM {table}")))
    connection.close()
    return found


async def in_postgresql(url: str) -> Found:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
        )
        found: Found = {}
        for table in tables:
            rows = await connection.fetch(f"SELECT * FROM {table['name']}")
            found |= in_values(table["name"], [dict(row) for row in rows])
        return found
    finally:
        await connection.close()


async def was_about_the_patient(node: Node) -> None:
    """Both kinds of facts, headers and events are there, and in this process they name the patient."""
    for select in (
        "SELECT id, facts FROM messages",
        "SELECT id, item FROM handovers",
        "SELECT envelope_id, header FROM envelopes",
        "SELECT event_id, body FROM outbox",
    ):
        rows = await node.rows(select)
        texts = [
            value if isinstance(value, bytes) else str(value).encode()
            for row in rows
            for value in row.values()
        ]
        if "handovers" not in select or node.home.name == CLINIC.key:
            assert any(TEST_CPR.encode() in text for text in texts), select


@pytest.mark.attack("SEC-05", "SEC-08")
async def test_no_patient_is_in_the_database_its_log_or_a_backup(pki: Pki, tmp_path: Path) -> None:
    stage = Stage(pki, tmp_path / "stage")
    stage.directory.mkdir(mode=0o700)
    async with stage.pair(**SECTIONS) as nodes:
        _, data = await exchange(*nodes)
        assert patients_in(data) == {"as it is"}
        for node in nodes:
            await was_about_the_patient(node)
            store = node.home / "store"
            assert (store / "accesspoint.db-wal").stat().st_size > 0
            assert in_files(store) == {}
            assert in_sqlite(store / "accesspoint.db") == {}
            copy = tmp_path / f"backup-{node.home.name}"
            await asyncio.to_thread(backup_verb.run, node.home / "accesspoint.toml", copy)
            assert in_files(copy) == {}
            assert in_sqlite(copy / "accesspoint.db") == {}
            (await verify_node(node.point.configuration)).check()
    home = tmp_path / "stage" / CLINIC.key
    assert in_files(home / "store") == {}
    # Who has the backup alone can still hold it to everything that needs no key.
    (await verify_directory(tmp_path / f"backup-{CLINIC.key}")).check()
    await without_its_key(stage, home / "accesspoint.toml")
    await exchanged(stage, home / "accesspoint.toml")
    planted(home / "store" / "accesspoint.db")


async def without_its_key(stage: Stage, config: Path) -> None:
    """A node that is given another key does not start, and says which one it needs."""
    key = config.parent / "keys" / KEY_FILE
    aside = key.rename(key.with_suffix(".aside"))
    create_payload_key(key)
    missing = r"needs the key [0-9a-f]{16}, which is not configured"
    with pytest.raises(StorageRefused, match=missing):
        async with stage.run(config):
            pass
    # Nor does the node's data go under a configuration that cannot be its own; a key that is not there stays away.
    for _ in range(2):
        with pytest.raises(StorageRefused, match=missing):
            await retention_verb._run(load(config, {}), dry_run=False)
        key.rename(key.with_suffix(".other")) if key.exists() else None
    assert not key.exists()
    key.with_suffix(".other").rename(key)
    text = config.read_text()
    config.write_text(text.replace("[store]\n", f'[store]\nprevious_keys = ["{aside}"]\n'))
    async with stage.run(config) as node:
        await was_about_the_patient(node)


async def exchanged(stage: Stage, config: Path) -> None:
    """A running node that meets a value of another row keeps it for a person, and nothing of it goes anywhere."""
    async with stage.run(config) as node:
        before = await node.rows("SELECT event_id FROM outbox WHERE state = 'waiting' ORDER BY seq")
        spoiled = before[0]["event_id"]
        # What the relay meets, and not what waits for the component to come back.
        connection = apsw.Connection(str(config.parent / "store" / "accesspoint.db"))
        connection.set_busy_timeout(5_000)
        connection.execute(
            "UPDATE outbox SET next_at = 0, body = (SELECT body FROM outbox AS o WHERE o.seq <> outbox.seq LIMIT 1)"
            " WHERE event_id = ?",
            (spoiled,),
        )
        connection.close()
        assert node.point.outbox is not None
        look = "SELECT event_id, problem FROM outbox WHERE state = 'parked'"
        async with asyncio.timeout(20):
            while not (parked := await node.rows(look)):
                node.point.outbox.woken.set()
                await asyncio.sleep(0.05)
        assert [(row["event_id"], row["problem"]) for row in parked] == [
            (spoiled, "payload-damaged")
        ]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await node.point.workers.wait()
        report = await verify_node(node.point.configuration)
    told = [(fault.slug, fault.ids.get("row")) for one in report.results for fault in one.findings]
    assert ("row-damaged", spoiled) in told


def planted(path: Path) -> None:
    """What stands in the clear is found, in the row and in the file."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "UPDATE outbox SET body = ? WHERE seq = 1", (f'{{"patient": "{TEST_CPR}"}}',)
    )
    connection.close()
    assert in_sqlite(path) == {"outbox.body": {"as it is"}}
    assert set(in_files(path.parent)) == {path.name}


@pytest.mark.slow
@pytest.mark.attack("SEC-05")
async def test_no_patient_is_in_postgresql_or_a_dump(pki: Pki, tmp_path: Path) -> None:
    stage = Stage(pki, tmp_path / "stage")
    stage.directory.mkdir(mode=0o700)
    with running() as server:
        databases = {name: server.create(name) for name in BOTH}
        async with stage.pair(databases=databases, **SECTIONS) as nodes:
            await exchange(*nodes)
            for node in nodes:
                await was_about_the_patient(node)
                assert await in_postgresql(databases[node.home.name]) == {}
                assert patients_in(await asyncio.to_thread(server.dump, node.home.name)) == set()
                (await verify_node(node.point.configuration)).check()
        server.stop_at_once()
        # Tables, and the log of everything that was written to them.
        assert in_files(server.directory) == {}
        server.start_again()
        connection = await asyncpg.connect(databases[CLINIC.key])
        await connection.execute(
            "UPDATE messages SET facts = $1", f'{{"patient_id": "{TEST_CPR}"}}'
        )
        await connection.close()
        assert await in_postgresql(databases[CLINIC.key]) == {"messages.facts": {"as it is"}}
        assert patients_in(server.dump(CLINIC.key)) == {"as it is"}
