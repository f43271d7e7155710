"""The status component and its token endpoint, as little of them as a run needs: they count, and fail now and then.

Each event is known by the octets of its body, so an event that was lost, and one that was sent again, both
show when the ledger is held against the outboxes.
"""

import ssl
from random import Random

from aiohttp import web

from accesspoint.network.listening import Listeners
from tests.soak.ledger import Ledger


class StatusStub:
    """Takes events over TLS; `share` of the requests fail, before or after the event was taken."""

    def __init__(self, ledger: Ledger, *, seed: int, share: float) -> None:
        self._ledger = ledger
        self._random = Random(seed)
        self._share = share
        self._listeners = Listeners()
        self.failed = 0
        self.url = ""

    async def start(self, tls: ssl.SSLContext) -> str:
        """Listen; returns the base URL."""
        application = web.Application()
        application.router.add_post("/token", self._token)
        application.router.add_post("/fhir/AuditEvent", self._take)
        self.url = await self._listeners.start(application, tls=tls)
        return self.url

    async def stop(self) -> None:
        """Close every connection."""
        await self._listeners.stop()

    async def _token(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"access_token": "soak", "token_type": "Bearer", "expires_in": 3600}
        )

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._random.random() >= self._share:
            self._ledger.report(body)
            return web.Response(status=201)
        self.failed += 1
        match self._random.randrange(3):
            case 0:
                return web.Response(status=503)
            case 1:
                self._ledger.report(body)  # taken, but the node is not told
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
