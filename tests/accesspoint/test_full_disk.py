"""A whole node whose disk fills up: nothing new is taken in, and what was accepted is still brought to its end."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from as4_peer import Client
from as4_stage import Node, Partner, Pki, Stage
from as4_wire import Author
from small_disk import fill, free, small_disk

from accesspoint.api.client import NodeAddress
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

MIB = 1024 * 1024


@dataclass
class Full:
    """A clinic whose store is on a small disk, and its partner."""

    node: Node
    disk: Path
    author: Author
    tls: Any

    def look(self) -> None:
        """Let the node look at its disk now, and not within the next second."""
        self.node.point.reserve._look_again_at = 0.0

    async def post(self, body: bytes, token: str) -> tuple[int, Any]:
        address = NodeAddress.load(self.disk / "store")
        headers = {"Authorization": f"Bearer {token or address.token}"}
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(f"{address.url}/api/v1/messages", data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def full(pki: Pki, tmp_path: Path, unused_tcp_port_factory: Any) -> AsyncIterator[Full]:
    stage = Stage(pki, tmp_path)
    with small_disk(tmp_path / "disk", 24) as disk:
        partner = Partner(MUNICIPALITY, pki.municipality, "https://127.0.0.1:1/as4")
        path = stage.write_node(
            CLINIC,
            pki.clinic,
            partners={MUNICIPALITY.key: partner},
            listen=f"127.0.0.1:{unused_tcp_port_factory()}",
            store={"directory": str(disk / "store"), "reserve": "8 MiB"},
        )
        async with stage.run(path) as node:
            author = Author(pki.municipality.signer(), node.certificate)
            yield Full(node, disk, author, pki.tls_contexts("municipality")[0])


async def test_below_the_reserve_partners_and_submitters_are_put_off(full: Full) -> None:
    sample = sample_message(SystemClock())
    filler = fill(full.disk, leave=4 * MIB)
    full.look()
    async with Client.connect(full.node.url, full.tls) as partner:
        answer = await partner.post(full.author.compose())
        assert (answer.status, answer.body) == (503, b"Not available.\n")
        status, problem = await full.post(sample, "")
        assert (status, problem["title"]) == (507, "storage-full")
        for table in ("messages", "documents", "refusals"):
            assert await full.node.rows(f"SELECT * FROM {table}") == []
        filler.unlink()
        full.look()
        assert (await partner.post(full.author.compose())).status == 200
    assert (await full.post(sample, ""))[0] in {202, 422}


async def test_a_body_is_not_read_that_there_is_no_room_for(full: Full) -> None:
    fill(full.disk, leave=4 * MIB)
    full.look()
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(2_000):
            read += 65_536
            yield bytes(65_536)

    connector = aiohttp.TCPConnector(ssl=full.tls)
    kind = {"Content-Type": 'multipart/related; type="application/soap+xml"; boundary=b'}
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        try:
            async with session.post(full.node.url, data=endless(), headers=kind) as answer:
                assert answer.status == 503
        except aiohttp.ClientConnectionError:
            pass  # closed while we were still writing: nothing was read either
    assert read < 64 * MIB


async def test_on_the_last_block_what_was_accepted_is_still_finished(full: Full) -> None:
    """Somebody else takes all the room: a message that waits is still delivered, and its history written."""
    async with Client.connect(full.node.url, full.tls) as partner:
        first = full.author.compose()
        assert (await partner.post(first)).status == 200

        async def delivered() -> bool:
            return bool(await full.node.rows("SELECT 1 FROM messages WHERE state = 'DELIVERED'"))

        await full.node.until(delivered, "the message was not delivered")
        fill(full.disk)
        assert free(full.disk) == 0
        database = full.node.point.database
        for number in range(10):
            await database.run(
                lambda tx, n=number: tx.execute(
                    "INSERT INTO handovers_taken (id, at) VALUES ($1, 9000000000000000)",
                    f"{n}" * 3_000,
                )
            )
        assert database.failure is None
        assert len(await full.node.rows("SELECT id FROM handovers_taken")) == 10
        assert not (full.disk / "store" / "emergency-room").exists()
        full.look()
        assert (await partner.post(first)).status == 503
    rows = await full.node.rows("SELECT state FROM messages WHERE direction = 'in'")
    assert [row["state"] for row in rows] == ["DELIVERED"]
