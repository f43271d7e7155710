"""The routes of the REST interface: submit, follow, describe, and the probes of an orchestrator.

Every route but the probes wants somebody who is known, with the right that `rights` tells. Errors are RFC 9457 problems.
This is one of the seams where an unexpected exception becomes a bare problem `internal`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import hdrs, web

from accesspoint.access.caller import NotAllowed, Unidentified
from accesspoint.access.identification import Identification
from accesspoint.access.issuer import Issuer
from accesspoint.addressing.service import AddressingService
from accesspoint.api.acknowledging import Acknowledging
from accesspoint.api.answers import NoReason, problem, read_reason, whole
from accesspoint.api.client import LONGEST_REASON
from accesspoint.api.exchanges import Elsewhere, Exchanges, NotPossible, UnknownExchange
from accesspoint.api.lookups import Lookups
from accesspoint.api.pulling import Pulling
from accesspoint.api.queries import Json, describe_message, find_position, list_audit, list_journal
from accesspoint.api.rights import CALLER, HEALTH, Door, check_table, require
from accesspoint.api.submitting import Submitting
from accesspoint.backends.pull import PullDesk
from accesspoint.clock import Clock, SystemClock
from accesspoint.config_access import Access
from accesspoint.discovery.directory import Directory
from accesspoint.stations import Bell, Bells
from accesspoint.stations.end_user_application import EndUserApplication
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.store.database import Database, StorageFailure, StorageFull
from envelope.limits import DEFAULT_LIMITS, Limits

MAX_WAIT_SECONDS: Final = 30
PAGE: Final = 500
LOOK_SECONDS: Final = 1.0
_NOBODY: Final = (
    "Nobody is known by this: the bearer token of this node is needed, or what [access] allows."
)
_log = structlog.get_logger("accesspoint.api")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The interface of one node; `application` is None where no end-user edge runs here."""

    def __init__(
        self,
        *,
        database: Database,
        bells: Bells,
        application: EndUserApplication | None,
        token: str,
        about: Json,
        exchanges: Exchanges | None = None,
        admit: Callable[[], None] = lambda: None,
        desk: PullDesk | None = None,
        handler: MessageServiceHandler | None = None,
        clock: Clock | None = None,
        directory: Directory | None = None,
        addressing: AddressingService | None = None,
        limits: Limits = DEFAULT_LIMITS,
        access: Access | None = None,
        issuer: Issuer | None = None,
    ) -> None:
        """`admit` raises StorageFull while nothing new may be taken in.

        Raises ValueError for an empty token, which every request would match; KeyStoreError for a certificate of
        `access` that cannot be read.
        """
        clock = clock or SystemClock()
        self._database = database
        self._bells = bells
        self._identification = Identification(token, access or Access(), issuer)
        self._about = about
        self._exchanges = exchanges
        self._limits = limits
        self._pulling = Pulling(desk, bells, database=database, clock=clock)
        self._acknowledging = Acknowledging(
            database=database, bells=bells, handler=handler, application=application,
            clock=clock,
        )  # fmt: skip
        self._lookups = Lookups(directory, clock)
        self._submitting = Submitting(
            database=database,
            bells=bells,
            clock=clock,
            application=application,
            admit=admit,
            addressing=addressing,
        )
        self._stopping = False

    def build(self, door: Door = Door.LOCAL) -> web.Application:
        """The aiohttp application with its routes, as it is served at a door."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler, door)

        app = web.Application(middlewares=[guard], client_max_size=self._limits.fhir_bytes + 1)
        app.on_shutdown.append(self._wake_followers)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/api/v1/about", self._tell_about)
        app.router.add_post("/api/v1/messages", self._submitting.submit)
        app.router.add_get("/api/v1/messages/{message_identifier}", self._describe)
        app.router.add_get("/api/v1/journal", self._journal)
        app.router.add_get("/api/v1/lookup", self._lookups.look_up)
        app.router.add_get("/api/v1/audit", self._audit)
        self._pulling.add_to(app)
        self._acknowledging.add_to(app)
        if self._exchanges is not None:
            app.router.add_get("/api/v1/exchanges", self._list_exchanges)
            app.router.add_get("/api/v1/exchanges/{id}", self._describe_exchange)
            app.router.add_get("/api/v1/exchanges/{id}/evidence", self._export_evidence)
            app.router.add_post("/api/v1/exchanges/{id}/payload", self._export_payload)
            app.router.add_post("/api/v1/exchanges/{id}/{act:retry|release|cancel}", self._act)
        check_table(app.router.routes())
        return app

    async def _guard(
        self, request: web.Request, handler: Handler, door: Door
    ) -> web.StreamResponse:
        """Let in who is known and has the right; whoever is not known learns of no route whether it is there."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path not in HEALTH:
                request[CALLER] = caller = await self._identification.identify(request)
                require(caller, request.match_info.route, door)
            return await handler(request)

        return await self._answer(request, answer)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Unidentified as nobody:
            _log.info("api_unidentified", reason=nobody.reason)
            refused = problem(401, "unauthorized", _NOBODY)
            refused.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
            return refused
        except NotAllowed as lacking:
            _log.info("api_not_allowed", named=request[CALLER].actor)
            return problem(403, "not-allowed", str(lacking), whose="ours")
        except web.HTTPRequestEntityTooLarge:
            return problem(
                413,
                "message-too-large",
                f"A message has at most {self._limits.fhir_bytes} bytes.",
                whose="ours",
            )
        except web.HTTPException as error:
            return problem(error.status, "http", error.reason)
        except NoReason:
            return problem(
                400, "reason-missing", f'The body says why, as JSON: {{"reason": "..."}}, at most {LONGEST_REASON} characters.',
                whose="ours",
            )  # fmt: skip
        except UnknownExchange:
            return problem(404, "exchange-unknown", "No exchange with this id is here.")
        except Elsewhere as error:
            return problem(409, "station-elsewhere", str(error), whose="ours")
        except NotPossible as error:
            return problem(409, "not-possible", str(error), whose="ours")
        except StorageFull:
            return problem(
                507,
                "storage-full",
                "There is not enough room left to take a message in; nothing was accepted.",
                whose="ours",
            )
        except StorageFailure:
            return problem(
                503,
                "storage-failed",
                "The store does not vouch for its commits; nothing was accepted.",
            )
        except Exception as error:  # noqa: BLE001 - the seam of the interface
            _log.error(
                "api_internal", error=type(error).__name__, path=request.match_info.route.name
            )
            return problem(500, "internal", "An unexpected error; the log of the node names it.")

    async def _wake_followers(self, _: web.Application) -> None:
        """Let those who wait for journal entries go, so that stopping does not wait for them."""
        self._stopping = True
        self._bells.ring(Bell.JOURNAL)

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        # After a failed commit reading may still work, but nothing is accepted any more.
        if self._database.failure is not None:
            raise self._database.failure
        await self._database.fetch("SELECT 1")
        return web.json_response({"ready": True})

    async def _tell_about(self, _: web.Request) -> web.Response:
        return web.json_response(self._about)

    async def _describe(self, request: web.Request) -> web.Response:
        identifier = request.match_info["message_identifier"]
        acts_for = request[CALLER].acts_for
        found = await self._database.read(
            lambda tx: describe_message(tx, identifier, acts_for=acts_for)
        )
        if found is None:
            return problem(404, "message-unknown", "No message with this identifier was here.")
        return web.json_response(found)

    async def _list_exchanges(self, request: web.Request) -> web.Response:
        assert self._exchanges is not None  # noqa: S101 - the route exists only then
        everything = request.query.get("all") == "1"
        found = await self._exchanges.list(request.query.get("state"), everything=everything)
        return web.json_response({"exchanges": found})

    async def _describe_exchange(self, request: web.Request) -> web.Response:
        assert self._exchanges is not None  # noqa: S101 - the route exists only then
        return web.json_response(await self._exchanges.describe(request.match_info["id"]))

    async def _export_evidence(self, request: web.Request) -> web.Response:
        assert self._exchanges is not None  # noqa: S101 - the route exists only then
        bundle = await self._exchanges.evidence(
            request.match_info["id"], actor=request[CALLER].actor
        )
        return web.Response(body=bundle, content_type="application/zip")

    async def _export_payload(self, request: web.Request) -> web.Response:
        """The same with the payload: a permission of its own, and a reason that is kept."""
        assert self._exchanges is not None  # noqa: S101 - the route exists only then
        bundle = await self._exchanges.evidence(
            request.match_info["id"],
            actor=request[CALLER].actor,
            reason=await read_reason(request),
        )
        return web.Response(
            body=bundle,
            content_type="application/zip",
            headers={hdrs.CACHE_CONTROL: "no-store"},
        )

    async def _act(self, request: web.Request) -> web.Response:
        assert self._exchanges is not None  # noqa: S101 - the route exists only then
        done = await self._exchanges.act(
            request.match_info["id"],
            request.match_info["act"],
            actor=request[CALLER].actor,
            reason=await read_reason(request),
        )
        return web.json_response(done)

    async def _audit(self, request: web.Request) -> web.Response:
        """Lines of the audit log after a number (`after`), oldest first, as they are chained."""
        try:
            after = whole(request.query.get("after", "0"))
        except ValueError:
            return problem(400, "bad-parameter", "`after` is a whole number from 0.")
        lines = await self._database.read(lambda tx: list_audit(tx, after=after, limit=PAGE))
        return web.json_response({"lines": lines, "next": lines[-1]["seq"] if lines else after})

    async def _journal(self, request: web.Request) -> web.Response:
        """Entries after a position (`after`), or the `last` ones; waits up to `wait` seconds for the first."""
        query = request.query
        try:
            after = whole(query.get("after", "0"))
            last = whole(query["last"]) if "last" in query else None
            wait = min(whole(query.get("wait", "0")), MAX_WAIT_SECONDS)
        except ValueError:
            return problem(
                400, "bad-parameter", "`after`, `last` and `wait` are whole numbers from 0."
            )

        if last is not None:
            after = await self._database.read(lambda tx: find_position(tx, last=last))
        entries = await self._wait_for_entries(after, wait)
        return web.json_response(
            {"entries": entries, "next": entries[-1]["seq"] if entries else after}
        )

    async def _wait_for_entries(self, after: int, seconds: float) -> list[Json]:
        """Read the journal, again and again until there is something, the time is over, or the node stops."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            entries = await self._database.read(
                lambda tx: list_journal(tx, after=after, limit=PAGE)
            )
            left = end - loop.time()
            if entries or left <= 0 or self._stopping:
                return entries
            # Another follower may take the ring of the bell, and another process rings none: look now and then.
            await self._bells.wait(Bell.JOURNAL, at_most_seconds=min(left, LOOK_SECONDS))
