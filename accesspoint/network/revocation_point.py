"""Serves the development authority's revocation list over HTTP, as a CRL distribution point does.

Spec: RFC 5280 section 4.2.1.13 and RFC 2585.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

PATH: Final = "/oces.crl"


class RevocationPoint:
    """Answers with whatever list `crl` makes at that moment, as DER."""

    def __init__(self, crl: Callable[[], bytes]) -> None:
        self._crl = crl

    def application(self) -> web.Application:
        """The one route."""
        application = web.Application()
        application.router.add_get(PATH, self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self._crl(), content_type="application/pkix-crl")
