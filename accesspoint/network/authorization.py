"""The authorization server in miniature: certificate-bound tokens for registered station clients.

A client is who its TLS certificate says: the subject's distinguished name must be the registered one
(`tls_client_auth`). It may act for the organisations registered with it, one per token. Tokens are
signed ES256 with a key made at start; the key set and the metadata are published as the standards say.

Spec: EHMI security architecture 0.98; RFC 6749 section 4.4, RFC 8414, RFC 8705, RFC 7517.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from accesspoint.clock import Clock
from accesspoint.ids import Ids
from accesspoint.network.faults import Fault
from keys.certificate import subject_facts
from keys.errors import UntrustedCertificate
from keys.jwk import (
    AccessToken,
    OrganisationContext,
    access_token_claims,
    jwk_from_public_key,
    jwks,
    sign_access_token,
    verify_access_token,
)
from keys.name import same_name
from keys.tls import peer_certificate

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
TOKEN_PATH: Final = "/token"  # noqa: S105
JWKS_PATH: Final = "/jwks"
STATUS_SERVICE: Final = "EDS"
STATUS_SCOPE: Final = "system/AuditEvent.crs"
ADDRESSING_SERVICE: Final = "EAS"
REGISTER_SERVICE: Final = "EER"
SCOPES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        STATUS_SERVICE: (STATUS_SCOPE,),
        ADDRESSING_SERVICE: ("system/Organization.rs",),
        REGISTER_SERVICE: ("system/Endpoint.rs", "system/Organization.rs"),
    }
)
"""What a system client may ask for, by service: the first word of a scope, which selects the audience."""
STATION_SERVICES: Final = frozenset({STATUS_SERVICE, ADDRESSING_SERVICE})
"""Only the addressing service reads the endpoint register."""
TOKEN_LIFETIME: Final = timedelta(seconds=300)
_FORM_LIMIT: Final = 8 * 1024
_CONTEXT: Final = re.compile(r"(SOR|GLN):([0-9]{1,20})", re.ASCII)
_SUBJECT: Final = "subject="

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """One client as the registration file describes it: a station, its certificate, its organisations."""

    client_id: str
    client_name: str
    tls_client_auth_subject_dn: str
    device_id: str
    org_context: tuple[OrganisationContext, ...]
    cvr: str | None = None
    services: frozenset[str] = STATION_SERVICES

    @classmethod
    def of_certificate(
        cls,
        certificate: x509.Certificate,
        *,
        client_id: str,
        device_id: str,
        org_context: tuple[OrganisationContext, ...],
        services: frozenset[str] = STATION_SERVICES,
    ) -> "ClientRegistration":
        """Register the holder of this certificate by its subject, as the registration file writes it."""
        dn = _SUBJECT + certificate.subject.rfc4514_string(
            {
                x509.NameOID.SERIAL_NUMBER: "serialNumber",
                x509.NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
            }
        )
        cvr = subject_facts(certificate).cvr
        return cls(client_id, f"TEST {device_id}", dn, device_id, org_context, cvr, services)

    def metadata(self) -> dict[str, Any]:
        """The registration as the JSON file that is handed in for it."""
        return {
            "token_endpoint_auth_method": "tls_client_auth",
            "grant_types": ["client_credentials"],
            "client_name": self.client_name,
            "scope": f"{STATUS_SERVICE} {STATUS_SCOPE}",
            "tls_client_auth_subject_dn": self.tls_client_auth_subject_dn,
            "ehmi:eer:device_id": self.device_id,
            "ehmi:org_context": [
                {"name": context.name, "sor": context.sor, "gln": context.gln}
                for context in self.org_context
            ],
        }

    def is_held_by(self, certificate: x509.Certificate) -> bool:
        """Tell whether this certificate's subject is the registered one."""
        return same_name(
            self.tls_client_auth_subject_dn.removeprefix(_SUBJECT), certificate.subject
        )


class _Denial(Exception):
    """A refusal in the words of RFC 6749."""

    def __init__(self, error: str, *, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


class AuthorizationServer:
    """Token endpoint, key set and metadata; `issuer` is its base URL once it listens."""

    def __init__(
        self,
        *,
        clock: Clock,
        ids: Ids,
        audience: str,
        audiences: Mapping[str, str] = MappingProxyType({}),
        lifetime: timedelta = TOKEN_LIFETIME,
        faults: Set[Fault] = frozenset(),
    ) -> None:
        self.issuer = ""
        self.audience = audience
        self._audiences = audiences
        self._clock = clock
        self._ids = ids
        self._lifetime = lifetime
        self._faults = faults
        self._clients: dict[str, ClientRegistration] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._keys = jwks(jwk_from_public_key(self._key.public_key()))

    def register(self, registration: ClientRegistration) -> None:
        """Let this client have tokens; a registration with the same client id is replaced."""
        self._clients[registration.client_id] = registration

    def organisations_of(self, cvr: str) -> frozenset[str]:
        """Return the SOR ids of the organisations whose clients' certificates are of this company."""
        return frozenset(
            context.sor
            for client in self._clients.values()
            if client.cvr == cvr
            for context in client.org_context
        )

    def check(
        self, token: str, certificate: x509.Certificate, *, service: str = STATUS_SERVICE
    ) -> AccessToken:
        """Verify a token for the resource server of a service: signature, issuer, audience, time, binding.

        Raises: keys.errors.TokenRefused.
        """
        return verify_access_token(
            token,
            keys=self._keys,
            issuer=self.issuer,
            audience=self._audience_of(service) or "",
            certificate=certificate,
            at=self._clock.now(),
        )

    def _audience_of(self, service: str) -> str | None:
        return self.audience if service == STATUS_SERVICE else self._audiences.get(service)

    def application(self) -> web.Application:
        """The routes; serve them over TLS that requires a client certificate."""
        application = web.Application(client_max_size=_FORM_LIMIT)
        application.add_routes(
            [
                web.get(METADATA_PATH, self._metadata),
                web.get(JWKS_PATH, self._key_set),
                web.post(TOKEN_PATH, self._token),
            ]
        )
        return application

    async def _metadata(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "token_endpoint": self.issuer + TOKEN_PATH,
                "jwks_uri": self.issuer + JWKS_PATH,
                "scopes_supported": sorted(
                    {
                        word
                        for name in (STATUS_SERVICE, *self._audiences)
                        for word in (name, *SCOPES[name])
                    }
                ),
                "response_types_supported": [],
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["tls_client_auth"],
                "tls_client_certificate_bound_access_tokens": True,
            }
        )

    async def _key_set(self, request: web.Request) -> web.Response:
        return web.json_response(self._keys)

    async def _token(self, request: web.Request) -> web.Response:
        try:
            answer = await self._grant(request)
        except _Denial as denial:
            log.info("token_denied", error=denial.error)
            return _answer({"error": denial.error}, status=denial.status)
        return _answer(answer)

    async def _grant(self, request: web.Request) -> dict[str, Any]:
        try:
            certificate = peer_certificate(request.get_extra_info("ssl_object"))
        except UntrustedCertificate:
            raise _Denial("invalid_client", status=401) from None
        if request.content_type != "application/x-www-form-urlencoded":
            raise _Denial("invalid_request")
        form = await request.post()
        if any(len(form.getall(name)) > 1 for name in form):
            raise _Denial("invalid_request")
        client = self._clients.get(str(form.get("client_id", "")))
        if client is None or not client.is_held_by(certificate):
            raise _Denial("invalid_client", status=401)
        if Fault.TOKEN_REFUSED in self._faults:
            raise _Denial("invalid_client", status=401)
        if form.get("grant_type") != "client_credentials":
            raise _Denial("unsupported_grant_type")
        scope = str(form.get("scope", ""))
        context = _find_context(client, scope)
        audience = self._audience_of(scope.partition(" ")[0])
        if audience is None:
            raise _Denial("invalid_scope")
        subject = subject_facts(certificate)
        claims = access_token_claims(
            issuer=self.issuer,
            audience=audience,
            subject_uuid=subject.uuid or client.client_id,
            scope=scope,
            certificate=certificate,
            token_id=self._ids.uuid(),
            at=self._clock.now(),
            lifetime=self._lifetime,
            cvr=subject.cvr,
            organisation_name=subject.organization,
            device_id=client.device_id,
            organisation=context,
        )
        log.info("token_granted", client_id=client.client_id)
        return {
            "access_token": sign_access_token(claims, self._key),
            "token_type": "Bearer",
            "expires_in": int(self._lifetime.total_seconds()),
        }


def _find_context(client: ClientRegistration, scope: str) -> OrganisationContext | None:
    """Read the scope; return the organisation asked for, or None for a token that only searches."""
    words = scope.split(" ")
    named = {match[1]: match[2] for word in words if (match := _CONTEXT.fullmatch(word))}
    plain = [word for word in words if not _CONTEXT.fullmatch(word)]
    service = words[0]
    if (
        service not in client.services
        or plain != [service, *SCOPES[service]]
        or len(words) != len(plain) + len(named)
        or (named and service != STATUS_SERVICE)
    ):
        raise _Denial("invalid_scope")
    if not named:
        return None
    for context in client.org_context:
        if named == {"SOR": context.sor, "GLN": context.gln}:
            return context
    raise _Denial("invalid_scope")


def _answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    # RFC 6749 5.1: no cache may keep a token.
    return web.json_response(body, status=status, headers={hdrs.CACHE_CONTROL: "no-store"})
