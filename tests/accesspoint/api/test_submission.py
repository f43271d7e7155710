"""The interface over mutual TLS: systems elsewhere that [access] names submit, and follow what is their own."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from as4_stage import Node, Pki, Stage
from as4_wire import medcom_message

from accesspoint.api.client import NodeAddress
from accesspoint.api.rights import RIGHTS
from accesspoint.config import ConfigurationProblem, load
from accesspoint.config_access import Scope
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, REGISTER

MESSAGE = "4c6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"
BUNDLE = "4c6d8a40-6f1e-4a2c-9c55-7f10c1a9d002"
LISTEN = {"as4": "127.0.0.1:0", "api": "127.0.0.1:0", "submission": "127.0.0.1:0"}
SYSTEMS = {
    "journal": ([Scope.SUBMIT, Scope.READ], [MUNICIPALITY.address.gln]),
    "neighbour": ([Scope.SUBMIT, Scope.READ], [REGISTER.address.gln]),
    "reader": ([Scope.READ], []),
    "everything": (list(Scope), []),
}


@pytest.fixture
async def node(pki: Pki, stage: Stage) -> AsyncIterator[Node]:
    """A node of two organisations; each has a system of its own, the third one may only read, the last one everything."""
    named = [
        {
            "name": name,
            "certificate": pki.file_of(pki.tls(name)),
            "scopes": scopes,
            **({"glns": glns} if glns else {}),
        }
        for name, (scopes, glns) in SYSTEMS.items()
    ]
    other, known = REGISTER.address, CLINIC.address
    path = stage.write_node(
        MUNICIPALITY, pki.municipality, partners={}, listen=LISTEN,
        organisations=[{"name": other.name, "gln": other.gln, "sor": other.sor}],
        addresses=[{"name": known.name, "gln": known.gln, "sor": known.sor}],
        access={"certificates": named},
    )  # fmt: skip
    async with stage.run(path) as running:
        yield running


async def ask(
    node: Node, tls: ssl.SSLContext, method: str, path: str, data: bytes | None = None, *, token: str = ""
) -> tuple[int, Any]:  # fmt: skip
    url = f"https://{node.point.addresses['submission']}{path}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
        session.request(method, url, data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


async def submit(node: Node, tls: ssl.SSLContext, **more: str) -> tuple[int, Any]:
    data, _ = medcom_message(MESSAGE, BUNDLE)
    return await ask(node, tls, "POST", "/api/v1/messages", data, **more)


@pytest.mark.attack("ADM-08")
async def test_a_system_submits_for_its_own_organisation_and_sees_no_other(
    pki: Pki, node: Node
) -> None:
    journal, neighbour = (pki.tls_contexts(name)[0] for name in ("journal", "neighbour"))
    status, told = await submit(node, neighbour)
    assert (status, told["title"]) == (403, "not-allowed")
    assert await node.rows("SELECT * FROM documents") == []
    assert [one for one in (node.home / "store").rglob("*") if "payload" in one.name and one.is_file()] == []  # fmt: skip

    assert (await submit(node, journal))[0] == 202
    (row,) = await node.rows("SELECT message_identifier FROM documents")
    assert row["message_identifier"] == MESSAGE
    assert (await ask(node, journal, "GET", f"/api/v1/messages/{MESSAGE}"))[0] == 200
    for identifier in (MESSAGE, "nobody"):
        status, told = await ask(node, neighbour, "GET", f"/api/v1/messages/{identifier}")
        assert (status, told["title"]) == (404, "message-unknown")


@pytest.mark.attack("ADM-01")
async def test_a_trusted_certificate_that_nobody_named_is_nobodys(pki: Pki, node: Node) -> None:
    stranger, _ = pki.tls_contexts("clinic")
    own = NodeAddress.load(node.home / "store").token
    for token in ("", "x", own):
        assert (await submit(node, stranger, token=token))[0] == 401
    assert await node.rows("SELECT * FROM documents") == []


@pytest.mark.attack("ADM-02")
async def test_a_system_that_may_read_submits_nothing(pki: Pki, node: Node) -> None:
    reader, _ = pki.tls_contexts("reader")
    assert (await submit(node, reader))[0] == 403
    assert (await ask(node, reader, "GET", f"/api/v1/messages/{MESSAGE}"))[0] == 404


@pytest.mark.attack("ADM-11")
async def test_nothing_but_submitting_is_served_to_the_network(pki: Pki, node: Node) -> None:
    everything, _ = pki.tls_contexts("everything")
    for (method, path), right in RIGHTS.items():
        filled = path.format(message_identifier="x", id="x", act="retry")
        status, told = await ask(node, everything, method, filled, b"")
        if not right.for_systems:
            assert (status, told["title"]) == (404, "http"), path
    assert {path for (_, path), right in RIGHTS.items() if right.for_systems} == {
        "/api/v1/messages",
        "/api/v1/messages/{message_identifier}",
    }


async def test_without_a_certificate_nobody_gets_as_far_as_a_token(pki: Pki, node: Node) -> None:
    bare = ssl.create_default_context(cafile=pki.trust["anchors"][0])
    bare.load_verify_locations(pki.trust["intermediates"][0])
    token = NodeAddress.load(node.home / "store").token
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await submit(node, bare, token=token)
    assert await node.rows("SELECT * FROM documents") == []


def refusal_of(path: Path) -> str:
    with pytest.raises(ConfigurationProblem) as refused:
        load(path, {})
    return "; ".join(finding.text for finding in refused.value.findings)


@pytest.mark.attack("ADM-11")
def test_it_is_not_opened_for_nobody_and_the_interface_not_to_the_network(
    pki: Pki, stage: Stage
) -> None:
    def written(**more: Any) -> Path:
        return stage.write_node(MUNICIPALITY, pki.municipality, partners={}, **more)

    assert "submission" in refusal_of(written(listen=LISTEN, trust={}))
    assert "names none" in refusal_of(written(listen=LISTEN))
    stranger = {
        "name": "x",
        "certificate": "x.pem",
        "scopes": ["inbox"],
        "glns": [CLINIC.address.gln],
    }
    assert "no organisation here" in refusal_of(written(access={"certificates": [stranger]}))
    for everywhere in ("0.0.0.0:0", "[::]:0", "10.1.2.3:0"):
        assert "this machine only" in refusal_of(written(listen={**LISTEN, "api": everywhere}))
    default = load(written(), {}).listen
    assert (default.submission, default.api.port != 8443) == (None, True)
