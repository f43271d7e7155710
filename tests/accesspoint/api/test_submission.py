"""The interface over mutual TLS: a system elsewhere submits with a certificate that is trusted, and with the token."""

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from as4_stage import Node, Pki, Stage
from as4_wire import medcom_message

from accesspoint.api.client import NodeAddress
from accesspoint.config import ConfigurationProblem, load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

MESSAGE = "4c6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"
BUNDLE = "4c6d8a40-6f1e-4a2c-9c55-7f10c1a9d002"


@pytest.fixture
async def node(pki: Pki, stage: Stage) -> AsyncIterator[Node]:
    path = stage.write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={},
        addresses=[
            {"name": o.address.name, "gln": o.address.gln, "sor": o.address.sor} for o in (CLINIC,)
        ],
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[listen]\n", '[listen]\nsubmission = "127.0.0.1:0"\n'))
    async with stage.run(path) as running:
        yield running


async def submit(node: Node, tls: ssl.SSLContext, token: str) -> int:
    url = f"https://{node.point.addresses['submission']}/api/v1/messages"
    data, _ = medcom_message(MESSAGE, BUNDLE)
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
        session.post(url, data=data, headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        return answer.status


async def test_a_message_is_submitted_with_certificate_and_token(pki: Pki, node: Node) -> None:
    client, _ = pki.tls_contexts("clinic")
    token = NodeAddress.load(node.home / "store").token
    assert await submit(node, client, token) == 202
    (row,) = await node.rows("SELECT message_identifier FROM documents")
    assert row["message_identifier"] == MESSAGE


async def test_a_certificate_alone_is_not_enough(pki: Pki, node: Node) -> None:
    client, _ = pki.tls_contexts("clinic")
    assert await submit(node, client, "x") == 401


async def test_without_a_certificate_nobody_gets_as_far_as_the_token(pki: Pki, node: Node) -> None:
    bare = ssl.create_default_context(cafile=pki.trust["anchors"][0])
    bare.load_verify_locations(pki.trust["intermediates"][0])
    token = NodeAddress.load(node.home / "store").token
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await submit(node, bare, token)
    assert await node.rows("SELECT * FROM documents") == []


def test_without_anchors_for_client_certificates_it_is_not_opened(pki: Pki, stage: Stage) -> None:
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={}, trust={})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[listen]\n", '[listen]\nsubmission = "127.0.0.1:0"\n'))
    with pytest.raises(ConfigurationProblem) as refused:
        load(path, {})
    assert any("submission" in finding.text for finding in refused.value.findings)
