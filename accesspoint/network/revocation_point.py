"""Serves the development authorities' revocation lists over HTTP, as CRL distribution points do.

Spec: RFC 5280 section 4.2.1.13 and RFC 2585.
"""

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

PATH: Final = "/oces.crl"
ROOT_PATH: Final = "/root.crl"


class RevocationPoint:
    """Answers each path with whatever list its maker makes at that moment, as DER."""

    def __init__(self, lists: Mapping[str, Callable[[], bytes]]) -> None:
        self._lists = lists

    def application(self) -> web.Application:
        """One route for each list."""
        application = web.Application()
        for path in self._lists:
            application.router.add_get(path, self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self._lists[request.path](), content_type="application/pkix-crl")
