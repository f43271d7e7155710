"""Where connections to discovered addresses may go: an allow-list of networks, asked at connect time.

The health network is private address space, so "no private addresses" would be wrong; what is allowed is
said in configuration. The check looks at the numeric address that a socket is about to connect to, after
all name resolution, so a name that changes its mind between check and use changes nothing.

Spec: hostile 1.16 (DSC-01 to DSC-06, DSC-11).
"""

import socket
import ssl
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

MAXIMUM_ADDRESSES: Final = 16
"""Of a name with more addresses than this, only the first ones are tried."""


class ForbiddenAddress(OSError):
    """A connection was about to go to an address outside the allowed networks."""

    # One constant text: with several addresses the connector keeps the type only if all texts agree.
    def __init__(self) -> None:
        super().__init__("the address is not in an allowed network")


class AllowedNetworks:
    """The networks that discovered addresses may be in; none of them means that nothing is allowed."""

    def __init__(self, networks: Iterable[str | IPv4Network | IPv6Network]) -> None:
        """Raises ValueError for text that is not a network."""
        self._networks = tuple(ip_network(str(network)) for network in networks)

    def require(self, address: str) -> None:
        """Raise ForbiddenAddress unless this numeric address is in one of the networks."""
        try:
            # The zone of a link-local address says which interface, not which network.
            found = ip_address(address.partition("%")[0])
        except ValueError:
            raise ForbiddenAddress from None
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        if not any(found in network for network in self._networks):
            raise ForbiddenAddress

    def open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one `getaddrinfo` tuple; the last moment to say no."""
        family, kind, protocol, _, target = address
        self.require(str(target[0]))
        return socket.socket(family, kind, protocol)

    def connector(
        self,
        *,
        limit_per_host: int = 8,
        keepalive_seconds: float = 15.0,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> aiohttp.TCPConnector:
        """A connection pool that connects inside the allowed networks only; needs a running loop.

        `tls` is for all its connections; None takes the system's authorities. `resolver` finds the addresses of
        names; None is the system's.
        """
        return aiohttp.TCPConnector(
            ssl=True if tls is None else tls,
            keepalive_timeout=keepalive_seconds,
            resolver=_FewAddresses(resolver or ThreadedResolver()),
            socket_factory=self.open_socket,
            limit_per_host=limit_per_host,
            ttl_dns_cache=60,
            happy_eyeballs_delay=None,
        )

    def open_session(
        self,
        *,
        seconds: float,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> aiohttp.ClientSession:
        """An HTTP session on such a pool: no proxies, no cookies, no netrc; `seconds` for a whole exchange."""
        return aiohttp.ClientSession(
            connector=self.connector(tls=tls, resolver=resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds),
            trust_env=False,
            auto_decompress=False,
        )


class _FewAddresses(AbstractResolver):
    """A resolver, with an end to how many addresses a name can make us try."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        return found[:MAXIMUM_ADDRESSES]

    async def close(self) -> None:
        await self._inner.close()
