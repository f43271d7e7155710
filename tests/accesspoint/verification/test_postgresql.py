"""The same invariants over PostgreSQL: a clean exchange while it runs and afterwards, a planted fault for some."""

import pytest
from as4_stage import Pki, Stage
from exchange import exchange
from postgresql_server import running

from accesspoint.config import load
from accesspoint.store.database import Database, StorageRefused
from accesspoint.verification import compare, open_node, verify_node

PLANTED = [
    ("I4", "receipt-signer", "UPDATE receipts SET signer = 'nobody' WHERE message = (SELECT MIN(id) FROM messages WHERE direction = 'out')"),
    ("I7", "event-missing", "DELETE FROM outbox WHERE seq = (SELECT MAX(seq) FROM outbox)"),
    ("I12", "journal-personal", "UPDATE journal SET detail = 'patient 251248-9996' WHERE seq = (SELECT MIN(seq) FROM journal)"),
    ("I13", "journal-differs", "DELETE FROM journal WHERE seq = (SELECT MAX(seq) FROM journal WHERE event = 'opened')"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with running() as started:
        yield started


async def test_a_store_in_postgresql_is_verified_beside_its_node_and_when_it_stopped(
    server, pki: Pki, tmp_path, status_settings
):
    databases = {name: server.create(f"verified_{name}") for name in ("municipality", "clinic")}
    stage = Stage(pki, tmp_path)
    sections = {"acknowledging": {"fhir": "automatic"}, "delivery_status": status_settings}
    async with stage.pair(databases=databases, **sections) as nodes:
        await exchange(*nodes)
        for node in nodes:
            report = await verify_node(node.point.configuration)
            report.check()
            assert report.of("I14").notes == ("a node runs: what it holds is its own",)
        (await compare(nodes[0].point.database, nodes[1].point.database)).check()
    configuration = load(tmp_path / "municipality" / "accesspoint.toml", {})
    report = await verify_node(configuration)
    report.check()
    assert report.of("I10").checked > 10
    assert report.of("I14").notes[0].startswith("every node has stopped in order")
    async with open_node(configuration) as (database, _):
        with pytest.raises(StorageRefused):
            await database.run(lambda tx: tx.execute("DELETE FROM journal"))
        with pytest.raises(StorageRefused):
            await database.read(lambda tx: tx.execute("DELETE FROM journal"))
    broken: set[str] = set()
    for invariant, slug, statement in PLANTED:
        writer = await Database.open(databases["municipality"])
        await writer.run(lambda tx: tx.execute(statement))  # noqa: B023 - awaited here
        await writer.close()
        report = await verify_node(configuration)
        broken.add(invariant)
        assert set(report.broken) == broken, report.render()
        assert slug in {finding.slug for finding in report.findings}
