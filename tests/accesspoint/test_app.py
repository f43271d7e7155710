"""Whole nodes: they come up, exchange, report as many events as they owe, and go down in the reverse order."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from as4_peer import Client
from as4_stage import Node, Partner, Pki, Stage
from as4_wire import Author, medcom_message
from status_parts import STATUS_AWAY

from accesspoint.api.client import ADDRESS_FILE, TOKEN_FILE
from accesspoint.app import start
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from accesspoint.store.database import StorageFailure, Transaction
from accesspoint.store.messages import NewMessage, advance, insert_message
from accesspoint.verification import Setting, verify


@pytest.fixture
def stage(pki: Pki, tmp_path: Path) -> Stage:
    return Stage(pki, tmp_path)


def write(stage: Stage, organisation: Organisation, port: int, other: Organisation, other_port: int,
          **sections: Any) -> Path:  # fmt: skip
    issued = {MUNICIPALITY.key: stage.pki.municipality, CLINIC.key: stage.pki.clinic}
    partner = Partner(other, issued[other.key], f"https://127.0.0.1:{other_port}/as4")
    return stage.write_node(
        organisation,
        issued[organisation.key],
        partners={other.key: partner},
        listen=f"127.0.0.1:{port}",
        acknowledging={"fhir": "automatic"},
        **({"delivery_status": STATUS_AWAY} | sections),
    )


@pytest.fixture
async def both(stage: Stage, unused_tcp_port_factory: Any) -> AsyncIterator[tuple[Node, Node]]:
    """The municipality and the clinic, one process each; nobody takes their delivery events, so they stay."""
    one, two = unused_tcp_port_factory(), unused_tcp_port_factory()
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(
                stage.run(write(stage, MUNICIPALITY, one, CLINIC, two))
            ),
            await stack.enter_async_context(
                stage.run(write(stage, CLINIC, two, MUNICIPALITY, one))
            ),
        )


async def events(node: Node) -> list[tuple[str, str]]:
    rows = await node.rows("SELECT station, subtype FROM outbox ORDER BY seq")
    return [(row["station"], row["subtype"]) for row in rows]


async def test_a_full_exchange_is_eight_events_for_each_organisation(
    both: tuple[Node, Node],
) -> None:
    municipality, clinic = both
    data, facts = medcom_message("exchange-message", "exchange-bundle")
    application = municipality.point.application
    assert application is not None
    submission, commit = await application.submit(data)
    await municipality.point.bells.run(municipality.point.database, commit)

    async def finished() -> bool:
        return len(await events(municipality)) >= 8 and len(await events(clinic)) >= 8

    await municipality.until(finished, "the exchange did not end")
    await municipality.idle()
    await clinic.idle()
    created, received = ("EUA", "msg-created-and-sent"), ("AP-MSH", "msg-received")
    sent, ended = ("AP-MSH", "msg-sent"), ("EUA", "msg-received-and-finalized")
    acknowledges, is_acknowledged = (
        ("AP-MSH", "msg-created-and-sent"),
        ("AP-MSH", "msg-received-and-finalized"),
    )
    each = sorted([created, received, sent, is_acknowledged, received, sent, ended, acknowledges])
    assert sorted(await events(municipality)) == each
    assert sorted(await events(clinic)) == each
    assert clinic.delivered() == {"exchange-message.json"}
    document = (await municipality.rows("SELECT * FROM documents WHERE direction = 'out'"))[0]
    assert document["acknowledgement"] == "ok"
    envelopes = await municipality.rows(
        "SELECT * FROM envelopes WHERE acknowledgement = 'positive'"
    )
    assert {row["direction"] for row in envelopes} == {"in", "out"}
    assert submission.document.receiver.gln == facts.receiver.gln


async def test_creating_and_sending_told_apart_is_one_event_more_and_holds(
    stage: Stage, unused_tcp_port_factory: Any
) -> None:
    one, two = unused_tcp_port_factory(), unused_tcp_port_factory()
    apart = STATUS_AWAY | {"created_apart": True}
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                stage.run(write(stage, mine, port, other, there, delivery_status=apart))
            )
            for mine, port, other, there in [(MUNICIPALITY, one, CLINIC, two), (CLINIC, two, MUNICIPALITY, one)]
        ]  # fmt: skip
        application = nodes[0].point.application
        assert application is not None
        _, commit = await application.submit(medcom_message("apart-message", "apart-bundle")[0])
        await nodes[0].point.bells.run(nodes[0].point.database, commit)

        async def finished() -> bool:
            return all([len(await events(node)) >= 9 for node in nodes])

        await nodes[0].until(finished, "the exchange did not end")
        for node in nodes:
            await node.idle()
            told = await events(node)
            assert len(told) == 9
            made, handed = told.index(("EUA", "msg-created")), told.index(("EUA", "msg-sent"))
            assert made < handed
            setting = Setting(running=True, reports=True, together=True)
            report = await verify(
                node.point.database, node.point.payloads, setting=setting, clock=node.point.clock
            )
            assert [f.slug for r in report.results if r.name == "I7" for f in r.findings] == []


async def test_a_node_says_where_it_is_and_forgets_it_when_it_stops(
    stage: Stage, unused_tcp_port_factory: Any
) -> None:
    path = write(stage, CLINIC, unused_tcp_port_factory(), MUNICIPALITY, 1)
    store = path.parent / "store"
    async with stage.run(path) as node:
        assert json.loads((store / ADDRESS_FILE).read_text()) == node.point.addresses
        token = (store / TOKEN_FILE).read_text()
        assert (store / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
        assert len(token) >= 32
    assert not (store / ADDRESS_FILE).exists()
    async with stage.run(path):
        assert (store / TOKEN_FILE).read_text() == token


async def test_what_a_dead_node_still_holds_is_taken_up_without_a_restart(
    stage: Stage, unused_tcp_port_factory: Any
) -> None:
    path = write(stage, CLINIC, unused_tcp_port_factory(), MUNICIPALITY, 1)
    async with stage.run(path) as node:
        held = NewMessage(
            id="M1", direction="in", state="RECEIVED", message_id="m-1@dead.example", conversation_id="c", party="x",
            envelope_id="e-1", message_identifier="i-1", standard="s", original_sender="", final_recipient="",
            document_id="", process_id="", facts="{}", payload=None, payload_bytes=0, payload_sha256="",
        )  # fmt: skip

        async def leave(tx: Transaction) -> None:
            now = node.point.clock.now()
            await insert_message(tx, held, at=now)
            row = {"id": "M1", "direction": "in", "state": "RECEIVED"}
            lease = {"lease_owner": "dead", "lease_until": 1}
            await advance(tx, row, "DELIVERING", at=now, columns=lease)

        await node.point.database.run(leave)
        await node.point.heartbeat.beat()
        async with asyncio.timeout(10):
            while True:
                row = await node.point.database.fetch_one("SELECT * FROM messages")
                if row is not None and row["state"] != "DELIVERING":
                    break
                await asyncio.sleep(0.01)
    assert row["lease_owner"] != "dead"
    assert row["state"] in {"DELIVERY_WAIT", "HELD", "QUARANTINED"}


async def test_a_worker_that_ends_with_an_error_ends_the_node(
    both: tuple[Node, Node],
) -> None:
    point = both[0].point

    async def fail() -> None:
        raise RecursionError

    waiting = asyncio.create_task(point.wait())
    await point.workers.watch(fail)
    with pytest.raises(RecursionError):
        async with asyncio.timeout(5):
            await waiting


async def test_a_store_that_fails_answers_503_and_promises_nothing(
    pki: Pki, both: tuple[Node, Node]
) -> None:
    clinic = both[1]
    author = Author(pki.municipality.signer(), clinic.certificate)
    as_client, _ = pki.tls_contexts("municipality")
    database = clinic.point.database

    async def fail(_: Any) -> None:
        raise StorageFailure("the disk is gone")

    async with Client.connect(clinic.url, as_client) as client:
        wire = author.compose()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "run", fail)
            answer = await client.post(wire)
        assert (answer.status, answer.body) == (503, b"Not available.\n")
        assert await clinic.rows("SELECT * FROM messages") == []
        # The retry after it is welcome.
        assert (await client.post(wire)).status == 200


async def test_a_disk_that_fails_under_the_payloads_ends_the_node(
    both: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = both[0].point
    waiting = asyncio.create_task(point.wait())

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, point.payloads.create() as writer:
        writer.write(b"octets")
        patch.setattr(os, "fsync", broken)
        with pytest.raises(StorageFailure):
            writer.finish()
    with pytest.raises(StorageFailure, match="cannot be made durable: Input/output error"):
        async with asyncio.timeout(5):
            await waiting


def _stations(
    stage: Stage, organisation: Organisation, ports: dict[str, int], other: Partner
) -> list[Path]:
    """Three configuration files: end-user edge, message service handler and access point, joined by sealed hand-overs."""
    issued = {
        name: stage.pki.certify(f"{organisation.key}-{name.lower()}-test")
        for name in ("EUA", "MSH")
    }
    access_points = {MUNICIPALITY.key: stage.pki.municipality, CLINIC.key: stage.pki.clinic}
    issued["AP"] = access_points[organisation.key]
    order = ["EUA", "MSH", "AP"]
    paths = []
    for index, name in enumerate(order):
        neighbours = {"up": order[index - 1 : index], "down": order[index + 1 : index + 2]}
        links = {
            way: {
                "url": f"https://127.0.0.1:{ports[one]}",
                "certificate": stage.pki.file_of(issued[one]),
            }
            for way, (one,) in ((way, found) for way, found in neighbours.items() if found)
        }
        path = stage.write_node(
            replace(organisation, key=f"{organisation.key}-{name.lower()}"),
            issued[name],
            partners={"other": other} if name == "AP" else {},
            stations={"runs": [name], "device_ids": {"EUA": "eua", "MSH": "msh", "AP": "ap"}},
            acknowledging={"fhir": "automatic"},
            addresses=[
                {"name": one.address.name, "gln": one.address.gln, "sor": one.address.sor}
                for one in (MUNICIPALITY, CLINIC)
            ],
            delivery_status=STATUS_AWAY,
            links=links,
        )
        text = path.read_text().replace(
            'as4 = "127.0.0.1:0"',
            f'as4 = "127.0.0.1:{ports["AS4"] if name == "AP" else 0}"\n'
            f'stations = "127.0.0.1:{ports[name]}"',
        )
        path.write_text(text)
        paths.append(path)
    return paths


async def test_with_all_stations_apart_it_is_sixteen_for_each_organisation(
    stage: Stage, unused_tcp_port_factory: Any
) -> None:
    ports = {
        organisation.key: {name: unused_tcp_port_factory() for name in ("EUA", "MSH", "AP", "AS4")}
        for organisation in (MUNICIPALITY, CLINIC)
    }
    access_points = {
        organisation.key: Partner(
            organisation, issued, f"https://127.0.0.1:{ports[organisation.key]['AS4']}/as4"
        )
        for organisation, issued in (
            (MUNICIPALITY, stage.pki.municipality),
            (CLINIC, stage.pki.clinic),
        )
    }
    async with AsyncExitStack() as stack:
        nodes: dict[str, list[Node]] = {}
        for organisation, other in ((MUNICIPALITY, CLINIC), (CLINIC, MUNICIPALITY)):
            paths = _stations(
                stage, organisation, ports[organisation.key], access_points[other.key]
            )
            nodes[organisation.key] = [
                await stack.enter_async_context(start(load(path, {}))) for path in paths
            ]
        edge = nodes[MUNICIPALITY.key][0]
        seen = [
            [Node(point, path) for point in nodes[key]]
            for key, path in ((MUNICIPALITY.key, stage.directory), (CLINIC.key, stage.directory))
        ]
        data, _ = medcom_message("apart-message", "apart-bundle")
        assert edge.application is not None
        _, commit = await edge.application.submit(data)
        await edge.bells.run(edge.database, commit)

        async def counted() -> list[list[int]]:
            return [[len(await events(node)) for node in stations] for stations in seen]

        async def finished() -> bool:
            return await counted() == [[2, 6, 8], [2, 6, 8]]

        await seen[0][0].until(finished, "not sixteen for each organisation")
        for stations in seen:
            for node in stations:
                assert {station for station, _ in await events(node)} == {
                    str(node.point.configuration.stations.runs[0])
                }
