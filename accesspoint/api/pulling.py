"""The routes by which a backend of kind `pull` gets messages and learns what became of those it sent.

    GET  /api/v1/deliveries                    what is not confirmed yet; leases nothing
    POST /api/v1/deliveries                    leases up to `limit` (10) for `seconds` (60), waits up to `wait` (0) for one
    GET  /api/v1/deliveries/{id}/content       the message, with its digest in `Content-Digest` (RFC 9530)
    POST /api/v1/deliveries/{id}/confirm       it is yours for good; may be repeated
    POST /api/v1/deliveries/{id}/release       give it back, with `lease` from the answer that leased it

each with `?system=NAME` where one address has several systems; and the same under `/api/v1/outcomes`, where the
outcome itself stands in the answer that leases it. The id of a delivery or an outcome never changes. What was not
confirmed when its lease ran out is handed out again, under the same id (`handed_out` counts how often); what was
confirmed never is (410 for who asks for it).

Spec: reliability section 2.2 (idempotent consumers), points D7, D8, S15 and S16.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from accesspoint.access.caller import OWNER, Caller
from accesspoint.api.answers import problem, whole
from accesspoint.api.rights import CALLER
from accesspoint.backends.pull import (
    Confirmed,
    Kind,
    Leased,
    LeaseLost,
    NotHandedOut,
    PullDesk,
    Unknown,
)
from accesspoint.backends.signature import content_digest
from accesspoint.clock import Clock
from accesspoint.stations import Bell, Bells
from accesspoint.store.audit import record_audit
from accesspoint.store.database import Database, Transaction

FETCHED: Final = "payload.fetched"
MAX_WAIT_SECONDS: Final = 30
LOOK_SECONDS: Final = 1.0
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pulling:
    """The routes for deliveries and outcomes; `desk` is None where the backend is of another kind."""

    def __init__(
        self, desk: PullDesk | None, bells: Bells, *, database: Database, clock: Clock
    ) -> None:
        self._database = database
        self._clock = clock
        self._desk = desk
        self._bells = bells
        self._stopping = False

    def add_to(self, app: web.Application) -> None:
        """Serve the routes in an application."""
        app.on_shutdown.append(self._wake)
        for kind, name in ((Kind.DELIVERY, "deliveries"), (Kind.OUTCOME, "outcomes")):
            path = f"/api/v1/{name}"
            app.router.add_get(path, self._route(self._list, kind, name))
            app.router.add_post(path, self._route(self._lease, kind, name))
            app.router.add_post(path + "/{id}/confirm", self._route(self._confirm, kind, name))
            app.router.add_post(path + "/{id}/release", self._route(self._release, kind, name))
        content = self._route(self._content, Kind.DELIVERY, "deliveries")
        app.router.add_get("/api/v1/deliveries/{id}/content", content)

    def _route(
        self,
        serve: Callable[[PullDesk, web.Request, str, str], Awaitable[web.StreamResponse]],
        kind: Kind,
        name: str,
    ) -> Route:
        async def route(request: web.Request) -> web.StreamResponse:
            if self._desk is None:
                return problem(404, "nothing-to-pull", 'The backend of this node is not of kind "pull".')  # fmt: skip
            try:
                target = self._desk.target(kind, request.query.get("system"))
                return await serve(self._desk, request, target, name)
            except ValueError:
                return problem(
                    400, "bad-parameter", "`limit`, `seconds` and `wait` are whole numbers from 0."
                )
            except Unknown:
                return problem(404, "delivery-unknown", "Nothing with this id waits here.")
            except NotHandedOut:
                return problem(409, "delivery-not-leased", "It was never leased to anybody.")
            except LeaseLost:
                return problem(409, "lease-lost", "It is not held by this lease, or not any more.")
            except Confirmed as confirmed:
                return problem(
                    410, "delivery-confirmed", "It was confirmed before; it is not handed out again.",
                    confirmed_at=_text(confirmed.at),
                )  # fmt: skip

        return route

    async def _wake(self, _: web.Application) -> None:
        self._stopping = True
        self._bells.ring(Bell.BACKEND)

    async def _list(
        self, desk: PullDesk, request: web.Request, target: str, name: str
    ) -> web.Response:
        limit = whole(request.query.get("limit", "100"))
        return web.json_response({name: await desk.list(target, limit=limit)})

    async def _lease(
        self, desk: PullDesk, request: web.Request, target: str, name: str
    ) -> web.Response:
        query = request.query
        limit, wait = whole(query.get("limit", "10")), whole(query.get("wait", "0"))
        duration = timedelta(seconds=min(whole(query.get("seconds", "60")), 86_400))
        leased = await self._lease_or_wait(desk, target, limit, duration, wait)
        return web.json_response(
            {"lease": leased.token, "until": _text(leased.until), name: leased.items}
        )

    async def _lease_or_wait(
        self, desk: PullDesk, target: str, limit: int, duration: timedelta, wait: int
    ) -> Leased:
        """Lease what there is, or the first that comes within the time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(wait, MAX_WAIT_SECONDS)
        while True:
            leased = await desk.lease(target, limit=limit, duration=duration)
            left = end - loop.time()
            if leased.items or left <= 0 or self._stopping:
                return leased
            # Another one may take the ring of the bell, and another process rings none: look now and then.
            await self._bells.wait(Bell.BACKEND, at_most_seconds=min(left, LOOK_SECONDS))

    async def _content(
        self, desk: PullDesk, request: web.Request, target: str, name: str
    ) -> web.StreamResponse:
        row = await desk.find(target, request.match_info["id"])
        if request[CALLER] is not OWNER:
            await self._fetched(request[CALLER], row["id"])
        response = web.StreamResponse(
            headers={
                "Content-Type": row["media_type"],
                "Content-Digest": content_digest(row["payload_sha256"]),
                "Cache-Control": "no-store",
            }
        )
        response.content_length = int(row["payload_bytes"])
        await response.prepare(request)
        async for chunk in desk.content(row):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _fetched(self, who: Caller, id_: str) -> None:
        """Write down who fetches a payload, where that is not the backend on this machine: it may be a person."""

        async def work(tx: Transaction) -> None:
            await record_audit(
                tx, at=self._clock.now(), actor=who.actor, action=FETCHED, object=id_
            )

        await self._database.run(work)

    async def _confirm(
        self, desk: PullDesk, request: web.Request, target: str, name: str
    ) -> web.Response:
        id_ = request.match_info["id"]
        try:
            at, repeated = await desk.confirm(target, id_), False
        except Confirmed as confirmed:
            at, repeated = confirmed.at, True
        return web.json_response({"id": id_, "confirmed_at": _text(at), "repeated": repeated})

    async def _release(
        self, desk: PullDesk, request: web.Request, target: str, name: str
    ) -> web.Response:
        id_ = request.match_info["id"]
        await desk.release(target, id_, request.query.get("lease", ""))
        return web.json_response({"id": id_, "released": True})


def _text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
