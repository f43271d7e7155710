"""The backup: a moment of the store that a node can be started from, made while the store goes on."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from as4_stage import Pki, Stage
from as4_wire import medcom_message
from retention_stage import Kept

from accesspoint import failpoints
from accesspoint.cli import backup as verb
from accesspoint.config import load
from accesspoint.problems import ProblemRaised
from accesspoint.store import backup
from accesspoint.store.backup import DATABASE, MANIFEST, back_up
from accesspoint.store.configured import build_columns, build_payload_store
from accesspoint.store.database import Database, StorageRefused, sqlite_url
from accesspoint.store.payload_directory import DirectoryPlace
from accesspoint.store.payloads import PayloadStore
from accesspoint.verification.invariants import verify

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    database = await Database.open(sqlite_url(tmp_path / DATABASE))
    payloads = PayloadStore(tmp_path / "payloads")
    yield Kept(database, payloads, tmp_path / "payloads")
    payloads.close()
    await database.close()


async def make(kept: Kept, name: str = "backup") -> tuple[Path, dict[str, int]]:
    target = kept.directory.parent / name
    place = kept.payloads._place
    return target, await back_up(kept.directory.parent / DATABASE, place, target, at=AT)


def rows(target: Path, sql: str) -> list[tuple]:
    connection = apsw.Connection(str(target / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close(True)


async def test_a_backup_holds_the_rows_and_every_payload_they_refer_to(kept: Kept) -> None:
    payload, orphan = kept.publish(b"result"), kept.publish(b"orphan")
    await kept.message("M1", "out", "ACCEPTED", payload)
    target, made = await make(kept)
    assert made == {"payloads": 1, "octets": 6, "missing": 0}
    assert rows(target, "SELECT id, payload FROM messages") == [("M1", payload)]
    assert (target / "payloads" / payload[:2] / payload).read_bytes() == b"result"
    assert not (target / "payloads" / orphan[:2] / orphan).exists()
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["files"] == {
        payload: {"size": 6, "sha256": hashlib.sha256(b"result").hexdigest()}
    }
    assert {p.stat().st_mode & 0o077 for p in target.rglob("*")} == {0}


async def test_what_happens_meanwhile_leaves_no_row_without_its_payload(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the copy of the payloads and that of the rows one message comes, and another one is purged."""
    old, new = kept.publish(b"old"), b"new"
    await kept.message("M1", "in", "DELIVERED", old)
    copy_database = backup._copy_database
    steps: list[str] = []
    # The node works in its own thread of control; what it does in the pause is played here by plain SQL and files.
    connection = apsw.Connection(str(kept.directory.parent / DATABASE))

    def pause(source: Path, target: Path) -> None:
        with kept.payloads.create() as writer:
            writer.write(new)
            steps.append(writer.finish().id)
        connection.execute(
            "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
            " payload_bytes, payload_sha256, state, next_at, created_at)"
            " VALUES ('H1','up','document','m','{}','a','{}','t',?,3,'0','waiting',1,1)", (steps[0],)
        )  # fmt: skip
        copy_database(source, target)
        # The copy says that M1 has its payload; retention takes it away before we look again.
        kept.payloads.delete(old)

    monkeypatch.setattr(backup, "_copy_database", pause)
    target, made = await make(kept)
    connection.close(True)
    assert made == {"payloads": 2, "octets": 6, "missing": 0}
    for name, data in ((old, b"old"), (steps[0], new)):
        assert (target / "payloads" / name[:2] / name).read_bytes() == data


async def test_a_payload_that_is_nowhere_is_told(kept: Kept) -> None:
    await kept.message("M1", "out", "ACCEPTED", "0" * 32)
    target, made = await make(kept)
    assert made["missing"] == 1
    assert json.loads((target / MANIFEST).read_text())["missing_payloads"] == ["0" * 32]


async def test_a_backup_does_not_go_over_another_one_and_has_no_manifest_until_it_is_whole(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await make(kept)
    with pytest.raises(StorageRefused, match="not empty"):
        await make(kept)

    def crash(point: str) -> None:
        assert point == "M3"
        raise failpoints.FailpointReached(point)

    monkeypatch.setattr(backup, "failpoint", crash)
    with pytest.raises(failpoints.FailpointReached):
        await make(kept, "second")
    assert not (first.parent / "second" / MANIFEST).exists()
    assert (first / MANIFEST).exists()


async def test_a_restored_node_has_everything_and_verifies(
    pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two nodes exchange; one is backed up while it runs, loses its disk, and is started from the copy."""
    stage = Stage(pki, tmp_path)
    async with stage.pair() as (municipality, clinic):
        data, _ = medcom_message("backup-message", "backup-bundle")
        application = municipality.point.application
        assert application is not None
        _, commit = await application.submit(data)
        await municipality.point.bells.run(municipality.point.database, commit)

        async def delivered() -> bool:
            return bool(await clinic.rows("SELECT 1 FROM documents WHERE delivered_at IS NOT NULL"))

        await municipality.until(delivered, "the message was not delivered")
        await municipality.idle()
        await clinic.idle()
        configuration = load(clinic.home / "accesspoint.toml", {})
        url = sqlite_url(clinic.home / "store" / DATABASE)
        place = DirectoryPlace(clinic.home / "store" / "payloads")
        made = await back_up(clinic.home / "store" / DATABASE, place, tmp_path / "copy", at=AT)
        place.close()
        [row] = await clinic.rows("SELECT payload FROM documents WHERE direction = 'in'")
    assert made["payloads"] > 0
    assert made["missing"] == 0
    shutil.rmtree(clinic.home / "store")
    shutil.copytree(tmp_path / "copy", clinic.home / "store")
    database = await Database.open(url, columns=build_columns(configuration))
    payloads = build_payload_store(configuration)
    with payloads.open(row["payload"]) as reader:
        assert reader.read() == data
    (await verify(database, payloads)).check()
    payloads.close()
    await database.close()
    async with stage.run(clinic.home / "accesspoint.toml") as again:
        assert [r["state"] for r in await again.rows("SELECT state FROM messages WHERE direction = 'in'")] == ["DELIVERED"]  # fmt: skip


def test_the_verb_makes_one(pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(pki, tmp_path)

    async def start() -> Path:
        async with stage.pair() as (_, clinic):
            return clinic.home / "accesspoint.toml"

    config = asyncio.run(start())
    assert verb.run(config, tmp_path / "copy") == 0
    assert "the database and 0 payloads" in capsys.readouterr().out
    assert (tmp_path / "copy" / MANIFEST).exists()
    with pytest.raises(ProblemRaised) as refused:
        verb.run(config, tmp_path / "copy")
    assert refused.value.exit_status == 3
    told = refused.value.render()
    assert f"{tmp_path / 'copy'} is not empty" in told
    assert "name a directory that is new or empty" in told
    assert "network disk" not in told
