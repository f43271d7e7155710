"""An address that a directory gave is reached in the allowed networks only, by whatever name (hostile 1.16)."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from as4_stage import Partner, Pki, Stage

from accesspoint.as4.client import As4Client, HttpAnswer, PostFailed
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.network.listening import Listeners
from accesspoint.networks import AllowedNetworks

HEALTH_NETWORK = ["10.20.0.0/16", "fd00:1::/32"]
RECEIPT = HttpAnswer(200, "text/plain", b"receipt")


@pytest.fixture
async def server(pki: Pki) -> AsyncIterator[tuple[str, list[str]]]:
    """An access point on loopback, and what was posted to it."""
    posted: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        posted.append(request.path)
        await request.read()
        return web.Response(body=b"receipt", content_type="text/plain")

    listeners, application = Listeners(), web.Application()
    application.router.add_post("/as4", answer)
    url = await listeners.start(application, tls=pki.tls_contexts("clinic")[1])
    yield f"{url}/as4", posted
    await listeners.stop()


async def post(client: As4Client, url: str) -> HttpAnswer:
    return await client.post(url, content_type="text/xml", content_length=4, body=b"body")


@pytest.mark.attack("DSC-01")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "127.0.0.2"]
)
async def test_dsc_01_02_a_forbidden_address_is_never_connected_to(
    pki: Pki, server: tuple[str, list[str]], host: str
) -> None:
    url, posted = server
    tls, _ = pki.tls_contexts("municipality")
    async with As4Client(tls, networks=AllowedNetworks(HEALTH_NETWORK)) as client:
        with pytest.raises(PostFailed) as failed:
            await post(client, url.replace("127.0.0.1", host))
    assert (failed.value.slug, failed.value.arrival_possible) == ("lookup-forbidden-network", False)
    assert failed.value.detail.endswith("the address is not in an allowed network")
    assert posted == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_allowed_address_is_reached(
    pki: Pki, server: tuple[str, list[str]], host: str
) -> None:
    url, posted = server
    tls, _ = pki.tls_contexts("municipality")
    async with As4Client(tls, networks=AllowedNetworks(["127.0.0.0/8"])) as client:
        assert await post(client, url.replace("127.0.0.1", host)) == RECEIPT
    assert posted == ["/as4"]


async def test_what_the_operator_wrote_down_is_reached_and_nothing_beside_it(
    pki: Pki, server: tuple[str, list[str]]
) -> None:
    url, _ = server
    tls, _ = pki.tls_contexts("municipality")
    networks = AllowedNetworks(HEALTH_NETWORK)
    async with As4Client(tls, networks=networks, configured=[url]) as client:
        assert await post(client, url) == RECEIPT
        # The connection that is open now must not serve an address that a directory gave.
        with pytest.raises(PostFailed) as failed:
            await post(client, f"{url}?")
    assert failed.value.slug == "lookup-forbidden-network"


@pytest.mark.parametrize("networks", [HEALTH_NETWORK, None])
async def test_a_node_connects_to_its_partners_and_else_into_its_networks(
    pki: Pki, tmp_path: Path, server: tuple[str, list[str]], networks: list[str] | None
) -> None:
    """Without [directory] there is nobody who could name an address that is not a partner's."""
    url, _ = server
    stage = Stage(pki, tmp_path)
    sections = {} if networks is None else {"directory": {"sml": "sml.test", "networks": networks}}
    file = stage.write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={"clinic": Partner(CLINIC, pki.clinic, url)},
        **sections,
    )
    async with stage.run(file) as node:
        assert await post(node.point.as4_client, url) == RECEIPT
        with pytest.raises(PostFailed) as failed:
            await post(node.point.as4_client, url.replace("127.0.0.1", "localhost"))
    assert failed.value.slug == "lookup-forbidden-network"


@pytest.mark.attack("DSC-01", "DSC-04")
@pytest.mark.parametrize(
    "url",
    [
        "https://2130706433/as4",
        "https://017700000001/as4",
        "https://ap..example/as4",
        "https://ap.example:99999/as4",
        "https:///as4",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "//127.0.0.1/as4",
        "",
    ],
)
@pytest.mark.parametrize("networks", [AllowedNetworks(["127.0.0.0/8"]), None])
async def test_dsc_01_04_what_is_no_address_reaches_nobody(
    url: str, networks: AllowedNetworks | None
) -> None:
    """It must not look like a partner that does not answer: that could have taken the message."""
    async with As4Client(ssl.create_default_context(), networks=networks) as client:
        with pytest.raises(PostFailed) as failed:
            await post(client, url)
    assert (failed.value.slug, failed.value.arrival_possible) == ("smp-refused", False)
