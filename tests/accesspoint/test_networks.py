"""Connections go to allowed networks only, whatever the address looks like (hostile DSC-01 to DSC-06)."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.network.listening import Listeners
from accesspoint.networks import AllowedNetworks, ForbiddenAddress

HEALTH_NETWORK = AllowedNetworks(["10.20.0.0/16", "fd00:1::/32"])


@pytest.mark.parametrize("address", ["10.20.0.1", "10.20.255.255", "fd00:1::5", "::ffff:10.20.0.1"])
def test_an_address_inside_is_allowed(address: str) -> None:
    HEALTH_NETWORK.require(address)
    with pytest.raises(ForbiddenAddress):
        AllowedNetworks([]).require(address)


@pytest.mark.attack("DSC-01")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "10.21.0.1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "localhost",
        "",
    ],
)
def test_an_address_outside_is_not(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        HEALTH_NETWORK.require(address)


@given(st.ip_addresses(v=4))
def test_only_members_of_the_network_pass(address: object) -> None:
    inside = str(address).startswith("10.20.")
    try:
        HEALTH_NETWORK.require(str(address))
    except ForbiddenAddress:
        assert not inside
    else:
        assert inside


def test_what_is_not_a_network_is_refused() -> None:
    with pytest.raises(ValueError, match="network"):
        AllowedNetworks(["the health network"])


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[str]]]:
    """A server on loopback and the paths it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="hello")

    listeners, application = Listeners(), web.Application()
    application.router.add_get("/{path}", answer)
    url = await listeners.start(application)
    yield url, asked
    await listeners.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_allowed_server_is_reached(server: tuple[str, list[str]], host: str) -> None:
    url, asked = server
    async with (
        AllowedNetworks(["127.0.0.0/8"]).open_session(seconds=5) as session,
        session.get(url.replace("127.0.0.1", host) + "/a") as answer,
    ):
        assert await answer.text() == "hello"
    assert asked == ["/a"]


@pytest.mark.attack("DSC-01")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_forbidden_server_is_never_even_connected_to(
    server: tuple[str, list[str]], host: str
) -> None:
    url, asked = server
    async with HEALTH_NETWORK.open_session(seconds=5) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(url.replace("127.0.0.1", host) + "/a")

    assert isinstance(refused.value.os_error, ForbiddenAddress)
    assert asked == []


@pytest.mark.attack("DSC-06")
async def test_proxies_from_the_environment_are_not_used(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = server
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with (
        AllowedNetworks(["127.0.0.0/8"]).open_session(seconds=5) as session,
        session.get(url + "/a") as answer,
    ):
        assert answer.status == 200
    assert asked == ["/a"]


def test_the_socket_is_made_for_the_address_that_was_checked() -> None:
    opened = HEALTH_NETWORK.open_socket(
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.20.0.1", 443))
    )
    assert opened.family is socket.AF_INET
    opened.close()
