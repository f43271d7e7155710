"""`accesspoint retention`: what would go is shown beside a running node, and changes nothing."""

import asyncio
import os
from pathlib import Path

import pytest
from as4_stage import Pki, Stage

from accesspoint.cli import retention as verb
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC
from accesspoint.store.database import Database, StorageRefused, Transaction, sqlite_url
from accesspoint.store.housekeeping import Housekeeper
from accesspoint.store.messages import NewMessage, advance, insert_message

OLD = NewMessage(
    id="M1", direction="in", state="RECEIVED", message_id="m-1@a.example", conversation_id="c", party="x",
    envelope_id="e-1", message_identifier="i-1", standard="s", original_sender="", final_recipient="",
    document_id="", process_id="", facts="{}", payload=None, payload_bytes=3 * 2**20, payload_sha256="",
)  # fmt: skip


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(
        CLINIC, pki.clinic, partners={}, retention={"delivered": "1 s"}
    )


async def exchange(config: Path, pki: Pki, tmp_path: Path) -> tuple[int, list[str]]:
    """Run a node that has one message delivered long ago and an orphan, and look beside it."""

    async def rest(self: Housekeeper) -> None:
        """The worker of this node leaves the message to us."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Housekeeper, "run", rest)
        return await look_beside(config, pki, tmp_path)


async def look_beside(config: Path, pki: Pki, tmp_path: Path) -> tuple[int, list[str]]:
    async with Stage(pki, tmp_path).run(config) as node:
        point = node.point
        with point.payloads.create() as writer:
            orphan = writer.finish().id
        os.utime(config.parent / "store" / "payloads" / orphan[:2] / orphan, (1, 1))

        async def work(tx: Transaction) -> None:
            at = point.clock.now().replace(year=2020)
            await insert_message(tx, OLD, at=at)
            row = {"id": "M1", "direction": "in", "state": "RECEIVED"}
            await advance(tx, row, ["DELIVERING", "DELIVERED"], at=at)

        await point.database.run(work)
        status = await verb._run(load(config, {}), dry_run=True)
        return status, [row["state"] for row in await node.rows("SELECT state FROM messages")]


async def test_what_would_go_is_shown_beside_a_running_node(
    config: Path, pki: Pki, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, states = await exchange(config, pki, tmp_path)
    out = capsys.readouterr().out
    assert (status, states) == (0, ["DELIVERED"])
    line = next(one for one in out.splitlines() if one.startswith("messages received"))
    assert line.split()[-5:] == ["1", "s", "1", "3.0", "MiB"]
    orphans = next(one for one in out.splitlines() if one.startswith("payloads that no row"))
    assert "1 d" in orphans
    assert "nothing was changed" in out
    # The node is down now: what was shown goes.
    assert await verb._run(load(config, {}), dry_run=False) == 0
    database = await Database.open(sqlite_url(config.parent / "store" / "accesspoint.db"))
    row = await database.fetch_one("SELECT state FROM messages")
    await database.close()
    assert row == {"state": "PURGED"}


async def test_looking_changes_nothing_and_needs_a_database(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "accesspoint.db")
    with pytest.raises(StorageRefused, match="there is no database"):
        await Database.open(url, read_only=True)
    writer = await Database.open(url)
    reader = await Database.open(url, read_only=True)
    await writer.run(lambda tx: tx.execute("INSERT INTO handovers_taken (id, at) VALUES ('x', 1)"))
    assert len(await reader.fetch("SELECT * FROM handovers_taken")) == 1
    with pytest.raises(StorageRefused, match="only to read"):
        await reader.run(lambda tx: tx.execute("DELETE FROM handovers_taken"))
    await asyncio.gather(reader.close(), writer.close())


async def test_older_tables_are_not_migrated_by_looking(tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    first = Path(verb.__file__).parents[1] / "store" / "migrations" / "0001_messages.sql"
    (older / first.name).write_text(first.read_text())
    url = sqlite_url(tmp_path / "accesspoint.db")
    database = await Database.open(url, migrations=older)
    await database.close()
    with pytest.raises(StorageRefused, match="start the node once"):
        await Database.open(url, read_only=True)
