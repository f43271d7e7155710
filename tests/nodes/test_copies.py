"""One message a hundred times at once, at two processes that share a PostgreSQL: whoever is first, there is one message."""

import asyncio
from pathlib import Path

import pytest
from as4_peer import Client, verify_receipt
from as4_wire import Author
from postgresql_server import running

from keys.store import KeyStore, load_certificate_files
from keys.tls import client_context
from tests.nodes.cluster import GROUP, NODES, PARTNER, Cluster

COPIES = 100


@pytest.mark.slow
@pytest.mark.attack("RPL-04")
async def test_a_hundred_copies_at_two_processes_are_one_message(tmp_path: Path) -> None:
    with running() as server:
        async with Cluster.open(tmp_path, server, seed=4, nodes=NODES[:2]) as cluster:
            scene = cluster.scene
            keys = KeyStore.load(scene.plans[PARTNER].directory / "keys")
            (recipient, *_) = load_certificate_files([scene.plans[GROUP].certificate])
            wire = Author(keys.signing, recipient).compose()
            anchors = (*scene.authority.anchors, *scene.authority.intermediates)
            tls = client_context(keys.tls.certificate_file, keys.tls.key_file, anchors)
            doors = [cluster.doors[GROUP].targets[name] for name in NODES[:2]]
            urls = [f"https://{host}:{port}/as4" for host, port in doors]
            async with (
                Client.connect(urls[0], tls) as one,
                Client.connect(urls[1], tls) as two,
            ):
                answers = await asyncio.gather(
                    *(client.post(wire) for _ in range(COPIES // 2) for client in (one, two))
                )
            assert len(answers) == COPIES
            assert {answer.status for answer in answers} == {200}
            assert len({answer.body for answer in answers}) == 1, "receipts differ"
            verify_receipt(answers[0], wire, recipient)
            async with asyncio.timeout(20):
                while await cluster.owed():
                    await asyncio.sleep(0.05)
            rows = await cluster.rows(
                GROUP, "SELECT id FROM messages WHERE message_id = $1", wire.message_id
            )
            assert len(rows) == 1
            logs = [line for node in cluster.nodes.values() for line in node.log()]
            repeated = [line for line in logs if line["event"] == "as4.in.duplicate"]
            assert len(repeated) == COPIES - 1
            await cluster.stop()
            delivered = cluster.ledger.deliveries()
    assert [message for node, message, _ in delivered if node == GROUP] == [wire.message_identifier]
