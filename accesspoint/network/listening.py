"""Runs web applications on ephemeral ports of the loopback interface, with or without TLS."""

import ssl
from typing import Final

from aiohttp import web

LOOPBACK: Final = "127.0.0.1"
_GRACE_SECONDS: Final = 1.0


class Listeners:
    """Some web applications that start one by one and stop together."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []

    async def start(
        self,
        application: web.Application,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> str:
        """Serve an application; returns its base URL. Raises OSError when the port is taken."""
        # No access log: its lines would carry the query strings of searches.
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, port, ssl_context=tls)
        await site.start()
        scheme = "http" if tls is None else "https"
        return f"{scheme}://{LOOPBACK}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close every listener and every connection."""
        while self._runners:
            await self._runners.pop().cleanup()
