"""The delivery status component in miniature: takes AuditEvents over mutual TLS and answers searches.

A report is taken when the token is good, bound to the certificate of this very connection, allows
creating, and names the device and one of the organisations of the report; and when the report keeps
every rule of its profile. The same report twice (device, sub type, message, envelope) is stored once.
A station reads what its own device reported and nothing else.

No query, form, token or resource is ever logged: searches carry civil registration numbers.

Spec: EHMI delivery status 1.0.2; EHMI security architecture 0.98 section on resource servers.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import orjson
import structlog
from aiohttp import hdrs, web
from cryptography import x509

from accesspoint.clock import Clock
from accesspoint.delivery.auditevent import Violation, check_audit_event
from accesspoint.network.faults import Fault
from accesspoint.network.status_search import (
    SEARCH_PARAMETERS,
    SearchRefused,
    device_id,
    identifiers,
    parse_search,
    parties,
)
from keys.errors import TokenRefused, UntrustedCertificate
from keys.jwk import AccessToken
from keys.tls import peer_certificate

BODY_LIMIT: Final = 256 * 1024
FHIR_JSON: Final = "application/fhir+json"
_JSON_TYPES: Final = frozenset({FHIR_JSON, "application/json"})

log = structlog.get_logger()

TokenCheck = Callable[[str, x509.Certificate], AccessToken]
"""Verifies a token presented over a connection with this client certificate.

Raises keys.errors.TokenRefused."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """One report as the status component keeps it; `position` counts from 1 in the order of arrival."""

    position: int
    received_at: datetime
    resource: dict[str, Any]

    @property
    def message_identifier(self) -> str:
        """The message that was reported."""
        return next(identifiers(self.resource, "ehmiMessage"))

    @property
    def original_message_identifier(self) -> str | None:
        """The message that this one answers."""
        return next(identifiers(self.resource, "ehmiOrigMessage"), None)


class ReportStore:
    """The reports in memory, each once, and if wanted in a file of JSON lines that a restart reads back."""

    def __init__(self, journal: Path | None = None) -> None:
        """`journal` is made with mode 0600; raises ValueError when a line in it is not a report."""
        self.reports: list[StoredReport] = []
        self._by_key: dict[tuple[str, ...], StoredReport] = {}
        self._news = asyncio.Condition()
        self._journal: int | None = None
        if journal is not None:
            if journal.exists():
                for line in journal.read_bytes().splitlines():
                    stored = orjson.loads(line)
                    received_at = datetime.fromisoformat(stored["received"])
                    self._keep(stored["resource"], received_at)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._journal = os.open(journal, flags, 0o600)

    async def add(
        self, resource: dict[str, Any], *, received_at: datetime
    ) -> tuple[StoredReport, bool]:
        """Store a checked report unless it is there; returns it and whether it is new."""
        known = self._by_key.get(_key(resource))
        if known is not None:
            return known, False
        report = self._keep(resource, received_at)
        if self._journal is not None:
            line = {"received": received_at.isoformat(), "resource": resource}
            os.write(self._journal, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        async with self._news:
            self._news.notify_all()
        return report, True

    def _keep(self, resource: dict[str, Any], received_at: datetime) -> StoredReport:
        key = _key(resource)
        name = ":".join(f"{len(part)}:{part}" for part in key)
        resource["id"] = str(uuid5(NAMESPACE_URL, name))
        report = StoredReport(len(self.reports) + 1, received_at, resource)
        self.reports.append(report)
        self._by_key[key] = report
        return report

    def of_exchange(self, message_identifiers: Collection[str]) -> list[StoredReport]:
        """Return the reports about these messages and about everything that answers them, and so on."""
        known = set(message_identifiers)
        size = 0
        while size != len(known):
            size = len(known)
            known |= {
                report.message_identifier
                for report in self.reports
                if report.original_message_identifier in known
            }
        return [report for report in self.reports if report.message_identifier in known]

    async def wait_for(
        self, message_identifiers: Collection[str], count: int, *, seconds: float
    ) -> list[StoredReport]:
        """Wait until the exchange of these messages has `count` reports and return them.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.of_exchange(message_identifiers)) >= count)
            return self.of_exchange(message_identifiers)

    async def follow(self, position: int = 0) -> AsyncIterator[StoredReport]:
        """Yield every report after this position, those to come as well, until the caller stops."""
        while True:
            await self._grown_past(position)
            for report in self.reports[position:]:
                position = report.position
                yield report

    async def _grown_past(self, position: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.reports) > position)

    def close(self) -> None:
        """Let go of the journal file."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None


def _allows(grant: AccessToken, letter: str) -> bool:
    """Tell whether a scope `system/AuditEvent.<letters>` of the service `EDS` has this letter."""
    prefix = "system/AuditEvent."
    letters = [scope.removeprefix(prefix) for scope in grant.scope if scope.startswith(prefix)]
    return "EDS" in grant.scope and any(letter in group for group in letters)


def _key(resource: dict[str, Any]) -> tuple[str, ...]:
    """What makes two reports the same one: device, sub type, message, envelope."""
    envelope = next(
        identifiers(resource, "ehmiTransportEnvelope"),
        next(identifiers(resource, "ehmiMessageEnvelope"), ""),
    )
    return (
        device_id(resource) or "",
        resource["subtype"][0]["code"],
        next(identifiers(resource, "ehmiMessage")),
        envelope,
    )


class StatusComponent:
    """The FHIR service at `/fhir`."""

    def __init__(
        self,
        store: ReportStore,
        *,
        clock: Clock,
        check_token: TokenCheck,
        faults: Set[Fault] = frozenset(),
    ) -> None:
        self.store = store
        self._clock = clock
        self._check_token = check_token
        self._faults = faults

    def application(self) -> web.Application:
        """The routes; serve them over TLS that requires a client certificate."""
        application = web.Application(
            client_max_size=BODY_LIMIT, middlewares=[self._break_if_planted, _answer_errors]
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

    @web.middleware
    async def _break_if_planted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if Fault.STATUS_DOWN in self._faults and request.transport is not None:
            request.transport.abort()
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _metadata(self, request: web.Request) -> web.Response:
        interactions = [{"code": code} for code in ("create", "read", "search-type")]
        parameters = [{"name": name, "type": kind} for name, kind in SEARCH_PARAMETERS.items()]
        return _fhir(
            200,
            {
                "resourceType": "CapabilityStatement",
                "status": "active",
                "date": self._clock.now().date().isoformat(),
                "kind": "instance",
                "software": {"name": "EHMI delivery status in miniature"},
                "implementation": {
                    "description": "TEST: a delivery status component for development"
                },
                "fhirVersion": "4.0.1",
                "format": [FHIR_JSON],
                "rest": [
                    {
                        "mode": "server",
                        "resource": [
                            {
                                "type": "AuditEvent",
                                "interaction": interactions,
                                "searchParam": parameters,
                            }
                        ],
                    }
                ],
            },
        )

    async def _create(self, request: web.Request) -> web.Response:
        grant = self._grant(request, "c")
        if request.content_type not in _JSON_TYPES:
            raise Refusal(415, "not-supported", "send application/fhir+json")
        try:
            resource = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise Refusal(400, "structure", "the body is not JSON") from None
        violations = check_audit_event(resource)
        if Fault.STATUS_REFUSES in self._faults:
            violations.append(Violation("AuditEvent", "planted fault: every report is refused"))
        if violations:
            log.info("status_report_refused", violations=len(violations))
            raise Refusal(
                422, "invariant", "the report breaks its profile", violations=tuple(violations)
            )
        self._check_context(grant, resource)
        report, is_new = await self.store.add(resource, received_at=self._clock.now())
        log.info("status_report_taken", position=report.position, new=is_new)
        answer = _fhir(201 if is_new else 200, report.resource)
        answer.headers[hdrs.LOCATION] = f"/fhir/AuditEvent/{report.resource['id']}"
        return answer

    async def _read(self, request: web.Request) -> web.Response:
        grant = self._grant(request, "r")
        for resource in self._visible(grant):
            if resource["id"] == request.match_info["id"]:
                return _fhir(200, resource)
        raise Refusal(404, "not-found", "no such AuditEvent, or not one of yours")

    async def _search(self, request: web.Request) -> web.Response:
        grant = self._grant(request, "s")
        parameters = list(request.query.items())
        if request.method == hdrs.METH_POST:
            form = await request.post()
            parameters += [(name, value) for name, value in form.items() if isinstance(value, str)]
        try:
            search = parse_search(parameters)
        except SearchRefused as error:
            raise Refusal(400, "invalid", str(error)) from None
        found = search.select(self._visible(grant))
        # The self link names no criterion: it would repeat what was searched for in stored answers.
        return _fhir(
            200,
            {
                "resourceType": "Bundle",
                "type": "searchset",
                "total": len(found),
                "link": [{"relation": "self", "url": str(request.url.with_query(None))}],
                "entry": [
                    {
                        "fullUrl": str(
                            request.url.with_path(f"/fhir/AuditEvent/{resource['id']}").with_query(
                                None
                            )
                        ),
                        "resource": resource,
                        "search": {"mode": "match"},
                    }
                    for resource in found[: search.count]
                ],
            },
        )

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
        if not _allows(grant, letter):
            raise Refusal(403, "forbidden", "the token's scope does not allow this")
        return grant

    def _check_context(self, grant: AccessToken, resource: dict[str, Any]) -> None:
        """Require that the token speaks for the device and one of the organisations of the report."""
        if grant.device_id is None or grant.device_id != device_id(resource):
            raise Refusal(403, "forbidden", "the token is for another device")
        acting = [
            (sor, gln)
            for sor, glns, _ in parties(resource, "ehmiSender", "ehmiReceiver")
            for gln in glns
        ]
        context = grant.organisation
        if context is None or (context.sor, context.gln) not in acting:
            raise Refusal(403, "forbidden", "the token is for another organisation")

    def _visible(self, grant: AccessToken) -> list[dict[str, Any]]:
        return [
            report.resource
            for report in self.store.reports
            if grant.device_id is not None and device_id(report.resource) == grant.device_id
        ]


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
        return answer


@web.middleware
async def _answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return refusal.answer()
    except web.HTTPMethodNotAllowed as error:
        text = "AuditEvents are created, read and searched; never changed or deleted"
        refused = Refusal(405, "not-supported", text).answer()
        refused.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        return refused
    except web.HTTPRequestEntityTooLarge:
        return Refusal(413, "too-long", "the report is too large").answer()
    except web.HTTPNotFound:
        return Refusal(404, "not-found", "there is nothing here").answer()
    return answer


def _fhir(status: int, resource: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(resource), content_type=FHIR_JSON)
