"""The FHIR interface of the status component: create, read and search AuditEvents, and nothing else.

A report is taken when the token is good, bound to the certificate of this very connection, allows
creating, and names the device and one of the organisations of the report; and when the report keeps
every rule of its profile. The same report again is answered 200 with what is stored.

The link to the next page carries the search sealed: a patient number must not stand in an address, and
nobody can continue somebody else's search. No query, form, token or resource is ever logged.

Spec: EHMI delivery status 1.0.2; EHMI security architecture 0.98 section on resource servers; FHIR R4 http.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import structlog
from aiohttp import hdrs, web
from cryptography import x509
from cryptography.fernet import Fernet, InvalidToken

from accesspoint import __version__
from accesspoint.clock import Clock
from accesspoint.delivery.auditevent import Violation, check_audit_event
from accesspoint.delivery.terminology import BASIC_DELIVERY_STATUS, PATIENT_DELIVERY_STATUS
from accesspoint.status_component.access import (
    AccessDenied,
    OrganisationsOf,
    Seen,
    require_reporter,
    require_scope,
    seen_by,
)
from accesspoint.status_component.finding import Found, find
from accesspoint.status_component.search import (
    SEARCH_PARAMETERS,
    SearchRefused,
    parse_search,
)
from accesspoint.status_component.store import EventStore
from accesspoint.store.database import StorageError, Transaction
from keys.errors import TokenRefused, UntrustedCertificate
from keys.jwk import AccessToken
from keys.tls import peer_certificate

BODY_LIMIT: Final = 256 * 1024
FHIR_JSON: Final = "application/fhir+json"
_JSON_TYPES: Final = frozenset({FHIR_JSON, "application/json"})
_PAGE: Final = "_page"
_LONGEST_SEARCH: Final = 3_000
"""Characters of all parameters together: the link to the next page has to hold them."""
_RETRY_SECONDS: Final = "10"

Parameters = list[tuple[str, str]]
TokenCheck = Callable[[str, x509.Certificate], AccessToken]
"""Verifies a token presented over a connection with this client certificate.

Raises keys.errors.TokenRefused."""
Check = Callable[[object], list[Violation]]

log = structlog.get_logger()


class StatusService:
    """The FHIR service at `/fhir`."""

    def __init__(
        self,
        store: EventStore,
        *,
        clock: Clock,
        check_token: TokenCheck,
        organisations_of: OrganisationsOf = lambda cvr: (),
        check: Check = check_audit_event,
    ) -> None:
        """`check` finds what is wrong with a report; `organisations_of` tells the SOR ids of a company."""
        self.store = store
        self._clock = clock
        self._check_token = check_token
        self._organisations_of = organisations_of
        self._check = check
        # Links to next pages are good as long as this process lives.
        self._seal = Fernet(Fernet.generate_key())

    def application(self, *middlewares: Any) -> web.Application:
        """The routes; serve them over TLS that requires a client certificate."""
        application = web.Application(
            client_max_size=BODY_LIMIT, middlewares=[*middlewares, _answer_errors]
        )
        application.add_routes(
            [
                web.get("/fhir/metadata", self._metadata),
                web.post("/fhir/AuditEvent", self._create),
                web.get("/fhir/AuditEvent", self._search),
                web.post("/fhir/AuditEvent/_search", self._search),
                web.get("/fhir/AuditEvent/{id}", self._read),
            ]
        )
        return application

    async def _metadata(self, request: web.Request) -> web.Response:
        return _fhir(200, capability_statement(self._clock.now().date().isoformat()))

    async def _create(self, request: web.Request) -> web.Response:
        grant = self._grant(request, "c")
        if request.content_type not in _JSON_TYPES:
            raise Refusal(415, "not-supported", "send application/fhir+json")
        try:
            resource = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise Refusal(400, "structure", "the body is not JSON") from None
        violations = self._check(resource)
        if violations:
            log.info("status_report_refused", violations=len(violations))
            raise Refusal(
                422, "invariant", "the report breaks its profile", violations=tuple(violations)
            )
        require_reporter(grant, resource)
        report, is_new = await self.store.add(resource, received_at=self._clock.now())
        log.info("status_report_taken", position=report.position, new=is_new)
        answer = _fhir(201 if is_new else 200, report.resource)
        answer.headers[hdrs.LOCATION] = f"/fhir/AuditEvent/{report.resource['id']}"
        return answer

    async def _read(self, request: web.Request) -> web.Response:
        seen = self._seen(self._grant(request, "r"))
        found = await self._find([("_id", request.match_info["id"])], seen, None)
        if not found.matches:
            raise Refusal(404, "not-found", "no such AuditEvent, or not one of yours")
        position = found.matches[0][1]
        _, text = (await self.store.of_positions([position]))[position]
        return web.Response(body=text, content_type=FHIR_JSON)

    async def _search(self, request: web.Request) -> web.Response:
        seen = self._seen(self._grant(request, "s"))
        parameters: Parameters = list(request.query.items())
        after = None
        if request.method == hdrs.METH_POST:
            form = await request.post()
            parameters += [(name, value) for name, value in form.items() if isinstance(value, str)]
        if _PAGE in dict(parameters):
            parameters, after = self._unseal(dict(parameters)[_PAGE], seen)
        if sum(len(name) + len(value) for name, value in parameters) > _LONGEST_SEARCH:
            raise Refusal(400, "too-long", "the search has too many values")
        found = await self._find(parameters, seen, after)
        resources = await self.store.of_positions([position for _, position in found.matches])
        base = request.url.with_path("/fhir/AuditEvent").with_query(None)
        # The self link names no criterion: it would repeat what was searched for in stored answers.
        links = [{"relation": "self", "url": str(request.url.with_query(None))}]
        if found.has_more:
            page = self._seal_page(parameters, found.matches[-1], seen)
            links.append({"relation": "next", "url": str(base.with_query({_PAGE: page}))})
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
        if found.total is not None:
            bundle["total"] = found.total
        bundle["entry"] = [
            {
                "fullUrl": f"{base}/{resources[position][0]}",
                "resource": orjson.Fragment(resources[position][1]),
                "search": {"mode": "match"},
            }
            for _, position in found.matches
        ]
        return _fhir(200, bundle)

    async def _find(
        self, parameters: Parameters, seen: Seen, after: tuple[int, int] | None
    ) -> Found:
        try:
            search = parse_search(parameters, after=after)
        except SearchRefused as error:
            raise Refusal(400, "invalid", str(error)) from None

        async def work(tx: Transaction) -> Found:
            return await find(tx, search, [await seen.condition(tx)])

        return await self.store.database.read(work)

    def _seal_page(self, parameters: Parameters, last: Sequence[int], seen: Seen) -> str:
        return self._seal.encrypt(orjson.dumps([parameters, last, seen])).decode()

    def _unseal(self, page: str, seen: Seen) -> tuple[Parameters, tuple[int, int]]:
        try:
            parameters, last, whose = orjson.loads(self._seal.decrypt(page.encode()))
        except InvalidToken:
            raise Refusal(410, "expired", "this page is not there any more; search anew") from None
        if whose != orjson.loads(orjson.dumps(seen)):
            raise Refusal(403, "forbidden", "this page is of somebody else's search")
        return [(name, value) for name, value in parameters], (last[0], last[1])

    def _grant(self, request: web.Request, letter: str) -> AccessToken:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "login", "a bearer token in the Authorization header is required")
        try:
            certificate = peer_certificate(request.get_extra_info("ssl_object"))
        except UntrustedCertificate:
            raise Refusal(401, "login", "a client certificate is required") from None
        try:
            grant = self._check_token(token.strip(), certificate)
        except TokenRefused as error:
            log.info("status_token_refused", reason=error.reason)
            raise Refusal(401, "login", "the token is not good for this connection") from None
        require_scope(grant, letter)
        return grant

    def _seen(self, grant: AccessToken) -> Seen:
        return seen_by(grant, organisations_of=self._organisations_of)


def capability_statement(date: str) -> dict[str, Any]:
    """What the component can do, as FHIR says it."""
    interactions = [{"code": code} for code in ("create", "read", "search-type")]
    parameters = [{"name": name, "type": kind} for name, kind in SEARCH_PARAMETERS.items()]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": "EHMI delivery status", "version": __version__},
        "implementation": {"description": "TEST: a delivery status component for development"},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "Access token bound to the client's TLS certificate (RFC 8705)"
                },
                "resource": [
                    {
                        "type": "AuditEvent",
                        "supportedProfile": [BASIC_DELIVERY_STATUS, PATIENT_DELIVERY_STATUS],
                        "interaction": interactions,
                        "versioning": "no-version",
                        "searchParam": parameters,
                    }
                ],
            }
        ],
    }


class Refusal(Exception):
    """An answer that is an OperationOutcome."""

    def __init__(
        self, status: int, code: str, text: str, *, violations: tuple[Violation, ...] = ()
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.violations = violations

    def answer(self) -> web.Response:
        """Write the refusal as FHIR; a violation becomes an issue with its element."""
        issues: list[dict[str, Any]] = [
            {
                "severity": "error",
                "code": self.code,
                "diagnostics": violation.rule,
                "expression": [violation.path],
            }
            for violation in self.violations
        ] or [{"severity": "error", "code": self.code, "diagnostics": str(self)}]
        answer = _fhir(self.status, {"resourceType": "OperationOutcome", "issue": issues})
        if self.status == 401:
            answer.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer error="invalid_token"'
        if self.status == 503:
            answer.headers[hdrs.RETRY_AFTER] = _RETRY_SECONDS
        return answer


@web.middleware
async def _answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return refusal.answer()
    except AccessDenied as denied:
        violation = Violation(f"token.{denied.claim}", str(denied))
        return Refusal(403, "forbidden", str(denied), violations=(violation,)).answer()
    except web.HTTPMethodNotAllowed as error:
        text = "AuditEvents are created, read and searched; never changed or deleted"
        refused = Refusal(405, "not-supported", text).answer()
        refused.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        return refused
    except web.HTTPRequestEntityTooLarge:
        return Refusal(413, "too-long", "the report is too large").answer()
    except web.HTTPNotFound:
        return Refusal(404, "not-found", "there is nothing here").answer()
    except StorageError as error:
        log.error("status_storage", error=type(error).__name__)
        return Refusal(503, "transient", "the report could not be stored now").answer()
    return answer


def _fhir(status: int, resource: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(resource), content_type=FHIR_JSON)
