"""Opens a door: one listening socket with its limits on connections, lines, headers, bodies and how long they may take.

Spec: reliability section 6.6; hostile input: HTTP.
"""

import asyncio
import errno
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, cast

from aiohttp import web

from accesspoint.admission import Admission, EdgeLimits, listen
from accesspoint.config_values import Address
from accesspoint.http_connection import SERVER, HttpConnection, Tell
from accesspoint.problems import ProblemRaised
from envelope.errors import TransportRefused

DEFAULT_EDGE: Final = EdgeLimits()
CHUNK_BYTES: Final = 64 * 1024
# Each TLS connection has a buffer of this size for as long as it is open, whatever comes; 256 KiB unless told.
SSLProtocol.max_size = CHUNK_BYTES
_ACCEPTED_AT_ONCE: Final = 16
"""A handshake costs milliseconds: those who are served already wait for so many new ones, and no more, at a time."""
_TLS_CLOSE_SECONDS: Final = 5.0


def _untold(_refused: TransportRefused, _address: str) -> None:
    """Where refusals are not recorded, the answer is all there is."""


async def open_door(
    stack: AsyncExitStack,
    app: web.Application,
    where: Address,
    tls: ssl.SSLContext | None = None,
    *,
    limits: EdgeLimits = DEFAULT_EDGE,
    tell: Tell = _untold,
) -> str:
    """Serve `app` until the stack ends; return the `host:port` that was opened.

    At the end nobody is let in any more, and requests under way have `limits.drain_seconds` to be answered.
    `tell` hears of what is refused before the application sees it.

    Raises: ProblemRaised `port-taken`.
    """
    app.on_response_prepare.append(_name_server)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=limits.drain_seconds)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server, admission = runner.server, Admission(limits)
    if server is None:
        raise RuntimeError("a runner that is set up has a server")

    def connection() -> HttpConnection:
        return HttpConnection(
            server, limits, admission, tell, access_log=None, auto_decompress=False, max_line_size=4096,
            max_field_size=4096, max_headers=48, lingering_time=2,
        )  # fmt: skip

    server.request_handler = partial(_answer, server.request_handler)
    try:
        listeners = listen(where.host, where.port, admission)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ProblemRaised("port-taken", address=str(where)) from error
    port = listeners[0].getsockname()[1]
    for listener in listeners:
        opened = await asyncio.get_running_loop().create_server(
            connection,
            sock=listener,
            ssl=tls,
            backlog=_ACCEPTED_AT_ONCE,
            ssl_handshake_timeout=None if tls is None else limits.header_seconds,
            ssl_shutdown_timeout=None if tls is None else _TLS_CLOSE_SECONDS,
        )
        stack.callback(opened.close)
    return f"{where.host}:{port}"


async def _name_server(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


async def _answer(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
) -> web.StreamResponse:
    return await cast("HttpConnection", request.protocol).answer(request, handler)
