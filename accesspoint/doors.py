"""Opens a door: one listening socket with its limits on lines, headers and idle connections.

Spec: reliability section 6.6.
"""

import errno
import ssl
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from accesspoint.config_values import Address
from accesspoint.problems import ProblemRaised

SHUTDOWN_SECONDS: Final = 5.0


async def open_door(
    stack: AsyncExitStack, app: web.Application, where: Address, tls: ssl.SSLContext | None = None
) -> str:
    """Serve `app` until the stack ends; return the `host:port` that was opened.

    Raises: ProblemRaised `port-taken`.
    """
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=75, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS,
        max_line_size=4096, max_field_size=4096, max_headers=48, lingering_time=2,
    )  # fmt: skip
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, where.host, where.port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ProblemRaised("port-taken", address=str(where)) from error
    port = runner.addresses[0][1]
    return f"{where.host}:{port}"
