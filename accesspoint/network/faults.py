"""The steps of the miniature network that can be broken on purpose, one name each."""

from collections.abc import Set
from enum import StrEnum
from typing import Any

from aiohttp import web

from accesspoint.delivery.auditevent import Violation, check_audit_event
from accesspoint.status_component.service import Check


class Fault(StrEnum):
    """One planted fault; the servers look at the set they share at every request."""

    LOCATOR_SILENT = "locator-silent"
    """The name server does not answer."""
    PARTICIPANT_UNREGISTERED = "participant-unregistered"
    """The name server knows no participant."""
    METADATA_UNSIGNED = "metadata-unsigned"
    """The publisher signs with the key of somebody nobody trusts."""
    DOCUMENT_MISSING = "document-missing"
    """The publisher knows the participants but none of their document types."""
    WRONG_CERTIFICATE = "wrong-certificate"
    """The publisher publishes somebody else's encryption certificate for everybody."""
    TOKEN_REFUSED = "token-refused"  # noqa: S105
    """The authorization server refuses every client."""
    STATUS_DOWN = "status-down"
    """The status component drops every connection."""
    STATUS_REFUSES = "status-refuses"
    """The status component refuses every report as invalid."""


def dropping_connections(faults: Set[Fault]) -> Any:
    """A middleware that drops every connection while the status component is down on purpose."""

    @web.middleware
    async def drop(request: web.Request, handler: Any) -> web.StreamResponse:
        if Fault.STATUS_DOWN in faults and request.transport is not None:
            request.transport.abort()
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    return drop


def refusing_reports(faults: Set[Fault]) -> Check:
    """The check of a report, which finds a violation in every one while that fault is planted."""

    def check(resource: object) -> list[Violation]:
        violations = check_audit_event(resource)
        if Fault.STATUS_REFUSES in faults:
            violations.append(Violation("AuditEvent", "planted fault: every report is refused"))
        return violations

    return check
