"""Connections go to allowed networks only, whatever the address looks like (hostile DSC-01 to DSC-06)."""

import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.network.listening import Listeners
from accesspoint.networks import MAXIMUM_ADDRESSES, AllowedNetworks, ForbiddenAddress

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


class Resolver(AbstractResolver):
    """Answers with these lists of addresses, one after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked += 1
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]  # fmt: skip

    async def close(self) -> None:
        pass


@pytest.mark.attack("DSC-02")
@pytest.mark.parametrize("beside", [[], ["10.20.0.1"]], ids=["instead", "beside a good one"])
async def test_a_name_that_changes_its_mind_leads_nowhere_else(
    server: tuple[str, list[str]], beside: list[str]
) -> None:
    """Nobody checks a name and then asks for it again: what is checked is the address of the socket being made."""
    url, asked = server
    forbidden = url.replace("127.0.0.1", "publisher.test")
    resolver = Resolver(["127.0.0.2"], [*beside, "127.0.0.1"])
    only = AllowedNetworks(["127.0.0.2/32", "10.20.0.0/16"])
    async with only.open_session(seconds=5, resolver=resolver) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(f"{forbidden}/a")
        assert not isinstance(refused.value.os_error, ForbiddenAddress)  # nobody listens there
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector.clear_dns_cache()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{forbidden}/a")
    assert resolver.asked == 2
    assert asked == []


@pytest.mark.attack("DSC-11")
async def test_a_name_with_a_thousand_addresses_makes_us_try_a_few() -> None:
    tried: list[str] = []

    class Counting(AllowedNetworks):
        def require(self, address: str) -> None:
            tried.append(address)
            super().require(address)

    many = [f"10.{number // 250}.{number % 250}.1" for number in range(1_000)]
    networks = Counting(["192.0.2.0/24"])
    async with networks.open_session(seconds=5, resolver=Resolver(many)) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://many.test/")
    # After a failure the client begins anew with one address less, so that some come several times.
    assert list(dict.fromkeys(tried)) == many[:MAXIMUM_ADDRESSES]
    assert len(tried) <= MAXIMUM_ADDRESSES * (MAXIMUM_ADDRESSES + 1) // 2


@pytest.mark.attack("DSC-11")
async def test_a_name_that_comes_and_goes_is_remembered_while_it_is_there(
    server: tuple[str, list[str]],
) -> None:
    """A minute of memory, for a bounded number of names; what is not there is asked for again."""
    url, asked = server

    class Flapping(Resolver):
        async def resolve(self, *arguments: Any, **named: Any) -> list[ResolveResult]:
            if self.asked % 2:
                self.asked += 1
                raise OSError("no such name")
            return await super().resolve(*arguments, **named)

    resolver = Flapping(["127.0.0.1"])
    name = url.replace("127.0.0.1", "publisher.test")
    networks = AllowedNetworks(["127.0.0.0/8"])
    async with networks.open_session(seconds=5, resolver=resolver) as session:
        for _ in range(3):
            async with session.get(f"{name}/a", headers={"Connection": "close"}) as answer:
                assert answer.status == 200
        assert (resolver.asked, len(asked)) == (1, 3)
        for number in range(2_000):
            session.connector._cached_hosts.add((f"{number}.test", 80), [])  # type: ignore[union-attr]
        assert len(session.connector._cached_hosts._addrs_rr) <= 1_001  # type: ignore[union-attr]


def test_the_socket_is_made_for_the_address_that_was_checked() -> None:
    opened = HEALTH_NETWORK.open_socket(
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.20.0.1", 443))
    )
    assert opened.family is socket.AF_INET
    opened.close()
