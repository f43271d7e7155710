"""One AS4 POST over pooled mutual TLS: streams the request, reads a bounded answer, reports facts and never decides.

A failure says whether the request may have reached the peer, because that is what separates a message
that provably never left (EXPIRED) from one whose fate is unknown (UNCERTAIN). Redirects, proxies from
the environment and cookies are off: an AS4 request goes where the agreement says, or nowhere. Where only
a directory says it, the connection must also end in an allowed network, whatever its name resolves to.

Spec: hostile 1.16 (DSC-01 to DSC-06); decision D14.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from accesspoint.failpoints import failpoint
from accesspoint.networks import AllowedNetworks, ForbiddenAddress
from envelope.limits import DEFAULT_LIMITS, Limits

CHUNK_BYTES = 64 * 1024
SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""A peer that takes a request more slowly than this is not waited for."""
KEEPALIVE_SECONDS = 60.0
_REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED", "DECRYPT_ERROR")
"""Alerts by which a server ends the connection before it reads a request."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the peer answered: status, media type and at most `Limits.response_bytes` of body."""

    status: int
    content_type: str
    body: bytes


class PostFailed(Exception):
    """No usable HTTP answer came; `slug` names the problem, `arrival_possible` whether the peer may have the message."""

    def __init__(self, slug: str, detail: str, *, arrival_possible: bool) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.arrival_possible = arrival_possible


class As4Client:
    """Keep-alive connections to partners, one TLS identity.

    `networks` is where connections may go, None for anywhere. The addresses in `configured` were written down
    by the operator and not found in a directory, so they are reached wherever they are.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        timeout_seconds: float = 60.0,
        connect_seconds: float = 10.0,
        per_partner: int = 8,
        limits: Limits = DEFAULT_LIMITS,
        networks: AllowedNetworks | None = None,
        configured: Iterable[str] = (),
    ) -> None:
        self._tls = tls
        self._networks = networks
        self._configured = frozenset(configured)
        self._limits = limits
        self._seconds = timeout_seconds
        # Not `connect`, which also counts how long others of ours hold all the connections to the partner.
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_seconds, sock_read=timeout_seconds
        )
        self._per_partner = per_partner
        self._open: aiohttp.ClientSession | None = None
        self._guarded: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._open = self._session(
            aiohttp.TCPConnector(
                ssl=self._tls,
                limit_per_host=self._per_partner,
                keepalive_timeout=KEEPALIVE_SECONDS,
            )
        )
        if self._networks is not None:
            self._guarded = self._session(
                self._networks.connector(
                    limit_per_host=self._per_partner,
                    keepalive_seconds=KEEPALIVE_SECONDS,
                    tls=self._tls,
                )
            )
        return self

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_noting_the_start()],
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._open, self._guarded):
            if session is not None:
                await session.close()

    async def post(
        self,
        url: str,
        *,
        content_type: str,
        content_length: int,
        body: AsyncIterator[bytes] | bytes,
    ) -> HttpAnswer:
        """POST one message and return the answer.

        Raises:
            PostFailed: with the problem slug peer-unreachable, peer-tls, peer-timeout, peer-answer,
                smp-refused (the address is none) or lookup-forbidden-network.
        """
        if self._open is None:
            raise RuntimeError("the client is used outside its async with")
        session = self._open
        if self._guarded is not None and url not in self._configured:
            session = self._guarded
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(content_length),
            "Accept": "*/*",
            # Unasked, aiohttp invites compressed answers; phase4 then sends its receipts so.
            "Accept-Encoding": "identity",
        }
        where = _host(url)
        start = _Start()
        # Each read has its time-out, but an answer that drips would meet it for ever: the whole has one, too.
        whole = self._seconds + content_length / SLOWEST_BYTES_PER_SECOND
        try:
            async with (
                asyncio.timeout(whole),
                session.post(
                    url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=start
                ) as response,
            ):
                answer = await self._read(response, where)
                return HttpAnswer(response.status, response.headers.get("Content-Type", ""), answer)
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise PostFailed(
                "smp-refused", f"{where}: not an address to post to", arrival_possible=False
            ) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise PostFailed(
                "peer-tls", f"{where}: {_tls_reason(error)}", arrival_possible=False
            ) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise PostFailed(
                "peer-unreachable", f"{where}: no connection in time", arrival_possible=False
            ) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddress):
                raise PostFailed(
                    "lookup-forbidden-network", f"{where}: {error.os_error}", arrival_possible=False
                ) from error
            raise PostFailed(
                "peer-unreachable", f"{where}: {_reason(error.os_error)}", arrival_possible=False
            ) from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            what = "no answer in time" if start.made else "no free connection in time"
            raise PostFailed(
                "peer-timeout", f"{where}: {what}", arrival_possible=start.made
            ) from error
        except ssl.SSLError as error:
            # A TLS 1.3 server refuses a client certificate after the handshake: it shows on the first read.
            raise _broken_off(error, where) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken_off(error.__cause__ or error, where) from error

    async def _read(self, response: aiohttp.ClientResponse, where: str) -> bytes:
        """Read at most `response_bytes`: an endless answer must not fill memory."""
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > self._limits.response_bytes:
                response.close()
                raise PostFailed(
                    "peer-answer", f"{where}: the answer is too large", arrival_possible=True
                )
            parts.append(chunk)
            failpoint("S11")
        return b"".join(parts)


class _Start:
    """Whether a request was begun to be written: before that, it waits for a connection and cannot arrive."""

    def __init__(self) -> None:
        self.made = False


def _noting_the_start() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def note(
        _: aiohttp.ClientSession,
        context: SimpleNamespace,
        __: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        context.trace_request_ctx.made = True

    trace.on_request_headers_sent.append(note)
    return trace


def _broken_off(error: BaseException, where: str) -> PostFailed:
    """What a connection that broke after the handshake says of the message: it may have arrived, unless TLS refused us."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" in reason and any(word in reason for word in _REFUSALS):
        return PostFailed("peer-tls", f"{where}: {reason}", arrival_possible=False)
    return PostFailed(
        "peer-timeout", f"{where}: {reason or type(error).__name__}", arrival_possible=True
    )


def _reason(error: OSError) -> str:
    """The system's words for an error; asyncio's own sentence would repeat the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError) as error:
        raise PostFailed(
            "smp-refused", "not an address to post to", arrival_possible=False
        ) from error
    return f"{parts.hostname}:{port}"


def _tls_reason(error: aiohttp.ClientError) -> str:
    cause = getattr(error, "certificate_error", None) or error.__cause__ or error
    return (
        getattr(cause, "verify_message", None)
        or getattr(cause, "reason", None)
        or type(cause).__name__
    )
