"""A message between two whole nodes whose backends pull, or are called: delivered once, and each end told once.

(The folder has the same in `test_exchange.py`.)
"""

import asyncio
import base64
import hashlib
import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from as4_stage import Node, Pki, Stage
from as4_wire import medcom_message
from issuer_parts import Signer

from accesspoint.api.client import NodeAddress
from accesspoint.network.listening import Listeners


async def submit(node: Node) -> tuple[str, bytes]:
    identifier = str(uuid.uuid4())
    data, _ = medcom_message(identifier, str(uuid.uuid4()))
    status, _ = await call(node, "POST", "messages", data)
    assert status == 202
    return identifier, data


async def call(
    node: Node, method: str, path: str, data: bytes | None = None, *, token: str = ""
) -> tuple[int, Any]:
    """Speak to the interface of a node as a backend does; the answer's content type decides how it is read."""
    address = NodeAddress.load(node.home / "store")
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.request(
            method,
            f"{address.url}/api/v1/{path}",
            data=data,
            headers={"Authorization": f"Bearer {token or address.token}"},
        ) as response,
    ):
        body = await response.read()
        if "fhir" in response.content_type:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            assert response.headers["Content-Digest"] == f"sha-256=:{digest}:"
            return response.status, body
        return response.status, json.loads(body)


async def pull(node: Node, what: str) -> dict[str, Any]:
    """Lease the next one, waiting for it."""
    while True:
        _, leased = await call(node, "POST", f"{what}?limit=1&seconds=60&wait=5")
        if leased[what]:
            return {**leased[what][0], "lease": leased["lease"]}


async def states(node: Node) -> set[tuple[str, str]]:
    rows = await node.rows("SELECT DISTINCT direction, state FROM messages")
    return {(row["direction"], row["state"]) for row in rows}


@pytest.mark.attack("ADM-09")
async def test_who_fetches_a_payload_with_a_token_of_the_issuer_is_written_down(
    pki: Pki, tmp_path: Path
) -> None:
    listeners, signer = Listeners(), Signer()
    signer.url = await listeners.start(signer.application())
    issuer = {"url": signer.url, "audience": "node"}
    async with (
        asyncio.timeout(60),
        Stage(pki, tmp_path).pair(backend={"kind": "pull"}, access={"issuer": issuer}) as (sender, receiver),
    ):  # fmt: skip
        _, data = await submit(sender)
        first = await pull(receiver, "deliveries")
        path = f"deliveries/{first['id']}/content"
        assert await call(receiver, "GET", path) == (200, data)
        assert await receiver.rows("SELECT * FROM audit") == []
        refused = await call(receiver, "GET", path, token=signer.token(scope="payload:read"))
        assert refused[0] == 403
        assert await call(receiver, "GET", path, token=signer.token(scope="inbox")) == (200, data)
        (line,) = await receiver.rows("SELECT * FROM audit")
        assert (line["actor"], line["action"]) == ("token:somebody", "payload.fetched")
        assert line["object"] == first["id"]
    await listeners.stop()


async def test_a_backend_that_pulls_has_each_message_and_each_end_once(
    pki: Pki, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(60),
        Stage(pki, tmp_path).pair(
            backend={"kind": "pull"}, acknowledging={"fhir": "automatic"}
        ) as (municipality, clinic),
    ):
        identifier, data = await submit(municipality)
        first = await pull(clinic, "deliveries")
        path = f"deliveries/{first['id']}"
        assert first["message_identifier"] == identifier
        assert await call(clinic, "GET", f"{path}/content") == (200, data)

        status, body = await call(clinic, "POST", f"{path}/release?lease=other")
        assert (status, body["title"]) == (409, "lease-lost")
        assert (await call(clinic, "POST", f"{path}/release?lease={first['lease']}"))[0] == 200
        again = await pull(clinic, "deliveries")
        assert (again["id"], again["handed_out"]) == (first["id"], 2)

        status, confirmed = await call(clinic, "POST", f"{path}/confirm")
        assert (status, confirmed["repeated"]) == (200, False)
        assert await call(clinic, "POST", f"{path}/confirm") == (
            200,
            confirmed | {"repeated": True},
        )
        status, body = await call(clinic, "GET", f"{path}/content")
        assert (status, body["title"]) == (410, "delivery-confirmed")
        assert body["confirmed_at"] == confirmed["confirmed_at"]

        outcome = await pull(municipality, "outcomes")
        assert (outcome["message_identifier"], outcome["state"]) == (identifier, "ACKNOWLEDGED")
        assert (await call(municipality, "POST", f"outcomes/{outcome['id']}/confirm"))[0] == 200
        answer = await pull(municipality, "deliveries")
        assert answer["answers"] == identifier
        assert (await call(municipality, "POST", f"deliveries/{answer['id']}/confirm"))[0] == 200
        outcome = await pull(clinic, "outcomes")
        assert (await call(clinic, "POST", f"outcomes/{outcome['id']}/confirm"))[0] == 200

        for node in (municipality, clinic):
            await node.idle()
            for what in ("deliveries", "outcomes"):
                assert (await call(node, "GET", what)) == (200, {what: []})
            assert await states(node) == {("out", "NOTIFIED"), ("in", "DELIVERED")}


async def test_what_is_asked_in_vain_is_a_problem(pki: Pki, tmp_path: Path) -> None:
    async with Stage(pki, tmp_path).pair(backend={"kind": "pull"}) as (node, _):
        for method, path, expected in (
            ("POST", "deliveries/nothing/confirm", (404, "delivery-unknown")),
            ("GET", "deliveries/nothing/content", (404, "delivery-unknown")),
            ("POST", "outcomes/nothing/release", (404, "delivery-unknown")),
            ("POST", "deliveries?limit=x", (400, "bad-parameter")),
            ("POST", "outcomes?seconds=-1", (400, "bad-parameter")),
            ("DELETE", "deliveries", (405, "http")),
        ):
            status, body = await call(node, method, path)
            assert (status, body["title"]) == expected


async def test_another_kind_of_backend_lets_nobody_pull(two_nodes: tuple[Node, Node]) -> None:
    for what in ("deliveries", "outcomes"):
        status, body = await call(two_nodes[0], "POST", what)
        assert (status, body["title"]) == (404, "nothing-to-pull")


class Consumer:
    """The systems of both organisations: breaks off at the first request with each key, confirms the second."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.messages: dict[str, bytes] = {}
        self.outcomes: dict[str, dict[str, Any]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        key = request.headers["Idempotency-Key"]
        self.seen[key] += 1
        if self.seen[key] == 1:
            return web.Response(status=503)
        manifest = json.loads(request.headers["Ehmi-Manifest"])
        if "outcome" in manifest:
            self.outcomes[key] = json.loads(body)
        else:
            self.messages[manifest["message_identifier"]] = body
        return web.Response(status=204)


async def test_a_webhook_is_called_until_it_confirms_and_then_never_again(
    pki: Pki, tmp_path: Path
) -> None:
    consumer, listeners = Consumer(), Listeners()
    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/ehmi", consumer.handle)
    base = await listeners.start(application, tls=pki.tls_contexts("consumer")[1])
    backend = {
        "kind": "webhook",
        "url": f"{base}/ehmi",
        "secret_file": "webhook.secret",
        "networks": ["127.0.0.0/8"],
    }
    try:
        async with (
            asyncio.timeout(60),
            Stage(pki, tmp_path).pair(
                backend=backend, acknowledging={"fhir": "automatic"}
            ) as nodes,
        ):
            identifier, data = await submit(nodes[0])

            async def all_told() -> bool:
                return len(consumer.outcomes) == len(consumer.messages) == 2

            await nodes[0].until(all_told, "not everything was told", seconds=40)
            for node in nodes:
                await node.idle()
                assert await states(node) == {("out", "NOTIFIED"), ("in", "DELIVERED")}
                assert (node.home / "webhook.secret").stat().st_mode & 0o777 == 0o600
    finally:
        await listeners.stop()
    assert consumer.messages[identifier] == data
    assert set(consumer.seen.values()) == {2}
    ends = {one["message_identifier"]: one["state"] for one in consumer.outcomes.values()}
    assert ends == dict.fromkeys(consumer.messages, "ACKNOWLEDGED")
