"""What the FHIR services of the miniature network have in common: tokens, answers, refusals, and what they can do.

Every refusal is an OperationOutcome. Nothing of a request is logged.

Spec: FHIR R4 http; EHMI security architecture 0.98, resource servers.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson
import structlog
from aiohttp import hdrs, web
from cryptography import x509

from accesspoint import __version__
from keys.errors import TokenRefused, UntrustedCertificate
from keys.jwk import AccessToken
from keys.tls import peer_certificate

FHIR_JSON: Final = "application/fhir+json"
BODY_LIMIT: Final = 64 * 1024
_JSON_TYPES: Final = frozenset({FHIR_JSON, "application/json"})

Resource = dict[str, Any]
TokenCheck = Callable[[str, x509.Certificate], AccessToken]
"""Verifies a token presented over a connection with this client certificate.

Raises keys.errors.TokenRefused."""

log = structlog.get_logger()


class Refusal(Exception):
    """An answer that is an OperationOutcome with one issue; `code` is of FHIR's issue types."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code

    def answer(self) -> web.Response:
        """Write the refusal as FHIR."""
        answer = fhir_answer(self.status, outcome("error", self.code, str(self)))
        if self.status == 401:
            answer.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer error="invalid_token"'
        return answer


def outcome(severity: str, code: str, text: str) -> Resource:
    """Return an OperationOutcome with one issue."""
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def fhir_answer(status: int, resource: Resource) -> web.Response:
    """Return a resource as an HTTP answer."""
    return web.Response(status=status, body=orjson.dumps(resource), content_type=FHIR_JSON)


def bundle(resources: Iterable[Resource], base: str, *, kind: str = "searchset") -> Resource:
    """Return resources as a Bundle, each with its address below `base`; those found stand before those included."""
    entries = [
        {
            "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
            "resource": resource,
        }
        for resource in resources
    ]
    made: Resource = {"resourceType": "Bundle", "type": kind}
    # FHIR has no empty lists.
    return {**made, **({"entry": entries} if entries else {})}


def capability_statement(name: str, date: str, resources: list[Resource]) -> Resource:
    """Say what a service can do; `resources` are the members of `rest.resource`."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": date,
        "kind": "instance",
        "software": {"name": name, "version": __version__},
        "implementation": {"description": f"TEST: {name} in miniature, for development"},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "Access token bound to the client's TLS certificate (RFC 8705)"
                },
                "resource": resources,
            }
        ],
    }


class Grants:
    """Takes requests whose token is good for this connection and has all of `scopes`."""

    def __init__(self, check: TokenCheck, *scopes: str) -> None:
        self._check = check
        self._scopes = scopes

    def require(self, request: web.Request) -> AccessToken:
        """Return what the request may do. Raises: Refusal."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "login", "a bearer token in the Authorization header is required")
        try:
            certificate = peer_certificate(request.get_extra_info("ssl_object"))
            grant = self._check(token.strip(), certificate)
        except UntrustedCertificate:
            raise Refusal(401, "login", "a client certificate is required") from None
        except TokenRefused as error:
            log.info("fhir_token_refused", reason=error.reason)
            raise Refusal(401, "login", "the token is not good for this connection") from None
        missing = set(self._scopes) - set(grant.scope)
        if missing:
            raise Refusal(403, "forbidden", f"the token's scope lacks {' '.join(sorted(missing))}")
        return grant


async def read_json(request: web.Request) -> Any:
    """Read the body of a request as JSON. Raises: Refusal."""
    if request.content_type not in _JSON_TYPES:
        raise Refusal(415, "not-supported", f"send {FHIR_JSON}")
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise Refusal(400, "structure", "the body is not JSON") from None


@web.middleware
async def answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn every refusal into an OperationOutcome."""
    try:
        answer: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return refusal.answer()
    except web.HTTPMethodNotAllowed as error:
        refused = Refusal(405, "not-supported", "this service only reads").answer()
        refused.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        return refused
    except web.HTTPRequestEntityTooLarge:
        return Refusal(413, "too-long", "the request is too large").answer()
    except web.HTTPNotFound:
        return Refusal(404, "not-found", "there is nothing here").answer()
    return answer
